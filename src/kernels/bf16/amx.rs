//! The products in AMX, Intel's matrix unit: eight tile registers of 16 rows by 64 bytes.
//!
//! The instructions have no stable intrinsics in Rust, so they are written out. Two tiles of A and two of B make four
//! tiles of C: four loads for four multiplications, each 16 x 16 x 32 multiply-adds; in two parts, eight for twelve.

use super::{PairProduct, Parts, TILE};
use crate::kernels::gemm::Ahead;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Whether the CPU has AMX-BF16 and the system lets this process use it. Asks the system once: Linux saves tile
/// registers only for processes that have asked.
pub(super) fn granted() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        // Leaf 7: AMX-BF16 is bit 22 of EDX, AMX-TILE bit 24.
        let leaf = __cpuid_count(7, 0);
        let has = leaf.edx >> 22 & 1 == 1 && leaf.edx >> 24 & 1 == 1;
        has && ask()
    })
}

#[cfg(target_os = "linux")]
fn ask() -> bool {
    /// Asks for, and tells, the extended states of this process.
    const ARCH_GET_XCOMP_PERM: libc::c_long = 0x1022;
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    /// The state component of the tile registers' data.
    const TILE_DATA: libc::c_ulong = 18;
    let mut states: libc::c_ulong = 0;
    // SAFETY: the first call takes a number, the second writes one to the address given.
    unsafe {
        libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0
            && libc::syscall(libc::SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &raw mut states) == 0
            && states >> TILE_DATA & 1 == 1
    }
}

#[cfg(not(target_os = "linux"))]
fn ask() -> bool {
    false
}

/// All eight tiles: 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Runs the product.
///
/// # Safety
/// [`granted`] must have said yes; sizes must be multiples of 32 and the operands hold them.
pub(super) unsafe fn run(p: &PairProduct<'_>, c: *mut f32, ahead: &mut Ahead) {
    let (m, n, k, pairs) = (p.m, p.n, p.k, p.pairs());
    // SAFETY: every address lies inside A, B or C; the tile registers are this function's alone and released at its end.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly));
        let mut square = |i: usize, j: usize| {
            let (a, b) = (p.a.as_ptr().add(i * pairs), p.b.as_ptr().add(j * pairs));
            let ahead = ahead.take(LINES * k / TILE);
            square(p, a, b, c.add(i * n + j), ahead);
        };
        // What is read again and again shall stay in the L1 cache: as many panels of B as fit.
        let block = 32 * (L1 / (4 * 32 * pairs).max(1)).max(1);
        for first in (0..n).step_by(block) {
            for i in (0..m).step_by(32) {
                (first..n.min(first + block)).step_by(32).for_each(|j| square(i, j));
            }
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Bytes of an L1 cache of 48 KiB for panels of B; panels of A and tiles of C pass through the rest.
const L1: usize = 16 << 10;

/// Cache lines prefetched for every 32 of k: enough that three products bring the next block's weights and moments.
const LINES: usize = 8;

/// Two lines of what lies ahead, from the given one.
macro_rules! prefetch {
    ($at:literal) => {
        concat!("prefetcht1 [{line} + 64 * ", $at, "]\nprefetcht1 [{line} + 64 * ", $at, " + 64]")
    };
}

/// 32 x 32 of C.
unsafe fn square(p: &PairProduct<'_>, a: *const u32, b: *const u32, c: *mut f32, (line, lines): (*const i8, usize)) {
    if p.k == 0 {
        return;
    }
    let (a_bytes, c_bytes) = (4 * p.pairs(), 4 * p.n);
    // A prefetch of no mapped page would walk the page table in vain.
    let (line, line_step) = if lines == 0 { (a.cast(), 0) } else { (line, 64 * LINES) };
    let choices = u32::from(p.accumulate) | u32::from(p.parts == Parts::Two) << 1;
    // SAFETY: by the caller; the tile registers are named as overwritten.
    unsafe {
        asm!(
            "test {choices:e}, 1",
            "jz 2f",
            "tileloadd tmm0, [{c} + {c_bytes}]",
            "tileloadd tmm1, [{c} + {c_bytes} + 64]",
            "tileloadd tmm2, [{c_below} + {c_bytes}]",
            "tileloadd tmm3, [{c_below} + {c_bytes} + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "3:",
            "test {choices:e}, 2",
            "jnz 5f",
            // One part.
            "4:",
            "tileloadd tmm4, [{a} + {a_bytes}]",
            prefetch!(0),
            "tileloadd tmm6, [{b} + {b_bytes}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            prefetch!(2),
            "tileloadd tmm7, [{b} + {b_bytes} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            prefetch!(4),
            "tileloadd tmm5, [{a_below} + {a_bytes}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            prefetch!(6),
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {line}, {line_step}",
            "add {a}, 64",
            "add {a_below}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 4b",
            "jmp 6f",
            // Two: high with low,
            "5:",
            "tileloadd tmm4, [{a} + {a_bytes}]",
            prefetch!(0),
            "tileloadd tmm6, [{b} + {b_bytes} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {b_bytes} + 2112]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            prefetch!(2),
            "tileloadd tmm5, [{a_below} + {a_bytes}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // high with high,
            "tileloadd tmm6, [{b} + {b_bytes}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            prefetch!(4),
            "tileloadd tmm7, [{b} + {b_bytes} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // and low with high.
            "tileloadd tmm4, [{a} + {a_bytes} + 64]",
            prefetch!(6),
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a_below} + {a_bytes} + 64]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {line}, {line_step}",
            "add {a}, 128",
            "add {a_below}, 128",
            "add {b}, 4096",
            "dec {steps}",
            "jnz 5b",
            "6:",
            "tilestored [{c} + {c_bytes}], tmm0",
            "tilestored [{c} + {c_bytes} + 64], tmm1",
            "tilestored [{c_below} + {c_bytes}], tmm2",
            "tilestored [{c_below} + {c_bytes} + 64], tmm3",
            a = inout(reg) a => _,
            a_below = inout(reg) a.byte_add(16 * a_bytes) => _,
            a_bytes = in(reg) a_bytes,
            b = inout(reg) b => _,
            b_bytes = in(reg) 128usize,
            c = in(reg) c,
            c_below = in(reg) c.byte_add(16 * c_bytes),
            c_bytes = in(reg) c_bytes,
            line = inout(reg) line => _,
            line_step = in(reg) line_step,
            steps = inout(reg) p.k / TILE => _,
            choices = in(reg) choices,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

//! The products in AMX, Intel's matrix unit: eight tile registers of 16 rows by 64 bytes.
//!
//! The instructions have no stable intrinsics in Rust, so they are written out. Two tiles of A and two of B make four
//! tiles of C: four loads for four multiplications, each 16 x 16 x 32 multiply-adds.

use super::PairProduct;
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
    let (m, n, pairs) = (p.m, p.n, p.pairs);
    // SAFETY: every address lies inside A, B or C; the tile registers are this function's alone and released at its end.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly));
        let mut square = |i: usize, j: usize| {
            let (a, b) = (p.a.as_ptr().add(i * pairs), p.b.as_ptr().add(j * pairs));
            let ahead = ahead.take(LINES * pairs / 16);
            square(a, 4 * pairs, b, c.add(i * n + j), 4 * n, pairs / 16, p.accumulate, ahead);
        };
        // What is read again and again shall stay in the L1 cache: all of B where it fits, else a panel of it.
        if 4 * n * pairs <= L1 {
            (0..m).step_by(32).for_each(|i| (0..n).step_by(32).for_each(|j| square(i, j)));
        } else {
            (0..n).step_by(32).for_each(|j| (0..m).step_by(32).for_each(|i| square(i, j)));
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Bytes of an L1 cache of 48 KiB that may hold one operand.
const L1: usize = 32 << 10;

/// Cache lines prefetched for every four multiplications, which take some 64 cycles.
const LINES: usize = 8;

/// 32 x 32 of C: `a_bytes` from row to row of A, `c_bytes` from row to row of C.
#[allow(clippy::too_many_arguments)]
unsafe fn square(
    a: *const u32,
    a_bytes: usize,
    b: *const u32,
    c: *mut f32,
    c_bytes: usize,
    steps: usize,
    accumulate: bool,
    (line, lines): (*const i8, usize),
) {
    if steps == 0 {
        return;
    }
    // A prefetch of no mapped page would walk the page table in vain.
    let (line, line_step) = if lines == 0 { (a.cast(), 0) } else { (line, 64 * LINES) };
    // SAFETY: by the caller; the tile registers are named as overwritten.
    unsafe {
        asm!(
            "test {accumulate:e}, {accumulate:e}",
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
            "tileloadd tmm4, [{a} + {a_bytes}]",
            "prefetcht1 [{line}]",
            "prefetcht1 [{line} + 64]",
            "tileloadd tmm6, [{b} + {b_bytes}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "prefetcht1 [{line} + 128]",
            "prefetcht1 [{line} + 192]",
            "tileloadd tmm7, [{b} + {b_bytes} + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "prefetcht1 [{line} + 256]",
            "prefetcht1 [{line} + 320]",
            "tileloadd tmm5, [{a_below} + {a_bytes}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "prefetcht1 [{line} + 384]",
            "prefetcht1 [{line} + 448]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {line}, {line_step}",
            "add {a}, 64",
            "add {a_below}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
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
            steps = inout(reg) steps => _,
            accumulate = in(reg) u64::from(accumulate),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

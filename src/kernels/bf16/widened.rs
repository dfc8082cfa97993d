//! The products on CPUs that do not multiply bf16: operands are widened to f32, which is exact, and multiplied by the f32
//! kernels. Numbers of two parts become one again, so that nothing is multiplied thrice.
//!
//! What it takes to widen is small beside the product: 4 % at the sizes of a block. It is still the memory traffic of
//! bf16 that the engines save.

use super::{CHUNK, PairProduct, Parts, TILE};
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::memory::Aligned;
use std::cell::RefCell;

thread_local! {
    /// A, and a panel of B.
    static WIDE: RefCell<[Aligned<f32>; 2]> = RefCell::default();
}

/// Runs the product.
pub(super) fn run(p: &PairProduct<'_>, c: &mut [f32], ahead: &mut Ahead) {
    let &PairProduct { m, n, k, parts, accumulate, .. } = p;
    WIDE.with_borrow_mut(|[a, panel]| {
        let (a, panel) = (a.first(m * k), panel.first(k * TILE));
        widen(&p.a[..m * p.pairs()], parts, 1, a);
        for j in (0..n).step_by(TILE) {
            widen(&p.b[j * p.pairs()..][..TILE * p.pairs()], parts, TILE, panel);
            let product = Product::rows((m, TILE, k), a, k, panel, TILE).into_rows_of(n).accumulating(accumulate);
            product.run_ahead(&mut c[j..], ahead);
        }
    });
}

/// Chunks of pairs, each `CHUNK x columns`, become chunks of as many rows for the lower numbers of the pairs, then for the
/// upper ones: of both operands, so that what meets is what met.
fn widen(pairs: &[u32], parts: Parts, columns: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn avx2(pairs: &[u32], parts: Parts, columns: usize, out: &mut [f32]) {
            plain(pairs, parts, columns, out);
        }
        // SAFETY: the CPU has the feature.
        return unsafe { avx2(pairs, parts, columns, out) };
    }
    plain(pairs, parts, columns, out);
}

#[inline(always)]
fn plain(pairs: &[u32], parts: Parts, columns: usize, out: &mut [f32]) {
    let (lower, upper) = (|pair: u32| f32::from_bits(pair << 16), |pair: u32| f32::from_bits(pair & 0xFFFF_0000));
    let size = CHUNK * columns;
    for (pairs, out) in pairs.chunks_exact(parts as usize * size).zip(out.chunks_exact_mut(2 * size)) {
        let (high, low) = pairs.split_at(size);
        let (lowers, uppers) = out.split_at_mut(size);
        for ((&pair, l), u) in high.iter().zip(&mut *lowers).zip(&mut *uppers) {
            (*l, *u) = (lower(pair), upper(pair));
        }
        for ((&pair, l), u) in low.iter().zip(lowers).zip(uppers) {
            *l += lower(pair);
            *u += upper(pair);
        }
    }
}

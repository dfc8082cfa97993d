//! Matrix products of bf16 operands with f32 sums.
//!
//! Operands are packed from f32 (rounded to nearest even) into **pairs**: a u32 holds two bf16 that meet the same pair of
//! the other operand, the earlier one in the low half. A is `m x k/2` pairs along its rows. B is `k/2 x n` pairs along its
//! columns (rows 2q and 2q + 1 interleaved), in panels of [`TILE`] columns: `n/32 x k/2 x 32`, so that what a tile of C
//! needs lies together. That one layout serves all three ways a product is computed:
//!
//! - **AMX**: tiles of 16 x 16 sums, 1,024 multiply-adds an instruction (`amx`);
//! - **AVX512-BF16**: `vdpbf16ps`, 32 multiply-adds an instruction (`avx512`);
//! - plain loops, the reference for the other two, on any CPU.
//!
//! Every size is a multiple of [`TILE`]; whoever packs pads with zeros.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;

pub use pack::{interleave_rows, pack_pairs, pack_rows, transpose_pairs};

use super::gemm::Ahead;
use super::kernels;

/// m, n and k of every product are multiples of this.
pub const TILE: usize = 32;

/// `width` rounded up to a multiple of [`TILE`].
pub const fn tiled(width: usize) -> usize {
    width.next_multiple_of(TILE)
}

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Amx,
    Avx512,
    Portable,
}

impl Method {
    /// For records.
    pub fn name(self) -> &'static str {
        match self {
            Method::Amx => "amx-bf16",
            Method::Avx512 => "avx512-bf16",
            Method::Portable => "portable bf16",
        }
    }

    /// The methods this CPU and system offer, best first. Kernel sets other than `avx512` leave the portable one.
    pub fn supported() -> Vec<Method> {
        let all = [Method::Amx, Method::Avx512, Method::Portable];
        all.into_iter().skip_while(|&method| method != Method::best()).collect()
    }

    /// The best of them.
    pub fn best() -> Method {
        #[cfg(target_arch = "x86_64")]
        if kernels().name == "avx512" && std::arch::is_x86_feature_detected!("avx512bf16") {
            return if amx::granted() { Method::Amx } else { Method::Avx512 };
        }
        Method::Portable
    }
}

/// `C = A·B`, or `C += A·B` where `accumulate`; see the module's documentation for the layouts.
#[derive(Clone, Copy, Debug)]
pub struct PairProduct<'a> {
    pub m: usize,
    pub n: usize,
    /// k/2.
    pub pairs: usize,
    /// `m x pairs`.
    pub a: &'a [u32],
    /// `n/32 x pairs x 32`.
    pub b: &'a [u32],
    pub accumulate: bool,
}

impl PairProduct<'_> {
    /// Computes into `c` (`m x n`) on the calling thread, prefetching `ahead` on the side.
    ///
    /// # Panics
    /// If a size is no multiple of [`TILE`] or a matrix does not fit its slice.
    pub fn run(&self, c: &mut [f32], ahead: &mut Ahead) {
        self.run_by(Method::best(), c, ahead);
    }

    /// The same by the given method.
    fn run_by(&self, method: Method, c: &mut [f32], ahead: &mut Ahead) {
        let Self { m, n, pairs, .. } = *self;
        assert!(m.is_multiple_of(TILE) && n.is_multiple_of(TILE) && (2 * pairs).is_multiple_of(TILE));
        assert!(self.a.len() >= m * pairs && self.b.len() >= pairs * n && c.len() >= m * n);
        match method {
            // SAFETY: a method is offered only where the CPU has it; the assertions hold every index inside its slice.
            #[cfg(target_arch = "x86_64")]
            Method::Amx => unsafe { amx::run(self, c.as_mut_ptr(), ahead) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Method::Avx512 => unsafe { avx512::run(self, c.as_mut_ptr(), ahead) },
            _ => self.run_portable(c),
        }
    }

    /// The definition.
    fn run_portable(&self, c: &mut [f32]) {
        let (low, high) = (|pair: u32| f32::from_bits(pair << 16), |pair: u32| f32::from_bits(pair & 0xFFFF_0000));
        if !self.accumulate {
            c[..self.m * self.n].fill(0.0);
        }
        for (panel, b) in self.b.chunks_exact((TILE * self.pairs).max(1)).enumerate().take(self.n / TILE) {
            for (i, a) in self.a.chunks_exact(self.pairs).enumerate().take(self.m) {
                let c = &mut c[i * self.n + panel * TILE..][..TILE];
                for (&a, b) in a.iter().zip(b.chunks_exact(TILE)) {
                    for (c, &b) in c.iter_mut().zip(b) {
                        *c += low(a) * low(b) + high(a) * high(b);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_agrees_with_the_definition() {
        let value = |i: usize| ((i * 37 % 1009) as f32 - 500.0) / 700.0;
        for (m, n, k) in [(32, 32, 32), (64, 96, 128), (128, 256, 64), (96, 32, 160)] {
            // Three of the four stand for what engines pack: A from rows, B from interleaved rows.
            let (a, b): (Vec<f32>, Vec<f32>) =
                ((0..m * k).map(value).collect(), (0..k * n).map(|i| value(i + 7)).collect());
            let (mut a_pairs, mut b_pairs) = (vec![0; m * k / 2], vec![0; k / 2 * n]);
            pack_rows(&a, &mut a_pairs);
            pack_pairs(&b, n, &mut b_pairs);
            let rounded = |x: f32| f64::from(half::bf16::from_f32(x).to_f32());
            for accumulate in [false, true] {
                let before: Vec<f32> = (0..m * n).map(|i| value(i + 3)).collect();
                for method in Method::supported() {
                    let mut c = before.clone();
                    let product = PairProduct { m, n, pairs: k / 2, a: &a_pairs, b: &b_pairs, accumulate };
                    product.run_by(method, &mut c, &mut Ahead::new([(a.as_ptr(), a.len()); 4]));
                    for i in 0..m {
                        for j in 0..n {
                            let mut expected = if accumulate { f64::from(before[i * n + j]) } else { 0.0 };
                            for p in 0..k {
                                expected += rounded(a[i * k + p]) * rounded(b[p * n + j]);
                            }
                            let found = f64::from(c[i * n + j]);
                            assert!(
                                (found - expected).abs() < 1e-4,
                                "{method:?} {m} {n} {k} at {i}, {j}: {found} for {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}

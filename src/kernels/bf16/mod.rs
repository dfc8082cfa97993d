//! Matrix products of bf16 operands with f32 sums.
//!
//! Operands are packed from f32 (rounded to nearest even) into **pairs**: a u32 holds two bf16 that meet the same pair of
//! the other operand, the earlier one in the low half. A is `m x k/2` pairs along its rows. B is `k/2 x n` pairs along its
//! columns (rows 2q and 2q + 1 interleaved), in panels of [`TILE`] columns: `n/32 x k/2 x 32`, so that what a tile of C
//! needs lies together. That one layout serves all ways a product is computed:
//!
//! - **AMX**: tiles of 16 x 16 sums, 8,192 multiply-adds an instruction (`amx`);
//! - **AVX512-BF16**: `vdpbf16ps`, 32 multiply-adds an instruction (`avx512`);
//! - **widened** to f32 and multiplied by the f32 kernels on every other CPU (`widened`);
//! - plain loops, the reference for all of them.
//!
//! Every size is a multiple of [`TILE`]; whoever packs pads with zeros. Operands and C may start anywhere, but AMX is about
//! twice as fast where all start on a cache line ([`Aligned`](super::memory::Aligned)).
//!
//! **Two parts.** A bf16 has 8 bits of mantissa. Where that is too few, a number x is kept as two ([`Parts::Two`]): the
//! bf16 nearest to x, and the one nearest to what is left, x less the first, together 16 bits. A product is then three:
//! high·high + high·low + low·high, all added up in f32, with a relative error of at most 2⁻¹⁶ (what is dropped, low·low,
//! is at most 2⁻¹⁸, and so is what each factor loses). Along k, chunks of 16 pairs of the high parts take turns with those
//! of the low parts, so A is `m x k` then, B is `n/32 x k x 32`, and a transpose is what it was.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod pack;
mod softmax;
mod widened;

pub use pack::{interleave_rows, pack_pairs, pack_rows, transpose_pairs, transpose_rows};
pub use softmax::{exp_rows, scale_less_target, scale_rows};

use super::gemm::Ahead;
use super::kernels;

/// m, n and k of every product are multiples of this.
pub const TILE: usize = 32;

/// Pairs of high parts, and of low parts after them, along k.
const CHUNK: usize = TILE / 2;

/// What stands for an f32 number in a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The nearest bf16.
    One = 1,
    /// And the nearest to the rest.
    Two,
}

impl Parts {
    /// Pairs that stand for `numbers` numbers.
    pub const fn pairs(self, numbers: usize) -> usize {
        self as usize * numbers / 2
    }

    /// The parts of A (0 is the high one) and of B that are multiplied, small products first.
    #[inline(always)]
    const fn terms(self) -> &'static [(usize, usize)] {
        match self {
            Parts::One => &[(0, 0)],
            Parts::Two => &[(0, 1), (1, 0), (0, 0)],
        }
    }
}

/// `width` rounded up to a multiple of [`TILE`].
pub const fn tiled(width: usize) -> usize {
    width.next_multiple_of(TILE)
}

/// The vectors that pack operands and keep exponentials.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// With AVX512-BF16.
    Avx512,
    Avx2,
    None,
}

#[cfg(target_arch = "x86_64")]
impl Vectors {
    /// The best that CPU and kernel set have.
    fn best() -> Self {
        match kernels().name {
            "avx512" if std::arch::is_x86_feature_detected!("avx512bf16") => Self::Avx512,
            "avx512" | "avx2" => Self::Avx2,
            _ => Self::None,
        }
    }
}

/// Calls a function of the module `avx512` or `avx2`, then does `$then`; nothing where the CPU has neither. Lengths are the
/// caller's to check.
macro_rules! vectors {
    ($function:ident($($argument:expr),*); $then:expr) => {
        #[cfg(target_arch = "x86_64")]
        match super::Vectors::best() {
            super::Vectors::Avx512 => {
                // SAFETY: the CPU has the features.
                unsafe { avx512::$function($($argument),*) };
                $then
            }
            super::Vectors::Avx2 => {
                // SAFETY: the CPU has the features.
                unsafe { avx2::$function($($argument),*) };
                $then
            }
            super::Vectors::None => {}
        }
    };
}
use vectors;

/// How products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Amx,
    Avx512,
    Widened,
    /// For tests.
    Plain,
}

impl Method {
    /// For records.
    pub fn name(self) -> &'static str {
        match self {
            Method::Amx => "amx-bf16",
            Method::Avx512 => "avx512-bf16",
            Method::Widened => "bf16 widened to f32",
            Method::Plain => "plain bf16",
        }
    }

    /// The methods this CPU and system offer, best first. Kernel sets other than `avx512` leave the last two.
    pub fn supported() -> Vec<Method> {
        let all = [Method::Amx, Method::Avx512, Method::Widened, Method::Plain];
        all.into_iter().skip_while(|&method| method != Method::best()).collect()
    }

    /// The best of them.
    pub fn best() -> Method {
        #[cfg(target_arch = "x86_64")]
        if Vectors::best() == Vectors::Avx512 {
            return if amx::granted() { Method::Amx } else { Method::Avx512 };
        }
        Method::Widened
    }
}

/// `C = A·B`, or `C += A·B` where `accumulate`; see the module's documentation for the layouts.
#[derive(Clone, Copy, Debug)]
pub struct PairProduct<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Of both operands.
    pub parts: Parts,
    /// `m x parts·k/2`.
    pub a: &'a [u32],
    /// `n/32 x parts·k/2 x 32`.
    pub b: &'a [u32],
    pub accumulate: bool,
}

impl PairProduct<'_> {
    /// Pairs of a row of A.
    fn pairs(&self) -> usize {
        self.parts.pairs(self.k)
    }

    /// Computes into `c` (`m x n`) on the calling thread, prefetching `ahead` on the side.
    ///
    /// # Panics
    /// If a size is no multiple of [`TILE`] or a matrix does not fit its slice.
    pub fn run(&self, c: &mut [f32], ahead: &mut Ahead) {
        self.run_by(Method::best(), c, ahead);
    }

    /// The same by the given method.
    fn run_by(&self, method: Method, c: &mut [f32], ahead: &mut Ahead) {
        let Self { m, n, k, parts, .. } = *self;
        assert!(m.is_multiple_of(TILE) && n.is_multiple_of(TILE) && k.is_multiple_of(TILE));
        assert!(self.a.len() >= parts.pairs(m * k) && self.b.len() >= parts.pairs(k * n) && c.len() >= m * n);
        match method {
            // SAFETY: a method is offered only where the CPU has it; the assertions hold every index inside its slice.
            #[cfg(target_arch = "x86_64")]
            Method::Amx => unsafe { amx::run(self, c.as_mut_ptr(), ahead) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Method::Avx512 => unsafe { avx512::run(self, c.as_mut_ptr(), ahead) },
            Method::Widened => widened::run(self, c, ahead),
            _ => self.run_plain(c),
        }
    }

    /// The definition.
    fn run_plain(&self, c: &mut [f32]) {
        let (low, high) = (|pair: u32| f32::from_bits(pair << 16), |pair: u32| f32::from_bits(pair & 0xFFFF_0000));
        if !self.accumulate {
            c[..self.m * self.n].fill(0.0);
        }
        let (pairs, chunk) = (self.pairs(), self.parts as usize * CHUNK);
        for (panel, b) in self.b.chunks_exact((TILE * pairs).max(1)).enumerate().take(self.n / TILE) {
            for (i, a) in self.a.chunks_exact(pairs).enumerate().take(self.m) {
                let c = &mut c[i * self.n + panel * TILE..][..TILE];
                for (a, b) in a.chunks_exact(chunk).zip(b.chunks_exact(TILE * chunk)) {
                    for &(x, y) in self.parts.terms() {
                        let b = b.chunks_exact(TILE).skip(y * CHUNK);
                        for (&a, b) in a[x * CHUNK..][..CHUNK].iter().zip(b) {
                            for (c, &b) in c.iter_mut().zip(b) {
                                *c += low(a) * low(b) + high(a) * high(b);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        ((i * 37 % 1009) as f32 - 500.0) / 700.0
    }

    /// What a number becomes in so many parts.
    fn kept(x: f32, parts: Parts) -> f64 {
        let high = half::bf16::from_f32(x).to_f32();
        let low = if parts == Parts::Two { half::bf16::from_f32(x - high).to_f32() } else { 0.0 };
        f64::from(high) + f64::from(low)
    }

    /// Largest difference of C by `method` from A·B of the numbers that `number` makes of the factors, as a share of
    /// the sum of the absolute products.
    fn error(method: Method, (m, n, k): (usize, usize, usize), p: (Parts, bool), number: impl Fn(f32) -> f64) -> f64 {
        let (parts, accumulate) = p;
        // Three of the four stand for what engines pack: A from rows, B from interleaved rows.
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..m * k).map(value).collect(), (0..k * n).map(|i| value(i + 7)).collect());
        let (mut a_pairs, mut b_pairs) = (vec![0; parts.pairs(m * k)], vec![0; parts.pairs(k * n)]);
        pack_rows(&a, parts, &mut a_pairs);
        pack_pairs(&b, n, parts, &mut b_pairs);
        let before: Vec<f32> = (0..m * n).map(|i| value(i + 3)).collect();
        let mut c = before.clone();
        let product = PairProduct { m, n, k, parts, a: &a_pairs, b: &b_pairs, accumulate };
        product.run_by(method, &mut c, &mut Ahead::new([(a.as_ptr(), a.len()); 4]));
        let mut worst = 0.0f64;
        for i in 0..m {
            for j in 0..n {
                let mut expected = if accumulate { f64::from(before[i * n + j]) } else { 0.0 };
                let mut sizes = expected.abs();
                for p in 0..k {
                    let product = number(a[i * k + p]) * number(b[p * n + j]);
                    expected += product;
                    sizes += product.abs();
                }
                worst = worst.max((f64::from(c[i * n + j]) - expected).abs() / sizes);
            }
        }
        worst
    }

    const SIZES: [(usize, usize, usize); 4] = [(32, 32, 32), (64, 96, 128), (128, 256, 64), (96, 32, 160)];

    #[test]
    fn every_method_agrees_with_the_definition() {
        for method in Method::supported() {
            for dims in SIZES {
                for accumulate in [false, true] {
                    let error = error(method, dims, (Parts::One, accumulate), |x| kept(x, Parts::One));
                    assert!(error < 2e-6, "{method:?} {dims:?}: {error}");
                }
            }
        }
    }

    /// Against the products of the unrounded numbers; what one part makes of them shows that two are needed.
    #[test]
    fn two_parts_keep_sixteen_bits() {
        for method in Method::supported() {
            for dims in SIZES {
                for accumulate in [false, true] {
                    let [one, two] =
                        [Parts::One, Parts::Two].map(|parts| error(method, dims, (parts, accumulate), f64::from));
                    assert!(two < 1.0 / 65536.0, "{method:?} {dims:?}: {two}");
                    assert!(one > 16.0 * two, "{method:?} {dims:?}: {one} and {two}");
                }
            }
        }
    }
}

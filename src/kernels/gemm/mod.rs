//! Matrix products of row-major f32 matrices: what the dense engine and the exact evaluation spend their time in.
//!
//! With AVX-512 and AVX2 the products run in our own kernels (`avx512`, `avx2`), which need hardly any packing for these
//! shapes and prefetch for the phase after them; elsewhere in the crate `gemm`, which is also what the kernels are tested
//! against.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(target_arch = "x86_64")]
pub(in crate::kernels) use avx512::broadcast;

use crate::kernels::{LANES, kernels};

/// `C = A·B`, or `C += A·B` where `accumulate`: A is `m x k`, B `k x n`, C `m x n`, n a multiple of [`LANES`].
///
/// A may be transposed and may lie in panels: element (i, p) is `a[(p / depth) * segment + i * row + (p % depth) *
/// column]` with `k = segments * depth`. Either `row` or `column` is 1.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    pub m: usize,
    pub n: usize,
    pub a: &'a [f32],
    pub row: usize,
    pub column: usize,
    pub segment: usize,
    pub segments: usize,
    pub depth: usize,
    /// Rows of `b_stride`.
    pub b: &'a [f32],
    pub b_stride: usize,
    pub c_stride: usize,
    pub accumulate: bool,
}

impl<'a> Product<'a> {
    /// A as it lies, `m x k` in rows of `stride`.
    pub fn rows((m, n, k): (usize, usize, usize), a: &'a [f32], stride: usize, b: &'a [f32], b_stride: usize) -> Self {
        Self {
            m,
            n,
            a,
            row: stride,
            column: 1,
            segment: 0,
            segments: 1,
            depth: k,
            b,
            b_stride,
            c_stride: n,
            accumulate: false,
        }
    }

    /// A transposed: `k x m` in rows of `stride`.
    pub fn transposed(dims: (usize, usize, usize), a: &'a [f32], stride: usize, b: &'a [f32], b_stride: usize) -> Self {
        Self { row: 1, column: stride, ..Self::rows(dims, a, stride, b, b_stride) }
    }

    /// Rows of C, where they are not n long.
    pub fn into_rows_of(self, c_stride: usize) -> Self {
        Self { c_stride, ..self }
    }

    /// Adds to C.
    pub fn accumulating(self, accumulate: bool) -> Self {
        Self { accumulate, ..self }
    }

    /// Computes into `c` on the calling thread.
    ///
    /// # Panics
    /// If a matrix does not fit its slice.
    pub fn run(&self, c: &mut [f32]) {
        self.run_ahead(c, &mut Ahead::default());
    }

    /// As [`Product::run`], prefetching `ahead` into the L2 cache on the side.
    pub fn run_ahead(&self, c: &mut [f32], ahead: &mut Ahead) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let k = self.segments * self.depth;
        assert!(self.n.is_multiple_of(LANES) && self.n <= self.c_stride);
        assert!(self.row == 1 || self.column == 1);
        assert!(c.len() >= (self.m - 1) * self.c_stride + self.n);
        if k > 0 {
            let last = (self.segments - 1) * self.segment + (self.m - 1) * self.row + (self.depth - 1) * self.column;
            assert!(last < self.a.len());
            assert!(self.b.len() >= (k - 1) * self.b_stride + self.n);
        }
        #[cfg(target_arch = "x86_64")]
        match kernels().name {
            // SAFETY: a kernel set is chosen only where the CPU has its features; the assertions hold every index inside
            // its slice.
            "avx512" => return unsafe { avx512::run(self, c.as_mut_ptr(), ahead) },
            // SAFETY: as above.
            "avx2" => return unsafe { avx2::run(self, c.as_mut_ptr(), ahead) },
            _ => {}
        }
        self.run_portable(c);
    }

    /// The same by the crate `gemm`. C may differ in rounding.
    fn run_portable(&self, c: &mut [f32]) {
        for segment in 0..self.segments {
            let accumulate = self.accumulate || segment > 0;
            // SAFETY: `run_ahead` has checked every index; C is borrowed mutably, so it overlaps neither A nor B.
            unsafe {
                gemm::gemm(
                    self.m,
                    self.n,
                    self.depth,
                    c.as_mut_ptr(),
                    1,
                    self.c_stride as isize,
                    accumulate,
                    self.a.as_ptr().add(segment * self.segment),
                    self.column as isize,
                    self.row as isize,
                    self.b.as_ptr().add(segment * self.depth * self.b_stride),
                    1,
                    self.b_stride as isize,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        }
    }
}

/// Memory that the phase after a product will read: the product's kernel prefetches it into the L2 cache, a cache line
/// for every few multiply-adds, so that memory and arithmetic overlap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    /// First line and number of lines of each stretch.
    stretches: [(usize, usize); 4],
}

impl Ahead {
    /// Stretches of memory, each a start and a length, in this order. A prefetch never faults, so they need not be
    /// readable, and others may be writing to them.
    pub fn new(stretches: [(*const f32, usize); 4]) -> Self {
        Self { stretches: stretches.map(|(start, len)| (start.addr(), len.div_ceil(LANES))) }
    }

    /// Up to `lines` lines of one stretch: where they start and how many they are.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(in crate::kernels) fn take(&mut self, lines: usize) -> (*const i8, usize) {
        for (start, left) in &mut self.stretches {
            if *left > 0 {
                let (taken, at) = (lines.min(*left), *start);
                *start += 64 * taken;
                *left -= taken;
                return (std::ptr::without_provenance(at), taken);
            }
        }
        (std::ptr::null(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(i: usize) -> f32 {
        ((i * 37 % 101) as f32 - 50.0) / 50.0
    }

    /// The definition, in f64.
    fn expected(p: &Product<'_>, before: &[f32]) -> Vec<f64> {
        let mut c: Vec<f64> = before.iter().map(|&c| f64::from(c)).collect();
        for i in 0..p.m {
            for j in 0..p.n {
                let at = i * p.c_stride + j;
                if !p.accumulate {
                    c[at] = 0.0;
                }
                for q in 0..p.segments * p.depth {
                    let a = p.a[q / p.depth * p.segment + i * p.row + q % p.depth * p.column];
                    c[at] += f64::from(a) * f64::from(p.b[q * p.b_stride + j]);
                }
            }
        }
        c
    }

    #[test]
    fn products_agree_with_the_definition() {
        let a: Vec<f32> = (0..40_000).map(value).collect();
        let b: Vec<f32> = (0..40_000).map(|i| value(i + 11)).collect();
        for m in (1..=31).chain([126, 128]) {
            for (n, k) in [(16, 1), (32, 7), (48, 130), (128, 32), (16, 0)] {
                let dims = (m, n, k);
                let mut products = vec![
                    Product::rows(dims, &a, k, &b, n + 16),
                    Product::transposed(dims, &a, m, &b, n),
                    Product::transposed(dims, &a, m + 3, &b, n).into_rows_of(n + 5),
                ];
                if k == 32 {
                    // A in panels: four segments of eight columns.
                    let panels = Product::rows((m, n, 8), &a, 8, &b, n);
                    products.push(Product { segments: 4, segment: 8 * m, ..panels });
                }
                for product in products {
                    for accumulate in [false, true] {
                        let product = product.accumulating(accumulate);
                        let before: Vec<f32> = (0..m * product.c_stride).map(|i| value(i + 5)).collect();
                        let expected = expected(&product, &before);
                        let (mut fast, mut portable) = (before.clone(), before);
                        product.run_ahead(
                            &mut fast,
                            &mut Ahead::new([a.as_ptr(), b.as_ptr(), a.as_ptr(), b.as_ptr()].map(|start| (start, 9))),
                        );
                        product.run_portable(&mut portable);
                        for (at, expected) in expected.iter().enumerate() {
                            let errors = [fast[at], portable[at]].map(|c| (f64::from(c) - expected).abs());
                            assert!(errors.iter().all(|e| *e < 2e-5), "{dims:?} at {at}: {errors:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_matrix_that_does_not_fit_is_refused() {
        Product::rows((3, 16, 4), &[0.0; 11], 4, &[0.0; 64], 16).run(&mut [0.0; 48]);
    }

    #[test]
    fn what_lies_ahead_is_handed_out_once() {
        let memory = vec![0.0f32; 64];
        let mut ahead = Ahead::new([64, 0, 16, 0].map(|len| (memory.as_ptr(), len)));
        let taken: Vec<usize> = (0..5).map(|_| ahead.take(3).1).collect();
        assert_eq!(taken, [3, 1, 1, 0, 0]);
    }
}

//! Matrix products of row-major f32 matrices: what the dense engine and the exact evaluation spend their time in.

/// A matrix read with any strides, so that a transposed matrix costs no copy: element (i, j) is
/// `data[i * row + j * column]`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> Strided<'a> {
    /// Rows of `stride` elements, as they lie.
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        Self { data, row: stride, column: 1 }
    }

    /// The transposed view of rows of `stride` elements.
    pub fn transposed(data: &'a [f32], stride: usize) -> Self {
        Self { data, row: 1, column: stride }
    }
}

/// `C = A·B`, or `C += A·B` where `accumulate`: A is `m x k`, B is `k x n` with rows of `b_stride`, C is `m x n` with
/// rows of `c_stride`. Runs on the calling thread.
///
/// # Panics
/// If a matrix does not fit its slice.
#[allow(clippy::too_many_arguments)] // the signature of every GEMM since 1979
pub fn gemm(
    (m, n, k): (usize, usize, usize),
    a: Strided<'_>,
    b: &[f32],
    b_stride: usize,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(k == 0 || a.data.len() > (m - 1) * a.row + (k - 1) * a.column);
    assert!(k == 0 || b.len() >= (k - 1) * b_stride + n);
    assert!(n <= c_stride && c.len() >= (m - 1) * c_stride + n);
    // SAFETY: the assertions above hold every index inside its slice; C is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.as_ptr(),
            1,
            b_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_the_definition() {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        for (m, n, k) in [(1, 16, 1), (13, 32, 7), (29, 48, 128), (5, 16, 0)] {
            let (b_stride, c_stride) = (n + 16, n + 3);
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * b_stride).map(|i| value(i + 11)).collect();
            for transposed in [false, true] {
                for accumulate in [false, true] {
                    let view = if transposed { Strided::transposed(&a, m) } else { Strided::rows(&a, k) };
                    let before: Vec<f32> = (0..m * c_stride).map(|i| value(i + 5)).collect();
                    let mut c = before.clone();
                    gemm((m, n, k), view, &b, b_stride, &mut c, c_stride, accumulate);
                    for i in 0..m {
                        for j in 0..c_stride {
                            let at = i * c_stride + j;
                            let mut expected = if accumulate || j >= n { f64::from(before[at]) } else { 0.0 };
                            if j < n {
                                for p in 0..k {
                                    let a = a[i * view.row + p * view.column];
                                    expected += f64::from(a) * f64::from(b[p * b_stride + j]);
                                }
                            }
                            assert!((f64::from(c[at]) - expected).abs() < 1e-5, "{m} {n} {k} at {i}, {j}");
                        }
                    }
                }
            }
        }
    }
}

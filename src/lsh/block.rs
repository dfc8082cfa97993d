//! Sixteen rows side by side: how the bulk hash kernels are vectorised.
//!
//! Hash functions look at scattered coordinates of a row, which vectors do badly, but they look at the *same*
//! coordinates of every row. So sixteen rows are transposed into a block in first-level cache, one group of sixteen
//! lanes a coordinate, and every lane computes the hash of its own row with the arithmetic of the scalar code, in the
//! same order: the results agree bit for bit.
//!
//! The kernels are plain loops over `[_; LANES]`, compiled three times, with AVX-512, with AVX2 and for any CPU; the
//! compiler turns each loop into one, two or four instructions. [`simd_versions`] writes the three versions down.

/// Rows hashed side by side.
pub(super) const LANES: usize = 16;

/// One value of each of the rows.
pub(super) type Lanes<E> = [E; LANES];

/// The instruction set a bulk kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    Avx512,
    Avx2,
    Portable,
}

impl Simd {
    /// What this CPU runs, best first.
    pub fn supported() -> Vec<Self> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                sets.push(Self::Avx512);
            }
            if has!("avx2") {
                sets.push(Self::Avx2);
            }
        }
        sets.push(Self::Portable);
        sets
    }

    /// The same choice as [`kernels`](crate::kernels::kernels) made.
    pub fn chosen() -> Self {
        match crate::kernels::kernels().name {
            "avx512" => Self::Avx512,
            "avx2" => Self::Avx2,
            _ => Self::Portable,
        }
    }
}

/// Compiles a function once for each [`Simd`] and adds a first argument that chooses among them.
macro_rules! simd_versions {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name(simd: $crate::lsh::block::Simd, $($arg: $type),*) {
            #[inline(always)]
            fn plain($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) {
                plain($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) {
                plain($($arg),*)
            }
            match simd {
                // SAFETY: `Simd::supported` and `Simd::chosen`, the only sources of these two, have asked the CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::lsh::block::Simd::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::lsh::block::Simd::Avx2 => unsafe { avx2($($arg),*) },
                _ => plain($($arg),*),
            }
        }
    };
}
pub(super) use simd_versions;

/// `block[c][lane] = x[lane * stride + c]` for `lanes` rows and every coordinate of the block; lanes beyond hold
/// anything finite.
#[inline(always)]
pub(super) fn transpose(x: &[f32], stride: usize, lanes: usize, block: &mut [Lanes<f32>]) {
    let width = block.len();
    let mut done = 0;
    if lanes == LANES {
        while done + LANES <= width {
            let mut tile = [[0.0; LANES]; LANES];
            for (lane, row) in tile.iter_mut().enumerate() {
                row.copy_from_slice(&x[lane * stride + done..][..LANES]);
            }
            for _ in 0..4 {
                tile = interleave(&tile);
            }
            block[done..done + LANES].copy_from_slice(&tile);
            done += LANES;
        }
    }
    for lane in 0..lanes {
        for (block, &x) in block[done..].iter_mut().zip(&x[lane * stride + done..]) {
            block[lane] = x;
        }
    }
}

/// A perfect shuffle: the rows of the first half zipped with those of the second. Four of them transpose a tile.
#[inline(always)]
fn interleave(tile: &[Lanes<f32>; LANES]) -> [Lanes<f32>; LANES] {
    let mut out = [[0.0; LANES]; LANES];
    for i in 0..LANES / 2 {
        let (a, b) = (tile[i], tile[i + LANES / 2]);
        for j in 0..LANES / 2 {
            out[2 * i][2 * j] = a[j];
            out[2 * i][2 * j + 1] = b[j];
            out[2 * i + 1][2 * j] = a[LANES / 2 + j];
            out[2 * i + 1][2 * j + 1] = b[LANES / 2 + j];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_lanes() {
        for (width, stride, lanes) in [(16, 16, 16), (37, 48, 16), (37, 48, 5), (3, 16, 16), (1, 1, 1)] {
            let x: Vec<f32> = (0..lanes * stride).map(|i| i as f32).collect();
            let mut block = vec![[0.0; LANES]; width];
            transpose(&x, stride, lanes, &mut block);
            for (c, row) in block.iter().enumerate() {
                for (lane, &value) in row.iter().enumerate().take(lanes) {
                    assert_eq!(value, (lane * stride + c) as f32);
                }
            }
        }
    }
}

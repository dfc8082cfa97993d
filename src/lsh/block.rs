//! Sixteen rows side by side: how the bulk hash kernels are vectorised.
//!
//! Hash functions look at scattered coordinates of a row, which vectors do badly, but they look at the *same*
//! coordinates of every row. So sixteen rows are transposed into a block in first-level cache, one group of sixteen
//! lanes a coordinate, and every lane computes the hash of its own row with the arithmetic of the scalar code, in the
//! same order: the results agree bit for bit.

pub(super) use super::lanes::{LANES, Lanes};

/// The instruction set that bulk kernels run.
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
        let name = crate::kernels::kernels().name;
        let same = |simd: &Self| name == simd.name();
        Self::supported().into_iter().find(same).unwrap_or(Self::Portable)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

/// Compiles a kernel that is generic over [`Lanes`] once for each [`Simd`]; the first argument chooses among them.
macro_rules! simd_versions {
    ($(#[$meta:meta])* $vis:vis fn $name:ident = $kernel:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$meta])*
        $vis fn $name(simd: $crate::lsh::Simd, $($arg: $type),*) {
            use $crate::lsh::lanes;
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) {
                // SAFETY: whoever runs this has AVX2.
                $kernel(unsafe { lanes::Avx2::new() }, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) {
                // SAFETY: whoever runs this has AVX-512F.
                $kernel(unsafe { lanes::Avx512::new() }, $($arg),*)
            }
            match simd {
                // SAFETY: `Hasher` takes only what `Simd::supported` names, which has asked the CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::lsh::Simd::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::lsh::Simd::Avx2 => unsafe { avx2($($arg),*) },
                _ => $kernel(lanes::Portable, $($arg),*),
            }
        }
    };
}
pub(super) use simd_versions;

/// One value of each row, on a cache line of its own: unaligned, every 64-byte load would touch two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line<E>(pub [E; LANES]);

/// `block[c][lane] = x[lane * stride + c]` for `lanes` rows and every coordinate of the block; lanes beyond keep what
/// they held.
#[inline(always)]
pub(super) fn transpose(x: &[f32], stride: usize, lanes: usize, block: &mut [Line<f32>]) {
    let mut done = 0;
    if lanes == LANES {
        let (tiles, _) = block.as_chunks_mut::<LANES>();
        let (mut a, mut b) = ([Line([0.0; LANES]); LANES], [Line([0.0; LANES]); LANES]);
        for tile in tiles {
            for (lane, row) in a.iter_mut().enumerate() {
                row.0.copy_from_slice(&x[lane * stride + done..][..LANES]);
            }
            interleave(&a, &mut b);
            interleave(&b, &mut a);
            interleave(&a, &mut b);
            interleave(&b, tile);
            done += LANES;
        }
    }
    for lane in 0..lanes {
        for (block, &x) in block[done..].iter_mut().zip(&x[lane * stride + done..]) {
            block.0[lane] = x;
        }
    }
}

/// A perfect shuffle: the rows of the first half zipped with those of the second. Four of them transpose a tile.
#[inline(always)]
fn interleave(tile: &[Line<f32>; LANES], out: &mut [Line<f32>; LANES]) {
    const HALF: usize = LANES / 2;
    for i in 0..HALF {
        let (a, b) = (tile[i].0, tile[i + HALF].0);
        out[2 * i].0 = std::array::from_fn(|j| if j % 2 == 0 { a[j / 2] } else { b[j / 2] });
        out[2 * i + 1].0 = std::array::from_fn(|j| if j % 2 == 0 { a[HALF + j / 2] } else { b[HALF + j / 2] });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_lanes() {
        for (width, stride, lanes) in [(16, 16, 16), (37, 48, 16), (37, 48, 5), (3, 16, 16), (1, 1, 1)] {
            let x: Vec<f32> = (0..lanes * stride).map(|i| i as f32).collect();
            let mut block = vec![Line([0.0; LANES]); width];
            transpose(&x, stride, lanes, &mut block);
            for (c, row) in block.iter().enumerate() {
                for (lane, &value) in row.0.iter().enumerate().take(lanes) {
                    assert_eq!(value, (lane * stride + c) as f32);
                }
            }
        }
    }
}

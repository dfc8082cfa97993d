//! Signs of sparse random projections.

use super::block::{LANES, transpose};
use super::{LshError, LshSettings};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[derive(Clone, Debug)]
pub(super) struct SimHash {
    bits: usize,
    tables: usize,
    width: usize,
    /// Coordinates a function looks at.
    kept: usize,
    /// K·T x kept, each sorted by coordinate: the coordinate and its sign.
    terms: Vec<(u32, f32)>,
}

impl SimHash {
    pub(super) fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        if settings.bits > 30 {
            return Err(LshError::new("bits", settings.bits, "at most 30 bits a table"));
        }
        if settings.sparsity == 0 {
            return Err(LshError::new("sparsity", 0, "one in how many coordinates is kept: 1, 3, 10"));
        }
        let kept = width.div_ceil(settings.sparsity);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut terms = Vec::with_capacity(settings.bits * settings.tables * kept);
        for _ in 0..settings.bits * settings.tables {
            let mut coordinates = rand::seq::index::sample(&mut rng, width, kept).into_vec();
            coordinates.sort_unstable();
            terms.extend(coordinates.iter().map(|&c| (c as u32, if rng.random::<bool>() { 1.0 } else { -1.0 })));
        }
        Ok(Self { bits: settings.bits, tables: settings.tables, width, kept, terms })
    }

    pub(super) fn buckets(&self) -> usize {
        1 << self.bits
    }

    pub(super) fn hash(&self, x: &[f32], out: &mut [u32]) {
        assert_eq!(out.len(), self.tables);
        let mut functions = self.terms.chunks_exact(self.kept);
        for out in out {
            *out = functions.by_ref().take(self.bits).fold(0, |index, terms| {
                let sum: f32 = terms.iter().map(|&(c, s)| s * x[c as usize]).sum();
                index << 1 | u32::from(sum < 0.0)
            });
        }
    }

    pub(super) fn hash_sparse(&self, indices: &[u32], values: &[f32], out: &mut [u32]) {
        let mut x = vec![0.0; self.width];
        for (&i, &v) in indices.iter().zip(values) {
            x[i as usize] = v;
        }
        self.hash(&x, out);
    }

    pub(super) fn hash_rows(&self, x: &[f32], stride: usize, out: &mut [u32]) {
        let rows = x.len() / stride;
        let mut block = vec![[0.0_f32; LANES]; self.width];
        for first in (0..rows).step_by(LANES) {
            let lanes = LANES.min(rows - first);
            transpose(&x[first * stride..], stride, lanes, &mut block);
            let mut functions = self.terms.chunks_exact(self.kept);
            for table in 0..self.tables {
                let mut index = [0_u32; LANES];
                for terms in functions.by_ref().take(self.bits) {
                    let mut sum = [0.0_f32; LANES];
                    for &(c, s) in terms {
                        let value = &block[c as usize];
                        for lane in 0..LANES {
                            sum[lane] += s * value[lane];
                        }
                    }
                    for lane in 0..LANES {
                        index[lane] = index[lane] << 1 | u32::from(sum[lane] < 0.0);
                    }
                }
                out[table * rows + first..][..lanes].copy_from_slice(&index[..lanes]);
            }
        }
    }
}

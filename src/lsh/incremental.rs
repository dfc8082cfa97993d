//! Incremental SimHash (SLIDE, section 4.2): keep the projections of every neuron and correct them by what changed.
//!
//! A full rehash adds up d/`sparsity` coordinates for each of the K·T functions of a neuron. When only d′ of its d
//! weights have changed, a correction costs d′ additions for each function that looks at one of them, K·T·d′/`sparsity`
//! in all. What it costs in exchange is memory: K·T sums and d whole numbers a neuron, 4 bytes each.
//!
//! Sums of f32 would drift away from a fresh sum with every correction. SimHash's sums are exact integers, so the
//! corrected ones *are* the fresh ones, and so are the bits. Only where a row's largest weight crosses a power of two,
//! and with it the row's scale, all of the row's sums are made anew.

use super::simhash::{SimHash, largest};
use super::{Family, Hasher, LshError};
use crate::kernels::weights::Weights;
use rayon::prelude::*;

/// The projections of every neuron under a SimHash [`Hasher`], kept up to date.
#[derive(Clone, Debug)]
pub struct IncrementalSimHash {
    functions: SimHash,
    /// For every coordinate the functions that look at it: where they begin in `uses`.
    starts: Vec<u32>,
    /// Twice the function's number, plus one where it subtracts.
    uses: Vec<u32>,
    /// One of each neuron.
    scales: Vec<f32>,
    /// The weights in whole numbers, d of each neuron.
    weights: Vec<i32>,
    /// T·K of each neuron.
    sums: Vec<i32>,
}

/// What is kept of one neuron.
struct Neuron<'a> {
    scale: &'a mut f32,
    weights: &'a mut [i32],
    sums: &'a mut [i32],
}

/// What an update had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Weights that had changed, after rounding, in rows that were corrected.
    pub weights: u64,
    /// Additions made for them.
    pub additions: u64,
    /// Rows summed anew, because their scale changed.
    pub rows: u64,
}

impl std::ops::Add for Corrections {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            additions: self.additions + other.additions,
            rows: self.rows + other.rows,
        }
    }
}

impl IncrementalSimHash {
    /// For `neurons` rows, all zero until the first update.
    ///
    /// # Errors
    /// When the hasher's family is not SimHash.
    pub fn new(hasher: &Hasher, neurons: usize) -> Result<Self, LshError> {
        let Some(functions) = hasher.simhash() else {
            let family: Family = hasher.settings().family;
            return Err(LshError::new("family", format!("{family:?}"), "simhash, for incremental updates"));
        };
        let (starts, uses) = columns(functions);
        Ok(Self {
            functions: functions.clone(),
            starts,
            uses,
            scales: vec![functions.scale(0.0); neurons],
            weights: vec![0; neurons * functions.width],
            sums: vec![0; neurons * functions.bits * functions.tables],
        })
    }

    /// Brings all projections to the present weights (row-major, `stride` numbers a row), on the caller's rayon pool.
    pub fn update<'a>(&mut self, weights: impl Into<Weights<'a>>, stride: usize) -> Corrections {
        let all = weights.into();
        let Self { functions, starts, uses, scales, weights: whole, sums } = self;
        let (functions, starts, uses) = (&*functions, &*starts, &*uses);
        scales
            .par_iter_mut()
            .zip(whole.par_chunks_mut(functions.width))
            .zip(sums.par_chunks_mut(functions.bits * functions.tables))
            .enumerate()
            .with_min_len(64)
            .map_init(Vec::new, |scratch, (row, ((scale, weights), sums))| {
                let mut neuron = Neuron { scale, weights, sums };
                let row = all.widened(row * stride..row * stride + functions.width, scratch);
                neuron.update(functions, starts, uses, row)
            })
            .reduce(Corrections::default, |a, b| a + b)
    }

    /// The T bucket indices of a neuron, as [`Hasher::hash_weight`] gives them for the weights of the last update.
    pub fn hash(&self, neuron: usize, out: &mut [u32]) {
        let SimHash { bits, tables, .. } = self.functions;
        let sums = self.sums[neuron * bits * tables..][..bits * tables].chunks_exact(bits);
        for (out, sums) in out.iter_mut().zip(sums) {
            *out = sums.iter().fold(0, |index, &sum| index << 1 | u32::from(sum < 0));
        }
    }

    /// T.
    pub fn tables(&self) -> usize {
        self.functions.tables
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let flat = self.scales.len() + self.weights.len() + self.sums.len();
        4 * (self.starts.len() + self.uses.len() + flat) as u64
    }
}

impl Neuron<'_> {
    fn update(&mut self, functions: &SimHash, starts: &[u32], uses: &[u32], row: &[f32]) -> Corrections {
        let scale = functions.scale(largest(row));
        if scale != *self.scale {
            *self.scale = scale;
            for (old, &new) in self.weights.iter_mut().zip(row) {
                *old = (new * scale) as i32;
            }
            for (function, sum) in self.sums.iter_mut().enumerate() {
                *sum = functions.sum(function, |c| self.weights[c]);
            }
            return Corrections { rows: 1, ..Corrections::default() };
        }
        let mut done = Corrections::default();
        for (c, (old, &new)) in self.weights.iter_mut().zip(row).enumerate() {
            let new = (new * scale) as i32;
            let change = new.wrapping_sub(*old);
            if change == 0 {
                continue;
            }
            *old = new;
            let uses = &uses[starts[c] as usize..starts[c + 1] as usize];
            done.weights += 1;
            done.additions += uses.len() as u64;
            for &user in uses {
                let sum = &mut self.sums[user as usize / 2];
                *sum = if user % 2 == 0 { sum.wrapping_add(change) } else { sum.wrapping_sub(change) };
            }
        }
        done
    }
}

/// The functions that look at each coordinate: a counting sort of the terms by coordinate.
fn columns(functions: &SimHash) -> (Vec<u32>, Vec<u32>) {
    let width = functions.width;
    let mut starts = vec![0; width + 1];
    for &term in &functions.terms {
        starts[term as usize % width + 1] += 1;
    }
    for c in 0..width {
        starts[c + 1] += starts[c];
    }
    let (mut cursors, mut uses) = (starts.clone(), vec![0; functions.terms.len()]);
    for (place, &term) in functions.terms.iter().enumerate() {
        let cursor = &mut cursors[term as usize % width];
        uses[*cursor as usize] = 2 * (place / functions.kept) as u32 + u32::from(term as usize >= width);
        *cursor += 1;
    }
    (starts, uses)
}

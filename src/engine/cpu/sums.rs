//! Gradient sums as HOGWILD makes them, for comparison: samples in parallel, all adding to the same rows.
//!
//! SLIDE processes one sample a thread; threads add to shared gradient rows without locks, and updates that collide are
//! lost. Here the same: a task goes through its samples' active pairs and adds to the rows' shared sums, either with a
//! plain read and write (racy) or with compare-and-exchange (atomic). Then, behind a barrier, each row is moved once.
//! A lost addition is noticed by a counter beside each row that is raised in the same manner as the row's sums: what it
//! lacks in the end estimates what each sum lacks.

use super::Matrix;
use super::Update;
use crate::kernels::memory::Aligned;
use crate::kernels::{Pairs, kernels};
use rayon::prelude::*;
use serde::Deserialize;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How the samples' gradients of a weight row are summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sums {
    /// Row by row in a fixed order: the same bits at any number of threads.
    #[default]
    Deterministic,
    /// Sample by sample, no addition lost, in whatever order threads arrive.
    Atomic,
    /// Sample by sample, additions that collide are lost: HOGWILD, as in the authors' code.
    Racy,
}

/// The pairs of one range of rows, `values` one a pair.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    pub first: usize,
    pub count: usize,
    pub pairs: Pairs<'a>,
    pub values: &'a [f32],
}

/// Shared gradient rows and work space.
#[derive(Debug, Default)]
pub struct SharedSums {
    racy: bool,
    /// `stride` sums and a counter for each row of each group.
    cells: Vec<AtomicU32>,
    by_sample: Vec<BySample>,
    gradients: Vec<Aligned<f32>>,
    /// Additions to rows so far, and how many of them are missing.
    pub added: u64,
    pub lost: u64,
}

/// The pairs of a group by sample.
#[derive(Debug, Default)]
struct BySample {
    starts: Vec<u32>,
    /// (row in the group's list, value).
    pairs: Vec<(u32, f32)>,
}

impl SharedSums {
    /// None where sums are deterministic.
    pub fn new(sums: Sums) -> Option<Self> {
        (sums != Sums::Deterministic).then(|| Self { racy: sums == Sums::Racy, ..Self::default() })
    }

    /// Gradient of every row of `groups` (`Σ value · x[sample]`) and the optimiser's step on it. Where `dx` is given
    /// (`B x stride`), it becomes the samples' `Σ value · w[row]` first.
    pub fn update(
        &mut self,
        weights: &mut Matrix,
        groups: &[Group<'_>],
        x: &[f32],
        dx: Option<&mut [f32]>,
        step: &Update,
    ) {
        let stride = weights.stride;
        let (samples, width) = (x.len() / stride, stride + 1);
        let mut bases = vec![0];
        bases.extend(groups.iter().scan(0, |rows, group| {
            *rows += group.pairs.rows.len();
            Some(*rows)
        }));
        let rows = bases[groups.len()];
        self.cells.resize_with(rows * width, AtomicU32::default);
        self.cells.par_iter_mut().for_each(|cell| *cell.get_mut() = 0);
        self.by_sample.resize_with(groups.len(), BySample::default);
        self.by_sample.par_iter_mut().zip(groups).for_each(|(by_sample, group)| by_sample.sort(*group, samples));

        let (cells, by_sample, racy) = (&self.cells, &self.by_sample, self.racy);
        let add = |sample: usize, mut dx: Option<&mut [f32]>| {
            let x = &x[sample * stride..][..stride];
            let mut scratch = Vec::new();
            if let Some(dx) = &mut dx {
                dx.fill(0.0);
            }
            for ((group, own), base) in groups.iter().zip(by_sample).zip(&bases) {
                for &(row, value) in own.of(sample) {
                    if let Some(dx) = &mut dx {
                        let neuron = group.first + group.pairs.rows[row as usize] as usize;
                        let w = weights.weights_of(neuron..neuron + 1).widened(0..stride, &mut scratch);
                        (kernels().axpy)(value, w, dx);
                    }
                    let sums = &cells[(base + row as usize) * width..][..width];
                    if racy { add_racy(sums, value, x) } else { add_atomic(sums, value, x) }
                }
            }
        };
        match dx {
            Some(dx) => dx.par_chunks_mut(stride).enumerate().for_each(|(sample, dx)| add(sample, Some(dx))),
            None => (0..samples).into_par_iter().for_each(|sample| add(sample, None)),
        }

        let counted = self.cells.chunks_exact(width).map(|row| u64::from(row[stride].load(Relaxed))).sum::<u64>();
        let added = groups.iter().map(|group| group.values.len() as u64).sum::<u64>();
        self.added += added;
        self.lost += added - counted;
        let shards = weights.shards();
        let cells = &self.cells;
        self.gradients.resize_with(groups.len(), Aligned::default);
        self.gradients.par_iter_mut().zip(groups).zip(&bases).for_each(|((gradient, group), &base)| {
            let rows = group.pairs.rows.len();
            gradient.resize(rows * stride, 0.0);
            let cells = cells[base * width..][..rows * width].chunks_exact(width);
            for (gradient, row) in gradient.chunks_exact_mut(stride).zip(cells) {
                gradient.iter_mut().zip(row).for_each(|(g, cell)| *g = f32::from_bits(cell.load(Relaxed)));
            }
            // SAFETY: every group has a range of rows of its own.
            let state = unsafe { shards.take(group.first..group.first + group.count) };
            state.row_adam(stride, group.pairs.rows, gradient, step);
        });
    }

    /// Bytes of work space.
    pub fn bytes(&self) -> u64 {
        let gradients = self.gradients.iter().map(|gradient| gradient.capacity()).sum::<usize>();
        let pairs = self.by_sample.iter().map(|own| own.starts.capacity() + 2 * own.pairs.capacity()).sum::<usize>();
        4 * (self.cells.capacity() + gradients + pairs) as u64
    }
}

/// A read and a write a sum: what another thread adds between them is lost.
fn add_racy(sums: &[AtomicU32], value: f32, x: &[f32]) {
    for (sum, x) in sums.iter().zip(x) {
        sum.store((f32::from_bits(sum.load(Relaxed)) + value * x).to_bits(), Relaxed);
    }
    let counter = &sums[x.len()];
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

fn add_atomic(sums: &[AtomicU32], value: f32, x: &[f32]) {
    for (sum, x) in sums.iter().zip(x) {
        sum.update(Relaxed, Relaxed, |bits| (f32::from_bits(bits) + value * x).to_bits());
    }
    sums[x.len()].fetch_add(1, Relaxed);
}

impl BySample {
    fn of(&self, sample: usize) -> &[(u32, f32)] {
        &self.pairs[self.starts[sample] as usize..self.starts[sample + 1] as usize]
    }

    /// Counting sort by sample.
    fn sort(&mut self, group: Group<'_>, samples: usize) {
        let columns = group.pairs.columns;
        self.starts.clear();
        self.starts.resize(samples + 1, 0);
        columns.iter().for_each(|&column| self.starts[column as usize + 1] += 1);
        for sample in 0..samples {
            self.starts[sample + 1] += self.starts[sample];
        }
        let mut next = self.starts.clone();
        self.pairs.resize(columns.len(), (0, 0.0));
        for (row, span) in group.pairs.starts.windows(2).enumerate() {
            let span: Range<usize> = span[0] as usize..span[1] as usize;
            for (&column, &value) in columns[span.clone()].iter().zip(&group.values[span]) {
                let at = &mut next[column as usize];
                self.pairs[*at as usize] = (row as u32, value);
                *at += 1;
            }
        }
    }
}

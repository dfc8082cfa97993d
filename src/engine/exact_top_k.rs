//! The k best labels of every sample by all L logits, exactly, without a B x L buffer.
//!
//! Blocks of labels are multiplied with the whole batch (one GEMM over W in all); a logit enters a sample's list only if it
//! beats the k-th best so far, which after the first few blocks almost none does, so the scan is a comparison a logit.

use super::TopK;
use super::common::Shards;
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::memory::Aligned;
use crate::kernels::softmax::rows_above;
use crate::kernels::weights::Weights;
use crate::kernels::{LANES, padded};
use rayon::prelude::*;

/// Labels a block: a block of logits for 128 samples and its rows of W stay in the L2 cache.
const BLOCK: usize = 128;
/// Parts of the label range a thread, each with lists of its own. More parts share the work out better, but each has to
/// fill its lists anew. The result is the same for any number.
const PARTS: usize = 4;

/// Work space of [`ExactTopK::run`], kept between calls so that evaluation does not allocate.
#[derive(Debug, Default)]
pub struct ExactTopK {
    /// Hidden activations, one column a sample: `stride x samples`.
    columns: Aligned<f32>,
    /// A block of logits for every thread.
    logits: Aligned<f32>,
    /// `parts x B x k`, best first, with the label beside.
    lists: Vec<(f32, u32)>,
    /// The k-th best score so far: `parts x samples`.
    floors: Vec<f32>,
    /// Rows of a block to look at, for every part.
    hits: Vec<Vec<u32>>,
    /// A block of weights in f32 where they are stored shorter, for every part.
    wide: Vec<Vec<f32>>,
}

/// An empty place in a list.
const NONE: (f32, u32) = (f32::NEG_INFINITY, u32::MAX);

/// Whether `a` ranks before `b`: the higher score, then the lower label.
fn before(a: (f32, u32), b: (f32, u32)) -> bool {
    a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)
}

/// Puts `entry` into `list` (best first), dropping the last.
fn insert(list: &mut [(f32, u32)], entry: (f32, u32)) {
    let mut at = list.len() - 1;
    while at > 0 && before(entry, list[at - 1]) {
        list[at] = list[at - 1];
        at -= 1;
    }
    list[at] = entry;
}

impl ExactTopK {
    /// The k best labels for every row of `hidden` (`B x stride`) under `weights` (`L x stride`) and `bias` (L), on the
    /// rayon pool it is called in. A logit that is not a number ranks last; k is cut to L.
    ///
    /// # Panics
    /// If `hidden` or `weights` is no whole number of rows, or `weights` and `bias` disagree on L.
    pub fn run<'a>(
        &mut self,
        weights: impl Into<Weights<'a>>,
        stride: usize,
        bias: &[f32],
        hidden: &[f32],
        k: usize,
    ) -> TopK {
        let (weights, labels) = (weights.into(), bias.len());
        assert_eq!(weights.len(), labels * stride);
        assert!(hidden.len().is_multiple_of(stride));
        let batch = hidden.len() / stride;
        let k = k.min(labels);
        if k == 0 || batch == 0 {
            return TopK { k, ..TopK::default() };
        }
        let samples = padded(batch);
        self.columns.resize(stride * samples, 0.0);
        transpose(hidden, stride, batch, &mut self.columns, samples);
        self.logits.resize(rayon::current_num_threads() * BLOCK * samples, 0.0);
        let blocks = labels.div_ceil(BLOCK);
        let part_rows = blocks.div_ceil(PARTS * rayon::current_num_threads()) * BLOCK;
        let parts = labels.div_ceil(part_rows);
        self.lists.clear();
        self.lists.resize(parts * batch * k, NONE);
        self.floors.clear();
        self.floors.resize(parts * samples, f32::NEG_INFINITY);
        self.hits.resize_with(self.hits.len().max(parts), Vec::new);
        self.wide.resize_with(self.wide.len().max(parts), Vec::new);
        let (columns, logits) = (&self.columns, Shards::new(&mut self.logits));
        let tasks = self.lists.par_chunks_mut(batch * k).zip(self.floors.par_chunks_mut(samples));
        tasks.zip(&mut self.hits).zip(&mut self.wide).enumerate().for_each(
            |(part, (((lists, floors), hits), wide))| {
                let thread = rayon::current_thread_index().expect("inside a rayon pool");
                // SAFETY: a thread runs one part at a time, and the block is its own.
                let logits = unsafe { logits.take(thread * BLOCK * samples..(thread + 1) * BLOCK * samples) };
                let end = labels.min((part + 1) * part_rows);
                for start in (part * part_rows..end).step_by(BLOCK) {
                    let rows = BLOCK.min(end - start);
                    let z = &mut logits[..rows * samples];
                    let (w, bias) = (weights.part(start * stride..(start + rows) * stride), &bias[start..start + rows]);
                    let (place, len) = w.place();
                    let (w, next) = (w.widened(0..w.len(), wide), (place.wrapping_add(len), len));
                    let mut ahead = Ahead::new([next, (next.0, 0), (next.0, 0), (next.0, 0)]);
                    Product::rows((rows, samples, stride), w, stride, columns, samples).run_ahead(z, &mut ahead);
                    hits.clear();
                    rows_above(z, bias, floors, hits);
                    for &r in &*hits {
                        let row = &z[r as usize * samples..][..batch];
                        enter(row, bias[r as usize], (start + r as usize) as u32, lists, floors);
                    }
                }
            },
        );
        let mut top = TopK { k, labels: Vec::with_capacity(batch * k), scores: Vec::with_capacity(batch * k) };
        let mut best = vec![(0.0, 0); k];
        for b in 0..batch {
            best.fill(NONE);
            for part in 0..parts {
                for &entry in &self.lists[(part * batch + b) * k..][..k] {
                    if before(entry, best[k - 1]) {
                        insert(&mut best, entry);
                    }
                }
            }
            name_the_rest(&mut best);
            top.labels.extend(best.iter().map(|entry| entry.1));
            top.scores.extend(best.iter().map(|entry| entry.0));
        }
        top
    }

    /// Bytes of work space held.
    pub fn bytes(&self) -> u64 {
        let wide = self.wide.iter().map(Vec::capacity).sum::<usize>();
        let floats = self.columns.capacity() + self.logits.capacity() + self.floors.capacity() + wide;
        (4 * floats + 8 * self.lists.capacity()) as u64
    }
}

/// Enters one label's logits into the lists of the samples whose floor they exceed.
fn enter(row: &[f32], bias: f32, label: u32, lists: &mut [(f32, u32)], floors: &mut [f32]) {
    let k = lists.len() / row.len();
    for ((z, floor), list) in row.iter().zip(floors).zip(lists.chunks_exact_mut(k)) {
        let z = z + bias;
        if z > *floor {
            insert(list, (z, label));
            *floor = list[k - 1].0;
        }
    }
}

/// Logits that are −∞ or no number exceed no floor. Where a list has room left, the lowest labels not in it are those.
fn name_the_rest(list: &mut [(f32, u32)]) {
    for at in 0..list.len() {
        if list[at].1 == NONE.1 {
            let missing = (0..).find(|label| list.iter().all(|entry| entry.1 != *label));
            list[at].1 = missing.expect("a list is shorter than the labels are many");
        }
    }
}

/// Writes the transpose of `rows` (`count x stride`) into `columns` (`stride x samples`); columns from `count` on are 0.
pub(crate) fn transpose(rows: &[f32], stride: usize, count: usize, columns: &mut [f32], samples: usize) {
    // Sixteen by sixteen, so that both sides stay in cache lines.
    for i in (0..stride).step_by(LANES) {
        for b in (0..samples).step_by(LANES) {
            for i in i..(i + LANES).min(stride) {
                for b in b..(b + LANES).min(samples) {
                    columns[i * samples + b] = if b < count { rows[b * stride + i] } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores every label and sorts: what the blocked search must equal.
    fn by_sorting(weights: &[f32], stride: usize, bias: &[f32], hidden: &[f32], k: usize) -> TopK {
        let mut top = TopK { k, ..TopK::default() };
        for h in hidden.chunks(stride) {
            let mut all: Vec<(f32, u32)> = (0..bias.len())
                .map(|l| {
                    let z: f32 = weights[l * stride..(l + 1) * stride].iter().zip(h).map(|(w, h)| w * h).sum();
                    (z + bias[l], l as u32)
                })
                .collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            top.labels.extend(all[..k].iter().map(|e| e.1));
            top.scores.extend(all[..k].iter().map(|e| e.0));
        }
        top
    }

    #[test]
    fn equals_sorting_with_ties_to_the_lower_label() {
        // Small whole numbers: every product and sum is exact, and ties are everywhere.
        for (labels, stride, batch, k) in [(5, 16, 3, 5), (1000, 16, 17, 5), (40_000, 16, 2, 3), (700, 32, 33, 1)] {
            let whole = |i: usize, m: usize| ((i * 7919 + i / 13) % m) as f32 - (m / 2) as f32;
            let weights: Vec<f32> = (0..labels * stride).map(|i| whole(i, 5)).collect();
            let bias: Vec<f32> = (0..labels).map(|i| whole(i, 3)).collect();
            let hidden: Vec<f32> = (0..batch * stride).map(|i| whole(i + 3, 7)).collect();
            let expected = by_sorting(&weights, stride, &bias, &hidden, k);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut search = ExactTopK::default();
                for _ in 0..2 {
                    let found = pool.install(|| search.run(&weights, stride, &bias, &hidden, k));
                    assert_eq!(found, expected, "L {labels} B {batch} k {k}");
                }
            }
        }
    }

    #[test]
    fn takes_all_labels_where_k_is_larger_and_ranks_nan_last() {
        let mut weights = vec![0.0; 3 * 16];
        weights[16] = f32::NAN;
        let hidden = vec![1.0; 16];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let top = pool.install(|| ExactTopK::default().run(&weights, 16, &[0.0, 0.0, 1.0], &hidden, 9));
        assert_eq!((top.k, top.labels), (3, vec![2, 0, 1]));
    }
}

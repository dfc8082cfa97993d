//! Softmax and cross-entropy over the output layer in two passes over its blocks.

use super::activations::{Activations, zeros};
use super::layer::{Block, Delta, NeuronLayer, PairScratch, Scratch};
use crate::data::Batch;
use crate::engine::common::Shards;
use crate::engine::cpu::log_normalisers;
use crate::kernels::bf16::{Parts, exp_rows, scale_less_target, scale_rows, tiled};
use crate::kernels::gemm::Ahead;
use crate::kernels::memory::{Aligned, Buffer};
use crate::kernels::softmax::{exp_block, exp_scale_block, row_sums, scale_block};
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;
use std::io;
use std::ops::Range;

/// What the first pass leaves for the second.
#[derive(Debug, Default)]
pub struct Softmax {
    /// e^(z − the block's maximum) of the first blocks, `rows x samples` each: in f32, or, where products are of one part,
    /// as pairs of bf16 along the rows.
    kept: Option<Buffer>,
    in_pairs: bool,
    /// Blocks in `kept`.
    kept_blocks: usize,
    /// Maxima and sums by block: `blocks x samples`. The second pass finds in place of a maximum the factor that makes
    /// the kept exponentials gradients.
    max: Aligned<f32>,
    sum: Aligned<f32>,
    /// ln of the normaliser a sample.
    log_normaliser: Vec<f32>,
    /// 1/B, or 0 for samples without labels and for padding.
    share: Vec<f32>,
    /// True labels with their samples, `label << 32 | sample`, ascending, and their logits.
    truths: Vec<u64>,
    truth_logits: Vec<f32>,
}

impl Softmax {
    /// The first pass: exponentials, of which `budget` bytes are kept, and the normaliser of each sample.
    ///
    /// # Errors
    /// When there is no memory for what is kept.
    pub fn forward(
        &mut self,
        output: &NeuronLayer,
        hidden: &Activations,
        scratch: &mut Scratch,
        batch: &Batch,
        samples: usize,
        budget: usize,
    ) -> io::Result<()> {
        self.list_truths(batch);
        let in_pairs = hidden.packed.as_ref().is_some_and(|packed| packed.parts == Parts::One);
        self.in_pairs = in_pairs;
        let packing = self.packing();
        let kept_blocks = output.blocks().min(packing * budget / (4 * output.block * samples));
        // A bf16 product writes whole tiles, so the last block needs some room behind it.
        let size = tiled(output.outputs().min(kept_blocks * output.block)) * samples / packing;
        if self.kept.as_ref().is_none_or(|kept| kept.len() < size) {
            self.kept = None; // give its memory back first
            self.kept = Some(zeros(size)?);
        }
        self.kept_blocks = kept_blocks;
        self.max.resize(output.blocks() * samples, 0.0);
        self.sum.resize(output.blocks() * samples, 0.0);
        let kept = Shards::new(self.kept.as_deref_mut().expect("just made"));
        let (max, sum) = (Shards::new(&mut self.max), Shards::new(&mut self.sum));
        let (truths, truth_logits) = (&self.truths, Shards::new(&mut self.truth_logits));
        output.for_each_block(hidden, scratch, samples, |block, scratch, pairs| {
            let (i, rows) = (block.index, block.rows.clone());
            let size = rows.len() * samples;
            // SAFETY: every block has places of its own.
            let (max, sum) =
                unsafe { (max.take(i * samples..(i + 1) * samples), sum.take(i * samples..(i + 1) * samples)) };
            let z = if i < kept_blocks && !in_pairs {
                let end = if hidden.packed.is_some() { rows.start + tiled(rows.len()) } else { rows.end };
                // SAFETY: as above; only the last block is no whole number of tiles.
                unsafe { kept.take(rows.start * samples..end * samples) }
            } else {
                scratch
            };
            // Memory of the next block: its weights, and where its exponentials go.
            let next = if i + 1 < kept_blocks { rows.end * samples..rows.end * samples + size } else { 0..0 };
            let next = next.start / packing..next.end / packing;
            let (w, len) = block.w.place();
            let weights = (w.wrapping_add(len), len);
            let nowhere = (std::ptr::null(), 0);
            let mut ahead = Ahead::new([weights, kept.place(next), nowhere, nowhere]);
            block.product(hidden, samples, z, pairs, &mut ahead);
            let span = of_rows(truths, &rows);
            // SAFETY: as above.
            let logits = unsafe { truth_logits.take(span.clone()) };
            for (logit, &truth) in logits.iter_mut().zip(&truths[span]) {
                let (row, b) = place(truth, &rows);
                *logit = z[row * samples + b] + block.bias[row];
            }
            if i < kept_blocks && in_pairs {
                // SAFETY: as above.
                let e = unsafe { kept.take(rows.start * samples / 2..rows.end * samples / 2) };
                exp_rows(&mut z[..size], samples, block.bias, max, sum, cast_slice_mut(e));
            } else {
                exp_block(&mut z[..size], samples, block.bias, max, sum);
            }
        });
        self.merge(batch, samples);
        Ok(())
    }

    /// The true labels with their samples, ascending by label.
    fn list_truths(&mut self, batch: &Batch) {
        self.truths.clear();
        for b in 0..batch.len() {
            self.truths.extend(batch.labels(b).iter().map(|&label| u64::from(label) << 32 | b as u64));
        }
        self.truths.sort_unstable();
        self.truth_logits.resize(self.truths.len(), 0.0);
    }

    /// Adds the blocks' sums up, in block order, into the normaliser of each sample; then turns the maximum of every kept
    /// block into e^(max − ln normaliser) / B, or 0 for samples without labels and for padding.
    fn merge(&mut self, batch: &Batch, samples: usize) {
        log_normalisers(&self.max, &self.sum, samples, &mut self.log_normaliser);
        self.share.clear();
        self.share.resize(samples, 0.0);
        for b in 0..batch.len() {
            if !batch.labels(b).is_empty() {
                self.share[b] = 1.0 / batch.len() as f32;
            }
        }
        let (share, log_normaliser) = (&self.share, &self.log_normaliser);
        self.max[..self.kept_blocks * samples].par_chunks_mut(samples).for_each(|max| {
            exp_scale_block(max, &[0.0], log_normaliser, share);
        });
    }

    /// Exponentials to an f32's room in `kept`.
    fn packing(&self) -> usize {
        if self.in_pairs { 2 } else { 1 }
    }

    /// The batch's summed loss.
    pub fn loss(&self, batch: &Batch) -> f64 {
        let of_truth = |(&truth, &logit): (&u64, &f32)| {
            let b = truth as u32 as usize;
            f64::from(self.log_normaliser[b] - logit) / batch.labels(b).len() as f64
        };
        self.truths.iter().zip(&self.truth_logits).map(of_truth).sum()
    }

    /// What is kept of `rows`, if anything is.
    fn kept(&self, rows: &Range<usize>, samples: usize) -> Option<&[f32]> {
        self.kept.as_deref()?.get(rows.start * samples / self.packing()..rows.end * samples / self.packing())
    }

    /// Where the exponentials of `rows` are kept, if they are.
    pub fn kept_place(&self, rows: Range<usize>, samples: usize) -> (*const f32, usize) {
        self.kept(&rows, samples).map_or((std::ptr::null(), 0), |e| (e.as_ptr(), e.len()))
    }

    /// The second pass's share of a block: the loss's gradient for its logits, (p − t) / B, and for its biases into `db`.
    #[allow(clippy::too_many_arguments)]
    pub fn gradient(
        &self,
        batch: &Batch,
        hidden: &Activations,
        samples: usize,
        block: &Block<'_>,
        g: &mut [f32],
        db: &mut [f32],
        pairs: &mut PairScratch<'_>,
        ahead: &mut Ahead,
    ) -> Delta {
        let rows = &block.rows;
        let size = rows.len() * samples;
        let is_kept = block.index < self.kept_blocks;
        let e = is_kept.then(|| self.kept(rows, samples).expect("blocks have been kept"));
        let scale = &self.max[block.index * samples..(block.index + 1) * samples];
        let truths = self.truths[of_rows(&self.truths, rows)].iter().map(|&truth| {
            let (row, b) = place(truth, rows);
            (row, b, self.share[b] / batch.labels(b).len() as f32)
        });
        if let Some(e) = e.filter(|_| self.in_pairs) {
            let (e, g) = (cast_slice(e), pairs.delta(size));
            scale_rows(e, scale, g, db);
            for (row, b, target) in truths {
                scale_less_target(e, scale[b], target, row * samples + b, g);
                db[row] -= target;
            }
            return Delta::Pairs;
        }
        if let Some(e) = e {
            scale_block(e, &mut g[..size], scale);
        } else {
            block.product(hidden, samples, g, pairs, ahead);
            exp_scale_block(&mut g[..size], block.bias, &self.log_normaliser, &self.share);
        }
        for (row, b, target) in truths {
            g[row * samples + b] -= target;
        }
        row_sums(&g[..size], samples, db);
        Delta::F32
    }

    /// The room of the exponentials kept from the first pass, as a number of f32.
    pub fn kept_len(&self, output: &NeuronLayer, samples: usize) -> usize {
        output.outputs().min(self.kept_blocks * output.block) * samples / self.packing()
    }

    pub fn bytes(&self) -> u64 {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.len());
        let floats = kept + self.max.capacity() + self.sum.capacity() + self.log_normaliser.capacity();
        (4 * floats + 12 * self.truths.capacity()) as u64
    }
}

/// Which of the truths have labels in `rows`.
fn of_rows(truths: &[u64], rows: &Range<usize>) -> Range<usize> {
    let before = |row: usize| truths.partition_point(|&truth| ((truth >> 32) as usize) < row);
    before(rows.start)..before(rows.end)
}

/// Row within the block and sample of a truth.
fn place(truth: u64, rows: &Range<usize>) -> (usize, usize) {
    ((truth >> 32) as usize - rows.start, truth as u32 as usize)
}

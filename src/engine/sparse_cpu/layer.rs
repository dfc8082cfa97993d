//! A neuron-major layer that computes only its active neurons.
//!
//! The active sets of a batch are turned into pairs (neuron, sample) grouped by neuron, in chunks of neighbouring
//! neurons. A chunk is one task: it alone reads and writes its weight rows, so gradients need no lock, every row of the
//! batch is fetched once a pass, and the results do not depend on the number of threads. Only the gradient of the
//! layer's input is shared between chunks; each chunk sums its own copy and the copies are added in a fixed order.
//!
//! A layer above one that skips neurons multiplies the non-zeros of its input alone ([`NonZeros`]). The optimiser still
//! moves whole rows, once a batch; so do shared sets and sums by sample read the zeros like any other value.

use super::non_zeros::NonZeros;
use super::options::Options;
use super::targets::Target;
use crate::engine::EngineError;
use crate::engine::cpu::{Bias, Group, Matrix, SharedSums, State, Update};
use crate::kernels::memory::Aligned;
use crate::kernels::weights::Weights;
use crate::kernels::{Pairs, kernels};
use crate::network::{self, Rows};
use crate::selection::{ActiveSets, Neurons, Queries};
use crate::threads;
use rayon::prelude::*;

/// Chunks a layer is cut into: enough for many cores to share evenly, few enough that a chunk's pairs fill its loops.
const CHUNKS: usize = 64;

/// Weights and biases of the layer and the pairs of the batch at hand.
pub struct SparseLayer {
    pub weights: Matrix,
    pub bias: Bias,
    chunks: Vec<Chunk>,
    /// Neurons a chunk, a multiple of 8.
    per_chunk: usize,
    /// Whether rows without active neurons take part in the optimiser step.
    moved: Rows,
    /// Of the input, where the layer below skips neurons.
    non_zeros: Option<NonZeros>,
    /// Where gradients are summed sample by sample.
    sums: Option<SharedSums>,
}

/// The active pairs of a range of neurons, rows relative to its first neuron.
#[derive(Debug, Default)]
struct Chunk {
    /// Active neurons; in the update of dense rows, all.
    rows: Vec<u32>,
    starts: Vec<u32>,
    columns: Vec<u32>,
    /// A pair: logits, then exponentials, then gradients.
    values: Vec<f32>,
    /// Active neurons.
    distinct: usize,
    /// (pair, target mass).
    targets: Vec<(u32, f32)>,
    /// A sample: largest logit, then sum of exponentials.
    by_sample: Vec<f32>,
    /// Σ target · logit.
    target_logits: f64,
    dx: Aligned<f32>,
    /// Gradients of the rows, where the input is sparse.
    gradients: Aligned<f32>,
    /// Multiplications of the logits.
    products: usize,
}

impl Chunk {
    fn pairs(&self) -> Pairs<'_> {
        Pairs { rows: &self.rows, starts: &self.starts, columns: &self.columns }
    }
}

impl SparseLayer {
    pub fn new(layer: &network::Layer, sparse_input: bool, options: &Options) -> Result<Self, EngineError> {
        let Options { huge_pages, precision, .. } = *options;
        let weights =
            Matrix::new(&layer.weights, layer.outputs, layer.inputs, huge_pages, precision, State::EachWeight)?;
        let per_chunk = layer.outputs.div_ceil(CHUNKS).next_multiple_of(8);
        let chunks = (0..layer.outputs.div_ceil(per_chunk)).map(|_| Chunk::default()).collect();
        Ok(Self {
            weights,
            bias: Bias::new(&layer.bias, layer.outputs),
            chunks,
            per_chunk,
            moved: options.output_rows,
            sums: SharedSums::new(options.sums),
            non_zeros: sparse_input.then(NonZeros::default),
        })
    }

    /// The layer as selections see it.
    pub fn neurons(&self) -> Neurons<'_> {
        let Matrix { width, stride, .. } = self.weights;
        Neurons { weights: self.weights.weights(), bias: &self.bias.b, width, stride }
    }

    /// Multiplications that the logits of the batch at hand took.
    pub fn products(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.products).sum()
    }

    /// Number of neurons active for any sample of the batch at hand.
    pub fn distinct(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.distinct).sum()
    }

    /// Additions to gradient rows so far and how many of them are missing, where summed sample by sample.
    pub fn additions(&self) -> (u64, u64) {
        self.sums.as_ref().map_or((0, 0), |sums| (sums.added, sums.lost))
    }

    /// Number of weight rows the last update moved.
    pub fn moved(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.len()).sum()
    }

    /// Computes the logits of all active pairs; `corrections` are added to them, by neuron.
    pub fn forward(&mut self, x: Queries<'_>, sets: &ActiveSets, corrections: Option<&[f32]>) {
        let Self { weights, bias, chunks, per_chunk, non_zeros, .. } = self;
        let (stride, per_chunk, neurons) = (weights.stride, *per_chunk, weights.rows);
        if let Some(non_zeros) = non_zeros {
            non_zeros.list(x);
        }
        let non_zeros = &*non_zeros;
        threads::for_each_with(chunks.par_iter_mut().enumerate(), Vec::new, |scratch, (c, chunk)| {
            let first = c * per_chunk;
            let count = per_chunk.min(neurons - first);
            let w = weights.weights_of(first..first + count);
            sets.pairs(first, count, &mut chunk.rows, &mut chunk.starts, &mut chunk.columns);
            chunk.distinct = chunk.rows.len();
            chunk.values.resize(chunk.columns.len(), 0.0);
            let pairs = Pairs { rows: &chunk.rows, starts: &chunk.starts, columns: &chunk.columns };
            match non_zeros {
                None => {
                    w.pair_dots(x.x, stride, pairs, &mut chunk.values);
                    chunk.products = pairs.columns.len() * x.width;
                }
                Some(non_zeros) => {
                    for (row, range) in pairs.by_row() {
                        let w = w.widened(row as usize * stride..(row as usize + 1) * stride, scratch);
                        for (z, &sample) in chunk.values[range.clone()].iter_mut().zip(&pairs.columns[range]) {
                            *z = non_zeros.dot(sample, w);
                        }
                    }
                    chunk.products = pairs.columns.iter().map(|&sample| non_zeros.count(sample)).sum();
                }
            }
            for (row, span) in chunk.rows.iter().zip(chunk.starts.windows(2)) {
                let neuron = first + *row as usize;
                let bias = bias.b[neuron] + corrections.map_or(0.0, |c| c[neuron]);
                for z in &mut chunk.values[span[0] as usize..span[1] as usize] {
                    *z += bias;
                }
            }
        });
    }

    /// Writes `relu(z)` of the active pairs into `y` (`B x y_stride`), zero elsewhere: a hidden layer.
    pub fn relu_into(&self, y: &mut [f32], y_stride: usize) {
        y.fill(0.0);
        for (c, chunk) in self.chunks.iter().enumerate() {
            for (row, span) in chunk.rows.iter().zip(chunk.starts.windows(2)) {
                for p in span[0] as usize..span[1] as usize {
                    let neuron = c * self.per_chunk + *row as usize;
                    y[chunk.columns[p] as usize * y_stride + neuron] = chunk.values[p].max(0.0);
                }
            }
        }
    }

    /// Turns the logits into gradients of the ReLU's output gradient `dy` (`B x y_stride`): a hidden layer.
    pub fn relu_gradient(&mut self, dy: &[f32], y_stride: usize) {
        let per_chunk = self.per_chunk;
        threads::for_each(self.chunks.par_iter_mut().enumerate(), |(c, chunk)| {
            chunk.targets.clear();
            for (row, span) in chunk.rows.iter().zip(chunk.starts.windows(2)) {
                for p in span[0] as usize..span[1] as usize {
                    let neuron = c * per_chunk + *row as usize;
                    let dy = dy[chunk.columns[p] as usize * y_stride + neuron];
                    chunk.values[p] = if chunk.values[p] > 0.0 { dy } else { 0.0 };
                }
            }
        });
    }

    /// Softmax over each sample's active neurons and multi-label cross-entropy: turns logits into gradients and returns
    /// the summed loss of the `samples` samples. `targets` are sorted by neuron, then sample, and must be active; a
    /// sample without target gets no gradient. Gradients are divided by `samples`.
    pub fn softmax_gradient(&mut self, samples: usize, targets: &[Target], corrections: Option<&[f32]>) -> f64 {
        let per_chunk = self.per_chunk;
        let mut labelled = vec![false; samples];
        for target in targets {
            labelled[target.sample as usize] = true;
        }
        threads::for_each(self.chunks.par_iter_mut().enumerate(), |(c, chunk)| {
            chunk.find_targets(targets, (c * per_chunk) as u32, per_chunk as u32, corrections);
            chunk.by_sample.clear();
            chunk.by_sample.resize(samples, f32::NEG_INFINITY);
            (kernels().pair_max)(&chunk.values, &chunk.columns, &mut chunk.by_sample);
        });
        let mut shift = vec![f32::NEG_INFINITY; samples];
        for chunk in &self.chunks {
            for (shift, max) in shift.iter_mut().zip(&chunk.by_sample) {
                *shift = shift.max(*max);
            }
        }
        threads::for_each(self.chunks.par_iter_mut(), |chunk| {
            chunk.target_logits =
                chunk.targets.iter().map(|&(p, t)| f64::from(t) * f64::from(chunk.values[p as usize])).sum();
            chunk.by_sample.fill(0.0);
            (kernels().pair_exp)(&mut chunk.values, &chunk.columns, &shift, &mut chunk.by_sample);
        });
        let mut sums = vec![0.0f64; samples];
        for chunk in &self.chunks {
            for (sum, partial) in sums.iter_mut().zip(&chunk.by_sample) {
                *sum += f64::from(*partial);
            }
        }
        let scale: Vec<f32> = sums
            .iter()
            .zip(&labelled)
            .map(|(sum, labelled)| if *labelled { (1.0 / (sum * samples as f64)) as f32 } else { 0.0 })
            .collect();
        threads::for_each(self.chunks.par_iter_mut(), |chunk| {
            (kernels().pair_scale)(&mut chunk.values, &chunk.columns, &scale);
            for &(p, t) in &chunk.targets {
                chunk.values[p as usize] -= t / samples as f32;
            }
        });
        let normalisers: f64 = (0..samples).filter(|&s| labelled[s]).map(|s| f64::from(shift[s]) + sums[s].ln()).sum();
        normalisers - self.chunks.iter().map(|chunk| chunk.target_logits).sum::<f64>()
    }

    /// Backward pass and optimiser step from the gradients at hand; writes the gradient of the layer's input to `dx`
    /// (`B x stride`).
    pub fn update(&mut self, x: Queries<'_>, dx: &mut [f32], step: &Update) {
        let per_chunk = self.per_chunk;
        let Self { weights, bias, chunks, moved, sums, non_zeros, .. } = self;
        let (stride, neurons, moved) = (weights.stride, weights.rows, *moved);
        let tasks = chunks
            .par_iter_mut()
            .zip(bias.b.par_chunks_mut(per_chunk))
            .zip(bias.m.par_chunks_mut(per_chunk))
            .zip(bias.v.par_chunks_mut(per_chunk));
        threads::for_each(tasks, |(((chunk, b), bm), bv)| {
            if moved == Rows::Dense {
                chunk.list_every_row(b.len());
            }
            for (&row, span) in chunk.rows.iter().zip(chunk.starts.windows(2)) {
                let g: f32 = chunk.values[span[0] as usize..span[1] as usize].iter().sum();
                let r = row as usize;
                step.scalar(&mut b[r], &mut bm[r], &mut bv[r], g);
            }
        });
        if let Some(sums) = sums {
            let groups = chunks.iter().zip((0..neurons).step_by(per_chunk)).map(|(chunk, first)| Group {
                first,
                count: per_chunk.min(neurons - first),
                pairs: chunk.pairs(),
                values: &chunk.values,
            });
            return sums.update(weights, &groups.collect::<Vec<_>>(), x.x, Some(dx), step);
        }
        if let Some(non_zeros) = non_zeros {
            threads::for_each(chunks.par_iter_mut().enumerate(), |(c, chunk)| {
                let w = weights.weights_of(c * per_chunk..(c + 1) * per_chunk);
                chunk.sparse_gradients(non_zeros, w, stride, dx.len());
            });
        }
        let (sparse, shards) = (non_zeros.is_some(), weights.shards());
        threads::for_each(chunks.par_iter_mut().enumerate(), |(c, chunk)| {
            // SAFETY: every chunk has a range of its own.
            let state = unsafe { shards.take(c * per_chunk..neurons.min((c + 1) * per_chunk)) };
            if sparse {
                let gradients = &chunk.gradients[..chunk.rows.len() * stride];
                return state.row_adam(stride, &chunk.rows, gradients, step);
            }
            let mut own_dx = std::mem::take(&mut chunk.dx);
            let of_chunk = own_dx.first(dx.len());
            of_chunk.fill(0.0);
            state.pair_update(x.x, Some(of_chunk), stride, chunk.pairs(), &chunk.values, step);
            chunk.dx = own_dx;
        });
        threads::for_each(dx.par_chunks_mut(stride).enumerate(), |(b, dx)| {
            dx.fill(0.0);
            for chunk in &*chunks {
                (kernels().axpy)(1.0, &chunk.dx[b * stride..][..stride], dx);
            }
        });
    }

    /// The optimiser step of the rows that have no gradient because they are not in `active` (ascending).
    pub fn update_others(&mut self, active: &[u32], x: Queries<'_>, step: &Update) {
        let Self { weights, bias, chunks, per_chunk, .. } = self;
        let (stride, neurons, per_chunk) = (weights.stride, weights.rows, *per_chunk);
        let shards = weights.shards();
        let biases = bias.b.par_chunks_mut(per_chunk).zip(bias.m.par_chunks_mut(per_chunk));
        chunks.par_iter_mut().zip(biases).zip(bias.v.par_chunks_mut(per_chunk)).enumerate().for_each(
            |(c, ((chunk, (b, bm)), bv))| {
                let range = c * per_chunk..neurons.min((c + 1) * per_chunk);
                chunk.rows.clear();
                chunk.rows.extend(
                    range
                        .clone()
                        .filter(|&n| active.binary_search(&(n as u32)).is_err())
                        .map(|n| (n - range.start) as u32),
                );
                for &row in &chunk.rows {
                    let r = row as usize;
                    step.scalar(&mut b[r], &mut bm[r], &mut bv[r], 0.0);
                }
                chunk.starts.clear();
                chunk.starts.resize(chunk.rows.len() + 1, 0);
                let pairs = Pairs { rows: &chunk.rows, starts: &chunk.starts, columns: &[] };
                // SAFETY: every chunk has a range of its own.
                unsafe { shards.take(range) }.pair_update(x.x, None, stride, pairs, &[], step);
            },
        );
    }

    /// The k active neurons with the largest logits of each sample, best first, `(neuron, logit)`.
    pub fn best_active(&self, samples: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
        let mut best = vec![Vec::new(); samples];
        for (c, chunk) in self.chunks.iter().enumerate() {
            for (row, span) in chunk.rows.iter().zip(chunk.starts.windows(2)) {
                for p in span[0] as usize..span[1] as usize {
                    best[chunk.columns[p] as usize].push(((c * self.per_chunk) as u32 + row, chunk.values[p]));
                }
            }
        }
        for list in &mut best {
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            list.truncate(k);
        }
        best
    }

    /// Bytes of state and work space.
    pub fn bytes(&self) -> u64 {
        let pairs = |c: &Chunk| c.columns.capacity() + c.values.capacity() + c.by_sample.capacity();
        let chunk = |c: &Chunk| c.rows.capacity() + c.starts.capacity() + pairs(c) + c.dx.capacity();
        let sums = self.sums.as_ref().map_or(0, SharedSums::bytes);
        sums + self.weights.bytes()
            + 4 * self.chunks.iter().map(chunk).sum::<usize>() as u64
            + 12 * self.bias.b.len() as u64
    }
}

impl Chunk {
    /// Gradients of the rows and of the layer's input (`B x stride`, `size` in all) from the input's non-zeros.
    fn sparse_gradients(&mut self, non_zeros: &NonZeros, w: Weights<'_>, stride: usize, size: usize) {
        let (mut gradients, mut dx) = (std::mem::take(&mut self.gradients), std::mem::take(&mut self.dx));
        let (of_rows, of_input) = (gradients.first(self.rows.len() * stride), dx.first(size));
        of_rows.fill(0.0);
        of_input.fill(0.0);
        let mut scratch = Vec::new();
        for ((row, range), gradient) in self.pairs().by_row().zip(of_rows.chunks_exact_mut(stride)) {
            let w = w.widened(row as usize * stride..(row as usize + 1) * stride, &mut scratch);
            for (&g, &sample) in self.values[range.clone()].iter().zip(&self.columns[range]) {
                non_zeros.add_weights(sample, g, w, &mut of_input[sample as usize * stride..][..stride]);
                non_zeros.add(sample, g, gradient);
            }
        }
        (self.gradients, self.dx) = (gradients, dx);
    }

    /// Lists all `count` neurons as rows, those not active with no pairs.
    fn list_every_row(&mut self, count: usize) {
        let mut starts = Vec::with_capacity(count + 1);
        let mut active = 0;
        for neuron in 0..count as u32 {
            starts.push(self.starts[active]);
            active += usize::from(self.rows.get(active) == Some(&neuron));
        }
        starts.push(self.starts[active]);
        self.starts = starts;
        self.rows.clear();
        self.rows.extend(0..count as u32);
    }

    /// Finds the pairs of the targets that lie in neurons `first..first + count`, and takes corrections off them.
    fn find_targets(&mut self, targets: &[Target], first: u32, count: u32, corrections: Option<&[f32]>) {
        self.targets.clear();
        let from = targets.partition_point(|t| t.neuron < first);
        let to = targets.partition_point(|t| t.neuron < first + count);
        for &Target { neuron, sample, labels } in &targets[from..to] {
            let row = self.rows.binary_search(&(neuron - first)).expect("true labels are active");
            let (start, end) = (self.starts[row] as usize, self.starts[row + 1] as usize);
            let column = self.columns[start..end].binary_search(&sample).expect("true labels are active");
            self.values[start + column] -= corrections.map_or(0.0, |c| c[neuron as usize]);
            self.targets.push(((start + column) as u32, 1.0 / labels as f32));
        }
    }
}

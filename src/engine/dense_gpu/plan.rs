//! What lies on the device, and the dispatches of a step over it. Everything is bound once: a step only fills the
//! batch buffer and encodes the list.

use super::gpu::Gpu;
use super::kernels::{Kernel, Kernels, Tile};
use super::matrix::{Bias, Matrix, vectors};
use crate::engine::EngineError;
use crate::network::{Layer, Order, Parameters, Rows, Shape};

/// Steps whose losses are kept apart in `totals`, so that a long run does not lose small ones to rounding.
pub(super) const LOSS_SLOTS: usize = 1024;

/// Workgroups that sum the loss over a dense label matrix.
const LOSS_GROUPS: u32 = 512;

/// Workgroups to cut the output layer's backward product into: a few for every multiprocessor of a large GPU.
const SPLIT_GROUPS: usize = 512;

/// One layer: its weights and biases. The biases of every layer but the first are cut where the weights are.
pub(super) struct DeviceLayer {
    pub weights: Matrix,
    pub biases: Vec<Bias>,
}

impl DeviceLayer {
    /// `row_bytes` is the widest row of any array cut where the weights are.
    fn new(gpu: &Gpu, what: &str, layer: &Layer, row_bytes: usize, limit: u64) -> Result<Self, EngineError> {
        // A row of weights holds `outputs` values in the first layer and `inputs` in the others.
        let first = layer.order == Order::InputMajor;
        let width = if first { layer.outputs } else { layer.inputs };
        let row_bytes = row_bytes.max(vectors(width) * 16);
        let weights = Matrix::new(gpu, what, &layer.weights, width, row_bytes, limit)?;
        let biases = if first {
            vec![Bias::new(gpu, 0, &layer.bias)?]
        } else {
            let parts = weights.windows.iter();
            parts.map(|w| Bias::new(gpu, w.first, &layer.bias[w.first..w.first + w.rows])).collect::<Result<_, _>>()?
        };
        Ok(Self { weights, biases })
    }
}

/// The output layer, over all labels or over a sample of them, and its logits.
pub(super) struct Output {
    pub layer: DeviceLayer,
    /// L, or the size of the sample.
    pub labels: usize,
    /// 16-bit copies of the weights, window by window; empty in f32.
    half_weights: Vec<wgpu::Buffer>,
    /// `labels x capacity`, cut where the weights are.
    pub logits: Vec<wgpu::Buffer>,
    /// Labels that one workgroup of the backward product sums over.
    split_rows: usize,
}

impl Output {
    fn new(gpu: &Gpu, kernels: &Kernels, initial: &Layer, capacity: usize, limit: u64) -> Result<Self, EngineError> {
        let layer = DeviceLayer::new(gpu, "the output layer", initial, capacity * 4, limit)?;
        let half = kernels.precision.half();
        let bytes = if half { 2 } else { 4 };
        let windows = &layer.weights.windows;
        let logits = windows.iter().map(|w| gpu.storage("logits", (w.rows * capacity * bytes) as u64));
        let logits = logits.collect::<Result<_, _>>()?;
        let mut half_weights = Vec::new();
        for w in windows.iter().filter(|_| half) {
            half_weights.push(half_copy(gpu, &initial.weights, initial.inputs, w.first, w.rows)?);
        }
        let (labels, width) = (initial.outputs, initial.inputs);
        let tile = kernels.output_tile;
        let tiles = capacity.div_ceil(tile.rows()) * width.div_ceil(tile.columns());
        // Every window may round up by one split.
        let room = gpu.limits.max_storage_buffer_binding_size as usize / (capacity * vectors(width) * 16) / 2;
        let splits = (SPLIT_GROUPS / tiles).clamp(1, room.max(1));
        let split_rows = labels.div_ceil(splits).next_multiple_of(64).max(256);
        Ok(Self { layer, labels, half_weights, logits, split_rows })
    }

    /// The weights of a window as the forward and backward kernels read them.
    fn weights(&self, window: usize) -> &wgpu::Buffer {
        self.half_weights.get(window).unwrap_or(&self.layer.weights.windows[window].w)
    }

    /// Splits of the backward product over all windows.
    fn splits(&self) -> usize {
        self.layer.weights.windows.iter().map(|w| w.rows.div_ceil(self.split_rows)).sum()
    }
}

/// How the output layer is fed and how much of it computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Feed {
    /// Bytes that a binding may hold.
    pub limit: u64,
    /// Whether a dense label matrix is uploaded every step.
    pub dense_labels: bool,
    /// Labels in the sample that softmax runs over in training; None for all.
    pub sample: Option<usize>,
}

/// Everything on the device for one network.
pub(super) struct State {
    pub shape: Shape,
    /// Samples the buffers are laid out for, a multiple of 4.
    pub capacity: usize,
    pub hidden: Vec<DeviceLayer>,
    pub output: Output,
    /// The rows of the step's sampled labels, while they are in work.
    pub sampled: Option<Output>,
    /// The step's constants.
    pub head: wgpu::Buffer,
    /// The packed batch; grows.
    pub batch: wgpu::Buffer,
    /// Dense input, from the first dense batch on.
    pub x: Option<wgpu::Buffer>,
    /// Outputs of the hidden layers, and the gradients of their sums.
    activations: Vec<wgpu::Buffer>,
    gradients: Vec<wgpu::Buffer>,
    softmax_partials: wgpu::Buffer,
    normalizer: wgpu::Buffer,
    split_partials: wgpu::Buffer,
    /// For each window of the first layer, the step at which a row last moved.
    stamps: Vec<wgpu::Buffer>,
    pub totals: wgpu::Buffer,
    /// The label matrix of a step, laid out as the logits, and the loss's sums: only where it is fed densely.
    pub dense_labels: Option<DenseLabels>,
}

/// See [`State::dense_labels`].
pub(super) struct DenseLabels {
    pub windows: Vec<wgpu::Buffer>,
    sums: wgpu::Buffer,
}

impl State {
    pub fn new(
        gpu: &Gpu,
        kernels: &Kernels,
        shape: &Shape,
        initial: &Parameters,
        capacity: usize,
        feed: Feed,
    ) -> Result<Self, EngineError> {
        let (last, first) = initial
            .layers
            .split_last()
            .filter(|(_, first)| !first.is_empty())
            .ok_or_else(|| EngineError::Settings("dense-gpu needs a hidden layer".into()))?;
        let hidden: Vec<DeviceLayer> = first
            .iter()
            .enumerate()
            .map(|(index, layer)| DeviceLayer::new(gpu, &format!("layer {}", index + 1), layer, 0, feed.limit))
            .collect::<Result<_, _>>()?;
        let output = Output::new(gpu, kernels, last, capacity, feed.limit)?;
        let sampled = match feed.sample {
            Some(labels) => {
                let weights = vec![0.0; labels * last.inputs];
                let empty = Layer { outputs: labels, weights, bias: vec![0.0; labels], ..last.clone() };
                Some(Output::new(gpu, kernels, &empty, capacity, feed.limit)?)
            }
            None => None,
        };

        let rows_of = |width: usize| (capacity * vectors(width) * 16) as u64;
        let each_hidden = |what: &str| -> Result<Vec<_>, EngineError> {
            shape.hidden.iter().map(|&width| gpu.storage(what, rows_of(width))).collect()
        };
        let tiles = shape.labels.div_ceil(kernels.output_tile.rows());
        // One buffer serves the backward product of every layer, one after another.
        let trained = sampled.as_ref().unwrap_or(&output);
        let mut split_bytes = trained.splits() as u64 * rows_of(last.inputs);
        for layer in &hidden[1..] {
            split_bytes = split_bytes.max(layer.weights.windows.len() as u64 * rows_of(layer.weights.width));
        }
        let dense_labels = if feed.dense_labels {
            let windows = output.layer.weights.windows.iter();
            let windows = windows.map(|w| gpu.storage("dense labels", (w.rows * capacity * 4) as u64));
            let sums = gpu.storage("loss sums", u64::from(LOSS_GROUPS) * 4)?;
            Some(DenseLabels { windows: windows.collect::<Result<_, _>>()?, sums })
        } else {
            None
        };
        let stamps = hidden[0].weights.windows.iter().map(|w| gpu.storage("row stamps", w.rows as u64 * 4));
        Ok(Self {
            shape: shape.clone(),
            capacity,
            head: gpu.uniform("step", &[0; 24])?,
            batch: gpu.storage("batch", 1 << 16)?,
            x: None,
            activations: each_hidden("activations")?,
            gradients: each_hidden("gradients")?,
            softmax_partials: gpu.storage("softmax partials", (tiles * 2 * capacity * 4) as u64)?,
            normalizer: gpu.storage("normalizers", capacity as u64 * 4)?,
            split_partials: gpu.storage("split sums", split_bytes)?,
            stamps: stamps.collect::<Result<_, _>>()?,
            totals: gpu.storage("loss", LOSS_SLOTS as u64 * 4)?,
            dense_labels,
            hidden,
            output,
            sampled,
        })
    }

    /// Makes room for a batch of `words` and, where the input is dense, for its rows. Tells whether a buffer changed,
    /// so that dispatches must be bound anew.
    pub fn reserve(&mut self, gpu: &Gpu, words: usize, dense: bool) -> Result<bool, EngineError> {
        let mut changed = false;
        let bytes = words as u64 * 4;
        if bytes > self.batch.size() {
            let larger = gpu.storage("batch", bytes + bytes / 2)?;
            gpu.release(&self.batch);
            self.batch = larger;
            changed = true;
        }
        if dense && self.x.is_none() {
            self.x = Some(gpu.storage("inputs", (self.capacity * vectors(self.shape.inputs) * 16) as u64)?);
            changed = true;
        }
        Ok(changed)
    }

    /// Outputs of the last hidden layer, and the floats a sample takes there.
    pub fn last_activations(&self) -> Option<(&wgpu::Buffer, usize)> {
        Some((self.activations.last()?, vectors(*self.shape.hidden.last()?) * 4))
    }

    /// Ends of the first layer's windows.
    pub fn input_windows(&self) -> Vec<usize> {
        self.hidden[0].weights.windows.iter().map(|w| w.first + w.rows).collect()
    }
}

/// A window of rows rounded to f16, padded as the f32 rows are.
fn half_copy(gpu: &Gpu, weights: &[f32], width: usize, first: usize, rows: usize) -> Result<wgpu::Buffer, EngineError> {
    let padded = vectors(width) * 4;
    let mut copy = vec![half::f16::ZERO; rows * padded];
    for (to, from) in copy.chunks_exact_mut(padded).zip(weights[first * width..].chunks_exact(width)) {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = half::f16::from_f32(from));
    }
    let buffer = gpu.storage("16-bit weights", (rows * padded * 2) as u64)?;
    gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&copy));
    let submission = gpu.queue.submit([]);
    gpu.wait(Some(submission))?;
    Ok(buffer)
}

/// What the size of a dispatch depends on.
pub(super) struct Counts<'a> {
    pub samples: u32,
    /// Touched features in each window of the first layer.
    pub touched: &'a [u32],
}

/// Tiles that hold a batch's samples as rows.
fn sample_tiles(tile: Tile) -> impl Fn(&Counts<'_>) -> u32 + 'static {
    move |counts| counts.samples.div_ceil(tile.rows() as u32)
}

type Grid = Box<dyn Fn(&Counts<'_>) -> [u32; 3]>;

/// One kernel over bound buffers.
pub(super) struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    buffers: wgpu::BindGroup,
    grid: Grid,
}

impl Dispatch {
    pub fn new(
        gpu: &Gpu,
        kernel: &Kernel,
        buffers: &[&wgpu::Buffer],
        grid: impl Fn(&Counts<'_>) -> [u32; 3] + 'static,
    ) -> Self {
        Self { pipeline: kernel.pipeline.clone(), buffers: kernel.bind(gpu, buffers), grid: Box::new(grid) }
    }

    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, counts: &Counts<'_>) {
        let [x, y, z] = (self.grid)(counts);
        if x > 0 && y > 0 && z > 0 {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.buffers, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

/// A long one-dimensional grid in two dimensions, each within every device's limit.
pub(super) fn folded(groups: u32) -> [u32; 2] {
    const ROW: u32 = 32768;
    [groups.min(ROW), groups.div_ceil(ROW)]
}

/// The dispatches of a step, in order, by phase.
pub(super) struct Plan {
    /// Input to the last hidden layer.
    pub hidden: Vec<Dispatch>,
    /// Logits of all labels.
    pub logits: Vec<Dispatch>,
    /// Where softmax is sampled: fetching the sampled rows, and their logits.
    pub sampled: Option<Vec<Dispatch>>,
    /// Softmax normalizers and loss.
    pub softmax: Vec<Dispatch>,
    /// Gradients of the hidden layers' sums.
    pub backward: Vec<Dispatch>,
    /// Weight gradients and Adam.
    pub update: Vec<Dispatch>,
}

impl Plan {
    pub fn new(gpu: &Gpu, kernels: &Kernels, state: &State, dense: bool, rows: Rows) -> Result<Self, EngineError> {
        let planner = Planner { gpu, kernels, state };
        let trained = state.sampled.as_ref().unwrap_or(&state.output);
        let mut hidden = planner.input(dense)?;
        for layer in 1..state.hidden.len() {
            planner.hidden(layer, &mut hidden)?;
        }
        let mut backward = planner.back_output(trained)?;
        for layer in (1..state.hidden.len()).rev() {
            planner.back_hidden(layer, &mut backward)?;
        }
        let mut update = planner.update_output(trained)?;
        let sampled = match &state.sampled {
            Some(sampled) => {
                let mut fetch = planner.copy_rows("rows_in", sampled)?;
                fetch.extend(planner.logits(sampled)?);
                update.extend(planner.copy_rows("rows_out", sampled)?);
                Some(fetch)
            }
            None => None,
        };
        update.extend(planner.update_hidden(dense, rows)?);
        let (logits, softmax) = (planner.logits(&state.output)?, planner.softmax(trained)?);
        Ok(Self { hidden, logits, sampled, softmax, backward, update })
    }
}

struct Planner<'a> {
    gpu: &'a Gpu,
    kernels: &'a Kernels,
    state: &'a State,
}

impl Planner<'_> {
    /// A dispatch of the kernel `name` with its `dims`, over `buffers` from binding 2 on.
    fn dispatch(
        &self,
        name: &str,
        dims: &[usize],
        buffers: &[&wgpu::Buffer],
        grid: impl Fn(&Counts<'_>) -> [u32; 3] + 'static,
    ) -> Result<Dispatch, EngineError> {
        let words: Vec<u32> = dims.iter().map(|&dim| dim as u32).collect();
        let dims = self.gpu.uniform(name, &words)?;
        let mut all = vec![&self.state.head, &dims];
        all.extend(buffers);
        let dispatch = Dispatch::new(self.gpu, self.kernels.get(name), &all, grid);
        // The binding keeps the constants alive; they are too small to count.
        self.gpu.release(&dims);
        Ok(dispatch)
    }

    fn tile_rows(&self, n: usize) -> u32 {
        n.div_ceil(self.kernels.tile.rows()) as u32
    }

    fn tile_columns(&self, n: usize) -> u32 {
        n.div_ceil(self.kernels.tile.columns()) as u32
    }

    /// The dense input; absent only where the plan is not dense.
    fn x(&self) -> Result<&wgpu::Buffer, EngineError> {
        self.state.x.as_ref().ok_or_else(|| EngineError::Failed("no buffer for dense input".into()))
    }

    fn input(&self, dense: bool) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let (layer, out) = (&state.hidden[0], &state.activations[0]);
        let bias = &layer.biases[0].buffer;
        let h = vectors(layer.weights.width);
        let last = layer.weights.windows.len() - 1;
        let windows = layer.weights.windows.iter().enumerate();
        windows
            .map(|(index, w)| {
                let (begins, ends) = (usize::from(index == 0), usize::from(index == last));
                if dense {
                    let dims = [w.first, w.rows, h, vectors(state.shape.inputs), begins, ends];
                    let (tiles, columns) = (sample_tiles(self.kernels.tile), self.tile_columns(layer.weights.width));
                    self.dispatch("layer_input", &dims, &[self.x()?, &w.w, bias, out], move |c| [tiles(c), columns, 1])
                } else {
                    let columns = h.div_ceil(32) as u32;
                    let dims = [w.first, w.rows, h, begins, ends];
                    self.dispatch("gather", &dims, &[&state.batch, &w.w, bias, out], move |c| [c.samples, columns, 1])
                }
            })
            .collect()
    }

    fn hidden(&self, index: usize, to: &mut Vec<Dispatch>) -> Result<(), EngineError> {
        let state = self.state;
        let layer = &state.hidden[index];
        for (w, bias) in layer.weights.windows.iter().zip(&layer.biases) {
            let dims = [w.first, w.rows, vectors(layer.weights.width), vectors(state.shape.hidden[index])];
            let buffers = [&state.activations[index - 1], &w.w, &bias.buffer, &state.activations[index]];
            let (tiles, columns) = (sample_tiles(self.kernels.tile), self.tile_columns(w.rows));
            to.push(self.dispatch("layer", &dims, &buffers, move |c| [tiles(c), columns, 1])?);
        }
        Ok(())
    }

    fn logits(&self, output: &Output) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let a = &state.activations[state.activations.len() - 1];
        let tile = self.kernels.output_tile;
        let windows = output.layer.weights.windows.iter().zip(&output.layer.biases).enumerate();
        windows
            .map(|(index, (w, bias))| {
                let dims = [w.first, w.rows, vectors(output.layer.weights.width), state.capacity / 4];
                let (rows, columns) = (w.rows.div_ceil(tile.rows()) as u32, tile.columns() as u32);
                // The sample tiles of one label tile run side by side and share its weights in cache.
                let grid = move |c: &Counts<'_>| [c.samples.div_ceil(columns), rows, 1];
                let mut buffers = vec![output.weights(index), &bias.buffer, a, &output.logits[index]];
                if self.kernels.precision.half() {
                    return self.dispatch("logits_half", &dims, &buffers, grid);
                }
                buffers.push(&state.softmax_partials);
                self.dispatch("logits", &dims, &buffers, grid)
            })
            .collect()
    }

    fn softmax(&self, output: &Output) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let vectors = state.capacity / 4;
        let rows = self.kernels.output_tile.rows();
        let windows = &output.layer.weights.windows;
        let mut to = Vec::new();
        if self.kernels.precision.half() {
            for (w, z) in windows.iter().zip(&output.logits) {
                let grid = [vectors.div_ceil(32) as u32, w.rows.div_ceil(rows) as u32, 1];
                let dims = [w.first, w.rows, vectors, rows];
                to.push(self.dispatch("statistics", &dims, &[z, &state.softmax_partials], move |_| grid)?);
            }
        }
        let dims = [output.labels.div_ceil(rows), vectors];
        let buffers = [&state.batch, &state.softmax_partials, &state.normalizer];
        to.push(self.dispatch("normalize", &dims, &buffers, move |_| [vectors as u32, 1, 1])?);
        if let Some(labels) = &state.dense_labels {
            for (index, w) in windows.iter().enumerate() {
                let dims = [w.rows, vectors, usize::from(index == 0)];
                let buffers = [&labels.windows[index], &output.logits[index], &state.normalizer, &labels.sums];
                to.push(self.dispatch("loss_dense", &dims, &buffers, |_| [LOSS_GROUPS, 1, 1])?);
            }
            let buffers = [&labels.sums, &state.totals];
            to.push(self.dispatch("loss_total", &[LOSS_GROUPS as usize], &buffers, |_| [1, 1, 1])?);
            return Ok(to);
        }
        for (w, z) in windows.iter().zip(&output.logits) {
            let buffers = [&state.batch, z, &state.normalizer, &state.totals];
            to.push(self.dispatch("loss", &[w.first, w.rows, vectors], &buffers, |_| [1, 1, 1])?);
        }
        Ok(to)
    }

    /// Copies the sampled rows of weights, moments and biases in from all rows (`rows_in`) or back out (`rows_out`).
    fn copy_rows(&self, kernel: &str, sampled: &Output) -> Result<Vec<Dispatch>, EngineError> {
        let all = &self.state.output.layer;
        let width = vectors(all.weights.width) * 4;
        let mut to = Vec::new();
        for (from, from_bias) in all.weights.windows.iter().zip(&all.biases) {
            for (n, n_bias) in sampled.layer.weights.windows.iter().zip(&sampled.layer.biases) {
                let arrays = [
                    (&from.w, &n.w, width, 0),
                    (&from.m, &n.m, width, 0),
                    (&from.v, &n.v, width, 0),
                    (&from_bias.buffer, &n_bias.buffer, 3, 1),
                ];
                for (all, sampled, width, bias) in arrays {
                    let dims = [from.first, from.rows, n.first, n.rows, width, bias];
                    let [x, y] = folded((n.rows * width).div_ceil(256) as u32);
                    let pair = if kernel == "rows_in" { [all, sampled] } else { [sampled, all] };
                    let buffers = [&self.state.batch, pair[0], pair[1]];
                    to.push(self.dispatch(kernel, &dims, &buffers, move |_| [x, y, 1])?);
                }
            }
        }
        Ok(to)
    }

    fn back_output(&self, output: &Output) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let weights = &output.layer.weights;
        let mut to = Vec::new();
        let mut splits = 0;
        let tile = self.kernels.output_tile;
        for (index, w) in weights.windows.iter().enumerate() {
            let dims = [w.first, w.rows, vectors(weights.width), state.capacity / 4, output.split_rows, splits];
            let here = w.rows.div_ceil(output.split_rows);
            let (z, w) = (&output.logits[index], output.weights(index));
            let buffers = [&state.batch, z, &state.normalizer, w, &state.split_partials];
            let (tiles, columns) = (sample_tiles(tile), weights.width.div_ceil(tile.columns()) as u32);
            to.push(self.dispatch("back_output", &dims, &buffers, move |c| [tiles(c), columns, here as u32])?);
            splits += here;
        }
        to.push(self.reduce(state.activations.len() - 1, splits, true)?);
        Ok(to)
    }

    /// Sums the splits into the gradient of hidden layer `index`.
    fn reduce(&self, index: usize, splits: usize, from_output: bool) -> Result<Dispatch, EngineError> {
        let state = self.state;
        let h = vectors(state.shape.hidden[index]);
        let dims = [splits, h, state.capacity / 4, usize::from(from_output)];
        let buffers = [&state.split_partials, &state.activations[index], &state.gradients[index]];
        let groups = h.div_ceil(32) as u32;
        self.dispatch("reduce", &dims, &buffers, move |c| [groups, c.samples, 1])
    }

    fn back_hidden(&self, index: usize, to: &mut Vec<Dispatch>) -> Result<(), EngineError> {
        let state = self.state;
        let weights = &state.hidden[index].weights;
        for (split, w) in weights.windows.iter().enumerate() {
            let o = vectors(state.shape.hidden[index]);
            let dims = [w.first, w.rows, vectors(weights.width), state.capacity / 4, o, split];
            let (tiles, columns) = (sample_tiles(self.kernels.tile), self.tile_columns(weights.width));
            let buffers = [&state.gradients[index], &w.w, &state.split_partials];
            to.push(self.dispatch("back_hidden", &dims, &buffers, move |c| [tiles(c), columns, 1])?);
        }
        to.push(self.reduce(index - 1, weights.windows.len(), false)?);
        Ok(())
    }

    fn update_output(&self, output: &Output) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let a = &state.activations[state.activations.len() - 1];
        let tile = self.kernels.output_tile;
        let width = output.layer.weights.width;
        let windows = output.layer.weights.windows.iter().zip(&output.layer.biases).enumerate();
        windows
            .map(|(index, (w, bias))| {
                let dims = [w.first, w.rows, vectors(width), state.capacity / 4];
                let grid = [width.div_ceil(tile.columns()) as u32, w.rows.div_ceil(tile.rows()) as u32, 1];
                let z = &output.logits[index];
                let mut buffers = vec![&state.batch, z, &state.normalizer, a, &w.w, &w.m, &w.v, &bias.buffer];
                buffers.extend(output.half_weights.get(index));
                self.dispatch("update_output", &dims, &buffers, move |_| grid)
            })
            .collect()
    }

    fn update_hidden(&self, dense: bool, rows: Rows) -> Result<Vec<Dispatch>, EngineError> {
        let state = self.state;
        let mut to = Vec::new();
        for (index, layer) in state.hidden.iter().enumerate() {
            let dz = &state.gradients[index];
            if index > 0 {
                self.update_dense(
                    layer,
                    dz,
                    vectors(state.shape.hidden[index]),
                    &state.activations[index - 1],
                    &mut to,
                )?;
            } else if dense {
                self.update_dense(layer, self.x()?, vectors(state.shape.inputs), dz, &mut to)?;
            } else {
                self.update_sparse(layer, dz, rows, &mut to)?;
            }
            for bias in &layer.biases {
                let o = vectors(bias.count);
                let dims = [bias.first / 4, o, vectors(state.shape.hidden[index])];
                let groups = o.div_ceil(32) as u32;
                to.push(self.dispatch("update_bias", &dims, &[dz, &bias.buffer], move |_| [groups, 1, 1])?);
            }
        }
        Ok(to)
    }

    fn update_dense(
        &self,
        layer: &DeviceLayer,
        left: &wgpu::Buffer,
        left_width: usize,
        right: &wgpu::Buffer,
        to: &mut Vec<Dispatch>,
    ) -> Result<(), EngineError> {
        let width = layer.weights.width;
        for w in &layer.weights.windows {
            let dims = [w.first, w.rows, vectors(width), left_width];
            let grid = [self.tile_rows(w.rows), self.tile_columns(width), 1];
            to.push(self.dispatch("update_dense", &dims, &[left, right, &w.w, &w.m, &w.v], move |_| grid)?);
        }
        Ok(())
    }

    fn update_sparse(
        &self,
        layer: &DeviceLayer,
        dz: &wgpu::Buffer,
        rows: Rows,
        to: &mut Vec<Dispatch>,
    ) -> Result<(), EngineError> {
        let h = vectors(layer.weights.width);
        for (index, (w, stamps)) in layer.weights.windows.iter().zip(&self.state.stamps).enumerate() {
            let dims = [w.first, w.rows, h, index];
            let buffers = [&self.state.batch, dz, &w.w, &w.m, &w.v, stamps];
            let columns = h.div_ceil(32) as u32;
            to.push(self.dispatch("update_sparse", &dims, &buffers, move |c| {
                let [x, y] = folded(c.touched[index]);
                [x, y, columns]
            })?);
            if rows == Rows::Dense {
                let [x, y] = folded((w.rows * h).div_ceil(256) as u32);
                to.push(self.dispatch("decay", &[w.rows, h], &[&w.w, &w.m, &w.v, stamps], move |_| [x, y, 1])?);
            }
        }
        Ok(())
    }
}

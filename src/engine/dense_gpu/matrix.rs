//! Row matrices on the device, with Adam's state beside them, cut into windows of whole rows so that no binding
//! exceeds the adapter's limit. Rows are padded with zeros to a multiple of 4 values, and stay zero there.

use super::gpu::Gpu;
use crate::engine::EngineError;

/// Every window but the last holds a multiple of this many rows, so that tiles never straddle two windows.
pub(super) const ROWS_A_BLOCK: usize = 128;

/// A run of rows, in buffers of its own.
pub(super) struct Window {
    pub first: usize,
    pub rows: usize,
    pub w: wgpu::Buffer,
    pub m: wgpu::Buffer,
    pub v: wgpu::Buffer,
}

/// Weights `rows x width` with first and second moments.
pub(super) struct Matrix {
    pub width: usize,
    pub windows: Vec<Window>,
}

/// Vectors of 4 that hold `width` values.
pub(super) const fn vectors(width: usize) -> usize {
    width.div_ceil(4)
}

impl Matrix {
    /// A matrix filled from `weights`, moments zero. `row_bytes` is the widest row of any array that shares the
    /// windows, `limit` the bytes a binding can hold.
    ///
    /// # Errors
    /// Out of memory, or a limit too small for one block of rows.
    pub fn new(
        gpu: &Gpu,
        what: &str,
        weights: &[f32],
        width: usize,
        row_bytes: usize,
        limit: u64,
    ) -> Result<Self, EngineError> {
        let blocks = limit as usize / (row_bytes * ROWS_A_BLOCK);
        if blocks == 0 {
            return Err(EngineError::Unavailable(format!(
                "{}: a block of {ROWS_A_BLOCK} rows of {what} takes {} bytes, a binding holds {limit}; use a smaller \
                 batch or hidden width",
                gpu.adapter.name,
                row_bytes * ROWS_A_BLOCK
            )));
        }
        let rows = weights.len() / width;
        let window = blocks * ROWS_A_BLOCK;
        let windows = (0..rows)
            .step_by(window)
            .map(|first| {
                let rows = window.min(rows - first);
                let bytes = (rows * vectors(width) * 16) as u64;
                let [w, m, v] = ["weights", "first moments", "second moments"]
                    .map(|kind| gpu.storage(&format!("{kind} of {what}"), bytes));
                Ok(Window { first, rows, w: w?, m: m?, v: v? })
            })
            .collect::<Result<_, EngineError>>()?;
        let matrix = Self { width, windows };
        matrix.upload(gpu, weights)?;
        Ok(matrix)
    }

    fn upload(&self, gpu: &Gpu, weights: &[f32]) -> Result<(), EngineError> {
        // Pieces keep the staging memory small; a submission between them lets it be used again.
        const PIECE_ROWS: usize = 1 << 16;
        let padded = vectors(self.width) * 4;
        let mut piece = Vec::new();
        for window in &self.windows {
            for first in (0..window.rows).step_by(PIECE_ROWS) {
                let rows = PIECE_ROWS.min(window.rows - first);
                piece.clear();
                for row in weights[(window.first + first) * self.width..][..rows * self.width].chunks_exact(self.width)
                {
                    piece.extend_from_slice(row);
                    piece.resize(piece.len().next_multiple_of(4), 0.0);
                }
                gpu.queue.write_buffer(&window.w, (first * padded * 4) as u64, bytemuck::cast_slice(&piece));
                let submission = gpu.queue.submit([]);
                gpu.wait(Some(submission))?;
            }
        }
        Ok(())
    }

    /// The weights, unpadded.
    pub fn download(&self, gpu: &Gpu) -> Result<Vec<f32>, EngineError> {
        let padded = vectors(self.width) * 4;
        let mut out = Vec::new();
        for window in &self.windows {
            let words = gpu.download(&window.w, (window.rows * padded * 4) as u64)?;
            for row in words.chunks_exact(padded) {
                out.extend(row[..self.width].iter().map(|&word| f32::from_bits(word)));
            }
        }
        Ok(out)
    }
}

/// A run of biases with Adam's state: w, m and v of four neurons side by side, to spare bindings.
pub(super) struct Bias {
    pub first: usize,
    pub count: usize,
    pub buffer: wgpu::Buffer,
}

impl Bias {
    pub fn new(gpu: &Gpu, first: usize, bias: &[f32]) -> Result<Self, EngineError> {
        let mut words = vec![0f32; vectors(bias.len()) * 12];
        for (vector, values) in words.chunks_exact_mut(12).zip(bias.chunks(4)) {
            vector[..values.len()].copy_from_slice(values);
        }
        let buffer = gpu.storage("biases", words.len() as u64 * 4)?;
        gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
        Ok(Self { first, count: bias.len(), buffer })
    }

    pub fn download(&self, gpu: &Gpu) -> Result<Vec<f32>, EngineError> {
        let words = gpu.download(&self.buffer, self.buffer.size())?;
        let values = words.chunks_exact(12).flat_map(|vector| &vector[..4]);
        Ok(values.take(self.count).map(|&word| f32::from_bits(word)).collect())
    }
}

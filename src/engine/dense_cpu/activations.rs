//! What flows between layers, in the layouts the products read.

use crate::engine::exact_top_k::transpose;
use crate::kernels::bf16::{Parts, pack_pairs, tiled};
use crate::kernels::memory::{Aligned, Buffer, HugePages};
use serde::Deserialize;
use std::io;

/// What the factors of a product are rounded to; sums are f32 in any case. How weights are stored is another option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    #[default]
    F32,
    /// 8 bits of mantissa.
    Bf16,
    /// Two bf16, together 16 bits of mantissa, which makes a product three of bf16 ([`Parts::Two`]): f32 for every use
    /// here (the reference is followed as closely), and quicker where the CPU has a unit for bf16.
    Bf16x3,
}

impl Precision {
    /// What stands for an f32 number, if not itself.
    pub fn parts(self) -> Option<Parts> {
        match self {
            Precision::F32 => None,
            Precision::Bf16 => Some(Parts::One),
            Precision::Bf16x3 => Some(Parts::Two),
        }
    }
}

/// The outputs of a layer (or the loss's gradients for its sums) for a batch, both ways round. Widths and numbers of
/// samples are padded with zeros to whole tiles.
#[derive(Debug, Default)]
pub struct Activations {
    /// The width, padded.
    pub stride: usize,
    /// `samples x stride`.
    pub rows: Aligned,
    /// `stride x samples`.
    pub columns: Aligned,
    /// The same in bf16, where the engine computes in it.
    pub packed: Option<Packed>,
}

/// Activations as the second operand of bf16 products.
#[derive(Debug)]
pub struct Packed {
    pub parts: Parts,
    /// For products that sum over the width: in one part `stride/2 x samples` pairs, in panels.
    pub columns: Aligned<u32>,
    /// For products that sum over the samples: in one part `samples/2 x stride` pairs, in panels.
    pub rows: Aligned<u32>,
}

impl Activations {
    pub fn new(width: usize, precision: Precision) -> Self {
        let packed =
            precision.parts().map(|parts| Packed { parts, columns: Aligned::default(), rows: Aligned::default() });
        Self { stride: tiled(width), packed, ..Self::default() }
    }

    /// Makes room for `samples` samples.
    pub fn reserve(&mut self, samples: usize) {
        self.rows.resize(samples * self.stride, 0.0);
        self.columns.resize(samples * self.stride, 0.0);
    }

    /// Makes the other forms from `rows`.
    pub fn fill_from_rows(&mut self, samples: usize) {
        transpose(&self.rows, self.stride, samples, &mut self.columns, samples);
        self.pack(samples);
    }

    /// Makes the other forms from `columns`.
    pub fn fill_from_columns(&mut self, samples: usize) {
        transpose(&self.columns, samples, self.stride, &mut self.rows, self.stride);
        self.pack(samples);
    }

    fn pack(&mut self, samples: usize) {
        if let Some(packed) = &mut self.packed {
            let Packed { parts, columns, rows } = packed;
            columns.resize(parts.pairs(self.stride * samples), 0);
            rows.resize(parts.pairs(self.stride * samples), 0);
            pack_pairs(&self.columns, samples, *parts, columns);
            pack_pairs(&self.rows, self.stride, *parts, rows);
        }
    }

    pub fn bytes(&self) -> u64 {
        let packed = self.packed.as_ref().map_or(0, |packed| packed.columns.bytes() + packed.rows.bytes());
        (self.rows.bytes() + self.columns.bytes() + packed) as u64
    }
}

/// `len` zeros on huge pages, every page touched.
pub fn zeros(len: usize) -> io::Result<Buffer> {
    let mut buffer = Buffer::zeroed(len, HugePages::Ask)?;
    buffer.prefault();
    Ok(buffer)
}

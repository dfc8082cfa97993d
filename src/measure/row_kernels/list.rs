//! The row kernels, each with a call that is like an engine's: on random rows of tables far larger than caches.

use crate::data::shuffled;
use crate::kernels::memory::{Aligned, Buffer, HugePages};
use crate::kernels::packed::{PackedRows, pack};
use crate::kernels::roofline::Probes;
use crate::kernels::row_wise::RowWiseRows;
use crate::kernels::weights::Bf16Rows;
use crate::kernels::{AdamRows, Kernels, Pairs};
use crate::network::{AdamStep, Training};
use bytemuck::{Pod, cast_slice, cast_slice_mut};
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use std::hint::black_box;
use std::io;

/// H, f32 a row: 512 bytes.
pub const WIDTH: usize = 128;
/// L of Amazon-670K.
pub const AMAZON: usize = 670_091;
/// Rows a call.
pub const CALL: usize = 8192;
/// B, as in the experiment `amazon-step`.
const BATCH: usize = 128;
/// Neurons of that layer that are active for a sample: 1.4 samples a neuron that is active for any.
const ACTIVE: usize = 3_600;
/// Rows gathered at once, so that their copies (or gradients) stay in the second-level cache.
const GATHER: usize = 512;

fn step() -> AdamStep {
    Training::default().adam_step(100)
}

/// A table of ordinary numbers. (Zeros would be kind to caches, and what comes of them, subnormals, unkind to the CPU.)
fn table<T: Pod + Send>(rows: usize, value: impl Fn(f32) -> T + Sync) -> io::Result<Buffer<T>> {
    let mut table = Buffer::zeroed(rows * WIDTH, HugePages::Ask)?;
    table.par_chunks_mut(1 << 20).for_each(|chunk| {
        for (i, x) in (1u32..).zip(chunk) {
            *x = value(i.wrapping_mul(0x9E37_79B9) as f32 / 2f32.powi(32) - 0.5);
        }
    });
    Ok(table)
}

/// `count` values from the start of a cache line on, as the engines keep theirs.
fn aligned(count: usize, value: impl FnMut() -> f32) -> Aligned<f32> {
    Aligned::from(&*std::iter::repeat_with(value).take(count).collect::<Vec<f32>>())
}

/// The output layer's state, and a batch that meets it.
pub struct Tables {
    w: Buffer<f32>,
    m: Buffer<f32>,
    v: Buffer<f32>,
    /// m and v in one word.
    moments: Buffer<u32>,
    /// w in half the bytes.
    w16: Buffer<bf16>,
    /// A second moment a row.
    of_rows: Vec<f32>,
    x: Aligned<f32>,
    dx: Aligned<f32>,
    /// Every row once, at random, [`CALL`] a call; there they ascend, as the engines list them.
    calls: Vec<Vec<u32>>,
    /// Pairs of a call: the samples for which each row is active.
    starts: Vec<u32>,
    columns: Vec<u32>,
    g: Vec<f32>,
    logits: Vec<f32>,
    gathered: Aligned<f32>,
}

impl Tables {
    /// Tables of `rows` rows, at least [`CALL`].
    ///
    /// # Errors
    /// When there is no memory for them: 2,304 bytes a row.
    pub fn new(rows: usize) -> io::Result<Self> {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let mut order = shuffled(rows, 7, 0);
        order.chunks_exact_mut(CALL).for_each(<[u32]>::sort_unstable);
        let calls = order.chunks_exact(CALL).map(<[u32]>::to_vec).collect();
        let (mut starts, mut columns) = (vec![0], Vec::new());
        while starts.len() <= CALL {
            columns.extend((0..BATCH as u32).filter(|_| rng.random_ratio(ACTIVE as u32, AMAZON as u32)));
            // A row that is active for no sample is in no list.
            if columns.len() as u32 > starts[starts.len() - 1] {
                starts.push(columns.len() as u32);
            }
        }
        let pairs = columns.len();
        Ok(Self {
            w: table(rows, |x| 0.1 * x)?,
            m: table(rows, |x| 1e-4 * x)?,
            v: table(rows, |x| 1e-8 * x.abs())?,
            moments: table(rows, |x| pack(1e-4 * x, 1e-8 * x.abs(), 0))?,
            w16: table(rows, |x| bf16::from_f32(0.1 * x))?,
            of_rows: vec![1e-8; rows],
            x: aligned(BATCH * WIDTH, || rng.random_range(-1.0..1.0)),
            dx: aligned(BATCH * WIDTH, || 0.0),
            calls,
            starts,
            columns,
            g: (0..pairs).map(|_| rng.random_range(-1e-3..1e-3)).collect(),
            logits: vec![0.0; pairs],
            gathered: aligned(GATHER * WIDTH, || 1e-3),
        })
    }

    /// How many lists of rows there are.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The rows of a call.
    pub fn rows(&self, call: usize) -> &[u32] {
        &self.calls[call]
    }

    /// The share of their bytes on huge pages, where the system tells.
    pub fn huge_share(&self) -> Option<f64> {
        let tables = [&self.w, &self.m, &self.v];
        let huge: usize = tables.iter().map(|table| table.huge_bytes()).sum::<Option<_>>()?;
        Some(huge as f64 / tables.iter().map(|table| table.bytes()).sum::<usize>() as f64)
    }
}

/// A row kernel: its name, the tables it works on, and a call on the `n`-th list of rows.
pub struct RowKernel {
    pub name: &'static str,
    /// Whether it writes what it reads.
    updates: bool,
    /// What it reads of every row listed.
    tables: &'static [Table],
    pub call: fn(&Kernels, &mut Tables, usize),
}

#[derive(Clone, Copy)]
enum Table {
    W,
    M,
    V,
    Moments,
    W16,
}

impl RowKernel {
    /// What a call reads and writes of the tables.
    pub fn bytes(&self) -> usize {
        let of_weight = |table: &Table| if matches!(table, Table::W16) { 2 } else { 4 };
        CALL * WIDTH * self.tables.iter().map(of_weight).sum::<usize>() * if self.updates { 2 } else { 1 }
    }

    /// Reads, and if the kernel does so writes, the rows of call `n`, one table after the other.
    pub fn probe(&self, probes: &Probes, tables: &mut Tables, n: usize, ahead: usize) {
        let rows = &tables.calls[n];
        for table in self.tables {
            let (words, width): (&mut [f32], usize) = match table {
                Table::W => (&mut tables.w, WIDTH),
                Table::M => (&mut tables.m, WIDTH),
                Table::V => (&mut tables.v, WIDTH),
                Table::Moments => (cast_slice_mut(&mut tables.moments), WIDTH),
                Table::W16 => (cast_slice_mut(&mut tables.w16), WIDTH / 2),
            };
            if self.updates {
                (probes.change_rows)(words, width, rows, ahead);
            } else {
                black_box((probes.read_rows)(words, width, rows, ahead));
            }
        }
    }
}

/// Every kernel that the engines run over lists of rows.
pub const ROW_KERNELS: [RowKernel; 13] = [
    RowKernel {
        name: "row_dots",
        updates: false,
        tables: &[Table::W],
        call: |k, t, n| (k.row_dots)(&t.w, WIDTH, &t.calls[n], &t.x[..WIDTH], &mut t.logits[..CALL]),
    },
    RowKernel {
        name: "row_sum",
        updates: false,
        tables: &[Table::W],
        call: |k, t, n| (k.row_sum)(&t.w, WIDTH, &t.calls[n], &t.g[..CALL], &mut t.dx[..WIDTH]),
    },
    RowKernel {
        name: "gather_rows",
        updates: false,
        tables: &[Table::W],
        call: |k, t, n| {
            for rows in t.calls[n].chunks(GATHER) {
                (k.gather_rows)(&t.w, WIDTH, rows, &mut t.gathered[..rows.len() * WIDTH]);
            }
        },
    },
    RowKernel {
        name: "pair_dots",
        updates: false,
        tables: &[Table::W],
        call: |k, t, n| {
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.pair_dots)(&t.w, &t.x, WIDTH, pairs, &mut t.logits);
        },
    },
    RowKernel {
        name: "row_adam",
        updates: true,
        tables: &[Table::W, Table::M, Table::V],
        call: |k, t, n| {
            for rows in t.calls[n].chunks(GATHER) {
                let state = AdamRows { w: &mut t.w, m: &mut t.m, v: &mut t.v };
                (k.row_adam)(state, WIDTH, rows, &t.gathered[..rows.len() * WIDTH], step());
            }
        },
    },
    RowKernel {
        name: "pair_update",
        updates: true,
        tables: &[Table::W, Table::M, Table::V],
        call: |k, t, n| {
            let state = AdamRows { w: &mut t.w, m: &mut t.m, v: &mut t.v };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.pair_update)(state, &t.x, Some(&mut t.dx), WIDTH, pairs, &t.g, step());
        },
    },
    RowKernel {
        name: "packed pair_update",
        updates: true,
        tables: &[Table::W, Table::Moments],
        call: |k, t, n| {
            let state = PackedRows { w: &mut t.w, moments: &mut t.moments, seed: n as u32 };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.packed.pair_update)(state, &t.x, Some(&mut t.dx), WIDTH, pairs, &t.g, step());
        },
    },
    RowKernel {
        name: "row-wise pair_update",
        updates: true,
        tables: &[Table::W],
        call: |k, t, n| {
            let state = RowWiseRows { w: &mut t.w[..], v: &mut t.of_rows, columns: WIDTH, seed: n as u32 };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.row_wise.pair_update)(state, &t.x, None, WIDTH, pairs, &t.g, step());
        },
    },
    RowKernel {
        name: "bf16 gather_rows",
        updates: false,
        tables: &[Table::W16],
        call: |k, t, n| {
            for rows in t.calls[n].chunks(GATHER) {
                (k.gather_rows)(cast_slice(&t.w16), WIDTH / 2, rows, &mut t.gathered[..rows.len() * WIDTH / 2]);
            }
        },
    },
    RowKernel {
        name: "bf16 pair_dots",
        updates: false,
        tables: &[Table::W16],
        call: |k, t, n| {
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.bf16.pair_dots)(&t.w16, &t.x, WIDTH, pairs, &mut t.logits);
        },
    },
    RowKernel {
        name: "bf16 pair_update",
        updates: true,
        tables: &[Table::W16, Table::M, Table::V],
        call: |k, t, n| {
            let state = Bf16Rows { w: &mut t.w16, m: &mut t.m, v: &mut t.v, seed: n as u32 };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.bf16.pair_update)(state, &t.x, Some(&mut t.dx), WIDTH, pairs, &t.g, step());
        },
    },
    RowKernel {
        name: "bf16 packed pair_update",
        updates: true,
        tables: &[Table::W16, Table::Moments],
        call: |k, t, n| {
            let state = PackedRows { w: &mut t.w16[..], moments: &mut t.moments, seed: n as u32 };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.bf16.packed.pair_update)(state, &t.x, Some(&mut t.dx), WIDTH, pairs, &t.g, step());
        },
    },
    RowKernel {
        name: "bf16 row-wise pair_update",
        updates: true,
        tables: &[Table::W16],
        call: |k, t, n| {
            let state = RowWiseRows { w: &mut t.w16[..], v: &mut t.of_rows, columns: WIDTH, seed: n as u32 };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.bf16.row_wise.pair_update)(state, &t.x, None, WIDTH, pairs, &t.g, step());
        },
    },
];

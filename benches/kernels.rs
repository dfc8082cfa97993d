//! The parts an engine is made of, one by one: `cargo bench --bench kernels [-- FILTER]`.
//!
//! First the share of this machine's random-row bandwidth that each row kernel reaches, kernel and probe in turns; then
//! times by criterion. Row kernels work on random rows of tables the size of Amazon-670K's output layer, far larger
//! than caches, and one thread runs them.

use criterion::{BatchSize, Criterion, Throughput};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use slidebench::kernels::memory::{Buffer, HugePages};
use slidebench::kernels::{AdamRows, Kernels, Pairs, all_supported};
use slidebench::network::{AdamStep, Training};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// H, f32 a row.
const WIDTH: usize = 128;
/// L of Amazon-670K.
const ROWS: usize = 670_091;
/// B.
const BATCH: usize = 256;
/// Rows a call.
const CALL: usize = 8192;
/// Rows gathered at once, so that their copies (or gradients) stay in the second-level cache.
const GATHER: usize = 512;

fn main() {
    let mut criterion = criterion_for_us();
    let listing = std::env::args().any(|argument| argument == "--list" || argument == "--test");
    let mut tables = Tables::new();
    if !listing {
        shares(&mut tables);
    }
    rows(&mut criterion, &mut tables);
    drop(tables);
    arrays(&mut criterion);
    products(&mut criterion);
    criterion.final_summary();
}

/// `cargo bench -- ARGUMENTS` hands the arguments to every benchmark, so some may be meant for `paper`, and criterion
/// refuses what it does not know: then this run takes none.
fn criterion_for_us() -> Criterion {
    const KNOWN: [&str; 16] = [
        "--bench",
        "--test",
        "--list",
        "--help",
        "-h",
        "--verbose",
        "-v",
        "--quiet",
        "--exact",
        "--quick",
        "--save-baseline",
        "--baseline",
        "--load-baseline",
        "--sample-size",
        "--measurement-time",
        "--warm-up-time",
    ];
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    let ours = |argument: String| !argument.starts_with('-') || KNOWN.contains(&argument.as_str());
    if std::env::args().skip(1).all(ours) { criterion.configure_from_args() } else { criterion }
}

fn step() -> AdamStep {
    Training::default().adam_step(100)
}

/// The output layer's state, and a batch that meets it.
struct Tables {
    w: Buffer<f32>,
    m: Buffer<f32>,
    v: Buffer<f32>,
    x: Vec<f32>,
    dx: Vec<f32>,
    /// Random distinct rows, `CALL` a call.
    calls: Vec<Vec<u32>>,
    /// Pairs of a call: two columns a row.
    starts: Vec<u32>,
    columns: Vec<u32>,
    each_pair: Vec<f32>,
    gathered: Vec<f32>,
}

impl Tables {
    fn new() -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let table = || {
            let mut table = Buffer::zeroed(ROWS * WIDTH, HugePages::Ask).expect("343 MB of memory");
            table.prefault();
            table
        };
        let calls = (0..ROWS / CALL).map(|_| {
            let mut rows: Vec<u32> = rand::seq::index::sample(&mut rng, ROWS, CALL).iter().map(|r| r as u32).collect();
            rows.dedup();
            rows
        });
        let calls = calls.collect();
        Self {
            w: table(),
            m: table(),
            v: table(),
            x: (0..BATCH * WIDTH).map(|_| rng.random_range(-1.0..1.0)).collect(),
            dx: vec![0.0; BATCH * WIDTH],
            calls,
            starts: (0..=CALL as u32).map(|r| 2 * r).collect(),
            columns: (0..2 * CALL).map(|_| rng.random_range(0..BATCH as u32)).collect(),
            each_pair: (0..2 * CALL).map(|_| rng.random_range(-1e-3..1e-3)).collect(),
            gathered: vec![0.0; GATHER * WIDTH],
        }
    }
}

/// A row kernel: its name, bytes of table it moves a row, and a call on the `n`-th list of rows.
struct RowKernel {
    name: &'static str,
    /// Whether it writes what it reads.
    updates: bool,
    tables: usize,
    call: fn(&Kernels, &mut Tables, usize),
}

impl RowKernel {
    fn bytes(&self) -> usize {
        CALL * WIDTH * size_of::<f32>() * self.tables * if self.updates { 2 } else { 1 }
    }
}

const ROW_KERNELS: [RowKernel; 6] = [
    RowKernel {
        name: "row_dots",
        updates: false,
        tables: 1,
        call: |k, t, n| (k.row_dots)(&t.w, WIDTH, &t.calls[n], &t.x[..WIDTH], &mut t.each_pair[..CALL]),
    },
    RowKernel {
        name: "row_sum",
        updates: false,
        tables: 1,
        call: |k, t, n| (k.row_sum)(&t.w, WIDTH, &t.calls[n], &t.each_pair[..CALL], &mut t.dx[..WIDTH]),
    },
    RowKernel {
        name: "gather_rows",
        updates: false,
        tables: 1,
        call: |k, t, n| {
            for rows in t.calls[n].chunks(GATHER) {
                (k.gather_rows)(&t.w, WIDTH, rows, &mut t.gathered[..rows.len() * WIDTH]);
            }
        },
    },
    RowKernel {
        name: "pair_dots",
        updates: false,
        tables: 1,
        call: |k, t, n| {
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.pair_dots)(&t.w, &t.x, WIDTH, pairs, &mut t.each_pair);
        },
    },
    RowKernel {
        name: "row_adam",
        updates: true,
        tables: 3,
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
        tables: 3,
        call: |k, t, n| {
            let state = AdamRows { w: &mut t.w, m: &mut t.m, v: &mut t.v };
            let pairs = Pairs { rows: &t.calls[n], starts: &t.starts, columns: &t.columns };
            (k.pair_update)(state, &t.x, Some(&mut t.dx), WIDTH, pairs, &t.each_pair, step());
        },
    },
];

/// Prints what share of the best measured bandwidth each row kernel reaches. Kernel and probes take turns, so that a
/// disturbance meets both; medians of the turns' ratios.
fn shares(tables: &mut Tables) {
    println!("\nrow kernels, one thread, rows of {} bytes out of {ROWS}; share of the probe's bandwidth", WIDTH * 4);
    for set in all_supported() {
        for kernel in &ROW_KERNELS {
            let mut ratios = Vec::new();
            let mut rates = Vec::new();
            for turn in 0..9 {
                let n = turn % tables.calls.len();
                let ceiling = ceiling(tables, n, kernel);
                let begin = Instant::now();
                (kernel.call)(set, tables, n);
                let rate = kernel.bytes() as f64 / begin.elapsed().as_secs_f64() / 1e9;
                ratios.push(rate / ceiling);
                rates.push(rate);
            }
            let median = |values: &mut Vec<f64>| {
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let (rate, ratio) = (median(&mut rates), median(&mut ratios));
            println!("  {:9} {:12} {rate:6.1} GB/s  {:4.0} %", set.name, kernel.name, 100.0 * ratio);
        }
    }
}

/// GB/s of the best set's probe at its best prefetch distance, over the tables that the kernel touches (a machine whose
/// caches hold a part of one table holds less of three) and other rows.
fn ceiling(tables: &mut Tables, n: usize, kernel: &RowKernel) -> f64 {
    let probes = all_supported()[0].probes;
    let mut best = 0.0;
    for (i, ahead) in [0, 32, 64].into_iter().enumerate() {
        let rows = &tables.calls[(n + 20 * (i + 1)) % tables.calls.len()];
        let begin = Instant::now();
        for table in [&mut tables.w, &mut tables.m, &mut tables.v].into_iter().take(kernel.tables) {
            if kernel.updates {
                (probes.change_rows)(table, WIDTH, rows, ahead);
            } else {
                black_box((probes.read_rows)(table, WIDTH, rows, ahead));
            }
        }
        best = f64::max(best, kernel.bytes() as f64 / begin.elapsed().as_secs_f64() / 1e9);
    }
    best
}

fn rows(criterion: &mut Criterion, tables: &mut Tables) {
    for kernel in &ROW_KERNELS {
        let mut group = criterion.benchmark_group(kernel.name);
        group.throughput(Throughput::Bytes(kernel.bytes() as u64));
        for set in all_supported() {
            let mut n = 0;
            group.bench_function(set.name, |bencher| {
                bencher.iter(|| {
                    n = (n + 1) % tables.calls.len();
                    (kernel.call)(set, tables, n);
                });
            });
        }
    }
}

/// Kernels over arrays that fit the second-level cache.
fn arrays(criterion: &mut Criterion) {
    const N: usize = 32 * 1024;
    let mut rng = Pcg64Mcg::seed_from_u64(8);
    let logits: Vec<f32> = (0..N).map(|_| rng.random_range(-9.0..9.0)).collect();
    let mut group = criterion.benchmark_group("softmax");
    group.throughput(Throughput::Elements(N as u64));
    for set in all_supported() {
        group.bench_function(set.name, |bencher| {
            let softmax = |mut x: Vec<f32>| {
                let shift = (set.max)(&x);
                (set.exp_sum)(&mut x, shift)
            };
            bencher.iter_batched(|| logits.clone(), softmax, BatchSize::LargeInput);
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("adam");
    group.throughput(Throughput::Elements(N as u64));
    let (mut w, mut m, mut v) = (vec![0.0; N], vec![0.0; N], vec![0.0; N]);
    for set in all_supported() {
        group.bench_function(set.name, |bencher| {
            bencher.iter(|| {
                let state = AdamRows { w: &mut w, m: &mut m, v: &mut v };
                (set.adam)(state, &logits, step());
            });
        });
    }
}

/// The dense engine's three products on a block of labels, one thread; elements are floating-point operations.
fn products(criterion: &mut Criterion) {
    /// Labels a block.
    const L: usize = 4096;
    let mut rng = Pcg64Mcg::seed_from_u64(9);
    let mut matrix = |rows: usize, columns: usize| -> Vec<f32> {
        (0..rows * columns).map(|_| rng.random_range(-1.0..1.0)).collect()
    };
    let (h, w, z) = (matrix(BATCH, WIDTH), matrix(L, WIDTH), matrix(BATCH, L));
    let mut group = criterion.benchmark_group("gemm");
    group.throughput(Throughput::Elements((2 * BATCH * L * WIDTH) as u64));
    // (name, [m, n, k], left, its (column, row) strides, right, its strides)
    let (h_by_row, w_by_row, z_by_row) = ((1, WIDTH), (1, WIDTH), (1, L));
    let flip = |(column, row): (usize, usize)| (row, column);
    let cases = [
        ("logits = H·Wᵀ", [BATCH, L, WIDTH], &h, h_by_row, &w, flip(w_by_row)),
        ("dW = Gᵀ·H", [L, WIDTH, BATCH], &z, flip(z_by_row), &h, h_by_row),
        ("dH = G·W", [BATCH, WIDTH, L], &z, z_by_row, &w, w_by_row),
    ];
    for (name, [m, n, k], left, left_strides, right, right_strides) in cases {
        let mut out = vec![0.0f32; m * n];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // SAFETY: the strides stay inside the three matrices, as the shapes above say.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        out.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        left.as_ptr(),
                        left_strides.0 as isize,
                        left_strides.1 as isize,
                        right.as_ptr(),
                        right_strides.0 as isize,
                        right_strides.1 as isize,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                }
                black_box(&out);
            });
        });
    }
}

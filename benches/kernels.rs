//! The parts an engine is made of, one by one: `cargo bench --bench kernels [-- FILTER]`.
//!
//! First the share of this machine's random-row bandwidth that each row kernel reaches, kernel and probe in turns; then
//! times by criterion. Row kernels work on random rows of tables the size of Amazon-670K's output layer, far larger
//! than caches, and one thread runs them.

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use criterion::{BatchSize, Criterion, Throughput};
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;
use slidebench::kernels::bf16::{Method, PairProduct, Parts, pack_pairs, pack_rows};
use slidebench::kernels::gemm::{Ahead, Product};
use slidebench::kernels::memory::{Aligned, Buffer, HugePages};
use slidebench::kernels::packed::{PackedRows, pack};
use slidebench::kernels::roofline::{AHEAD, Probes, thread_seconds};
use slidebench::kernels::row_wise::RowWiseRows;
use slidebench::kernels::thin::{Thinned, thin_block};
use slidebench::kernels::weights::Bf16Rows;
use slidebench::kernels::{AdamRows, Kernels, Pairs, all_supported, force};
use slidebench::lsh::{Family, Hasher, LshSettings, Tables as HashTables};
use slidebench::network::{AdamStep, Training};
use std::hint::black_box;
use std::time::Duration;

/// H, f32 a row.
const WIDTH: usize = 128;
/// L of Amazon-670K.
const ROWS: usize = 670_091;
/// B, as in the experiment `amazon-step`.
const BATCH: usize = 128;
/// Neurons of that layer that are active for a sample: 1.4 samples a neuron that is active for any.
const ACTIVE: usize = 3_600;
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
    hashing(&mut criterion);
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

/// A table of ordinary numbers. (Zeros would be kind to caches, and what comes of them, subnormals, unkind to the CPU.)
fn table<T: Pod + Send>(value: impl Fn(f32) -> T + Sync) -> Buffer<T> {
    let mut table = Buffer::zeroed(ROWS * WIDTH, HugePages::Ask).expect("1.4 GB of memory");
    table.par_chunks_mut(1 << 20).for_each(|chunk| {
        for (i, x) in (1u32..).zip(chunk) {
            *x = value(i.wrapping_mul(0x9E37_79B9) as f32 / 2f32.powi(32) - 0.5);
        }
    });
    table
}

/// `count` values from the start of a cache line on, as the engines keep theirs.
fn aligned(count: usize, value: impl FnMut() -> f32) -> Aligned<f32> {
    Aligned::from(&*std::iter::repeat_with(value).take(count).collect::<Vec<f32>>())
}

/// The output layer's state, and a batch that meets it.
struct Tables {
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
    /// Random distinct rows, `CALL` a call.
    calls: Vec<Vec<u32>>,
    /// Pairs of a call: the samples for which each row is active.
    starts: Vec<u32>,
    columns: Vec<u32>,
    g: Vec<f32>,
    logits: Vec<f32>,
    gathered: Aligned<f32>,
}

impl Tables {
    fn new() -> Self {
        let mut rng = Pcg64Mcg::seed_from_u64(7);
        let calls = (0..ROWS / CALL).map(|_| {
            let mut rows: Vec<u32> = rand::seq::index::sample(&mut rng, ROWS, CALL).iter().map(|r| r as u32).collect();
            rows.dedup();
            rows
        });
        let calls = calls.collect();
        let (mut starts, mut columns) = (vec![0], Vec::new());
        while starts.len() <= CALL {
            columns.extend((0..BATCH as u32).filter(|_| rng.random_ratio(ACTIVE as u32, ROWS as u32)));
            // A row that is active for no sample is in no list.
            if columns.len() as u32 > starts[starts.len() - 1] {
                starts.push(columns.len() as u32);
            }
        }
        let pairs = columns.len();
        Self {
            w: table(|x| 0.1 * x),
            m: table(|x| 1e-4 * x),
            v: table(|x| 1e-8 * x.abs()),
            moments: table(|x| pack(1e-4 * x, 1e-8 * x.abs(), 0)),
            w16: table(|x| bf16::from_f32(0.1 * x)),
            of_rows: vec![1e-8; ROWS],
            x: aligned(BATCH * WIDTH, || rng.random_range(-1.0..1.0)),
            dx: aligned(BATCH * WIDTH, || 0.0),
            calls,
            starts,
            columns,
            g: (0..pairs).map(|_| rng.random_range(-1e-3..1e-3)).collect(),
            logits: vec![0.0; pairs],
            gathered: aligned(GATHER * WIDTH, || 1e-3),
        }
    }
}

/// A row kernel: its name, the tables it works on, and a call on the `n`-th list of rows.
struct RowKernel {
    name: &'static str,
    /// Whether it writes what it reads.
    updates: bool,
    /// What it reads of every row listed.
    tables: &'static [Table],
    call: fn(&Kernels, &mut Tables, usize),
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
    fn bytes(&self) -> usize {
        let of_weight = |table: &Table| if matches!(table, Table::W16) { 2 } else { 4 };
        CALL * WIDTH * self.tables.iter().map(of_weight).sum::<usize>() * if self.updates { 2 } else { 1 }
    }

    /// Reads, and if the kernel does so writes, the rows of call `n`, one table after the other.
    fn probe(&self, probes: &Probes, tables: &mut Tables, n: usize, ahead: usize) {
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

const ROW_KERNELS: [RowKernel; 13] = [
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

/// Prints what share of this machine's random-row bandwidth each row kernel reaches: kernel and probe take turns, so that a
/// disturbance meets both, on tables of the kernel's and on rows that neither has met since all others were; medians, of
/// the probe that at the best distance.
fn shares(tables: &mut Tables) {
    let huge: usize = [&tables.w, &tables.m, &tables.v].into_iter().filter_map(Buffer::huge_bytes).sum();
    let share = 100 * huge / (3 * tables.w.bytes());
    println!("\nrow kernels, one thread, rows of {WIDTH} weights out of {ROWS}; {share} % of memory on huge pages");
    println!(
        "share: of the bandwidth of a probe of the same rows that does nothing else, taken in turns with the kernel"
    );
    let probes = all_supported()[0].probes;
    for set in all_supported() {
        for kernel in &ROW_KERNELS {
            let mut rates = vec![Vec::new(); 1 + AHEAD.len()];
            let mut time = |which: usize, tables: &mut Tables, call: &dyn Fn(&mut Tables)| {
                let begin = thread_seconds();
                call(tables);
                rates[which].push(kernel.bytes() as f64 / (thread_seconds() - begin) / 1e9);
            };
            for n in (0..tables.calls.len() - AHEAD.len()).step_by(1 + AHEAD.len()) {
                time(0, tables, &|tables| (kernel.call)(set, tables, n));
                for (i, ahead) in (1..).zip(AHEAD) {
                    time(i, tables, &|tables| kernel.probe(&probes, tables, n + i, ahead));
                }
            }
            let median = |mut rates: Vec<f64>| {
                rates.sort_by(f64::total_cmp);
                rates[rates.len() / 2]
            };
            let mut medians = rates.into_iter().map(median);
            let rate = medians.next().expect("the kernel's");
            let share = 100.0 * rate / medians.fold(0.0, f64::max);
            let rows = rate * 1e3 * CALL as f64 / kernel.bytes() as f64;
            let (set, kernel) = (set.name, kernel.name);
            println!("  {set:9} {kernel:25} {rows:6.1} M rows/s {rate:6.1} GB/s  {share:4.0} %");
        }
    }
}

fn rows(criterion: &mut Criterion, tables: &mut Tables) {
    for kernel in &ROW_KERNELS {
        let mut group = criterion.benchmark_group(kernel.name);
        group.throughput(Throughput::ElementsAndBytes { elements: CALL as u64, bytes: kernel.bytes() as u64 });
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
    group.finish();
    // Of which one in eighty is left, as when `best` has learnt.
    let gradients: Vec<f32> = (0..N).map(|_| (rng.random_range(-9.0f32..0.0) * 2.0).exp()).collect();
    let threshold = 80.0 * gradients.iter().sum::<f32>() / N as f32;
    let bars: Vec<f32> = (0..2 * BATCH).map(|_| rng.random_range(0.0..threshold)).collect();
    let (numbers, from): (Vec<u32>, _) = ((0..BATCH as u32).collect(), vec![7; N / BATCH]);
    let (mut ends, mut columns, mut values) = (from.clone(), vec![0; N], vec![0.0; N]);
    let mut group = criterion.benchmark_group("thin gradients");
    group.throughput(Throughput::Elements(N as u64));
    for set in all_supported() {
        force(set);
        group.bench_function(set.name, |bencher| {
            bencher.iter(|| {
                let to = Thinned { ends: &mut ends, columns: &mut columns, values: &mut values };
                thin_block(black_box(&gradients), &numbers, &bars, &from, threshold, to);
            });
        });
    }
    force(all_supported()[0]);
}

/// The dense engine's three products on a block of labels, one thread: our own, and the crate `gemm`, which takes over
/// where there is no AVX-512. Elements are floating-point operations.
fn products(criterion: &mut Criterion) {
    /// Labels a block, as in the engine: all operands lie in the second-level cache.
    const L: usize = 128;
    let mut rng = Pcg64Mcg::seed_from_u64(9);
    let mut matrix = |rows: usize, columns: usize| aligned(rows * columns, || rng.random_range(-1.0..1.0));
    // Our engine keeps H and G by neuron, B columns a row, so that all three have rows to run along.
    let (w, h, g, h_by_sample) = (matrix(L, WIDTH), matrix(WIDTH, BATCH), matrix(L, BATCH), matrix(BATCH, WIDTH));
    let cases = [
        ("logits = W·H", Product::rows((L, BATCH, WIDTH), &w, WIDTH, &h, BATCH)),
        ("dW = G·Hᵀ", Product::rows((L, WIDTH, BATCH), &g, BATCH, &h_by_sample, WIDTH)),
        ("dH = Wᵀ·G", Product::transposed((WIDTH, BATCH, L), &w, WIDTH, &g, BATCH)),
    ];
    let mut group = criterion.benchmark_group("gemm");
    group.throughput(Throughput::Elements((2 * BATCH * L * WIDTH) as u64));
    for (name, product) in cases {
        let mut out = aligned(product.m * product.n, || 0.0);
        group.bench_function(format!("{name}, ours"), |bencher| bencher.iter(|| product.run(black_box(&mut out))));
        group.bench_function(format!("{name}, crate gemm"), |bencher| {
            bencher.iter(|| crate_gemm(&product, black_box(&mut out)));
        });
    }
    let [mut a, mut b] = [L * WIDTH / 2, WIDTH * BATCH / 2].map(|pairs| Aligned::from(&*vec![0u32; pairs]));
    let mut logits = aligned(L * BATCH, || 0.0);
    pack_rows(&w, Parts::One, &mut a);
    pack_pairs(&h, BATCH, Parts::One, &mut b);
    let product = PairProduct { m: L, n: BATCH, k: WIDTH, parts: Parts::One, a: &a, b: &b, accumulate: false };
    group.bench_function(format!("logits = W·H, {}", Method::best().name()), |bencher| {
        bencher.iter(|| product.run(black_box(&mut logits), &mut Ahead::default()));
    });
}

fn crate_gemm(product: &Product<'_>, out: &mut [f32]) {
    let Product { m, n, depth: k, a, b, .. } = *product;
    assert!(out.len() == m * n && b.len() == k * n && a.len() == m * k);
    // SAFETY: the three matrices are as long as their shapes say, and the strides are those of these shapes.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            product.column as isize,
            product.row as isize,
            b.as_ptr(),
            1,
            n as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Hash tables over 65,536 neurons: hashing weight rows, filing them, hashing a batch of queries, reading its buckets.
/// Elements are vectors.
fn hashing(criterion: &mut Criterion) {
    const NEURONS: usize = 1 << 16;
    let mut rng = Pcg64Mcg::seed_from_u64(10);
    let weights: Vec<f32> = (0..NEURONS * WIDTH).map(|_| rng.random_range(-1.0..1.0)).collect();
    let queries: Vec<f32> = (0..BATCH * WIDTH).map(|_| rng.random_range(-1.0f32..1.0).max(0.0)).collect();
    for (name, family, bits) in [("simhash", Family::Simhash, 9), ("dwta", Family::Dwta, 6)] {
        let settings = LshSettings { family, bits, ..LshSettings::default() };
        let hasher = Hasher::new(&settings, WIDTH, 1).expect("good settings");
        let mut tables = HashTables::new(&hasher, NEURONS);
        let mut group = criterion.benchmark_group(format!("lsh {name} K={bits} T={}", settings.tables));
        group.throughput(Throughput::Elements(NEURONS as u64));
        group.bench_function("hash the weights, all threads", |bencher| {
            bencher.iter(|| tables.rehash(&hasher, &weights, WIDTH));
        });
        group.bench_function("insert, all threads", |bencher| bencher.iter(|| tables.insert(1)));
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut buckets = vec![0; settings.tables * BATCH];
        group.bench_function("hash queries", |bencher| {
            bencher.iter(|| hasher.hash_queries(&queries, WIDTH, 0..BATCH, &mut buckets));
        });
        group.bench_function("read buckets", |bencher| {
            bencher.iter(|| {
                let of_table = buckets.chunks(BATCH).enumerate();
                let ids = of_table.flat_map(|(table, buckets)| buckets.iter().map(move |&bucket| (table, bucket)));
                let sum = |ids: &[u32]| ids.iter().fold(0u32, |sum, &id| sum.wrapping_add(id));
                ids.fold(0u32, |total, (table, bucket)| total.wrapping_add(sum(tables.bucket(table, bucket))))
            });
        });
    }
}

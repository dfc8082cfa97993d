//! The parts an engine is made of, one by one, by criterion: `cargo bench --bench kernels [-- FILTER]`.
//!
//! Row kernels work on random rows of tables the size of Amazon-670K's output layer, far larger than caches, and one
//! thread runs them. What share of the machine's random-row bandwidth each reaches, `slidebench run row-kernels` says.

use criterion::{BatchSize, Criterion, Throughput};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use slidebench::kernels::bf16::{Method, PairProduct, Parts, pack_pairs, pack_rows};
use slidebench::kernels::gemm::{Ahead, Product};
use slidebench::kernels::memory::Aligned;
use slidebench::kernels::thin::{Thinned, thin_block};
use slidebench::kernels::{AdamRows, all_supported, force};
use slidebench::lsh::{Family, Hasher, LshSettings, Tables as HashTables};
use slidebench::measure::row_kernels::{AMAZON, CALL, ROW_KERNELS, Tables, WIDTH};
use slidebench::network::Training;
use std::hint::black_box;
use std::time::Duration;

/// B.
const BATCH: usize = 128;

fn main() {
    let mut criterion = criterion_for_us();
    rows(&mut criterion);
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

/// `count` values from the start of a cache line on, as the engines keep theirs.
fn aligned(count: usize, value: impl FnMut() -> f32) -> Aligned<f32> {
    Aligned::from(&*std::iter::repeat_with(value).take(count).collect::<Vec<f32>>())
}

fn rows(criterion: &mut Criterion) {
    let mut tables = Tables::new(AMAZON).expect("2 GB of memory");
    for kernel in &ROW_KERNELS {
        let mut group = criterion.benchmark_group(kernel.name);
        group.throughput(Throughput::ElementsAndBytes { elements: CALL as u64, bytes: kernel.bytes() as u64 });
        for set in all_supported() {
            let mut n = 0;
            group.bench_function(set.name, |bencher| {
                bencher.iter(|| {
                    n = (n + 1) % tables.calls();
                    (kernel.call)(set, &mut tables, n);
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
    let step = Training::default().adam_step(100);
    for set in all_supported() {
        group.bench_function(set.name, |bencher| {
            bencher.iter(|| {
                let state = AdamRows { w: &mut w, m: &mut m, v: &mut v };
                (set.adam)(state, &logits, step);
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

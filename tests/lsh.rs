//! Hash functions, tables and schedules, through the public face of `slidebench::lsh`.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal};
use rand_pcg::Pcg64Mcg;
use slidebench::lsh::{
    Corrections, Family, Hasher, IncrementalSimHash, Insertion, LshSettings, Monitor, Packing, Rebuild,
    RebuildSchedule, RebuildSettings, Simd, Tables, collision, schedule::Policy,
};
use slidebench::selection::{ActiveSets, Counts, HashedSettings, Lsh, Neurons, Queries, Selection};
use std::collections::{BTreeMap, BTreeSet};

const FAMILIES: [Family; 5] = [Family::Simhash, Family::Wta, Family::Dwta, Family::Minhash, Family::Mips];

fn normal(count: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let normal = Normal::new(0.0, deviation).unwrap();
    (0..count).map(|_| normal.sample(&mut rng)).collect()
}

fn relu(x: Vec<f32>) -> Vec<f32> {
    x.into_iter().map(|x| x.max(0.0)).collect()
}

fn hasher(settings: &LshSettings, width: usize, seed: u64) -> Hasher {
    Hasher::new(settings, width, seed).unwrap()
}

fn hash(hasher: &Hasher, x: &[f32]) -> Vec<u32> {
    let mut out = vec![0; hasher.tables()];
    hasher.hash(x, &mut out);
    out
}

fn hash_sparse(hasher: &Hasher, x: &[(u32, f32)]) -> Vec<u32> {
    let mut out = vec![0; hasher.tables()];
    let (indices, values): (Vec<_>, Vec<_>) = x.iter().copied().unzip();
    hasher.hash_sparse(&indices, &values, &mut out);
    out
}

fn non_zeros(x: &[f32]) -> Vec<(u32, f32)> {
    (0..).zip(x.iter().copied()).filter(|&(_, x)| x != 0.0).collect()
}

/// Tables of the rows of `weights`, and their hasher.
fn filed(settings: &LshSettings, weights: &[f32], width: usize, stride: usize) -> (Hasher, Tables) {
    let hasher = hasher(settings, width, 7);
    let mut tables = Tables::new(&hasher, weights.len() / stride);
    tables.build(&hasher, weights, stride, 8);
    (hasher, tables)
}

/// Which ids come to which bucket of each table, by the plain code.
fn plainly_filed(hasher: &Hasher, weights: &[f32], stride: usize) -> Vec<BTreeMap<u32, Vec<u32>>> {
    let bound = hasher.bound(weights, stride, 0..weights.len() / stride);
    let mut tables = vec![BTreeMap::<u32, Vec<u32>>::new(); hasher.tables()];
    let mut indices = vec![0; hasher.tables()];
    for (id, row) in (0..).zip(weights.chunks(stride)) {
        hasher.hash_weight(row, bound, &mut indices);
        for (table, &bucket) in tables.iter_mut().zip(&indices) {
            table.entry(bucket).or_default().push(id);
        }
    }
    tables
}

/// Neurons of the buckets a query asks, each once.
fn candidates(hasher: &Hasher, tables: &Tables, query: &[f32]) -> BTreeSet<u32> {
    let mut buckets = vec![0; hasher.tables() * hasher.probes()];
    hasher.probe(query, &mut buckets);
    let of = |(i, &bucket): (usize, &u32)| tables.bucket(i / hasher.probes(), bucket).to_vec();
    buckets.iter().enumerate().flat_map(of).collect()
}

/// Share of the T·K codes in which a query and a weight row agree.
fn agreement(hasher: &Hasher, query: &[f32], weight: &[f32], bound: f32) -> f64 {
    let functions = hasher.tables() * hasher.settings().bits;
    let (mut a, mut b) = (vec![0; functions], vec![0; functions]);
    hasher.codes(query, &mut a);
    hasher.weight_codes(weight, bound, &mut b);
    a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / functions as f64
}

/// Four standard errors of a share `p` estimated from `draws` independent draws.
fn four_errors(p: f64, draws: usize) -> f64 {
    4.0 * (p * (1.0 - p) / draws as f64).sqrt()
}

// Hash functions

fn any_settings() -> impl Strategy<Value = LshSettings> {
    let family = prop::sample::select(FAMILIES.to_vec());
    let packing = prop::sample::select(vec![Packing::Exact, Packing::Released]);
    (family, packing, 1..8_usize, 1..7_usize, 2..12_usize, 1..12_usize, 1..40_usize).prop_map(
        |(family, packing, bits, tables, bin, sparsity, top)| LshSettings {
            family,
            packing,
            bits,
            tables,
            bin,
            sparsity,
            top,
            ..LshSettings::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the instruction set, many vectors hash as one by one, bit for bit, and within the table.
    #[test]
    fn bulk_hashing_equals_plain_hashing(
        settings in any_settings(),
        width in 1..200_usize,
        rows in 1..40_usize,
        gap in 0..20_usize,
        exponent in -60..60_i32,
        // Few distinct values, so that there are many ties and zeros; or none.
        levels in prop::option::of(1..5_i32),
        seed: u64,
    ) {
        let stride = width + gap;
        let mut x = normal(rows * stride, 2.0, seed);
        for x in &mut x {
            let value = levels.map_or(*x, |levels| (*x * levels as f32).round());
            *x = value * (exponent as f32).exp2();
        }
        let plain = hasher(&settings, width, seed);
        let bound = plain.bound(&x, stride, 0..rows);
        for simd in Simd::supported() {
            let hasher = plain.clone().with_simd(simd);
            prop_assert_eq!(hasher.bound(&x, stride, 0..rows), bound);
            let mut weights = vec![0; hasher.tables() * rows];
            let mut queries = weights.clone();
            hasher.hash_rows(&x, stride, 0..rows, bound, &mut weights);
            hasher.hash_queries(&x, stride, 0..rows, &mut queries);
            let mut one = vec![0; hasher.tables()];
            for (row, x) in x.chunks(stride).enumerate() {
                hasher.hash_weight(x, bound, &mut one);
                for (table, &bucket) in one.iter().enumerate() {
                    prop_assert!((bucket as usize) < hasher.buckets());
                    prop_assert_eq!(weights[table * rows + row], bucket, "{:?} weight {} table {}", simd, row, table);
                }
                hasher.hash(x, &mut one);
                for (table, &bucket) in one.iter().enumerate() {
                    prop_assert_eq!(queries[table * rows + row], bucket, "{:?} query {} table {}", simd, row, table);
                }
            }
        }
    }

    /// A sparse vector hashes as itself, in any order of its non-zeros, and within the table however empty it is.
    #[test]
    fn sparse_hashing(settings in any_settings(), width in 1..200_usize, keep in 0..101_u32, seed: u64) {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut x = normal(width, 1.0, seed);
        x.iter_mut().for_each(|x| if rng.random_range(0..100) >= keep { *x = 0.0 });
        let hasher = hasher(&settings, width, seed);
        let forwards = hash_sparse(&hasher, &non_zeros(&x));
        let backwards: Vec<_> = non_zeros(&x).into_iter().rev().collect();
        prop_assert_eq!(&forwards, &hash_sparse(&hasher, &backwards));
        prop_assert!(forwards.iter().all(|&bucket| (bucket as usize) < hasher.buckets()));
        // DWTA looks at non-zeros alone: the same as dense only where there are no zeros.
        if settings.family != Family::Dwta || keep == 100 {
            prop_assert_eq!(forwards, hash(&hasher, &x));
        }
    }
}

#[test]
fn the_seed_decides_the_functions() {
    let x = normal(64, 1.0, 1);
    for family in FAMILIES {
        let settings = LshSettings { family, ..LshSettings::default() };
        let of = |seed| hash(&hasher(&settings, 64, seed), &x);
        assert_eq!(of(1), of(1), "{family:?}");
        assert_ne!(of(1), of(2), "{family:?}");
    }
}

#[test]
fn every_option_of_a_family_changes_its_hashes() {
    let x = normal(64, 1.0, 1);
    let plain = LshSettings { bits: 4, ..LshSettings::default() };
    let of = |settings: LshSettings| hash(&hasher(&settings, 64, 3), &x);
    let simhash = LshSettings { family: Family::Simhash, ..plain.clone() };
    let minhash = LshSettings { family: Family::Minhash, ..plain.clone() };
    let mips = LshSettings { family: Family::Mips, ..plain.clone() };
    let families: BTreeSet<_> = [&plain, &simhash, &minhash, &mips].into_iter().map(|s| of(s.clone())).collect();
    assert_eq!(families.len(), 4);
    assert_ne!(of(plain.clone()), of(LshSettings { bin: 4, ..plain.clone() }));
    assert_ne!(of(plain.clone()), of(LshSettings { packing: Packing::Exact, ..plain.clone() }));
    for sparsity in [1, 10] {
        assert_ne!(of(simhash.clone()), of(LshSettings { sparsity, ..simhash.clone() }));
    }
    assert_ne!(of(minhash.clone()), of(LshSettings { top: 5, ..minhash.clone() }));
    assert_ne!(of(minhash.clone()), of(LshSettings { range: 12, ..minhash.clone() }));
    for settings in [plain, simhash, minhash, mips] {
        assert_ne!(of(settings.clone()), of(LshSettings { bits: 5, ..settings.clone() }));
        assert_eq!(of(LshSettings { tables: 3, ..settings }).len(), 3);
    }
}

#[test]
fn wta_and_dwta_differ_on_sparse_vectors_alone() {
    let of = |family| hasher(&LshSettings { family, ..LshSettings::default() }, 128, 3);
    let (wta, dwta) = (of(Family::Wta), of(Family::Dwta));
    let dense = normal(128, 1.0, 1);
    assert_eq!(hash(&wta, &dense), hash(&dwta, &dense));
    let mut sparse = relu(dense);
    sparse[..110].fill(0.0);
    assert_ne!(hash_sparse(&wta, &non_zeros(&sparse)), hash_sparse(&dwta, &non_zeros(&sparse)));
}

#[test]
fn dwta_remembers_sparse_vectors_better_than_wta() {
    // Two vectors that share 4 of 6 non-zeros among 200: nearly all bins are empty, so that WTA's codes say nothing.
    let a: Vec<_> = (0..6).map(|i| (i * 30, 1.0 + i as f32)).collect();
    let b: Vec<_> = (2..8).map(|i| (i * 30 % 200, 1.0 + i as f32)).collect();
    let other: Vec<_> = (0..6).map(|i| (i * 30 + 7, 1.0 + i as f32)).collect();
    let contrast = |family| {
        let settings = LshSettings { family, bits: 1, tables: 4000, packing: Packing::Exact, ..LshSettings::default() };
        let hasher = hasher(&settings, 200, 5);
        let hashes = |x: &[(u32, f32)]| hash_sparse(&hasher, x);
        let same = |x: &[u32], y: &[u32]| x.iter().zip(y).filter(|(x, y)| x == y).count() as f64 / 4000.0;
        let a = hashes(&a);
        same(&a, &hashes(&b)) - same(&a, &hashes(&other))
    };
    let (wta, dwta) = (contrast(Family::Wta), contrast(Family::Dwta));
    assert!(dwta > 2.0 * wta, "wta {wta}, dwta {dwta}");
}

#[test]
fn codes_are_packed_as_asked() {
    let x = normal(128, 1.0, 9);
    for (packing, shift, buckets) in [(Packing::Released, 2, 9556), (Packing::Exact, 3, 1 << 18)] {
        let hasher = hasher(&LshSettings { packing, ..LshSettings::default() }, 128, 1);
        assert_eq!(hasher.buckets(), buckets);
        let mut codes = vec![0; 300];
        hasher.codes(&x, &mut codes);
        assert!(codes.contains(&7) && codes.iter().all(|&code| code < 8));
        for (bucket, codes) in hash(&hasher, &x).into_iter().zip(codes.chunks(6)) {
            assert_eq!(bucket, (0..6).map(|j| codes[j] << ((5 - j) * shift)).sum::<u32>());
        }
    }
}

#[test]
fn a_right_setting_is_told_of_every_wrong_one() {
    let refused = |settings: LshSettings| Hasher::new(&settings, 128, 1).unwrap_err().to_string();
    let d = LshSettings::default;
    assert!(refused(LshSettings { bits: 0, ..d() }).starts_with("lsh: bits = 0"));
    assert!(refused(LshSettings { bits: 11, packing: Packing::Exact, ..d() }).contains("at most 10"));
    assert!(refused(LshSettings { bits: 16, ..d() }).contains("at most 14"));
    assert!(refused(LshSettings { tables: 0, ..d() }).contains("tables"));
    assert!(refused(LshSettings { capacity: 0, ..d() }).contains("capacity"));
    assert!(refused(LshSettings { bin: 1, ..d() }).contains("bin"));
    assert!(refused(LshSettings { probes: 65, ..d() }).contains("at most 64"));
    assert!(refused(LshSettings { family: Family::Minhash, probes: 2, ..d() }).contains("probes"));
    assert!(refused(LshSettings { family: Family::Minhash, range: 31, ..d() }).contains("range"));
    assert!(refused(LshSettings { family: Family::Minhash, top: 0, ..d() }).contains("top"));
    assert!(refused(LshSettings { family: Family::Simhash, bits: 31, ..d() }).contains("bits"));
    assert!(refused(LshSettings { family: Family::Simhash, sparsity: 0, ..d() }).contains("sparsity"));
    assert!(refused(LshSettings { incremental: true, ..d() }).contains("simhash"));
    assert!(Hasher::new(&d(), 0, 1).is_err());
}

#[test]
fn settings_are_read_from_toml() {
    let text = "family = 'simhash'\nbits = 9\ninsertion = 'reservoir'\n[rebuild]\npolicy = 'on-change'\nshare = 0.2";
    let settings: LshSettings = toml::from_str(text).unwrap();
    let expected = LshSettings {
        family: Family::Simhash,
        bits: 9,
        insertion: Insertion::Reservoir,
        rebuild: RebuildSettings { policy: Policy::OnChange, share: 0.2, ..RebuildSettings::default() },
        ..LshSettings::default()
    };
    assert_eq!(settings, expected);
    assert!(toml::from_str::<LshSettings>("bit = 9").unwrap_err().to_string().contains("unknown field"));
}

#[test]
fn what_is_not_a_number_does_no_harm() {
    for family in FAMILIES {
        let settings = LshSettings { family, capacity: 5, ..LshSettings::default() };
        let mut weights = normal(100 * 32, 1.0, 1);
        for (i, bad) in
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE / 8.0].iter().enumerate()
        {
            weights[i * 37..i * 37 + 20].fill(*bad);
        }
        let (hasher, tables) = filed(&settings, &weights, 30, 32);
        candidates(&hasher, &tables, &weights[..32]);
    }
}

// Collision probabilities: the hashes drawn agree as often as the formulas say, within four standard errors.

#[test]
fn simhash_collides_with_the_angle() {
    let a = normal(512, 1.0, 1);
    for (seed, mix) in [(2, 0.2_f32), (3, 0.7), (4, 2.0)] {
        let b: Vec<f32> = normal(512, 1.0, seed).iter().zip(&a).map(|(x, a)| a + mix * x).collect();
        let p = collision::simhash(&a, &b);
        for sparsity in [1, 3, 10] {
            let settings =
                LshSettings { family: Family::Simhash, bits: 4, tables: 5000, sparsity, ..LshSettings::default() };
            let found = agreement(&hasher(&settings, 512, seed), &a, &b, 0.0);
            // Signs of ±1 are not Gaussian; at 52 terms or more the difference is below one per cent.
            assert!((found - p).abs() < four_errors(p, 20_000) + 0.01, "1/{sparsity}: {found} for {p}");
        }
    }
}

#[test]
fn sparse_signs_collide_as_all_of_them_together() {
    // So short and uneven that 1 − θ/π is wrong, which the enumeration must know.
    let a = [3.0, 0.1, -0.2, 0.5, 1.0, -0.7, 0.3];
    let b = [0.2, 0.3, -1.0, 0.4, 2.0, 0.9, -0.1];
    let mut far = 0;
    for sparsity in [1, 2, 3] {
        let p = collision::simhash_signs(&a, &b, 7_usize.div_ceil(sparsity));
        let settings =
            LshSettings { family: Family::Simhash, bits: 4, tables: 10_000, sparsity, ..LshSettings::default() };
        let found = agreement(&hasher(&settings, 7, 5), &a, &b, 0.0);
        assert!((found - p).abs() < four_errors(p, 40_000), "1/{sparsity}: {found} for {p}");
        far += usize::from((p - collision::simhash(&a, &b)).abs() > 0.02);
    }
    assert!(far > 0);
}

#[test]
fn wta_collides_by_the_order_of_coordinates() {
    let a = normal(40, 1.0, 1);
    for (seed, mix) in [(2, 0.3_f32), (3, 1.0), (4, 30.0)] {
        let b: Vec<f32> = normal(40, 1.0, seed).iter().zip(&a).map(|(x, a)| a + mix * x).collect();
        // Half of the coordinates of a rectified vector are equal: ties.
        for (a, b) in [(a.clone(), b.clone()), (relu(a.clone()), relu(b.clone())), (relu(a.clone()), b.clone())] {
            for bin in [2, 8] {
                let p = collision::wta(&a, &b, bin);
                let settings = LshSettings { bin, bits: 4, tables: 5000, ..LshSettings::default() };
                let found = agreement(&hasher(&settings, 40, seed), &a, &b, 0.0);
                assert!((found - p).abs() < four_errors(p, 20_000), "bins of {bin}: {found} for {p}");
            }
        }
    }
    assert!((collision::wta(&a, &a, 8) - 1.0).abs() < 1e-9);
}

#[test]
fn dwta_collides_within_its_bounds() {
    for (seed, zeros) in [(1, 0), (2, 25), (3, 34)] {
        let (mut a, mut b) = (normal(40, 1.0, seed), normal(40, 0.5, seed + 10));
        b.iter_mut().zip(&a).for_each(|(b, a)| *b += a);
        a[..zeros].fill(0.0);
        b[5..5 + zeros].fill(0.0);
        let (agree, borrowed) = collision::dwta(&a, &b, 8);
        let settings = LshSettings { bits: 1, tables: 20_000, packing: Packing::Exact, ..LshSettings::default() };
        let hasher = hasher(&settings, 40, seed);
        let (x, y) = (hash_sparse(&hasher, &non_zeros(&a)), hash_sparse(&hasher, &non_zeros(&b)));
        let found = x.iter().zip(&y).filter(|(x, y)| x == y).count() as f64 / 20_000.0;
        let error = four_errors(found, 20_000);
        assert!(agree - error < found && found < agree + borrowed + error, "{found}: {agree} + {borrowed}");
        if zeros == 0 {
            assert_eq!(borrowed, 0.0);
            assert!((agree - collision::wta(&a, &b, 8)).abs() < 1e-9);
        } else {
            assert!(borrowed > 0.02);
        }
    }
}

#[test]
fn minhash_collides_with_the_overlap() {
    let settings = LshSettings { family: Family::Minhash, top: 10, bits: 6, tables: 5000, ..LshSettings::default() };
    for shared in [0, 3, 8, 10] {
        let set = |first: usize| {
            let mut x = vec![0.0; 60];
            for i in 0..10 {
                x[first + i] = 5.0 + i as f32;
            }
            // Smaller ones that do not belong to the set.
            x[50..].fill(1.0);
            x
        };
        let (a, b) = (set(0), set(10 - shared));
        let indices = |first: usize| (first as u32..first as u32 + 10).collect::<Vec<_>>();
        let p = collision::jaccard(&indices(0), &indices(10 - shared));
        assert!((p - shared as f64 / (20 - shared) as f64).abs() < 1e-12);
        // Codes of one table hang together: count only the tables as independent.
        let found = agreement(&hasher(&settings, 60, 3), &a, &b, 0.0);
        assert!((found - p).abs() <= four_errors(p, 5000), "{shared} shared: {found} for {p}");
    }
}

#[test]
fn mips_collides_with_the_inner_product() {
    let settings = LshSettings { family: Family::Mips, bits: 4, tables: 5000, ..LshSettings::default() };
    let hasher = hasher(&settings, 32, 1);
    let query = normal(32, 1.0, 2);
    let direction: Vec<f32> = normal(32, 0.5, 3).iter().zip(&query).map(|(x, q)| q + x).collect();
    let mut last = 0.0;
    // One direction, four lengths: the longer, the likelier, which no angle between q and w could tell.
    for length in [0.1, 0.4, 0.7, 1.0] {
        let weight: Vec<f32> = direction.iter().map(|x| x * length).collect();
        let bound = hasher.bound(&direction, 32, 0..1);
        let p = collision::mips(&query, &weight, bound);
        let found = agreement(&hasher, &query, &weight, bound);
        assert!((found - p).abs() < four_errors(p, 20_000), "{found} for {p}");
        assert!(found > last + 0.02);
        last = found;
    }
}

#[test]
fn selection_probabilities_are_those_of_figure_11() {
    for (m, p, expected) in [(1, 0.2, 0.89), (9, 0.8, 0.38), (9, 0.9, 0.74)] {
        assert!((collision::at_least(p, 1, 10, m) - expected).abs() < 0.005);
    }
    for p in [0.0, 0.3, 0.9, 1.0] {
        let direct = 1.0 - (1.0 - f64::powi(p, 3)).powi(50);
        assert!((collision::selection(p, 3, 50) - direct).abs() < 1e-12);
        assert!((collision::at_least(p, 3, 50, 1) - direct).abs() < 1e-9);
    }
    // And those of real tables: how many of 10 tables two vectors share, over 400 draws of all functions.
    let a = normal(200, 1.0, 1);
    let b: Vec<f32> = normal(200, 0.6, 2).iter().zip(&a).map(|(x, a)| a + x).collect();
    let settings = LshSettings { family: Family::Simhash, sparsity: 1, bits: 3, tables: 10, ..LshSettings::default() };
    let shared: Vec<usize> = (0..400)
        .map(|seed| {
            let hasher = hasher(&settings, 200, seed);
            hash(&hasher, &a).iter().zip(hash(&hasher, &b)).filter(|(a, b)| **a == *b).count()
        })
        .collect();
    for m in 1..=9 {
        let p = collision::at_least(collision::simhash(&a, &b), 3, 10, m);
        let found = shared.iter().filter(|&&shared| shared >= m).count() as f64 / 400.0;
        assert!((found - p).abs() < four_errors(p, 400) + 0.02, "{m} of 10: {found} for {p}");
    }
}

// Multi-probe

#[test]
fn probes_start_at_home_and_go_to_the_nearest_buckets() {
    let x = normal(64, 1.0, 1);
    for family in [Family::Simhash, Family::Dwta, Family::Mips] {
        let plain = LshSettings { family, packing: Packing::Exact, bits: 5, tables: 8, ..LshSettings::default() };
        let home = hash(&hasher(&plain, 64, 2), &x);
        let probing = hasher(&LshSettings { probes: 32, ..plain }, 64, 2);
        let mut buckets = vec![0; 8 * 32];
        probing.probe(&x, &mut buckets);
        for (table, run) in buckets.chunks(32).enumerate() {
            assert_eq!(run[0], home[table], "{family:?}");
            assert_eq!(run.iter().collect::<BTreeSet<_>>().len(), 32, "{family:?}: a bucket twice");
        }
        // A batch asks the same, run after run.
        let batch = [x.clone(), normal(64, 1.0, 3), x.clone()].concat();
        let mut runs = vec![0; 8 * 32 * 2];
        probing.hash_queries(&batch, 64, 1..3, &mut runs);
        assert!(runs.chunks(2).zip(&buckets).all(|(run, bucket)| run[1] == *bucket && run.len() == 2));
        assert!(runs.chunks(2).any(|run| run[0] != run[1]));
        if family == Family::Simhash {
            // 32 probes of 5 bits are all buckets; the first neighbour differs in one bit.
            assert_eq!((run_of(&buckets, 0)[0] ^ run_of(&buckets, 0)[1]).count_ones(), 1);
        }
    }
}

fn run_of(buckets: &[u32], table: usize) -> &[u32] {
    &buckets[table * 32..][..32]
}

#[test]
fn probes_find_more_of_the_largest_inner_products() {
    let weights = normal(4000 * 32, 1.0, 1);
    let recall = |probes| {
        let settings =
            LshSettings { family: Family::Mips, bits: 8, tables: 8, probes, capacity: 4000, ..LshSettings::default() };
        let (hasher, tables) = filed(&settings, &weights, 32, 32);
        let (mut found, mut read) = (0, 0);
        for seed in 0..40 {
            let query = normal(32, 1.0, 100 + seed);
            let score = |row: &[f32]| row.iter().zip(&query).map(|(w, q)| w * q).sum::<f32>();
            let best = (0..).zip(weights.chunks(32)).max_by(|a, b| score(a.1).total_cmp(&score(b.1))).unwrap().0;
            let candidates = candidates(&hasher, &tables, &query);
            found += usize::from(candidates.contains(&best));
            read += candidates.len();
        }
        (found, read)
    };
    let ((one, few), (many, more)) = (recall(1), recall(16));
    assert!(many > one + 8, "{one} of 40, then {many}");
    // Better than reading that many neurons at random.
    assert!(many as f64 / 40.0 > 2.0 * more as f64 / 40.0 / 4000.0, "{many} of 40 by reading {more}; {few} before");
}

// Tables

#[test]
fn buckets_hold_what_comes_to_them() {
    let weights = normal(3000 * 32, 0.01, 1);
    let packings = [(Packing::Released, 4), (Packing::Exact, 4), (Packing::Exact, 8)];
    for family in FAMILIES {
        for (packing, bits) in packings {
            let settings = LshSettings { family, packing, bits, tables: 5, capacity: 9, ..LshSettings::default() };
            let (hasher, tables) = filed(&settings, &weights, 30, 32);
            let mut occupancy =
                slidebench::lsh::Occupancy { buckets: 5 * hasher.buckets() as u64, ..Default::default() };
            for (table, buckets) in plainly_filed(&hasher, &weights, 32).iter().enumerate() {
                for (&bucket, ids) in buckets {
                    let kept = &ids[ids.len().saturating_sub(9)..];
                    assert_eq!(tables.bucket(table, bucket), kept, "{family:?} {packing:?} {bits}");
                    occupancy.used += 1;
                    occupancy.ids += kept.len() as u64;
                    occupancy.dropped += (ids.len() - kept.len()) as u64;
                    occupancy.overflowed += u64::from(ids.len() > 9);
                    occupancy.largest = occupancy.largest.max(ids.len() as u64);
                }
                let empty = (0..hasher.buckets() as u32).find(|bucket| !buckets.contains_key(bucket));
                assert!(empty.is_none_or(|bucket| tables.bucket(table, bucket).is_empty()));
            }
            assert_eq!(tables.occupancy(), occupancy);
            assert!(occupancy.mean() >= 1.0 && occupancy.mean() <= 9.0);
        }
    }
}

#[test]
fn wide_codes_do_not_take_memory_for_every_bucket() {
    let settings = LshSettings { bits: 8, packing: Packing::Exact, tables: 10, ..LshSettings::default() };
    let (hasher, tables) = filed(&settings, &normal(5000 * 64, 0.01, 1), 64, 64);
    assert_eq!(hasher.buckets(), 1 << 24);
    assert!(tables.bytes() < 10 * 5000 * 16, "{} bytes", tables.bytes());
}

#[test]
fn fifo_keeps_the_last_and_the_reservoir_any() {
    // Equal rows share every bucket.
    let weights: Vec<f32> = normal(32, 1.0, 1).repeat(1000);
    for (packing, bits) in [(Packing::Released, 4), (Packing::Exact, 8)] {
        let settings = LshSettings { tables: 400, capacity: 100, packing, bits, ..LshSettings::default() };
        let (hasher, fifo) = filed(&settings, &weights, 32, 32);
        let buckets = hash(&hasher, &weights);
        assert!(buckets.iter().enumerate().all(|(t, &bucket)| fifo.bucket(t, bucket).iter().copied().eq(900..1000)));

        let (_, reservoir) = filed(&LshSettings { insertion: Insertion::Reservoir, ..settings }, &weights, 32, 32);
        let mut kept = vec![0_f64; 1000];
        for (t, &bucket) in buckets.iter().enumerate() {
            let ids = reservoir.bucket(t, bucket);
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 100);
            ids.iter().for_each(|&id| kept[id as usize] += 1.0);
        }
        // Each id is kept in 40 of 400 tables; χ² with 999 degrees of freedom has mean 999 and deviation 45.
        let chi: f64 = kept.iter().map(|kept| (kept - 40.0).powi(2) / (40.0 * 0.9)).sum();
        assert!((chi - 999.0).abs() < 5.0 * 45.0, "chi squared {chi}");
    }
}

#[test]
fn capacity_limits_buckets_and_insertion_matters_only_when_it_does() {
    let weights = normal(2000 * 32, 1.0, 1);
    let of = |capacity, insertion| {
        let settings = LshSettings { bits: 3, tables: 4, capacity, insertion, ..LshSettings::default() };
        filed(&settings, &weights, 32, 32)
    };
    for capacity in [1, 10, 2000] {
        let ((hasher, fifo), (_, reservoir)) = (of(capacity, Insertion::Fifo), of(capacity, Insertion::Reservoir));
        let mut differ = 0;
        for table in 0..4 {
            for bucket in 0..hasher.buckets() as u32 {
                let (fifo, reservoir) = (fifo.bucket(table, bucket), reservoir.bucket(table, bucket));
                assert!(fifo.len() <= capacity && fifo.len() == reservoir.len());
                differ += usize::from(fifo != reservoir);
            }
        }
        assert_eq!(differ == 0, capacity == 2000, "capacity {capacity}: {differ} buckets differ");
    }
}

#[test]
fn tables_are_the_same_at_any_number_of_threads_and_after_any_history() {
    let weights = normal(10_000 * 32, 0.01, 1);
    let settings = LshSettings { insertion: Insertion::Reservoir, capacity: 8, tables: 6, ..LshSettings::default() };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| filed(&settings, &weights, 32, 32))
    };
    let ((hasher, one), (_, mut four)) = (on(1), on(4));
    // Something else in between, and back.
    four.build(&hasher, &normal(10_000 * 32, 0.01, 2), 32, 9);
    four.build(&hasher, &weights, 32, 8);
    for table in 0..6 {
        for bucket in 0..hasher.buckets() as u32 {
            assert_eq!(one.bucket(table, bucket), four.bucket(table, bucket));
        }
    }
}

#[test]
fn no_neurons_is_not_a_special_case() {
    let (hasher, tables) = filed(&LshSettings::default(), &[], 16, 16);
    assert!(candidates(&hasher, &tables, &[1.0; 16]).is_empty());
    assert_eq!(tables.occupancy().used, 0);
}

/// Shares of all neurons that a query's 50 buckets hold, against an independent simulation of 670,091 neurons with
/// N(0, 0.01) weights, width 128 and rectified random queries: 0.58 %, 0.024 % and 0.035 %.
#[test]
fn candidates_are_as_many_as_simulated() {
    const NEURONS: usize = 40_000;
    let weights = normal(NEURONS * 128, 0.01, 1);
    for (packing, bits, expected) in [
        (Packing::Released, 6, 0.0058),
        (Packing::Exact, 6, 160.0 / 670_091.0),
        (Packing::Released, 8, 236.0 / 670_091.0),
    ] {
        let settings = LshSettings { packing, bits, ..LshSettings::default() };
        let (hasher, tables) = filed(&settings, &weights, 128, 128);
        let found: usize =
            (0..64).map(|seed| candidates(&hasher, &tables, &relu(normal(128, 1.0, 10 + seed))).len()).sum();
        let share = found as f64 / 64.0 / NEURONS as f64;
        assert!((share / expected - 1.0).abs() < 0.2, "{packing:?} K {bits}: {share} for {expected}");
    }
}

// Incremental SimHash

#[test]
fn incremental_updates_equal_full_rehashes() {
    let settings = LshSettings { family: Family::Simhash, bits: 9, tables: 10, ..LshSettings::default() };
    let hasher = hasher(&settings, 45, 1);
    let mut weights = normal(600 * 48, 0.01, 2);
    let mut projections = IncrementalSimHash::new(&hasher, 600).unwrap();
    assert_eq!(projections.update(&weights, 48).rows, 600);
    assert_eq!(projections.update(&weights, 48), Corrections::default());
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    let (mut full, mut corrected) = (Tables::new(&hasher, 600), Tables::new(&hasher, 600));
    for round in 0..30 {
        for _ in 0..500 {
            let (row, c) = (rng.random_range(0..600), rng.random_range(0..45));
            weights[row * 48 + c] += rng.random_range(-0.003..0.003) * (1 + round % 3) as f32;
        }
        let done = projections.update(&weights, 48);
        assert!(done.rows < 60, "{done:?}");
        assert!(done.weights <= 500 && done.additions <= 500 * 90, "{done:?}");
        full.build(&hasher, &weights, 48, 1);
        corrected.rehash_from(&projections);
        corrected.insert(1);
        for table in 0..10 {
            for bucket in 0..512 {
                assert_eq!(full.bucket(table, bucket), corrected.bucket(table, bucket), "round {round}");
            }
        }
    }
    // A weight is looked at by one in three of the 90 functions.
    weights[7] *= 1.01;
    let done = projections.update(&weights, 48);
    assert!(done.weights == 1 && (10..60).contains(&done.additions), "{done:?}");
    assert!(IncrementalSimHash::new(&Hasher::new(&LshSettings::default(), 45, 1).unwrap(), 1).is_err());
}

// Schedules

fn rebuild_steps(settings: RebuildSettings, until: u64, flipped: impl Fn(u64) -> f64) -> Vec<(u64, Rebuild)> {
    let mut schedule = RebuildSchedule::new(settings).unwrap();
    let steps = (1..=until).filter_map(|step| Some((step, schedule.due(step, || flipped(step))?)));
    let rebuilds: Vec<_> = steps.collect();
    assert_eq!(schedule.rebuilds(), rebuilds.len() as u64);
    rebuilds
}

fn steps(rebuilds: &[(u64, Rebuild)]) -> Vec<u64> {
    rebuilds.iter().map(|&(step, _)| step).collect()
}

#[test]
fn rebuilds_come_when_scheduled() {
    let d = RebuildSettings { every: 50, ..RebuildSettings::default() };
    let not_asked = |_| -> f64 { panic!("bits are monitored on-change alone") };
    let fixed = rebuild_steps(RebuildSettings { policy: Policy::Fixed, ..d }, 220, not_asked);
    assert_eq!(steps(&fixed), [50, 100, 150, 200]);

    // Σ 50·e^(0.5 i): 50, 132.4, 268.4, 492.4, 861.9.
    let backoff = RebuildSettings { policy: Policy::Backoff, lambda: 0.5, ..d };
    assert_eq!(steps(&rebuild_steps(backoff, 900, not_asked)), [50, 133, 269, 493, 862]);
    let constant = RebuildSettings { policy: Policy::Backoff, lambda: 0.0, ..d };
    assert_eq!(rebuild_steps(constant, 220, not_asked), fixed);

    let change = RebuildSettings { policy: Policy::OnChange, share: 0.3, ..d };
    let flipped = |step| if step == 100 || step == 150 { 0.31 } else { 0.3 };
    assert_eq!(steps(&rebuild_steps(change, 220, flipped)), [100, 150]);

    let never = RebuildSettings { policy: Policy::Never, ..d };
    assert!(rebuild_steps(never, 500, not_asked).is_empty());

    let redraw = rebuild_steps(RebuildSettings { redraw: 2, ..d }, 220, not_asked);
    let kinds: Vec<_> = redraw.iter().map(|&(_, kind)| kind).collect();
    assert_eq!(kinds, [Rebuild::Keep, Rebuild::Redraw, Rebuild::Keep, Rebuild::Redraw]);
    assert!(fixed.iter().all(|&(_, kind)| kind == Rebuild::Keep));

    for wrong in [
        RebuildSettings { every: 0, ..d },
        RebuildSettings { lambda: -0.1, ..d },
        RebuildSettings { lambda: f64::NAN, ..d },
        RebuildSettings { share: 1.5, ..d },
        RebuildSettings { policy: Policy::OnChange, monitored: 0, ..d },
    ] {
        assert!(RebuildSchedule::new(wrong).is_err());
    }
}

#[test]
fn the_monitor_tells_the_share_of_flipped_codes() {
    for family in FAMILIES {
        let rebuild = RebuildSettings { monitored: 200, ..RebuildSettings::default() };
        let settings = LshSettings { family, rebuild, ..LshSettings::default() };
        let hasher = hasher(&settings, 64, 1);
        let mut weights = normal(1000 * 64, 0.01, 2);
        let monitor = Monitor::new(&hasher, &weights, 64, 1000);
        assert_eq!(monitor.flipped(&hasher, &weights, 64, 1000), 0.0);
        // Half of the rows are turned about: as good as all of their codes change.
        weights.chunks_mut(64).take(500).for_each(|row| row.iter_mut().for_each(|w| *w = -*w));
        let flipped = monitor.flipped(&hasher, &weights, 64, 1000);
        assert!((0.25..=0.5).contains(&flipped), "{family:?}: {flipped}");
    }
}

// The selection that asks the tables

/// The counts of 32 samples, step after step, while the weights move.
fn selected(lsh: LshSettings) -> (Vec<Vec<Counts>>, Vec<bool>) {
    let settings = HashedSettings { lsh, ..HashedSettings::default() };
    let mut selection = Lsh::new(&settings, 64, 3000, 1).unwrap();
    let (mut weights, bias) = (normal(3000 * 64, 0.1, 1), vec![0.0; 3000]);
    let x = relu(normal(32 * 64, 1.0, 2));
    let mut sets = ActiveSets::new(3000);
    let (mut counts, mut rebuilt) = (Vec::new(), Vec::new());
    for step in 0..12 {
        let neurons = Neurons { weights: (&weights).into(), bias: &bias, width: 64, stride: 64 };
        rebuilt.push(selection.prepare(step, neurons));
        sets.reset(32);
        selection.select(step, Queries { x: &x, width: 64, stride: 64 }, neurons, &mut sets);
        counts.push(sets.counts().to_vec());
        weights.iter_mut().zip(normal(3000 * 64, 0.02, 10 + step)).for_each(|(w, change)| *w += change);
    }
    (counts, rebuilt)
}

#[test]
fn the_selection_heeds_the_settings() {
    let rebuild = RebuildSettings { every: 4, ..RebuildSettings::default() };
    let simhash = LshSettings { family: Family::Simhash, tables: 8, rebuild, ..LshSettings::default() };
    let (counts, rebuilt) = selected(simhash.clone());
    assert_eq!((0..12).filter(|&step| rebuilt[step]).collect::<Vec<_>>(), [0, 4, 8]);
    assert_ne!(counts[3], counts[4]);

    let incremental = selected(LshSettings { incremental: true, ..simhash.clone() });
    assert_eq!(incremental, (counts.clone(), rebuilt));

    let (probed, _) = selected(LshSettings { probes: 4, ..simhash.clone() });
    let total = |counts: &[Vec<Counts>]| counts.iter().flatten().map(|counts| counts.selected).sum::<u32>();
    assert!(total(&probed) > 2 * total(&counts));

    let redrawn = RebuildSettings { redraw: 1, ..rebuild };
    let (redrawn, _) = selected(LshSettings { rebuild: redrawn, incremental: true, ..simhash.clone() });
    assert_eq!(redrawn[3], counts[3]);
    assert_ne!(redrawn[4], counts[4]);

    for (share, expected) in [(0.0, vec![0, 4, 8]), (0.15, vec![0, 8]), (1.0, vec![0])] {
        let rebuild = RebuildSettings { policy: Policy::OnChange, share, ..rebuild };
        let (_, rebuilt) = selected(LshSettings { rebuild, ..simhash.clone() });
        assert_eq!((0..12).filter(|&step| rebuilt[step]).collect::<Vec<_>>(), expected, "share {share}");
    }
}

// Measurements

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// CPU seconds of a rebuild, one thread:
/// `cargo test --release --test lsh rebuild_seconds -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn rebuild_seconds() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let weights = normal(670_091 * 128, 0.01, 1);
    let measure = |name: &str, settings: LshSettings, neurons: usize, simd: Simd| {
        let hasher = hasher(&settings, 128, 1).with_simd(simd);
        let mut tables = Tables::new(&hasher, neurons);
        let mut best = (f64::INFINITY, f64::INFINITY);
        for round in 0..5 {
            let start = cpu_seconds();
            pool.install(|| tables.rehash(&hasher, &weights, 128));
            let hashed = cpu_seconds();
            pool.install(|| tables.insert(1));
            // The first round faults the memory in.
            if round > 0 {
                best = (best.0.min(hashed - start), best.1.min(cpu_seconds() - hashed));
            }
        }
        println!("{name} {simd:?}: hash {:.3} s, insert {:.3} s, {} MB", best.0, best.1, tables.bytes() / 1_000_000);
    };
    for simd in Simd::supported() {
        measure("670,091 DWTA K 6 T 50 released", LshSettings::default(), 670_091, simd);
        for insertion in [Insertion::Fifo, Insertion::Reservoir] {
            let settings = LshSettings { family: Family::Simhash, bits: 9, insertion, ..LshSettings::default() };
            measure(&format!("205,443 SimHash K 9 T 50 {insertion:?}"), settings, 205_443, simd);
        }
    }
    let simd = Simd::supported()[0];
    for (family, bits, packing) in
        [(Family::Dwta, 8, Packing::Exact), (Family::Mips, 9, Packing::Exact), (Family::Minhash, 6, Packing::Exact)]
    {
        let settings = LshSettings { family, bits, packing, ..LshSettings::default() };
        measure(&format!("205,443 {family:?} K {bits} T 50 {packing:?}"), settings, 205_443, simd);
    }
}

/// CPU seconds of asking the tables for a batch, one thread.
#[test]
#[ignore = "a measurement"]
fn query_seconds() {
    const NEURONS: usize = 670_091;
    let weights = normal(NEURONS * 128, 0.01, 1);
    let (hasher, tables) = filed(&LshSettings::default(), &weights, 128, 128);
    let queries = relu(normal(128 * 128, 1.0, 2));
    let mut codes = vec![0; 50 * 128];
    let mut flush = vec![0_u64; 8 << 20];
    for _ in 0..5 {
        // What a step's other work does to the caches.
        flush.iter_mut().for_each(|x| *x += 1);
        let start = cpu_seconds();
        hasher.hash_queries(&queries, 128, 0..128, &mut codes);
        let hashed = cpu_seconds();
        let (mut ids, mut sum) = (0, 0_u64);
        for sample in 0..128 {
            for table in 0..50 {
                let bucket = tables.bucket(table, codes[table * 128 + sample]);
                ids += bucket.len();
                sum += bucket.iter().map(|&id| u64::from(id)).sum::<u64>();
            }
        }
        println!("hash {:.6} s, read {ids} ids {:.6} s ({sum})", hashed - start, cpu_seconds() - hashed);
    }
}

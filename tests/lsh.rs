//! Hash functions, tables and schedules, through the public face of `slidebench::lsh`.

use slidebench::lsh::{Family, Hasher, Insertion, LshSettings, Packing, Tables};

fn weights(neurons: usize, stride: usize, seed: u64) -> Vec<f32> {
    use rand::SeedableRng;
    use rand_distr::{Distribution, Normal};
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
    let normal = Normal::new(0.0_f32, 0.01).unwrap();
    (0..neurons * stride).map(|_| normal.sample(&mut rng)).collect()
}

#[test]
fn every_neuron_is_found_in_its_own_buckets() {
    for family in [Family::Simhash, Family::Wta, Family::Dwta] {
        let settings = LshSettings { family, tables: 7, capacity: 10_000, ..LshSettings::default() };
        let hasher = Hasher::new(&settings, 30, 1).unwrap();
        let w = weights(5000, 32, 2);
        let mut tables = Tables::new(&hasher, 5000);
        tables.build(&hasher, &w, 32, 3);
        let mut codes = vec![0; 7];
        for (id, row) in w.chunks(32).enumerate() {
            hasher.hash(row, &mut codes);
            for (table, &bucket) in codes.iter().enumerate() {
                assert!(tables.bucket(table, bucket).contains(&(id as u32)), "{family:?}");
            }
        }
    }
}

#[test]
fn released_packing_reaches_9556_buckets_at_k_6() {
    let hasher = Hasher::new(&LshSettings::default(), 128, 1).unwrap();
    assert_eq!(hasher.buckets(), 9556);
    let exact = LshSettings { packing: Packing::Exact, ..LshSettings::default() };
    assert_eq!(Hasher::new(&exact, 128, 1).unwrap().buckets(), 1 << 18);
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// `cargo test --release --test lsh bars -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn bars() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let w = weights(670_091, 128, 1);
        for simd in slidebench::lsh::Simd::supported() {
            let hasher = Hasher::new(&LshSettings::default(), 128, 1).unwrap().with_simd(simd);
            let mut tables = Tables::new(&hasher, 670_091);
            for _ in 0..3 {
                let start = cpu_seconds();
                tables.rehash(&hasher, &w, 128);
                let middle = cpu_seconds();
                tables.insert(1);
                println!("dwta 670,091 {simd:?}: hash {:.3} insert {:.3}", middle - start, cpu_seconds() - middle);
            }
            println!("{:?} {} MB", tables.occupancy(), tables.bytes() / 1_000_000);
        }
        for insertion in [Insertion::Fifo, Insertion::Reservoir] {
            let settings = LshSettings { family: Family::Simhash, bits: 9, insertion, ..LshSettings::default() };
            let hasher = Hasher::new(&settings, 128, 1).unwrap().with_simd(slidebench::lsh::Simd::supported()[0]);
            let mut tables = Tables::new(&hasher, 205_443);
            for _ in 0..3 {
                let start = cpu_seconds();
                tables.rehash(&hasher, &w, 128);
                let middle = cpu_seconds();
                tables.insert(1);
                println!(
                    "simhash 205,443 {insertion:?}: hash {:.3} insert {:.3}",
                    middle - start,
                    cpu_seconds() - middle
                );
            }
            println!("{:?} {} MB", tables.occupancy(), tables.bytes() / 1_000_000);
        }
    });
}

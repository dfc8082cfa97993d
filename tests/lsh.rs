//! Hash functions, tables and schedules, through the public face of `slidebench::lsh`.

use slidebench::lsh::{Family, Hasher, LshSettings, Packing, Tables};

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

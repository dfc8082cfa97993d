//! Which rows come when: every engine of an experiment sees the same rows in the same order.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Keep the streams of the two functions below apart.
const EPOCHS: u64 = u64::from_be_bytes(*b"\0\0\0epoch");
const SAMPLES: u64 = u64::from_be_bytes(*b"\0\0sample");

/// The rows `0..n` in the order of one epoch: a permutation that depends on `seed` and `epoch` only.
pub fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    permutation_prefix(n, n, stream(&[seed, EPOCHS, epoch]))
}

/// `count` of the rows `0..n` (all of them where `count` is larger), without repetition and in random order: the fixed
/// sample of the test set that is evaluated during training. The published test files come sorted by label, so the
/// first rows would not do.
pub fn sample(n: usize, count: usize, seed: u64) -> Vec<u32> {
    permutation_prefix(n, count.min(n), stream(&[seed, SAMPLES]))
}

/// Fisher and Yates, stopped after `count` places.
fn permutation_prefix(n: usize, count: usize, mut rng: Pcg64Mcg) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..u32::try_from(n).expect("more than 2^32 rows")).collect();
    for i in 0..count {
        let j = i + below(&mut rng, (n - i) as u64) as usize;
        rows.swap(i, j);
    }
    rows.truncate(count);
    rows
}

/// A random stream of its own for every list of numbers.
pub(super) fn stream(key: &[u64]) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(xxhash_rust::xxh3::xxh3_64(bytemuck::cast_slice(key)))
}

/// A number in `0..n`, by Lemire's multiplication; its bias of `n / 2^64` is beyond notice. Written out here so that an
/// update of the `rand` crate, whose range sampling may change, cannot change anybody's data.
pub(super) fn below(rng: &mut impl Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// A number in `[0, 1)` with 53 random bits.
pub(super) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

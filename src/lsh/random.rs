//! Random numbers by counter: the finalizer of splitmix64.

/// 64 bits that depend on all bits of both arguments; different counts under one seed give different results.
pub(super) fn mix(seed: u64, count: u64) -> u64 {
    let mut z = seed.wrapping_add(count.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// A number below `n`, none likelier than another by more than n·2⁻³²; `n` fits 32 bits.
pub(super) fn below(n: usize, seed: u64, count: u64) -> usize {
    (((mix(seed, count) >> 32) * n as u64) >> 32) as usize
}

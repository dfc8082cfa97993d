//! Hash families, hash tables and rebuild schedules.
//!
//! A layer's neurons are filed by the hash of their weight row; a query, the layer's input, is hashed the same way and
//! finds the neurons that lie in its buckets. **K** hash functions make the bucket index of one table, **T** tables
//! (the papers' "L") are asked.
//!
//! | file | holds |
//! |---|---|
//! | [`settings`] | what TOML may say |
//! | [`Hasher`] | all T·K functions of one family, drawn from a seed |
//! | [`collision`] | how likely two vectors are to collide, exactly |
//! | [`IncrementalSimHash`] | projections corrected by what changed |
//! | [`Tables`] | T tables in flat memory, built in parallel by counting sort |
//! | [`schedule`], [`Monitor`] | when to rebuild, when to draw new functions |

mod block;
pub mod collision;
mod hasher;
mod incremental;
mod lanes;
mod minhash;
mod mips;
mod monitor;
mod probes;
mod random;
pub mod schedule;
pub mod settings;
mod simhash;
mod tables;
mod wta;

pub use block::Simd;
pub use hasher::Hasher;
pub use incremental::{Corrections, IncrementalSimHash};
pub use monitor::Monitor;
pub use schedule::{Rebuild, RebuildSchedule, RebuildSettings};
pub use settings::{Family, Insertion, LshSettings, Packing};
pub use tables::{Occupancy, Tables};

/// K at most: codes of a table fit a small array.
const MOST_BITS: usize = 32;

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lsh: {setting} = {given}: expected {expected}")]
pub struct LshError {
    /// Its name in TOML.
    pub setting: &'static str,
    pub given: String,
    /// What would do.
    pub expected: String,
}

impl LshError {
    fn new(setting: &'static str, given: impl ToString, expected: impl ToString) -> Self {
        Self { setting, given: given.to_string(), expected: expected.to_string() }
    }
}

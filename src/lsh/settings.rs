//! What a user may choose about hashing, as it stands in TOML.

use super::schedule::RebuildSettings;
use serde::{Deserialize, Serialize};

/// Which hash functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Signs of random projections onto sparse ±1 vectors; similarity is the angle.
    Simhash,
    /// Winner-takes-all: which of `bin` random coordinates is the largest; similarity is the order of the coordinates.
    Wta,
    /// Winner-takes-all that looks at the non-zeros of a sparse vector only and fills empty bins from others.
    #[default]
    Dwta,
    /// One-permutation min-wise hashing of the set of the `top` largest coordinates; similarity is Jaccard's.
    Minhash,
    /// Asymmetric hashing for the inner product (Neyshabur & Srebro's Simple-LSH).
    Mips,
}

/// How the K codes of 0…m−1 of a (D)WTA table are packed into one bucket index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// log₂ m bits a code: different codes, different buckets.
    Exact,
    /// ⌊ln m⌋ bits a code, as in the authors' code: the codes overlap and are summed, so that at m = 8, K = 6 a table
    /// has 9,556 buckets instead of 262,144, each far fuller. The published active counts depend on it.
    #[default]
    Released,
}

/// Which ids a bucket keeps when more arrive than fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Insertion {
    /// The last ones; neurons are inserted by rising id.
    #[default]
    Fifo,
    /// A uniform sample of all.
    Reservoir,
}

/// Hash functions, tables and rebuilds of one layer. The default is SLIDE's setting for Amazon-670K as released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LshSettings {
    pub family: Family,
    /// K, hash functions a table.
    pub bits: usize,
    /// T, number of tables (the papers' L).
    pub tables: usize,
    /// m, coordinates a bin (WTA, DWTA).
    pub bin: usize,
    /// A SimHash function looks at one in `sparsity` coordinates: 1, 3 and 10 in the literature.
    pub sparsity: usize,
    /// Bucket index from codes (WTA, DWTA).
    pub packing: Packing,
    /// Coordinates of the set (MinHash).
    pub top: usize,
    /// log₂ of the buckets a table (MinHash).
    pub range: usize,
    /// Ids a bucket holds.
    pub capacity: usize,
    pub insertion: Insertion,
    /// Buckets a query asks in each table: its own, then the likeliest neighbours.
    pub probes: usize,
    pub rebuild: RebuildSettings,
}

impl Default for LshSettings {
    fn default() -> Self {
        Self {
            family: Family::Dwta,
            bits: 6,
            tables: 50,
            bin: 8,
            sparsity: 3,
            packing: Packing::Released,
            top: 30,
            range: 18,
            capacity: 128,
            insertion: Insertion::Fifo,
            probes: 1,
            rebuild: RebuildSettings::default(),
        }
    }
}

//! A measured value that belongs to no training run: the cost of an insertion, a share of neurons retrieved.

use serde::{Deserialize, Serialize};

/// One line of a result file of measurements. Values of equal `case`, `x` and `quantity` are repeats of each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    pub experiment: String,
    /// Hash of everything that was set, program revision and machine included; what is newest in a file counts.
    pub settings: String,
    /// What is compared: `FIFO`, `DWTA K 6`, `avx512`. One curve of a figure, one row of a table.
    pub case: String,
    /// What `x` is, with its unit: `neurons retrieved`; empty where the case says it all.
    pub x_name: String,
    pub x: Option<f64>,
    /// What was measured: `time`, `recall`, `dTLB load misses`.
    pub quantity: String,
    /// `s`, `CPU s`, `bytes`, `share`, or empty for a bare number.
    pub unit: String,
    /// Empty where it could not be measured; `reason` says why.
    pub value: Option<f64>,
    /// Counts repeats from 0.
    pub repeat: u64,
    /// Host threads used.
    pub threads: usize,
    /// `ok`, `skipped` or `failed`; `complete` is the last line of a measurement that came to its end.
    pub status: String,
    pub reason: String,
    pub notes: String,
    /// UTC, RFC 3339.
    pub time: String,
}

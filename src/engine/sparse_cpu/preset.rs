//! Whole sets of options under one name: `preset = "slide-2020"`. Options given beside a preset override it.
//!
//! # `slide-2020`: the code released with SLIDE (MLSys 2020), setting for Amazon-670K
//!
//! DWTA with K 6, T 50 and the released packing; FIFO buckets of 128; union of all buckets; where fewer than 1,500
//! neurons were found, random ones up to 1,000 from one list that all samples of a second share; rehash every 6,400
//! samples and new hash functions every 128,000; Adam over every output row. Departures from that program:
//!
//! 1. Its trigger of 1,500 has no effect above the floor of 1,000, in either program; it is kept as `fill-below`.
//! 2. Its fill starts anew each second of the clock, ours every `fill-period` steps: runs can be repeated, and faster
//!    code does not train otherwise.
//! 3. Its gradient sums race. Ours are exact unless `sums = "racy"` is set beside the preset.
//! 4. Adam of the first layer follows `training.input-rows`, which all engines of an experiment share; set it to `dense`
//!    for what the program does. The learning rate (1e-4) and the batch (128) are the experiment's as well.
//! 5. Its softmax adds 1e-7 to the normaliser and shifts by max(0, largest logit); ours is exact.
//! 6. Its tables have 2^18 buckets each, of which the packing reaches 9,556; ours have the latter only.
//! 7. Its first layer has tables that are never asked; ours has none.
//! 8. Buckets fill by rising neuron id; its threads insert in any order. Densification that fails leaves its code
//!    beyond the table; ours does not.
//! 9. It initialises with N(0, 0.01), which is the experiment's choice here, the same for all engines.
//! 10. A batch larger than 6,400 divides by zero there and rehashes at every step here.
//!
//! # `slide-2021`: the code of Daghaghi et al. (MLSys 2021), setting for Amazon-670K
//!
//! As `slide-2020` with T 1,024, meant for batches of 1,024 (every 6 steps a rehash there). Departures: those above, and
//!
//! 11. New hash functions come with every twentieth rehash: at batch 1,024 after 120 steps instead of 125.
//! 12. Its bf16 modes are left out: f32, its mode 0. Mode 1 has bf16 activations; mode 2 has bf16 weights with a hidden
//!     low half, which Adam updates as one f32. The option `precision = "bf16-weights"` beside the preset comes near
//!     that mode in fewer bytes: no low half, rounded at random instead.
//!
//! # `best`: what reaches a given P@1 soonest
//!
//! No hashing: one set for the whole batch, of labels and uniform negatives. Of labels, each sample draws at most 64 of its
//! own; the negatives are 0.34 for each distinct label that the batch's samples have, 4,500 at most. With logits corrected
//! for the probability of being in the set; a backward pass over about 300 neurons a sample; products, weights and Adam's
//! moments in bf16; of the first layer one second moment a row and no first one. Evaluated is the average of the weights
//! after every 48th step, in which the noise of drawing cancels.

use super::options::Output;
use serde::Deserialize;
use toml::{Table, Value};

/// A named set of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Preset {
    #[serde(rename = "slide-2020")]
    Slide2020,
    #[serde(rename = "slide-2021")]
    Slide2021,
    #[serde(rename = "best")]
    Best,
}

/// Samples between rehashes in the released configurations, and rehashes between new hash functions.
const REHASH_SAMPLES: usize = 6_400;
const REDRAW: usize = 128_000 / REHASH_SAMPLES;

impl Preset {
    /// What the engine must choose its output neurons by.
    pub fn output(self) -> Output {
        match self {
            Self::Slide2020 | Self::Slide2021 => Output::Lsh,
            Self::Best => Output::Uniform,
        }
    }

    /// The engine that has that choice.
    pub fn engine(self) -> &'static str {
        match self {
            Self::Slide2020 | Self::Slide2021 => "lsh-cpu",
            Self::Best => "sparse-cpu:best",
        }
    }

    /// The preset's options at `batch` samples a step, overridden by those given.
    pub fn under(self, given: &Table, batch: usize) -> Table {
        let mut options = self.options(batch);
        overlay(&mut options, given);
        options
    }

    fn options(self, batch: usize) -> Table {
        let slide = |tables: usize| {
            let every = (REHASH_SAMPLES / batch.max(1)).max(1);
            format!(
                r#"
                output-rows = "dense"
                [hashed]
                retrieve = "union"
                fill = "repeating"
                floor = 1000
                fill-below = 1500
                [hashed.lsh]
                family = "dwta"
                bits = 6
                tables = {tables}
                bin = 8
                packing = "released"
                capacity = 128
                insertion = "fifo"
                rebuild = {{ policy = "fixed", every = {every}, redraw = {REDRAW} }}
                "#
            )
        };
        let text = match self {
            Self::Slide2020 => slide(50),
            Self::Slide2021 => slide(1024),
            Self::Best => r#"
                shared = true
                count = 4500
                count-per-label = 0.34
                labels = 64
                correct = true
                backward = 300
                products = "bf16"
                precision = "packed"
                input-state = "row-wise"
                average = 48
                "#
            .into(),
        };
        text.parse().expect("presets are TOML")
    }
}

/// Puts `over` into `under`, tables entry by entry.
fn overlay(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

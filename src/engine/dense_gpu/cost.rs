//! What a step must compute and move at least, for the roofline. Matrix products and sparse sums count; Adam's and
//! softmax's arithmetic, under 2 % of it at B 256, does not.

use crate::network::{Rows, Shape};

/// Operations and bytes of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub flops: f64,
    pub bytes: f64,
}

/// `samples` rows with `entries` input values of which `touched` features are distinct; `entries` is None for dense
/// input.
///
/// Operations: 2 B I O for each product; three products a layer (forward, weight gradient, input gradient) but two
/// in the first; sparse input 4 H an entry.
///
/// Bytes, with logits written once and read twice (softmax is applied on load), the weight gradient never stored, and
/// everything of hidden width taken to stay in cache: output layer 4 (8 H L + 3 B L), of which 8 H L are two reads
/// of W and read and write of W, m and v; hidden layers 32 I O; first layer 24 bytes a weight of each row that Adam
/// moves and 4 a weight gathered.
pub(super) fn step_cost(shape: &Shape, samples: usize, input: Option<(usize, usize)>, rows: Rows) -> Cost {
    let b = samples as f64;
    let mut cost = Cost { flops: 0.0, bytes: 0.0 };
    for (index, (i, o)) in shape.layers().into_iter().enumerate() {
        let (i, o) = (i as f64, o as f64);
        match (index, input) {
            (0, Some((entries, touched))) => {
                let moved = if rows == Rows::Dense { i } else { touched as f64 };
                cost.flops += 4.0 * o * entries as f64;
                cost.bytes += 4.0 * o * entries as f64 + 24.0 * o * moved;
            }
            (0, None) => {
                cost.flops += 4.0 * b * i * o;
                cost.bytes += 28.0 * i * o + 8.0 * b * i;
            }
            _ => {
                cost.flops += 6.0 * b * i * o;
                cost.bytes += 32.0 * i * o;
            }
        }
    }
    cost.bytes += 12.0 * b * shape.labels as f64;
    cost
}

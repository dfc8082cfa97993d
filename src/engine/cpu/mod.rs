//! What the CPU engines share: the first layer, weight matrices with their optimiser state, and the optimisers.

mod ahead;
mod average;
pub mod deferred;
mod entries;
pub mod input;
pub mod matrix;
mod normaliser;
pub mod optimiser;
pub mod sums;

pub use ahead::each_step;
pub use average::Average;
pub use input::InputLayer;
pub use matrix::{Bias, Matrix, Precision, State};
pub use normaliser::log_normalisers;
pub use optimiser::{Optimiser, Update};
pub use sums::{Group, SharedSums, Sums};

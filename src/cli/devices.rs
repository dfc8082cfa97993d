//! `slidebench devices`: what this machine can compute with.

use super::End;
use crate::record::{Adapter, Machine};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Measure memory bandwidth and arithmetic peaks (some seconds)
    #[arg(long)]
    measure: bool,
}

pub(super) fn run(_arguments: &Arguments) -> anyhow::Result<End> {
    let machine = Machine::detect(&adapters());
    println!("{}", machine.cpu.model);
    Ok(End::Done)
}

/// Every GPU adapter, software ones included.
pub(super) fn adapters() -> Vec<Adapter> {
    vec![]
}

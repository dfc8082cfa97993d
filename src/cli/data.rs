//! `slidebench data`: look at a data set before training on it.

use super::{End, Usage};
use crate::data::{self, OpenOptions, Source};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Print the row of the paper's Table 1
    Stats { source: String },
    /// Build the cache, so that runs start at once
    Prepare { source: String },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let (Verb::Stats { source } | Verb::Prepare { source }) = &arguments.verb;
    let source: Source = source.parse().map_err(|error: data::DataError| Usage(error.to_string()))?;
    let data = data::open(&source, &OpenOptions::default())?;
    println!("{}: {}", data.name, data.provenance);
    Ok(End::Done)
}

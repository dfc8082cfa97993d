//! `slidebench data`: look at a data set before training on it.

use super::console::Reading;
use super::{End, Usage};
use crate::data::{DataError, OpenOptions, Source, open, stats::Statistics};
use std::io::Write;
use std::sync::Arc;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  slidebench data stats moby
  slidebench data stats synthetic:amazon-670k@0.1
  slidebench data prepare xmc:train.txt.gz,test.txt.gz")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Print the row of the paper's Table 1
    Stats {
        #[arg(help = format!("One of {}", Source::FORMS))]
        source: String,
    },
    /// Read or make the data and keep it in the cache, so that runs start at once
    Prepare {
        #[arg(help = format!("One of {}", Source::FORMS))]
        source: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let (Verb::Stats { source } | Verb::Prepare { source }) = &arguments.verb;
    let source: Source = source.parse().map_err(|error: DataError| Usage(error.to_string()))?;
    let options = OpenOptions { progress: Arc::new(Reading::new(false)), ..OpenOptions::default() };
    let data = open(&source, &options)?;
    let mut out = std::io::stdout().lock();
    match arguments.verb {
        Verb::Stats { .. } => writeln!(out, "{}\n\n{}", Statistics::of(&data), data.provenance)?,
        Verb::Prepare { .. } => match &options.cache_dir {
            Some(folder) => writeln!(out, "{source} is ready, in {}", folder.display())?,
            None => writeln!(out, "{source} can be read; there is no cache to keep it in")?,
        },
    }
    Ok(End::Done)
}

//! The command line: parse, call, print. One file a verb.
//!
//! Exit codes: 0 everything ran; 1 a run failed; 2 the command or a file it names is wrong; 130 stopped by Ctrl-C.

mod console;
mod data;
mod devices;
mod export;
mod list;
mod measure;
mod report;
mod run;
mod stop;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

pub use run::bench;

/// One network, three ways to train it, one clock.
///
/// slidebench trains the same network dense on the GPU, dense on the CPU, and sparse on the CPU with SLIDE's hash
/// tables: from the same weights, in the same order, on the same data. It records every evaluation under results/ and
/// draws what came of it under reports/.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run experiments, record every evaluation, draw the report
    Run(run::Arguments),
    /// Draw the report from the records there are
    Report(report::Arguments),
    /// Look at a data set, or build its cache
    Data(data::Arguments),
    /// Write a data set, first weights and batch order for programs outside, such as PyTorch
    Export(export::Arguments),
    /// Show what this machine can compute with
    Devices(devices::Arguments),
    /// List the experiments, what of them was run here and what it cost, and the engines
    List(list::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  slidebench list                              what there is to run
  slidebench run --scale smoke                 does everything work here? (seconds)
  slidebench run                               the default experiment (minutes)
  slidebench run default --engines lsh-cpu,dense-cpu --data moby --seeds 1
  slidebench run default --data xmc:train.txt,test.txt --epochs 1
                                               the same question on data of your own
  slidebench run my-own.toml                   an experiment of your own
  slidebench report --results results          draw again, from the records alone
  slidebench devices --measure                 how fast are this machine's memory and arithmetic?

Stopping is safe: Ctrl-C finishes the row it is at and draws the report; the same command then goes on where it stopped.";

/// How a verb ended, where nothing went wrong with the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    RunFailed,
    Interrupted,
}

impl End {
    fn code(self) -> ExitCode {
        match self {
            End::Done => ExitCode::SUCCESS,
            End::RunFailed => ExitCode::from(1),
            End::Interrupted => ExitCode::from(130),
        }
    }
}

/// The command asks for something that cannot be: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Entry point of the `slidebench` binary.
pub fn main() -> ExitCode {
    finish(match Cli::parse().verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Data(arguments) => data::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
        Verb::Devices(arguments) => devices::run(&arguments),
        Verb::List(arguments) => list::run(&arguments),
    })
}

fn finish(result: anyhow::Result<End>) -> ExitCode {
    match result {
        Ok(end) => end.code(),
        // `slidebench list | head` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

//! The command line: parse, call, print.

/// Entry point of the `slidebench` binary.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

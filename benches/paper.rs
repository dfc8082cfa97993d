//! The main job: `cargo bench` trains the default experiment and draws the report. `cargo bench -- --help` explains.

fn main() -> std::process::ExitCode {
    slidebench::cli::bench()
}

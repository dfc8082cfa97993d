fn main() -> std::process::ExitCode {
    slidebench::cli::main()
}

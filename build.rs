//! Tells the crate what it was built with, for `machine.toml`. Cargo hands these variables on to what it runs, so they are
//! not named `SLIDEBENCH_…`, as the options of a run are.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().and_then(|out| String::from_utf8(out.stdout).ok());
    println!("cargo::rustc-env=BUILT_RUSTC={}", version.as_deref().map_or("unknown", str::trim));
    for (name, variable) in [("TARGET", "TARGET"), ("PROFILE", "PROFILE"), ("OPT_LEVEL", "OPT_LEVEL")] {
        println!("cargo::rustc-env=BUILT_{name}={}", std::env::var(variable).unwrap_or_default());
    }
    // `CARGO_ENCODED_RUSTFLAGS` separates flags by 0x1f; a flag that names a path says nothing about speed.
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = flags.split('\x1f').filter(|flag| !flag.is_empty() && !flag.contains(['/', '\\'])).collect();
    println!("cargo::rustc-env=BUILT_RUSTFLAGS={}", flags.join(" "));
}

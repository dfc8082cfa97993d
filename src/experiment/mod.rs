//! What to run, read from TOML.

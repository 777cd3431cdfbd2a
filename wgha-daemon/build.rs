//! Puts the kernel half's object where the daemon embeds it: `OUT_DIR/wgha-ebpf`.
//!
//! `cargo xtask build-ebpf` makes the object. Without it the embedded one is empty: checking and
//! linting need none, and the daemon says at its start what is missing.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Names another object than the usual one.
const OVERRIDE: &str = "WGHA_EBPF_OBJECT";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let object = object();
    println!("cargo::rerun-if-changed={}", object.display());
    let bytes = match fs::read(&object) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound && env::var_os(OVERRIDE).is_none() => Vec::new(),
        Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", object.display()))),
    };
    fs::write(cargo_path("OUT_DIR").join("wgha-ebpf"), bytes)
}

fn object() -> PathBuf {
    let workspace = cargo_path("CARGO_MANIFEST_DIR").join("..");
    let usual = Path::new("target/bpf/wgha-ebpf");
    workspace.join(env::var_os(OVERRIDE).map_or_else(|| usual.to_owned(), PathBuf::from))
}

fn cargo_path(name: &str) -> PathBuf {
    env::var_os(name).map(PathBuf::from).unwrap_or_default()
}

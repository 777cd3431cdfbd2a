//! Builds the kernel half and the daemon, with cargo's own progress.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use wgha_tests::node;

use super::words;

/// Builds `wgha` with the kernel half in it.
pub fn daemon(debug: bool) -> Result<()> {
    words::step("building the kernel half (eBPF)");
    let object = crate::build_ebpf::build()?;
    words::step("building the daemon");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "wgha"]).env("WGHA_EBPF_OBJECT", object);
    if !debug {
        cargo.arg("--release");
    }
    let status = cargo.status().context("starting cargo")?;
    ensure!(status.success(), "the daemon cannot be built");
    // The other profile's may be newer.
    node::choose_built(if debug { "debug" } else { "release" });
    Ok(())
}

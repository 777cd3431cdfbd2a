//! Builds the kernel half and the daemon, with cargo's own progress.

use anyhow::{Context, Result};

use wgha_tests::node;

use super::words;
use crate::run;

/// Builds `wgha` with the kernel half in it, unless the environment names one that is to be taken.
pub fn daemon(debug: bool) -> Result<()> {
    if std::env::var_os(node::BINARY).is_some() {
        words::step(&format!("{}: {}", node::BINARY, node::binary()?.display()));
        return Ok(());
    }
    words::step("building the kernel half (eBPF)");
    let object = crate::build_ebpf::build()?;
    words::step("building the daemon");
    let mut cargo = run::cargo();
    cargo.args(["build", "--package", "wgha"]).env("WGHA_EBPF_OBJECT", object);
    if !debug {
        cargo.arg("--release");
    }
    run::shown(&mut cargo).context("the daemon cannot be built")?;
    // The other profile's may be newer.
    node::choose_built(if debug { "debug" } else { "release" });
    Ok(())
}

//! The demonstration.

use anyhow::{Result, bail};

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// Always: it is not built into this tree.
pub fn run(_: Args) -> Result<()> {
    bail!("the demonstration is not part of this tree")
}

//! Plays schedules against the state machine, by the million.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{libtest, libtest::Counts, run};

/// The profile of the root's Cargo.toml: optimised, with every check of a debug build.
const PROFILE: &str = "simulator";

/// What can be chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many schedules
    #[arg(long, default_value_t = 1_000_000)]
    schedules: u64,
    /// Go on until so many break a rule
    #[arg(long, default_value_t = 1)]
    failures: u32,
    /// Only this one, and show all that happens in it
    #[arg(long, conflicts_with = "schedules")]
    seed: Option<u64>,
    /// Of its incidents only these, by their places: 0,2
    #[arg(long, requires = "seed")]
    only: Option<String>,
}

/// # Errors
/// It cannot be built, or a schedule breaks a rule.
pub fn run(args: &Args) -> Result<()> {
    let mut command = simulator();
    match args.seed {
        Some(seed) => command.env("WGHA_SIM_SEED", seed.to_string()),
        None => command.env("WGHA_SIM_SCHEDULES", args.schedules.to_string()),
    };
    command.env("WGHA_SIM_FAILURES", args.failures.to_string());
    if let Some(only) = &args.only {
        command.env("WGHA_SIM_ONLY", only);
    }
    let (counts, ok) = libtest::run(&mut command)?;
    if ok { Ok(()) } else { bail!("{counts}") }
}

/// As many as [`run()`] plays, one stage of all tests.
///
/// # Errors
/// It cannot be started.
pub fn stage(schedules: u64) -> Result<(Counts, bool)> {
    libtest::run(simulator().env("WGHA_SIM_SCHEDULES", schedules.to_string()))
}

fn simulator() -> Command {
    let mut command = run::cargo();
    command.args(["test", "--profile", PROFILE, "--package", "wgha", "--test", "simulator"]);
    command.args(["--", "--nocapture", "no_schedule"]);
    command
}

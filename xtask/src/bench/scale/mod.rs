//! Many peers: how long until all clients are back after a crash, and what their number costs.

mod configure;
mod contestant;
mod crash;
mod machine;
mod replication;
mod report;

use std::{fs, num::NonZero, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use wgha_tests::{interrupt, swarm::cryptography};

use self::{contestant::Contestant, crash::Case};
use crate::install::{self, Tool};

/// How long cryptography alone is measured at a time.
const CRYPTOGRAPHY: Duration = Duration::from_secs(2);

/// Measures failovers of many WireGuard peers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to measure; everything unless given
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    parts: Vec<Part>,

    /// How many peers
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_values_t = [1, 100, 1000, 10_000])]
    peers: Vec<u32>,

    /// Who takes part in the crashes; everyone unless given
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    contestants: Vec<Contestant>,

    /// Only crashes whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// How often each crash is repeated
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    runs: usize,

    /// Where the raw data goes
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
}

/// A part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What it takes to configure so many peers
    Configure,
    /// Handshakes that this machine can compute
    Cryptography,
    /// A black-hole crash of the Active
    Crash,
    /// Endpoints on the Backup while clients roam
    Replication,
}

/// Measures, prints tables, and writes the raw data.
///
/// # Errors
/// What could not be set up; that clients did not come back is no error, but a result.
pub fn run(args: &Args) -> Result<()> {
    install::ensure_root()?;
    install::ensure(&[Tool::Ip, Tool::Wg, Tool::WireguardGo])?;
    interrupt::install()?;
    let wanted = |part: Part| args.parts.is_empty() || args.parts.contains(&part);
    let mut data = Map::new();
    if wanted(Part::Cryptography) {
        data.insert("cryptography".into(), cryptography()?);
    }
    if wanted(Part::Configure) {
        data.insert("configure".into(), configure::measure(&args.peers)?);
    }
    if wanted(Part::Crash) {
        data.insert("crash".into(), crash::measure(&args.cases(), &args.contestants(), args.runs)?);
    }
    if wanted(Part::Replication) {
        data.insert("replication".into(), replication::measure(&args.peers)?);
    }
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let file = args.out.join("scale.json");
    fs::write(&file, Value::Object(data).to_string()).with_context(|| file.display().to_string())?;
    println!("\nRaw data: {}", file.display());
    Ok(())
}

impl Args {
    fn contestants(&self) -> Vec<Contestant> {
        if self.contestants.is_empty() {
            Contestant::value_variants().to_vec()
        } else {
            self.contestants.clone()
        }
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<_> = self.peers.iter().map(|&peers| Case::all_talk(peers)).collect();
        cases.extend(self.peers.contains(&1000).then(|| Case::behind_one_address(1000)));
        cases.extend(self.peers.contains(&10_000).then(|| Case::some_talk(100, 10_000)));
        cases.retain(|case| case.to_string().contains(&self.only));
        cases
    }
}

/// Handshakes in a second, both ends computed here: with one thread, and with one on every core.
fn cryptography() -> Result<Value> {
    let cores = std::thread::available_parallelism()?;
    let steal = machine::steal_ticks();
    let one = cryptography::handshakes_per_second(NonZero::<usize>::MIN, CRYPTOGRAPHY)?;
    let all = cryptography::handshakes_per_second(cores, CRYPTOGRAPHY)?;
    let stolen = machine::steal_ticks() - steal;
    println!(
        "cryptography alone, both ends: {one:.0} handshakes/s in one thread, {all:.0} in {cores}; steal {stolen}"
    );
    Ok(json!({"one_thread_per_s": one, "threads": cores, "all_threads_per_s": all, "steal_ticks": stolen}))
}

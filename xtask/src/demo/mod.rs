//! Two servers, a client that pings through the tunnel, and everything that can happen to server A.

pub mod build;
pub mod figure;
mod recording;
mod scenario;
pub mod stage;
mod table;
mod timeline;
pub mod words;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use wgha_tests::interrupt;

use self::{recording::Recording, stage::Stage};
use crate::install::{self, Tool};

/// Shows a failover from end to end, in network namespaces of this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The IPv4-only twin of the network instead of the IPv6 one
    #[arg(long)]
    ipv4: bool,

    /// How often the Active server says that it is there
    #[arg(long, value_name = "TIME", default_value = "100ms")]
    advert_interval: String,

    /// Build without optimizations: sooner ready
    #[arg(long)]
    debug: bool,

    /// Where the picture and the raw data go
    #[arg(long, value_name = "FOLDER", default_value = "target/demo")]
    out: PathBuf,
}

/// Installs and builds what is missing, runs the scenario, and writes what it has seen.
///
/// # Errors
/// What could not be built or set up; after that, that the tunnel did not answer from the server that it should.
pub fn run(args: Args) -> Result<()> {
    install::ensure_root()?;
    install::ensure(&tools())?;
    build::daemon(args.debug)?;
    interrupt::install()?;
    let recording = play(&args)?;
    table::print(&recording);
    write(&args, &recording)?;
    let failed: Vec<_> = recording.faults.iter().filter(|f| !f.recovered()).map(|f| f.title).collect();
    if !failed.is_empty() {
        bail!("the tunnel did not come back as it should after: {}", failed.join("; "));
    }
    Ok(())
}

/// The network lives as long as this function, and ends in order on an error or Ctrl-C too.
fn play(args: &Args) -> Result<Recording> {
    let mut stage = Stage::set(args.ipv4, &args.advert_interval)?;
    let played = scenario::play(&mut stage);
    let recording = stage.clear();
    words::step("network, daemons and WireGuard removed again");
    played.map(|faults| Recording { faults, ..recording })
}

/// What the scenario runs. wireguard-go only where the kernel has no WireGuard.
fn tools() -> Vec<Tool> {
    let mut tools = vec![Tool::Ip, Tool::Ping, Tool::Wg];
    if !stage::kernel_has_wireguard() {
        tools.push(Tool::WireguardGo);
    }
    tools
}

fn write(args: &Args, recording: &Recording) -> Result<()> {
    fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let (picture, data) = (args.out.join("failover.svg"), args.out.join("failover.json"));
    fs::write(&picture, figure::draw(recording)).with_context(|| picture.display().to_string())?;
    fs::write(&data, recording.to_json().to_string()).with_context(|| data.display().to_string())?;
    println!("\nThe same as a picture: {}\nRaw data: {}", picture.display(), data.display());
    Ok(())
}

//! What failovers and steady operation cost, side by side with what can be built without wgha.
//!
//! One file per bench, all of one shape: `run(&Plan) -> Result<Report>`. This one builds what is measured, runs the
//! benches one after the other, and prints and writes their reports.

mod claims;
mod datapath;
mod failover;
mod hogs;
mod report;
mod scale;
mod stats;
mod steady;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use wgha_tests::{interrupt, steal};

use self::report::Report;
use crate::{
    demo::{build, stage, words},
    install::{self, Tool},
};

/// Measures how long a tunnel is silent when its server fails, and what it costs that it is not for longer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which benches; all of them unless named
    #[arg(value_enum)]
    benches: Vec<Bench>,

    #[command(flatten)]
    plan: Plan,

    /// Print the tables as Markdown too
    #[arg(long)]
    markdown: bool,

    /// Build without optimizations: for trying the benches out
    #[arg(long)]
    debug: bool,

    /// Where pictures and raw data go
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    out: PathBuf,
}

/// How much is measured.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 10)]
    runs: usize,

    /// Who is compared: B0 the recipe with keepalived, B1 at 10 ms, B2 with endpoints pushed, O the oracle, W… wgha
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "B0,B1,B2,O,W50,W10,W2,W1")]
    contestants: Vec<String>,

    /// failover: FAULT or FAULT/CONDITION, or `all` for every fault with a cold Backup and every condition of a crash
    #[arg(long, value_name = "CASES", value_delimiter = ',', default_value = "crash")]
    cases: Vec<String>,

    /// hogs: for how many minutes each is observed
    #[arg(long, value_name = "N", default_value_t = 5)]
    minutes: usize,

    /// hogs: packets a second to both servers meanwhile
    #[arg(long, value_name = "RATE", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=100_000))]
    flood: u64,

    #[command(flatten)]
    scale: scale::ScalePlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bench {
    /// How long the tunnel is silent after a fault
    Failover,
    /// How long until thousands of clients are back
    Scale,
    /// What the daemons use while nothing happens
    Steady,
    /// How often nobody fails and a Backup takes over all the same, on a machine that is busy
    Hogs,
    /// What the kernel half costs each packet, and what gets through
    Datapath,
}

impl Bench {
    const ALL: [Self; 5] = [Self::Failover, Self::Scale, Self::Steady, Self::Hogs, Self::Datapath];

    fn run(self, plan: &Plan) -> Result<Report> {
        match self {
            Self::Failover => failover::run(plan),
            Self::Scale => scale::run(&plan.scale, plan.runs),
            Self::Steady => steady::run(plan),
            Self::Hogs => hogs::run(plan),
            Self::Datapath => datapath::run(plan),
        }
    }
}

/// Builds, measures, tells.
///
/// # Errors
/// What could not be built or measured. That a figure is bad is a result, not an error.
pub fn run(args: Args) -> Result<()> {
    install::ensure_root()?;
    install::ensure(&tools())?;
    build::daemon(args.debug)?;
    interrupt::install()?;
    let benches = if args.benches.is_empty() { &Bench::ALL[..] } else { &args.benches };
    for bench in benches {
        let stolen = steal::ticks();
        let report = bench.run(&args.plan)?;
        report.print(steal::ticks() - stolen);
        if args.markdown {
            println!("\n{}", report.to_markdown());
        }
        write(&args.out, &report)?;
        interrupt::check()?;
    }
    Ok(())
}

fn tools() -> Vec<Tool> {
    let mut tools = vec![Tool::Ip, Tool::Ping, Tool::Nft, Tool::Wg, Tool::Keepalived, Tool::Setpriv];
    if !stage::kernel_has_wireguard() {
        tools.push(Tool::WireguardGo);
    }
    tools
}

fn write(out: &std::path::Path, report: &Report) -> Result<()> {
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let write = |extension: &str, contents: &str| {
        let path = out.join(format!("{}.{extension}", report.name));
        fs::write(&path, contents).with_context(|| path.display().to_string())?;
        words::step(&format!("written: {}", path.display()));
        Ok::<(), anyhow::Error>(())
    };
    write("json", &report.data.to_string())?;
    write("md", &report.to_markdown())?;
    report.picture.as_deref().map_or(Ok(()), |picture| write("svg", picture))
}

//! Many peers: how long until all clients are back after a crash, and what their number costs.

mod case;
mod crash;
mod cryptography;
mod kick;
mod replication;
mod verdict;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use wgha_tests::{
    contestant::{self, Contestant},
    interrupt,
};

use self::{case::Case, crash::Run, kick::Kick};
use super::{
    report::{Report, Table},
    stats::{Measured, Summary},
};
use crate::demo::words;

/// With 10,000 peers each takes a minute or two, and spreads little.
const MOST_ROUNDS: usize = 3;
/// wgha, as it is configured by default.
const WGHA: &str = "W50";
const ABOUT: &str = "from the crash to the first authentic packet from the Backup";

/// How much of it is measured.
#[derive(Debug, clap::Args)]
pub struct ScalePlan {
    /// scale: how many peers there are
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", default_values_t = [1, 100, 1000, 10_000])]
    peers: Vec<u32>,

    /// scale: only parts of it
    #[arg(long, value_delimiter = ',', value_name = "PARTS", value_enum, default_values_t = Part::ALL)]
    parts: Vec<Part>,

    /// scale: whom wgha's crashes are compared with: B1, or K, an unpaced kick of all peers
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "B1,K")]
    beside: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Handshakes that this machine can compute
    Cryptography,
    /// A crash at which every client talks
    Crash,
    /// The same with 1,000 clients behind one address
    Nat,
    /// A crash at which 100 of 10,000 talk
    Talkers,
    /// Endpoints on the Backup while clients roam
    Replication,
}

impl Part {
    const ALL: [Self; 5] = [Self::Cryptography, Self::Crash, Self::Nat, Self::Talkers, Self::Replication];
}

/// Measures.
///
/// # Errors
/// The system's. What is there when the user interrupts is told.
pub fn run(plan: &ScalePlan, runs: usize) -> Result<Report> {
    words::heading("Scale: many peers");
    let mut tables = Vec::new();
    let mut data = Map::new();
    let mut add = |name: &str, (found, json): (Vec<Table>, Value)| {
        tables.extend(found);
        data.insert(name.to_owned(), json);
    };
    if plan.wants(Part::Cryptography) {
        add("cryptography", cryptography::measure()?);
    }
    let runs = plan.crashes(runs.min(MOST_ROUNDS));
    if !runs.is_empty() {
        add("crashes", report(&plan.cases(), &runs));
    }
    if plan.wants(Part::Replication) && interrupt::check().is_ok() {
        add("replication", replication::measure(&plan.peers)?);
    }
    if tables.is_empty() {
        bail!("nothing could be measured");
    }
    let setting =
        "IPv6 over veth, wireguard-go, all clients in one process on the same machine; a fresh network for \
                   every run; cold Backup; medians, and the least and the most"
            .to_owned();
    Ok(Report { name: "scale", setting, tables, data: Value::Object(data), picture: None })
}

impl ScalePlan {
    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn cases(&self) -> Vec<Case> {
        let all_talk = self.peers.iter().map(|&peers| Case::all_talk(peers));
        let mut cases: Vec<_> = all_talk.filter(|_| self.wants(Part::Crash)).collect();
        cases.extend(self.wants(Part::Nat).then(|| Case::behind_one_address(1000)));
        cases.extend(self.wants(Part::Talkers).then(|| Case::some_talk(100, 10_000)));
        cases
    }

    fn contestants(&self, case: Case) -> Result<Vec<Box<dyn Contestant>>> {
        let (kick, mut names): (Vec<_>, Vec<_>) =
            self.beside.iter().cloned().partition(|name| name == Kick::NAME);
        names.push(WGHA.to_owned());
        let mut contestants = contestant::named(&names)?;
        if !kick.is_empty() {
            contestants.push(Box::new(Kick { peers: case.peers }));
        }
        Ok(contestants)
    }

    /// Everybody in turn, round after round, never two at once. What fails is told, and is not there.
    fn crashes(&self, rounds: usize) -> Vec<Vec<Run>> {
        let mut all: Vec<Vec<Run>> = (0..rounds).map(|_| Vec::new()).collect();
        for case in self.cases() {
            for round in 0..rounds {
                if let Err(error) = self.round(case, &mut all[round], &format!("{}/{rounds}", round + 1)) {
                    words::step(&format!("{case}: {error:#}"));
                }
                if interrupt::check().is_err() {
                    return all;
                }
            }
        }
        all.retain(|runs| !runs.is_empty());
        all
    }

    fn round(&self, case: Case, runs: &mut Vec<Run>, number: &str) -> Result<()> {
        for contestant in self.contestants(case)? {
            interrupt::check()?;
            let run = Run::measure(case, contestant.as_ref())?;
            words::step(&format!("{number} {}", in_words(&run)));
            runs.push(run);
        }
        Ok(())
    }
}

fn in_words(run: &Run) -> String {
    let at = |percent| time(run.talkers_at(percent));
    let everyone = if run.case.some_are_silent() {
        format!(" (everyone: {}, {})", time(run.everyone_at(50)), time(run.everyone_at(99)))
    } else {
        String::new()
    };
    format!(
        "{}, {:<3} 50 % {}, 99 % {}, all {}{everyone}; {} cookies, steal {}",
        run.case,
        run.contestant,
        at(50),
        at(99),
        at(100),
        run.counts.cookies,
        run.stolen
    )
}

/// What did not happen while it was waited for has no time.
fn time(measured: Measured) -> String {
    measured.map_or_else(
        || "never".to_owned(),
        |ms| words::duration(std::time::Duration::from_secs_f64(ms / 1e3)),
    )
}

fn report(cases: &[Case], rounds: &[Vec<Run>]) -> (Vec<Table>, Value) {
    let head = vec![
        "",
        "who",
        "runs",
        "50 %",
        "99 %",
        "min",
        "max",
        "all",
        "everyone's 99 %",
        "cookies",
        "CPU ms",
        "PSS MiB",
        "steal",
    ];
    let names = ["B1", WGHA, Kick::NAME];
    let rows = cases.iter().flat_map(|case| names.iter().filter_map(|name| row(rounds, *case, name)));
    let title = format!("Crash of the Active, {ABOUT}: talkers");
    let mut tables = vec![Table { title, head, rows: rows.collect() }];
    tables.extend(verdict::table(rounds));
    let json = rounds.iter().enumerate().flat_map(|(round, runs)| {
        runs.iter().map(move |run| {
            let mut json = run.to_json();
            json["round"] = json!(round + 1);
            json
        })
    });
    (tables, json.collect())
}

fn row(rounds: &[Vec<Run>], case: Case, name: &str) -> Option<Vec<String>> {
    let runs: Vec<_> =
        rounds.iter().flatten().filter(|run| run.case == case && run.contestant == name).collect();
    let summary =
        |of: &dyn Fn(&Run) -> Measured| Summary::of(&runs.iter().map(|run| of(run)).collect::<Vec<_>>());
    let median = |of: &dyn Fn(&Run) -> Measured| summary(of).and_then(|s| s.median);
    let p99 = summary(&|run| run.talkers_at(99))?;
    let figure = |value: Measured| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"));
    Some(vec![
        case.to_string(),
        name.to_owned(),
        p99.count.to_string(),
        time(median(&|run| run.talkers_at(50))),
        time(p99.median),
        time(p99.min),
        time(p99.max),
        time(median(&|run| run.talkers_at(100))),
        time(median(&|run| run.everyone_at(99))),
        runs.iter().map(|run| run.counts.cookies).sum::<u64>().to_string(),
        figure(median(&|run| Some(run.usage.cpu_ns as f64 / 1e6))),
        figure(median(&|run| Some(run.memory as f64 / f64::from(1 << 20)))),
        runs.iter().map(|run| run.stolen).sum::<u64>().to_string(),
    ])
}

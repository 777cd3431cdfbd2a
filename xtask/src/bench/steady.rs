//! What the daemons use while nothing happens: on the Active and on the Backup, everybody in turn.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    Topology,
    Which::{self, A, B},
    clock::observe_for,
    contestant::{self, Contestant, WithWgha},
    interrupt, steal,
    usage::{Memory, Usage},
};

use super::{
    Plan, claims,
    report::{Report, Table},
    stats::{Measured, Summary},
};
use crate::demo::words;

/// How long it is observed.
const OBSERVED: Duration = Duration::from_secs(30);
/// Until everything that a start brings with it is over.
const SETTLED: Duration = Duration::from_secs(3);
/// It takes half a minute each, and spreads little.
const MOST_ROUNDS: usize = 3;

/// What is not to be exceeded.
const KEEPALIVED: &str = "B1";

/// One daemon's use.
struct Used {
    name: String,
    which: Which,
    usage: Usage,
    memory: Memory,
    processes: usize,
    stolen: u64,
}

/// Measures.
///
/// # Errors
/// The system's, and the user's.
pub fn run(plan: &Plan) -> Result<Report> {
    let mut contestants = contestant::named(&[KEEPALIVED, "W50"].map(str::to_owned))?;
    contestants.insert(1, Box::new(WithWgha::PLAIN_VRRP));
    words::heading("Steady state: what the daemons use in 30 s without an event");
    let mut all = Vec::new();
    let rounds = plan.runs.min(MOST_ROUNDS);
    for round in 1..=rounds {
        for contestant in &contestants {
            interrupt::check()?;
            let used = observe(contestant.as_ref())?;
            for used in &used {
                words::step(&format!("{round}/{rounds} {}", used.in_words()));
            }
            all.extend(used);
        }
    }
    Ok(report(&contestants, &all))
}

fn observe(contestant: &dyn Contestant) -> Result<[Used; 2]> {
    let topology = Topology::ipv6()?;
    contestant.prepare(&topology)?;
    let a = contestant.start(&topology, A, true)?;
    wgha_tests::wait_until("A to hold the VIP", wgha_tests::SOON, || {
        Ok(topology.a.has_address(topology.plan.vip))
    })?;
    let b = contestant.start(&topology, B, true)?;
    contestant::wait_serving(&topology, A)?;
    observe_for(SETTLED)?;
    let (stolen, processes) = (steal::ticks(), [a.processes(), b.processes()]);
    let before = [Usage::of(&processes[0])?, Usage::of(&processes[1])?];
    observe_for(OBSERVED)?;
    let after = [Usage::of(&processes[0])?, Usage::of(&processes[1])?];
    let stolen = steal::ticks() - stolen;
    let used = |which: Which, i: usize| {
        let name = contestant.name().to_owned();
        let (usage, memory) = (after[i].since(&before[i]), Memory::of(&processes[i])?);
        Ok::<_, anyhow::Error>(Used { name, which, usage, memory, processes: processes[i].len(), stolen })
    };
    Ok([used(A, 0)?, used(B, 1)?])
}

/// One of them.
type Figure = fn(&Used) -> f64;

impl Used {
    fn cpu_percent(&self) -> f64 {
        self.usage.cpu_ns as f64 / OBSERVED.as_nanos() as f64 * 100.0
    }

    fn wakeups_per_second(&self) -> f64 {
        self.usage.waits as f64 / OBSERVED.as_secs_f64()
    }

    fn preemptions_per_second(&self) -> f64 {
        self.usage.preemptions as f64 / OBSERVED.as_secs_f64()
    }

    fn mebibytes(&self) -> f64 {
        mebibytes(self.memory.total())
    }

    fn role(&self) -> &'static str {
        if self.which == A { "Active" } else { "Backup" }
    }

    fn in_words(&self) -> String {
        format!(
            "{:<3} {}: {:.2} % of a core, woken {:.0} times a second, {:.1} MiB in {} processes, steal {}",
            self.name,
            self.role(),
            self.cpu_percent(),
            self.wakeups_per_second(),
            self.mebibytes(),
            self.processes,
            self.stolen
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "contestant": self.name,
            "role": self.role(),
            "cpu_percent": self.cpu_percent(),
            "wakeups_per_second": self.wakeups_per_second(),
            "preemptions_per_second": self.preemptions_per_second(),
            "memory_mib": self.mebibytes(),
            "files_mib": mebibytes(self.memory.files),
            "heap_mib": mebibytes(self.memory.heap),
            "other_mib": mebibytes(self.memory.other),
            "processes": self.processes,
            "steal_ticks": self.stolen,
        })
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn report(contestants: &[Box<dyn Contestant>], all: &[Used]) -> Report {
    let head = vec![
        "",
        "what",
        "role",
        "runs",
        "% of a core",
        "min",
        "max",
        "woken/s",
        "PSS MiB",
        "files",
        "heap",
        "other",
        "µs of CPU per advert interval",
        "steal",
    ];
    let mut rows = Vec::new();
    for contestant in contestants {
        rows.extend(Which::BOTH.into_iter().filter_map(|which| row(contestant.as_ref(), which, all)));
    }
    let setting = format!(
        "{} s each, no traffic; all threads of all processes of a daemon; CPU by the scheduler's count, without what \
         the kernel does in interrupts",
        OBSERVED.as_secs()
    );
    let title = "Steady state (medians; ends of CPU)".to_owned();
    let mut tables = vec![Table { title, head, rows }];
    let wgha = contestants.iter().map(|contestant| contestant.name()).filter(|name| *name != KEEPALIVED);
    tables.extend(claims::table("Claims", wgha.flat_map(|name| claimed(name, all)).collect()));
    let data = json!({ "setting": setting, "runs": all.iter().map(Used::to_json).collect::<Vec<_>>() });
    Report { name: "steady", setting, tables, data, picture: None }
}

/// Both servers together: on a veth, whoever sends pays for the whole way to the other server's sockets, and who sends
/// is the Active of one and the Backup of the other.
fn claimed(name: &str, all: &[Used]) -> Vec<Vec<String>> {
    let sum = |name: &str, value: Figure| -> Vec<f64> {
        let of = |which: Which| all.iter().filter(move |u| u.name == name && u.which == which).map(value);
        of(A).zip(of(B)).map(|(a, b)| a + b).collect()
    };
    let values: [(&str, Figure); 2] = [("CPU", Used::cpu_percent), ("memory", Used::mebibytes)];
    let row = |(what, value)| {
        let pairs = sum(name, value).into_iter().zip(sum(KEEPALIVED, value));
        let ratios: Vec<Measured> = pairs.map(|(ours, theirs)| Some(ours / theirs)).collect();
        let claim = format!("{what} of both servers: {name} ÷ {KEEPALIVED} ≤ 1");
        claims::row(claim, &ratios, |s: &Summary| s.median.is_some_and(|ratio| ratio <= 1.0))
    };
    values.into_iter().filter_map(row).collect()
}

fn row(contestant: &dyn Contestant, which: Which, all: &[Used]) -> Option<Vec<String>> {
    let of: Vec<_> = all.iter().filter(|u| u.name == contestant.name() && u.which == which).collect();
    let summary = |value: Figure| Summary::of(&of.iter().map(|u| Some(value(u))).collect::<Vec<_>>());
    let cpu = summary(Used::cpu_percent)?;
    let (median, min, max) = (cpu.median?, cpu.min?, cpu.max?);
    // A percent of a core is 10,000 µs a second.
    let per_advert = median * 1e4 * contestant.advert_interval().as_secs_f64();
    Some(vec![
        contestant.name().to_owned(),
        contestant.about().to_owned(),
        of.first()?.role().to_owned(),
        of.len().to_string(),
        format!("{median:.2}"),
        format!("{min:.2}"),
        format!("{max:.2}"),
        format!("{:.0}", summary(Used::wakeups_per_second)?.median?),
        format!("{:.1}", summary(Used::mebibytes)?.median?),
        format!("{:.1}", summary(|u| mebibytes(u.memory.files))?.median?),
        format!("{:.1}", summary(|u| mebibytes(u.memory.heap))?.median?),
        format!("{:.1}", summary(|u| mebibytes(u.memory.other))?.median?),
        format!("{per_advert:.0}"),
        of.iter().map(|u| u.stolen).sum::<u64>().to_string(),
    ])
}

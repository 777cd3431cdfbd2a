//! What the daemons use while nothing happens: on the Active and on the Backup, everybody in turn.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    Node, Settings, Topology,
    Which::{self, A, B},
    clock::observe_for,
    contestant::{self, Contestant, Daemon},
    interrupt, steal,
    usage::{self, Usage},
};

use super::{
    Plan,
    report::{Report, Table},
    stats::Summary,
};
use crate::demo::words;

/// How long it is observed.
const OBSERVED: Duration = Duration::from_secs(30);
/// Until everything that a start brings with it is over.
const SETTLED: Duration = Duration::from_secs(3);
/// It takes half a minute each, and spreads little.
const MOST_ROUNDS: usize = 3;

/// One daemon's use.
struct Used {
    name: String,
    which: Which,
    usage: Usage,
    memory: u64,
    processes: usize,
    stolen: u64,
}

/// Who is compared: a name, what it is in a sentence, adverts a second, and how it starts.
struct Runner<'a> {
    name: &'static str,
    about: &'static str,
    adverts_per_second: f64,
    start: Box<dyn Fn(&Topology, Which) -> Result<Box<dyn Daemon>> + 'a>,
    prepare: Box<dyn Fn(&Topology) -> Result<()> + 'a>,
}

/// Measures.
///
/// # Errors
/// The system's, and the user's.
pub fn run(plan: &Plan) -> Result<Report> {
    let contestants = contestant::named(&["B1", "W50", "W10"].map(str::to_owned))?;
    let mut runners: Vec<_> = contestants.iter().map(|c| runner(c.as_ref())).collect();
    runners.insert(1, plain_vrrp());
    words::heading("Steady state: what the daemons use in 30 s without an event");
    let mut all = Vec::new();
    let rounds = plan.runs.min(MOST_ROUNDS);
    for round in 1..=rounds {
        for runner in &runners {
            interrupt::check()?;
            let used = observe(runner)?;
            for used in &used {
                words::step(&format!("{round}/{rounds} {}", used.in_words()));
            }
            all.extend(used);
        }
    }
    Ok(report(&runners, &all))
}

fn runner(contestant: &dyn Contestant) -> Runner<'_> {
    Runner {
        name: contestant.name(),
        about: contestant.about(),
        adverts_per_second: if contestant.name() == "B1" { 100.0 } else { 10.0 },
        start: Box::new(move |topology, which| contestant.start(topology, which, true)),
        prepare: Box::new(move |topology| contestant.prepare(topology)),
    }
}

/// wgha where keepalived is: adverts every 10 ms, no peer to probe.
fn plain_vrrp() -> Runner<'static> {
    Runner {
        name: "V",
        about: "wgha, adverts every 10 ms, no probes: what keepalived does",
        adverts_per_second: 100.0,
        start: Box::new(|topology, which| {
            let seed = Settings::seed(&topology.plan, which);
            let settings = Settings { advert_interval: "10ms".into(), peer: None, ..seed };
            Ok(Box::new(Node::start(topology, which, &settings)?))
        }),
        prepare: Box::new(|_| Ok(())),
    }
}

fn observe(runner: &Runner<'_>) -> Result<[Used; 2]> {
    let topology = Topology::ipv6()?;
    (runner.prepare)(&topology)?;
    let a = (runner.start)(&topology, A)?;
    wgha_tests::wait_until("A to hold the VIP", wgha_tests::SOON, || {
        Ok(topology.a.has_address(topology.plan.vip))
    })?;
    let b = (runner.start)(&topology, B)?;
    contestant::wait_serving(&topology, A)?;
    observe_for(SETTLED)?;
    let (stolen, processes) = (steal::ticks(), [a.processes(), b.processes()]);
    let before = [Usage::of(&processes[0])?, Usage::of(&processes[1])?];
    observe_for(OBSERVED)?;
    let after = [Usage::of(&processes[0])?, Usage::of(&processes[1])?];
    let stolen = steal::ticks() - stolen;
    let used = |which: Which, i: usize| {
        let name = runner.name.to_owned();
        let (usage, memory) = (after[i].since(&before[i]), usage::memory(&processes[i])?);
        Ok::<_, anyhow::Error>(Used { name, which, usage, memory, processes: processes[i].len(), stolen })
    };
    Ok([used(A, 0)?, used(B, 1)?])
}

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
        self.memory as f64 / f64::from(1 << 20)
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
            "processes": self.processes,
            "steal_ticks": self.stolen,
        })
    }
}

fn report(runners: &[Runner<'_>], all: &[Used]) -> Report {
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
        "µs of CPU per advert interval",
        "steal",
    ];
    let mut rows = Vec::new();
    for runner in runners {
        rows.extend(Which::BOTH.into_iter().filter_map(|which| row(runner, which, all)));
    }
    let setting = format!(
        "{} s each, no traffic; all threads of all processes of a daemon; CPU by the scheduler's count, without what \
         the kernel does in interrupts",
        OBSERVED.as_secs()
    );
    let title = "Steady state (medians; ends of CPU)".to_owned();
    let data = json!({ "setting": setting, "runs": all.iter().map(Used::to_json).collect::<Vec<_>>() });
    Report { name: "steady", setting, tables: vec![Table { title, head, rows }], data, picture: None }
}

fn row(runner: &Runner<'_>, which: Which, all: &[Used]) -> Option<Vec<String>> {
    let of: Vec<_> = all.iter().filter(|u| u.name == runner.name && u.which == which).collect();
    let summary =
        |value: fn(&Used) -> f64| Summary::of(&of.iter().map(|u| Some(value(u))).collect::<Vec<_>>());
    let cpu = summary(Used::cpu_percent)?;
    let (median, min, max) = (cpu.median?, cpu.min?, cpu.max?);
    // A percent of a core is 10,000 µs a second.
    let per_advert = median * 1e4 / runner.adverts_per_second;
    Some(vec![
        runner.name.to_owned(),
        runner.about.to_owned(),
        of.first()?.role().to_owned(),
        of.len().to_string(),
        format!("{median:.2}"),
        format!("{min:.2}"),
        format!("{max:.2}"),
        format!("{:.0}", summary(Used::wakeups_per_second)?.median?),
        format!("{:.1}", summary(Used::mebibytes)?.median?),
        format!("{per_advert:.0}"),
        of.iter().map(|u| u.stolen).sum::<u64>().to_string(),
    ])
}

//! The Active vanishes without a word: how long until its clients hear from the Backup.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::{
    Topology,
    Which::A,
    clock,
    swarm::{Back, Counts, Swarm, SwarmSettings, servers, servers::Directory},
};

use super::{
    contestant::{Contestant, Running},
    machine,
    report::{self, milliseconds},
};

/// Longer than the recipe needs even for clients whose first initiation was answered by a cookie.
const LIMIT: Duration = Duration::from_secs(60);
/// How long idle clients are waited for once all talkers are back.
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// WireGuard starts no second handshake within 5 s: without this pause, that would be measured.
const SETTLE: Duration = Duration::from_secs(6);
/// All talkers together send no more often than this: more, and the traffic itself is all that the machine does.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(1);
/// How often a talker sends when there are few.
const TALK_EVERY: Duration = Duration::from_millis(100);

/// Who is there when it happens.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    peers: u32,
    talkers: u32,
    behind_one_address: bool,
}

impl Case {
    /// Every client talks.
    pub const fn all_talk(peers: u32) -> Self {
        Self { peers, talkers: peers, behind_one_address: false }
    }

    /// Every client talks, and a NAT has given all of them one address.
    pub const fn behind_one_address(peers: u32) -> Self {
        Self { behind_one_address: true, ..Self::all_talk(peers) }
    }

    /// Some clients talk, evenly spread over the configuration.
    pub const fn some_talk(talkers: u32, peers: u32) -> Self {
        Self { talkers, ..Self::all_talk(peers) }
    }

    fn settings(&self, topology: &Topology) -> SwarmSettings {
        if self.behind_one_address {
            return SwarmSettings::behind_one_address(&topology.plan, self.peers);
        }
        SwarmSettings::spread(&topology.plan, self.peers)
    }

    fn talk_every(&self) -> Duration {
        TALK_EVERY.max(BETWEEN_REQUESTS * self.talkers)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.talkers != self.peers {
            write!(f, "{} talkers among ", self.talkers)?;
        }
        write!(f, "{} peers{}", self.peers, if self.behind_one_address { " behind one address" } else { "" })
    }
}

/// One crash.
pub struct Outcome {
    /// The talkers.
    pub talkers: Back,
    /// Everyone.
    pub everyone: Back,
    counts: Counts,
    daemon: machine::Usage,
    steal_ticks: u64,
}

impl Outcome {
    fn to_json(&self) -> Value {
        let Counts { echoes, initiated, answered, initiations, cookies, crossed, flooded, rejected, .. } =
            self.counts;
        json!({
            "talkers_ms": percentiles(&self.talkers),
            "everyone_ms": percentiles(&self.everyone),
            "handshakes": {"by_clients": initiated, "by_the_server": answered, "initiations": initiations},
            "cookies": cookies,
            "crossed": crossed,
            "flooded": flooded,
            "rejected": rejected,
            "echoes": echoes,
            "daemon": {"cpu_ms": self.daemon.cpu.as_millis(), "resident_kib": self.daemon.resident_kib},
            "steal_ticks": self.steal_ticks,
        })
    }

    /// How many cookie replies clients were sent.
    pub const fn cookies(&self) -> u64 {
        self.counts.cookies
    }

    /// What the host took meanwhile.
    pub const fn steal_ticks(&self) -> u64 {
        self.steal_ticks
    }
}

fn percentiles(back: &Back) -> Value {
    let at = |percent| back.at(percent).map(milliseconds);
    json!({"of": back.of, "back": back.after.len(), "p50": at(50), "p90": at(90), "p99": at(99), "p100": at(100)})
}

/// Every contestant in turn, as often as asked; then the next case.
pub fn measure(cases: &[Case], contestants: &[Contestant], runs: usize) -> Result<Value> {
    println!(
        "\nblack-hole crash of the Active, cold Backup; from the crash to the first authentic packet from B:"
    );
    let mut rows = Vec::new();
    for case in cases {
        let mut outcomes: Vec<_> = contestants.iter().map(|&contestant| (contestant, Vec::new())).collect();
        for run in 1..=runs {
            for (contestant, outcomes) in &mut outcomes {
                let outcome = crash(case, *contestant)?;
                report::print_run(case, *contestant, run, &outcome);
                outcomes.push(outcome);
            }
        }
        report::print_medians(case, &outcomes);
        rows.extend(outcomes.iter().map(|(contestant, outcomes)| {
            let runs: Vec<_> = outcomes.iter().map(Outcome::to_json).collect();
            json!({"case": case.to_string(), "contestant": contestant.to_string(), "runs": runs})
        }));
    }
    Ok(rows.into())
}

fn crash(case: &Case, contestant: Contestant) -> Result<Outcome> {
    let topology = Topology::ipv6()?;
    servers::add_peers(&topology.a, case.peers)?;
    servers::add_peers(&topology.b, case.peers)?;
    let running = contestant.start(&topology)?;
    let swarm = Swarm::start(&topology, case.settings(&topology))?;
    swarm.establish(A, LIMIT)?;
    swarm.talk(case.talkers, case.talk_every());
    clock::observe_for(SETTLE.max(case.talk_every()))?;
    contestant.prepare(&topology, &Directory::of(case.peers))?;
    let outcome = cut_and_watch(&topology, &swarm, contestant, &running)?;
    swarm.stop()?;
    Ok(outcome)
}

fn cut_and_watch(
    topology: &Topology,
    swarm: &Swarm,
    contestant: Contestant,
    running: &[Running; 2],
) -> Result<Outcome> {
    let usage = || running[1].daemon().map_or(Ok(machine::Usage::default()), machine::usage);
    let (counts, steal, used) = (swarm.counts(), machine::steal_ticks(), usage()?);
    let _ = swarm.mark();
    topology.cut(A)?;
    wait(LIMIT, || swarm.talkers_back())?;
    if contestant.fetches_idle_clients() {
        wait(IDLE_LIMIT, || swarm.all_back())?;
    }
    let after = usage()?;
    Ok(Outcome {
        talkers: swarm.talkers_back(),
        everyone: swarm.all_back(),
        counts: swarm.counts().since(counts),
        daemon: machine::Usage { cpu: after.cpu.saturating_sub(used.cpu), ..after },
        steal_ticks: machine::steal_ticks() - steal,
    })
}

/// Waits until all are back, or for so long.
fn wait(limit: Duration, back: impl Fn() -> Back) -> Result<()> {
    let start = std::time::Instant::now();
    while !back().is_complete() && start.elapsed() < limit {
        clock::observe_for(Duration::from_millis(50))?;
    }
    Ok(())
}

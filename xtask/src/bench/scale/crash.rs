//! The Active vanishes without a word: how long until its clients hear from the Backup.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use wgha_tests::{
    SOON, Topology,
    Which::{self, A, B},
    clock::{observe_for, wait_until},
    contestant::{Contestant, Daemon},
    interrupt, steal,
    swarm::{Back, Counts, Swarm, servers, servers::Directory},
    usage::{Memory, Usage},
};

use super::{
    super::stats::{Measured, millis},
    case::Case,
};
use crate::demo::words;

/// Longer than the recipe needs even for clients whose first initiation was answered by a cookie.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How long silent clients are waited for once all talkers are back.
const SILENT_LIMIT: Duration = Duration::from_secs(20);
/// How often a crash is tried until the Backup was cold.
const ATTEMPTS: usize = 3;
/// How often clients are looked at. They note the time themselves.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One crash.
pub struct Run {
    /// Who was there.
    pub case: Case,
    /// Who took over.
    pub contestant: &'static str,
    /// The talkers.
    pub talkers: Back,
    /// Everyone.
    pub everyone: Back,
    /// What happened to the clients.
    pub counts: Counts,
    /// What the Backup's daemon needed from the crash to the end.
    pub usage: Usage,
    /// Its memory then, in bytes.
    pub memory: u64,
    /// Ticks that the host took meanwhile.
    pub stolen: u64,
}

impl Run {
    /// A Backup that is Active for a moment, because it has missed A's adverts, knows clients and is not cold any
    /// more: once more, then.
    pub fn measure(case: Case, contestant: &dyn Contestant) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            if let Some(run) = crash(case, contestant)? {
                return Ok(run);
            }
            words::step(&format!(
                "{case}, {}: a false failover before the crash; once more",
                contestant.name()
            ));
        }
        bail!("{} fails over without a reason, {ATTEMPTS} times in a row", contestant.name())
    }

    /// After how many ms so many hundredths of the talkers were back.
    pub fn talkers_at(&self, percent: usize) -> Measured {
        self.talkers.at(percent).map(millis)
    }

    /// The same, of everyone.
    pub fn everyone_at(&self, percent: usize) -> Measured {
        self.everyone.at(percent).map(millis)
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let Counts { echoes, initiated, answered, initiations, cookies, crossed, flooded, rejected, .. } =
            self.counts;
        json!({
            "case": self.case.to_string(),
            "contestant": self.contestant,
            "talkers_ms": percentiles(&self.talkers),
            "everyone_ms": percentiles(&self.everyone),
            "handshakes": {"by_clients": initiated, "by_the_server": answered, "initiations": initiations},
            "cookies": cookies,
            "crossed": crossed,
            "flooded": flooded,
            "rejected": rejected,
            "echoes": echoes,
            "daemon": {"cpu_ms": self.usage.cpu_ns as f64 / 1e6, "pss_bytes": self.memory},
            "steal_ticks": self.stolen,
        })
    }
}

fn percentiles(back: &Back) -> Value {
    let at = |percent| back.at(percent).map(millis);
    let first = back.after.first().copied().map(millis);
    json!({"of": back.of, "back": back.after.len(), "first": first, "p50": at(50), "p90": at(90), "p99": at(99), "p100": at(100)})
}

/// None: B has been Active before.
fn crash(case: Case, contestant: &dyn Contestant) -> Result<Option<Run>> {
    let topology = Topology::ipv6()?;
    let (a, swarm) = serve(&topology, case, contestant)?;
    // Not before: the many handshakes might have it believe that A is dead.
    let b = contestant.start(&topology, B, false)?;
    observe_for(case.talk(&swarm))?;
    // With wgha it knows them, Active or not.
    let knows = contestant.name().starts_with('W');
    if !knows && !Directory::of(case.peers).endpoints(&topology.b)?.is_empty() {
        return Ok(None);
    }
    contestant.before_fault(&topology, A)?;
    let run = cut_and_watch(&topology, &swarm, case, contestant, b.as_ref())?;
    drop(a);
    swarm.stop()?;
    Ok(Some(run))
}

/// A serves, and every client has had an answer.
pub fn serve(
    topology: &Topology,
    case: Case,
    contestant: &dyn Contestant,
) -> Result<(Box<dyn Daemon>, Swarm)> {
    for which in Which::BOTH {
        servers::add_peers(topology.server(which), case.peers)?;
    }
    contestant.prepare(topology)?;
    let a = contestant.start(topology, A, false)?;
    wait_until("A to serve", SOON, || {
        Ok(topology.a.has_address(topology.plan.vip) && topology.a.tunnel.is_up())
    })?;
    let swarm = Swarm::start(topology, case.settings(topology))?;
    swarm.establish(A, LIMIT)?;
    Ok((a, swarm))
}

fn cut_and_watch(
    topology: &Topology,
    swarm: &Swarm,
    case: Case,
    contestant: &dyn Contestant,
    b: &dyn Daemon,
) -> Result<Run> {
    let (counts, stolen, used) = (swarm.counts(), steal::ticks(), Usage::of(&b.processes())?);
    let _ = swarm.mark();
    topology.cut(A)?;
    wait(LIMIT, || swarm.talkers_back())?;
    // To the recipe, silent clients come back when they talk.
    if contestant.name() != "B1" {
        wait(SILENT_LIMIT, || swarm.all_back())?;
    }
    Ok(Run {
        case,
        contestant: contestant.name(),
        talkers: swarm.talkers_back(),
        everyone: swarm.all_back(),
        counts: swarm.counts().since(counts),
        usage: Usage::of(&b.processes())?.since(&used),
        memory: Memory::of(&b.processes())?.total(),
        stolen: steal::ticks() - stolen,
    })
}

/// Waits until all are back, or for so long.
fn wait(limit: Duration, back: impl Fn() -> Back) -> Result<()> {
    let start = Instant::now();
    while !back().is_complete() && start.elapsed() < limit {
        interrupt::check()?;
        observe_for(LOOK_EVERY)?;
    }
    Ok(())
}

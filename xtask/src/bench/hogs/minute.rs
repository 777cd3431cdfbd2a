//! A minute in which nothing fails.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use wgha_tests::{
    Topology, Which,
    clock::observe_for,
    hogs::{Flood, Hogs, Late, Sleeper},
    monotonic_ns, steal,
};

use super::contestant::Hogged;
use crate::demo::words;

/// How many processes compute.
pub const HOGS: usize = 8;
/// A minute.
const MINUTE: Duration = Duration::from_secs(60);
/// Less than that nobody who is measured would notice: two probes in a row are late at 2 ms.
pub const PAUSE: Duration = Duration::from_millis(4);
/// Until everything that a start brings with it is over.
const SETTLED: Duration = Duration::from_secs(2);

/// What was seen in it.
#[derive(Debug)]
pub struct Minute {
    /// Whose.
    pub contestant: &'static str,
    /// Whether it ran in real time.
    pub real_time: bool,
    /// Every change of role, on either server.
    pub changes: Vec<Change>,
    /// Put off verdicts, of A and B, where they are counted.
    pub stalls: Option<[u64; 2]>,
    /// Packets.
    pub flood_per_second: u64,
    /// When this machine kept a core from everybody, real time or not, for [`PAUSE`] or longer: since the minute began.
    pub pauses: Vec<Late>,
    /// By how much a thread as any other that only sleeps was late at most.
    pub usual_late: Duration,
    /// Ticks that the host took meanwhile.
    pub stolen: u64,
}

/// A role has changed.
#[derive(Debug)]
pub struct Change {
    /// Whose.
    pub which: Which,
    /// Since the minute began, where it is known.
    pub after_ns: Option<u64>,
    /// The new one: `active`, `backup`.
    pub role: String,
    /// In its own words.
    pub why: String,
}

impl Minute {
    /// Observes one.
    pub fn observe(contestant: &Hogged, flood: u64) -> Result<Self> {
        let topology = Topology::ipv6()?;
        let pair = contestant.start(&topology)?;
        observe_for(SETTLED)?;
        let (real_time, before, stolen) = (pair.is_real_time()?, pair.stalls()?, steal::ticks());
        let (mark, began_ns) = (pair.mark(), monotonic_ns());
        let mut hogs = Hogs::start(HOGS, 2 * MINUTE)?;
        let flood = (flood > 0).then(|| Flood::start(&topology, flood)).transpose()?;
        let cores = std::thread::available_parallelism()?.get();
        let sleepers = (0..cores).map(|core| Sleeper::start(Some(core))).collect::<Result<Vec<_>>>()?;
        let usual = Sleeper::start(None)?;
        observe_for(MINUTE)?;
        let mut pauses: Vec<_> = sleepers.iter().flat_map(Sleeper::late).filter(|l| l.by >= PAUSE).collect();
        pauses.iter_mut().for_each(|late| late.at_ns = late.at_ns.saturating_sub(began_ns));
        pauses.sort_by_key(|late| late.at_ns);
        let usual_late = usual.late().iter().map(|late| late.by).max().unwrap_or_default();
        ensure!(hogs.running()? == HOGS, "hogs have ended: nobody was busy");
        let sent = flood.as_ref().map_or(0, Flood::sent);
        let took = Duration::from_nanos(monotonic_ns() - began_ns);
        drop((hogs, flood, sleepers, usual));
        let stolen = steal::ticks() - stolen;
        let stalls =
            pair.stalls()?.zip(before).map(|(after, before)| [0, 1].map(|i: usize| after[i] - before[i]));
        Ok(Self {
            contestant: contestant.name,
            real_time,
            changes: pair.changes(&mark)?,
            stalls,
            pauses,
            usual_late,
            flood_per_second: (sent as f64 / took.as_secs_f64()) as u64,
            stolen,
        })
    }

    /// Nothing has failed: each is a false one.
    pub fn failovers(&self) -> usize {
        self.changes.iter().filter(|change| change.role == "active").count()
    }

    /// Whoever served has not renewed its lease in time.
    pub fn lapses(&self) -> usize {
        self.changes.iter().filter(|change| change.is_step_down() && change.why.contains("lapsed")).count()
    }

    /// Whoever served has given way to another one.
    pub fn other_step_downs(&self) -> usize {
        self.changes.iter().filter(|change| change.is_step_down()).count() - self.lapses()
    }

    /// Of one server.
    pub fn stalls_on(&self, which: Which) -> Option<u64> {
        Some(self.stalls?[usize::from(which == Which::B)])
    }

    /// In a line.
    pub fn in_words(&self) -> String {
        let stalls =
            self.stalls.map_or_else(String::new, |[a, b]| format!(", {a} and {b} stalls suppressed"));
        format!(
            "{:<4} {} false failovers, {} leases lapsed, {} other step-downs{stalls}, \
             the machine paused {} times, others late by {}, steal {}",
            self.contestant,
            self.failovers(),
            self.lapses(),
            self.other_step_downs(),
            self.pauses.len(),
            words::duration(self.usual_late),
            self.stolen
        )
    }

    /// Everything of it.
    pub fn to_json(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "server": change.which.to_string(),
                "after_ns": change.after_ns,
                "role": change.role,
                "why": change.why,
            })
        };
        let pause = |late: &Late| json!({ "until_ns": late.at_ns, "ms": late.by.as_secs_f64() * 1e3 });
        json!({
            "contestant": self.contestant,
            "real_time": self.real_time,
            "false_failovers": self.failovers(),
            "leases_lapsed": self.lapses(),
            "other_step_downs": self.other_step_downs(),
            "suppressed_stalls": self.stalls,
            "flood_per_second": self.flood_per_second,
            "machine_pauses": self.pauses.iter().map(pause).collect::<Vec<_>>(),
            "usual_wakeup_late_ms": self.usual_late.as_secs_f64() * 1e3,
            "steal_ticks": self.stolen,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}

impl Change {
    fn is_step_down(&self) -> bool {
        !matches!(self.role.as_str(), "active" | "claiming")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ns) = self.after_ns {
            write!(f, "after {:.3} s: ", Duration::from_nanos(ns).as_secs_f64())?;
        }
        write!(f, "{} {}: {}", self.which, self.role, self.why)
    }
}

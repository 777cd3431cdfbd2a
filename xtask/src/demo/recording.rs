//! What was seen in one run.

use std::time::Duration;

use serde_json::{Value, json};
use wgha_tests::{Outage, Probe, Which};

use super::words::millis;

/// Everything that the picture and the raw data are made of. All times are `CLOCK_BOOTTIME` nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// When the first thing worth showing happened.
    pub start_ns: u64,
    /// When the last thing ended.
    pub end_ns: u64,
    /// Every ping of the prober.
    pub probes: Vec<Probe>,
    /// The events of both daemons, in order.
    pub events: Vec<Event>,
    /// What was done to A.
    pub faults: Vec<Fault>,
    /// On what it ran, in a line.
    pub setting: String,
    /// The last lines of the seed's own ping.
    pub seed_ping: Vec<String>,
}

/// An event of a daemon, or of the scenario itself where no daemon is left to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// On which server.
    pub node: Which,
    /// `role`, `input`, `effect` or `process`.
    pub kind: String,
    /// What happened.
    pub what: String,
    /// Why, or how it ended.
    pub detail: String,
}

/// Something that was done to A, and what came of it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// In a few words.
    pub title: &'static str,
    /// When.
    pub at_ns: u64,
    /// When the next thing was done, or everything ended.
    pub until_ns: u64,
    /// Who should serve afterwards.
    pub expected: Which,
    /// Who answered in the end.
    pub served_by: Option<Which>,
    /// The longest time without answers.
    pub outage: Option<Outage>,
}

impl Event {
    /// From a line of `wgha events --json`.
    ///
    /// `names` has the addresses of the servers, which people do not know by heart.
    pub fn read(node: Which, line: &Value, names: &[(String, Which)]) -> Option<Self> {
        let text = |key: &str| Some(line[key].as_str()?.to_owned());
        let detail = text("detail").unwrap_or_default();
        let detail =
            names.iter().fold(detail, |told, (address, name)| told.replace(address, &name.to_string()));
        Some(Self { at_ns: line["at_ns"].as_u64()?, node, kind: text("kind")?, what: text("what")?, detail })
    }

    /// Whether it is this one.
    pub fn is(&self, kind: &str, what: &str) -> bool {
        self.kind == kind && self.what == what
    }
}

impl Fault {
    /// Whether the tunnel answers from the expected server.
    pub fn recovered(&self) -> bool {
        self.served_by == Some(self.expected)
    }

    /// How long the tunnel was silent; none: it still is.
    pub fn silence(&self) -> Option<Duration> {
        match self.outage {
            Some(outage) => outage.length(),
            None => Some(Duration::ZERO),
        }
    }
}

impl Recording {
    /// The events that belong to a fault.
    pub fn events_of(&self, fault: &Fault) -> impl Iterator<Item = &Event> {
        let (from, until) = (fault.at_ns, fault.until_ns);
        self.events.iter().filter(move |e| e.at_ns >= from && e.at_ns < until)
    }

    /// When the expected server alone had the VIP: it took it, or, where it had it all the time, the other one let go.
    pub fn vip_moved(&self, fault: &Fault) -> Option<Duration> {
        let find = |node, what| self.events_of(fault).find(move |e| e.node == node && e.is("effect", what));
        let moved =
            find(fault.expected, "vip_held").or_else(|| find(fault.expected.other(), "vip_released"))?;
        Some(Duration::from_nanos(moved.at_ns - fault.at_ns))
    }

    /// The roles of a server one after the other: from when, and which. `off`: no daemon runs.
    pub fn roles(&self, node: Which) -> Vec<(u64, &str)> {
        let changes = self.events.iter().filter(|e| e.node == node && matches!(&*e.kind, "role" | "process"));
        changes.map(|e| (e.at_ns, e.what.as_str())).collect()
    }

    /// Whether a server was cut off at this time: what it did then, nobody saw.
    pub fn is_cut_off(&self, node: Which, at_ns: u64) -> bool {
        self.roles(node)
            .into_iter()
            .rfind(|(since, _)| *since < at_ns)
            .is_some_and(|(_, role)| role == "cut off")
    }

    /// The raw data.
    pub fn to_json(&self) -> Value {
        let since_start = |ns: u64| millis(ns.saturating_sub(self.start_ns));
        json!({
            "about": "times in milliseconds since the start; probes: [sent, round trip or null, server or null]",
            "setting": self.setting,
            "seed_ping": self.seed_ping,
            "faults": self.faults.iter().map(|f| json!({
                "fault": f.title,
                "at": since_start(f.at_ns),
                "expected": f.expected.to_string(),
                "served_by": f.served_by.map(|w| w.to_string()),
                "vip_moved_after": self.vip_moved(f).map(|d| d.as_secs_f64() * 1e3),
                "tunnel_silent_for": f.silence().map(|d| d.as_secs_f64() * 1e3),
                "pings_lost": f.outage.map_or(0, |o| o.lost),
            })).collect::<Vec<_>>(),
            "events": self.events.iter().map(|e| json!({
                "at": since_start(e.at_ns),
                "node": e.node.to_string(),
                "kind": e.kind,
                "what": e.what,
                "detail": e.detail,
            })).collect::<Vec<_>>(),
            "probes": self.probes.iter().map(|p| json!([
                since_start(p.sent_ns),
                p.answer.map(|a| millis(a.at_ns.saturating_sub(p.sent_ns))),
                p.answer.and_then(|a| a.from()).map(|w| w.to_string()),
            ])).collect::<Vec<_>>(),
        })
    }
}

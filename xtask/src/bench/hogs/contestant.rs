//! Who is kept busy: wgha with and without the privilege to run in real time, and keepalived.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wgha_tests::{
    Node, SOON, Settings, Topology,
    Which::{self, A, B},
    contestant::{self, Contestant, Daemon, Recipe, WithKeepalived},
    wait_until,
};

use super::minute::Change;

/// Root, less what lets a process run in real time and keeps its memory.
const UNPRIVILEGED: [&str; 4] =
    ["setpriv", "--bounding-set=-sys_nice,-ipc_lock", "--inh-caps=-sys_nice,-ipc_lock", "--pdeathsig=KILL"];

/// A contestant of this bench.
#[derive(Debug, Clone, Copy)]
pub struct Hogged {
    /// In tables.
    pub name: &'static str,
    /// In a sentence.
    pub about: &'static str,
    /// As which contestant of a failover it is chosen.
    chosen_as: &'static str,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Wgha { detect: Option<(&'static str, u8)>, through: &'static [&'static str] },
    Keepalived,
}

impl Hogged {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 4] = [
        Self {
            name: "B1",
            about: "keepalived, adverts every 10 ms, real-time priority",
            chosen_as: "B1",
            what: What::Keepalived,
        },
        Self {
            name: "W50",
            about: "wgha, the default with real-time privilege: 10 ms × 5",
            chosen_as: "W50",
            what: What::Wgha { detect: None, through: &[] },
        },
        Self {
            name: "W300",
            about: "wgha, the default without real-time privilege: 50 ms × 6",
            chosen_as: "W50",
            what: What::Wgha { detect: None, through: &UNPRIVILEGED },
        },
        Self {
            name: "W2",
            about: "wgha, with real-time privilege: 2 ms × 3",
            chosen_as: "W2",
            what: What::Wgha { detect: Some(("2ms", 3)), through: &[] },
        },
    ];

    /// Whether one of these names means it.
    pub fn is_one_of(&self, names: &[String]) -> bool {
        names.iter().any(|name| name == self.chosen_as)
    }

    /// Starts it on both servers: A serves, and B would notice if it did not.
    pub fn start(&self, topology: &Topology) -> Result<Pair> {
        let pair = match self.what {
            What::Keepalived => {
                let recipe = WithKeepalived(Recipe::RealTime);
                recipe.prepare(topology)?;
                let a = recipe.start(topology, A, false)?;
                wait_until("A to hold the VIP", SOON, || Ok(topology.a.has_address(topology.plan.vip)))?;
                Pair::Keepalived([a, recipe.start(topology, B, false)?])
            }
            What::Wgha { detect, through } => {
                let settings = |which| {
                    let seed = Settings::seed(&topology.plan, which);
                    Settings { preempt: false, detect, ..seed }
                };
                let a = Node::start_through(topology, A, &settings(A), through)?;
                a.wait_role("active", SOON)?;
                let b = Node::start_through(topology, B, &settings(B), through)?;
                Pair::Wgha(Box::new([a, b]), through.is_empty())
            }
        };
        contestant::wait_serving(topology, A)?;
        pair.wait_watching()?;
        Ok(pair)
    }
}

/// One at work on both servers, A and B.
pub enum Pair {
    Wgha(Box<[Node; 2]>, bool),
    Keepalived([Box<dyn Daemon>; 2]),
}

/// Where a pair stood when something began.
pub struct Mark {
    at_ns: u64,
    lines: [usize; 2],
}

impl Pair {
    /// That it is watched as it would be in production.
    fn wait_watching(&self) -> Result<()> {
        let Self::Wgha(nodes, privileged) = self else { return Ok(()) };
        wait_until("B to go by probes", SOON, || Ok(nodes[1].status()?["detection"]["by"] == "probes"))?;
        for node in nodes.iter() {
            let not_real_time = &node.status()?["detection"]["not_real_time"];
            ensure!(*privileged || !not_real_time.is_null(), "{} runs in real time all the same", node.which);
        }
        Ok(())
    }

    /// Whether both run in real time.
    pub fn is_real_time(&self) -> Result<bool> {
        let Self::Wgha(nodes, _) = self else { return Ok(true) };
        let real_time =
            |node: &Node| node.status().map(|status| status["detection"]["not_real_time"].is_null());
        Ok(real_time(&nodes[0])? && real_time(&nodes[1])?)
    }

    /// How often each of both was late itself and did not count it against the other.
    pub fn stalls(&self) -> Result<Option<[u64; 2]>> {
        let Self::Wgha(nodes, _) = self else { return Ok(None) };
        let of = |node: &Node| node.status()?["detection"]["stalls"].as_u64().context("no stalls in status");
        Ok(Some([of(&nodes[0])?, of(&nodes[1])?]))
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        let lines = match self {
            Self::Wgha(..) => [0, 0],
            Self::Keepalived(daemons) => [0, 1].map(|i: usize| daemons[i].log().len()),
        };
        Mark { at_ns: wgha_tests::monotonic_ns(), lines }
    }

    /// Every change of role since then.
    pub fn changes(&self, since: &Mark) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (i, which) in Which::BOTH.into_iter().enumerate() {
            match self {
                Self::Wgha(nodes, _) => {
                    let events = nodes[i].events()?;
                    changes.extend(events.iter().filter_map(|event| of_wgha(event, which, since.at_ns)));
                }
                Self::Keepalived(daemons) => {
                    let log = daemons[i].log();
                    let lines = log.iter().skip(since.lines[i]);
                    changes.extend(lines.filter_map(|line| of_keepalived(line, which)));
                }
            }
        }
        changes.sort_by_key(|change| change.after_ns);
        Ok(changes)
    }
}

fn of_wgha(event: &Value, which: Which, since_ns: u64) -> Option<Change> {
    let at_ns = event["at_ns"].as_u64().filter(|_| event["kind"] == "role")?;
    let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let after_ns = at_ns.checked_sub(since_ns)?;
    Some(Change { which, after_ns: Some(after_ns), role: word("what"), why: word("detail") })
}

/// `… (wg) Entering MASTER STATE`
fn of_keepalived(line: &str, which: Which) -> Option<Change> {
    let state = line.split_once("Entering ")?.1.split_once(" STATE")?.0;
    let role = if state == "MASTER" { "active".to_owned() } else { state.to_lowercase() };
    Some(Change { which, after_ns: None, role, why: line.to_owned() })
}

//! Clients roam: how soon the Backup's `wg1` has their new endpoints, and what that costs.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wgha_tests::{
    Namespace, Topology,
    Which::B,
    clock,
    contestant::{self, Daemon},
    interrupt, monotonic_ns, steal,
    swarm::{Swarm, servers::Directory},
    usage::{Memory, Usage},
};

use super::{
    super::{
        report::Table,
        stats::{Measured, millis},
    },
    WGHA,
    case::Case,
    crash, time,
};
use crate::demo::words;

/// One in a hundred moves every second.
const ALL_MOVE_IN: Duration = Duration::from_secs(100);
/// How long they roam.
const DURING: Duration = Duration::from_secs(20);
/// Until the snapshot is over, and what a start brings with it.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the last ones may take to be seen.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at B, at least; and this many times as long as a look takes, which B has to serve.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const TIMES_AS_LONG: u32 = 4;
/// The peer channel's, and S-BFD's over UDP.
const CHANNEL_PORT: u16 = 7784;

/// Fewer clients than this do not roam once a second.
const LEAST: u32 = 100;

/// With each number of peers.
pub fn measure(peers: &[u32]) -> Result<(Vec<Table>, Value)> {
    let (mut rows, mut data) = (Vec::new(), Vec::new());
    for &peers in peers.iter().filter(|&&peers| peers >= LEAST) {
        if interrupt::check().is_err() {
            break;
        }
        let (row, json) = measure_one(peers)?;
        words::step(&format!("1 % of {} peers roam a second: {}", row[0], row[1..].join(", ")));
        rows.push(row);
        data.push(json);
    }
    let head = vec![
        "peers",
        "moves",
        "not known",
        "median",
        "99 % at most",
        "all at most",
        "one look takes",
        "bytes a move",
        "% of a core, A",
        "B",
        "PSS MiB, A",
        "B",
        "steal",
    ];
    let title =
        "1 % of the clients move to a new port every second; until the Backup's wg1 has it".to_owned();
    Ok((vec![Table { title, head, rows }], data.into()))
}

fn measure_one(peers: u32) -> Result<(Vec<String>, Value)> {
    let topology = Topology::ipv6()?;
    let contestants = contestant::named(&[WGHA.to_owned()])?;
    let wgha = contestants.first().context("wgha")?.as_ref();
    let (a, swarm) = crash::serve(&topology, Case::all_talk(peers), wgha)?;
    let running = [a, wgha.start(&topology, B, false)?];
    let channel = Channel::count(&topology.a.namespace)?;
    clock::observe_for(SETTLE)?;
    let before = (channel.bytes()?, usage(&running)?, steal::ticks());
    swarm.roam(ALL_MOVE_IN);
    let mut watch = Watch::new(&topology, &swarm, peers);
    watch.look_for(DURING)?;
    swarm.roam(Duration::ZERO);
    watch.look_for(GRACE)?;
    let (bytes, after) = (channel.bytes()? - before.0, usage(&running)?);
    let used = std::array::from_fn(|at| after[at].since(&before.1[at]));
    let memory = [Memory::of(&running[0].processes())?.total(), Memory::of(&running[1].processes())?.total()];
    let lag = Lag { peers, bytes, used, memory, stolen: steal::ticks() - before.2, watch };
    Ok((lag.to_row(), lag.to_json()))
}

fn usage(running: &[Box<dyn Daemon>; 2]) -> Result<[Usage; 2]> {
    Ok([Usage::of(&running[0].processes())?, Usage::of(&running[1].processes())?])
}

/// Looks at B again and again.
struct Watch<'a> {
    topology: &'a Topology,
    swarm: &'a Swarm,
    directory: Directory,
    /// The latest move of each client that B was seen to know.
    seen: HashMap<u32, u64>,
    /// How old a move was when B was looked at, and whether B knew it. Once it did, that move is looked for no more.
    found: Vec<(Duration, bool)>,
    /// The longest look.
    longest: Duration,
}

impl<'a> Watch<'a> {
    fn new(topology: &'a Topology, swarm: &'a Swarm, peers: u32) -> Self {
        let (seen, found) = (HashMap::new(), Vec::new());
        Self { topology, swarm, directory: Directory::of(peers), seen, found, longest: Duration::ZERO }
    }

    fn look_for(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            let took = self.look()?;
            self.longest = self.longest.max(took);
            clock::observe_for(LOOK_EVERY.max(took * TIMES_AS_LONG))?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Duration> {
        // Taken first: whoever moves while B is read is not looked for at its new address.
        let (moves, before_ns) = (self.moves(), monotonic_ns());
        let known: HashMap<_, _> = self.directory.endpoints(&self.topology.b)?.into_iter().collect();
        let took_ns = monotonic_ns() - before_ns;
        for (number, moved_ns, address) in moves {
            let is_known = known.get(&number) == Some(&address);
            if is_known {
                self.seen.insert(number, moved_ns);
            }
            self.found.push((Duration::from_nanos(before_ns + took_ns / 2 - moved_ns), is_known));
        }
        Ok(Duration::from_nanos(took_ns))
    }

    /// Moves that B has not been seen to know, and that A has answered: it knows them.
    fn moves(&self) -> Vec<(u32, u64, SocketAddr)> {
        let moves = (0..).zip(self.swarm.records()).filter_map(|(number, record)| {
            let (moved_ns, heard_ns) = (record.moved_ns.load(Relaxed), record.heard_ns.load(Relaxed));
            let is_news = moved_ns != 0 && heard_ns > moved_ns && self.seen.get(&number) != Some(&moved_ns);
            is_news.then(|| (number, moved_ns, self.swarm.address(number)))
        });
        moves.collect()
    }

    /// The ages at which moves were first seen to be known: upper bounds, coarse by the time between two looks.
    fn at_most(&self) -> Vec<Duration> {
        let mut ages: Vec<_> = self.found.iter().filter(|(_, known)| *known).map(|&(age, _)| age).collect();
        ages.sort_unstable();
        ages
    }

    /// The age that best divides moves that B knew from those that it did not: the median of the lag, finer than the
    /// time between two looks because moves happen at any time between them.
    fn median(&self) -> Option<Duration> {
        let mut found = self.found.clone();
        found.sort_unstable();
        let known = found.iter().filter(|(_, known)| *known).count();
        // Those on the wrong side, with the divide before the first one: the unknown ones.
        let mut wrong = found.len() - known;
        let mut best = (wrong, None);
        for (age, known) in found {
            wrong = if known { wrong + 1 } else { wrong - 1 };
            if wrong < best.0 {
                best = (wrong, Some(age));
            }
        }
        (known != 0).then(|| best.1.unwrap_or_default())
    }
}

/// What was found.
struct Lag<'a> {
    peers: u32,
    bytes: u64,
    used: [Usage; 2],
    memory: [u64; 2],
    stolen: u64,
    watch: Watch<'a>,
}

impl Lag<'_> {
    fn at_most(&self, percent: usize) -> Measured {
        let ages = self.watch.at_most();
        ages.get((ages.len() * percent).div_ceil(100).saturating_sub(1)).copied().map(millis)
    }

    fn bytes_per_move(&self) -> Option<u64> {
        self.bytes.checked_div(self.watch.at_most().len() as u64)
    }

    fn cpu_percent(&self) -> [f64; 2] {
        self.used.map(|used| used.cpu_ns as f64 / (DURING + GRACE).as_nanos() as f64 * 100.0)
    }

    fn to_row(&self) -> Vec<String> {
        let cpu = self.cpu_percent().map(|percent| format!("{percent:.1}"));
        let memory = self.memory.map(|bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
        let mut row = vec![
            self.peers.to_string(),
            self.watch.at_most().len().to_string(),
            self.watch.moves().len().to_string(),
            time(self.watch.median().map(millis)),
            time(self.at_most(99)),
            time(self.at_most(100)),
            time(Some(millis(self.watch.longest))),
            self.bytes_per_move().unwrap_or(0).to_string(),
        ];
        row.extend(cpu.into_iter().chain(memory));
        row.push(self.stolen.to_string());
        row
    }

    fn to_json(&self) -> Value {
        json!({
            "peers": self.peers,
            "moves_known": self.watch.at_most().len(),
            "moves_unknown": self.watch.moves().len(),
            "lag_ms": {
                "p50": self.watch.median().map(millis),
                "p99_at_most": self.at_most(99),
                "p100_at_most": self.at_most(100),
                "longest_look": millis(self.watch.longest),
            },
            "channel_bytes": self.bytes,
            "channel_bytes_per_move": self.bytes_per_move(),
            "during_s": (DURING + GRACE).as_secs(),
            "cpu_percent": self.cpu_percent(),
            "pss_bytes": self.memory,
            "steal_ticks": self.stolen,
        })
    }
}

/// The bytes of the peer channel, counted by the kernel on one of its ends.
struct Channel<'a>(&'a Namespace);

impl<'a> Channel<'a> {
    fn count(namespace: &'a Namespace) -> Result<Self> {
        let rule = |port: &str| format!("tcp {port} {CHANNEL_PORT} counter");
        let chain = |hook: &str| {
            let (from, to) = (rule("sport"), rule("dport"));
            format!("chain {hook} {{\ntype filter hook {hook} priority 0\n{from}\n{to}\n}}\n")
        };
        let table = format!("table inet channel {{\n{}{}}}\n", chain("input"), chain("output"));
        namespace.run_with_input("nft", &["--file", "-"], &table)?;
        Ok(Self(namespace))
    }

    /// Both ways, with IP headers.
    fn bytes(&self) -> Result<u64> {
        let table = self.0.run("nft", &["list", "table", "inet", "channel"])?;
        let words: Vec<_> = table.split_whitespace().collect();
        let counted = words.windows(2).filter(|pair| pair[0] == "bytes").map(|pair| pair[1].parse::<u64>());
        counted.sum::<Result<u64, _>>().context("nft's counters")
    }
}

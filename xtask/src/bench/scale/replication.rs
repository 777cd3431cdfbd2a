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
    Which::A,
    clock, monotonic_ns,
    swarm::{Swarm, SwarmSettings, servers, servers::Directory},
};

use super::{contestant::Contestant, contestant::Running, machine, report::milliseconds};

/// One in a hundred moves every second.
const ALL_MOVE_IN: Duration = Duration::from_secs(100);
/// How long they roam.
const DURING: Duration = Duration::from_secs(20);
/// How long the last ones may take to be seen.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at B, at least; and this many times as long as a look takes, which B has to serve.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const TIMES_AS_LONG: u32 = 4;
/// The peer channel's, and S-BFD's over UDP.
const CHANNEL_PORT: u16 = 7784;

/// With each number of peers.
pub fn measure(peers: &[u32]) -> Result<Value> {
    println!("\n1 % of the clients move every second; until B's wg1 has the new endpoint:");
    peers.iter().map(|&peers| measure_one(peers)).collect()
}

fn measure_one(peers: u32) -> Result<Value> {
    let topology = Topology::ipv6()?;
    servers::add_peers(&topology.a, peers)?;
    servers::add_peers(&topology.b, peers)?;
    let running = [Contestant::Wgha.start_on_a(&topology)?, Contestant::Wgha.start_on_b(&topology)?];
    let swarm = Swarm::start(&topology, SwarmSettings::spread(&topology.plan, peers))?;
    swarm.establish(A, Duration::from_secs(60))?;
    let channel = Channel::count(&topology.a.namespace)?;
    clock::observe_for(GRACE)?;
    let before = (channel.bytes()?, usage(&running)?, machine::steal_ticks());
    swarm.roam(ALL_MOVE_IN);
    let mut watch = Watch::new(&topology, &swarm, peers);
    watch.look_for(DURING)?;
    swarm.roam(Duration::ZERO);
    watch.look_for(GRACE)?;
    let after = (channel.bytes()?, usage(&running)?, machine::steal_ticks());
    let used = std::array::from_fn(|at| after.1[at].cpu.saturating_sub(before.1[at].cpu));
    let lag =
        Lag { peers, bytes: after.0 - before.0, used, memory: after.1, steal: after.2 - before.2, watch };
    lag.print();
    Ok(lag.to_json())
}

fn usage(running: &[Running; 2]) -> Result<[machine::Usage; 2]> {
    let of = |running: &Running| running.daemon().map_or(Ok(machine::Usage::default()), machine::usage);
    Ok([of(&running[0])?, of(&running[1])?])
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
    used: [Duration; 2],
    memory: [machine::Usage; 2],
    steal: u64,
    watch: Watch<'a>,
}

impl Lag<'_> {
    fn at_most(&self, percent: usize) -> Option<Duration> {
        let ages = self.watch.at_most();
        ages.get((ages.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    }

    fn bytes_per_move(&self) -> Option<u64> {
        self.bytes.checked_div(self.watch.at_most().len() as u64)
    }

    fn print(&self) {
        let written =
            |time: Option<Duration>| time.map_or("never".into(), |t| format!("{:.1} ms", milliseconds(t)));
        println!(
            "{:>8} peers: {} moves known to B, {} not; median {} (a look takes {:.1} ms), 99 % at most {}, all at most {}",
            self.peers,
            self.watch.at_most().len(),
            self.watch.moves().len(),
            written(self.watch.median()),
            milliseconds(self.watch.longest),
            written(self.at_most(99)),
            written(self.at_most(100)),
        );
        println!(
            "{:>14} channel {} B, {} B a move; CPU A {:?}, B {:?}; memory A {} KiB, B {} KiB; steal {}",
            "",
            self.bytes,
            self.bytes_per_move().unwrap_or(0),
            self.used[0],
            self.used[1],
            self.memory[0].resident_kib,
            self.memory[1].resident_kib,
            self.steal
        );
    }

    fn to_json(&self) -> Value {
        let at_most = |percent| self.at_most(percent).map(milliseconds);
        json!({
            "peers": self.peers,
            "moves_known": self.watch.at_most().len(),
            "moves_unknown": self.watch.moves().len(),
            "lag_ms": {
                "p50": self.watch.median().map(milliseconds),
                "p99_at_most": at_most(99),
                "p100_at_most": at_most(100),
                "longest_look": milliseconds(self.watch.longest),
            },
            "channel_bytes": self.bytes,
            "channel_bytes_per_move": self.bytes_per_move(),
            "during_s": (DURING + GRACE).as_secs(),
            "cpu_ms": self.used.map(|used| used.as_millis()),
            "resident_kib": self.memory.map(|usage| usage.resident_kib),
            "steal_ticks": self.steal,
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

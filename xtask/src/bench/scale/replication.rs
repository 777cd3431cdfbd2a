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
/// Between two looks at B, at least; reading takes no more than a tenth of the time.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const SHARE_OF_TIME: u32 = 10;
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
    let running = Contestant::Wgha.start(&topology)?;
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
    /// The latest move of each client that B was seen to know, or not yet.
    seen: HashMap<u32, u64>,
    /// From each move to the end of the first look that found it.
    lags: Vec<Duration>,
    looks: u32,
    looking: Duration,
}

impl<'a> Watch<'a> {
    fn new(topology: &'a Topology, swarm: &'a Swarm, peers: u32) -> Self {
        let (seen, lags) = (HashMap::new(), Vec::new());
        Self {
            topology,
            swarm,
            directory: Directory::of(peers),
            seen,
            lags,
            looks: 0,
            looking: Duration::ZERO,
        }
    }

    fn look_for(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            let began = Instant::now();
            self.look()?;
            self.looks += 1;
            self.looking += began.elapsed();
            clock::observe_for(LOOK_EVERY.max(began.elapsed() * SHARE_OF_TIME))?;
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        // A client that moves while B is read is not judged by an old address.
        let moved: Vec<_> = self.moves();
        let known: HashMap<u32, SocketAddr> =
            self.directory.endpoints(&self.topology.b)?.into_iter().collect();
        let now_ns = monotonic_ns();
        for (number, moved_ns, address) in moved {
            if known.get(&number) == Some(&address) {
                self.seen.insert(number, moved_ns);
                self.lags.push(Duration::from_nanos(now_ns - moved_ns));
            }
        }
        Ok(())
    }

    /// Moves that B has not been seen to know.
    fn moves(&self) -> Vec<(u32, u64, SocketAddr)> {
        let records = (0..).zip(self.swarm.records());
        let moves = records.map(|(number, record)| (number, record.moved_ns.load(Relaxed)));
        let news = moves.filter(|(number, at)| *at != 0 && self.seen.get(number) != Some(at));
        news.map(|(number, at)| (number, at, self.swarm.address(number))).collect()
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
    fn at(&self, percent: usize) -> Option<Duration> {
        let mut lags = self.watch.lags.clone();
        lags.sort_unstable();
        lags.get((lags.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    }

    fn bytes_per_move(&self) -> u64 {
        self.bytes.checked_div(self.watch.lags.len() as u64).unwrap_or(0)
    }

    /// What the watching itself adds at most: the time between the ends of two looks.
    fn grain(&self) -> Duration {
        let between = (DURING + GRACE).checked_div(self.watch.looks).unwrap_or_default();
        between.max(self.watch.looking.checked_div(self.watch.looks).unwrap_or_default())
    }

    fn print(&self) {
        let written =
            |time: Option<Duration>| time.map_or("never".into(), |t| format!("{:.1} ms", milliseconds(t)));
        println!(
            "{:>8} peers: {} moves seen, {} not; median {}, 99 % {}, all {} (grain {:.1} ms); {} B a move; \
             CPU A {:?}, B {:?}; memory A {} KiB, B {} KiB; steal {}",
            self.peers,
            self.watch.lags.len(),
            self.watch.moves().len(),
            written(self.at(50)),
            written(self.at(99)),
            written(self.at(100)),
            milliseconds(self.grain()),
            self.bytes_per_move(),
            self.used[0],
            self.used[1],
            self.memory[0].resident_kib,
            self.memory[1].resident_kib,
            self.steal
        );
    }

    fn to_json(&self) -> Value {
        let at = |percent| self.at(percent).map(milliseconds);
        json!({
            "peers": self.peers,
            "moves_seen": self.watch.lags.len(),
            "moves_not_seen": self.watch.moves().len(),
            "lag_ms": {"p50": at(50), "p99": at(99), "p100": at(100), "grain": milliseconds(self.grain())},
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
            format!("chain {hook} {{ type filter hook {hook} priority 0; {from}; {to}; }}")
        };
        let table = format!("table inet channel {{ {} {} }}\n", chain("input"), chain("output"));
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

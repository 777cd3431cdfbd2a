//! Thousands of WireGuard clients in one process: noise sessions and UDP sockets of their own, no devices.
//!
//! They live in the client's namespace of a [`Topology`], have the servers' public key as their only peer and the VIP as
//! its endpoint, and behave by WireGuard's timers. Talkers send echo requests through the tunnel, the others are silent.

mod client;
pub mod cryptography;
mod echo;
pub mod identity;
mod record;
pub mod servers;
mod shard;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use self::record::{Back, Counts, Record};
use self::shard::{Shard, is_talker};
use crate::{Namespace, Plan, Topology, Which, clock, monotonic_ns};

/// What a swarm is to be.
#[derive(Debug, Clone)]
pub struct SwarmSettings {
    /// How many clients.
    pub clients: u32,
    /// Where they believe the server to be: the VIP.
    pub endpoint: SocketAddr,
    /// Their only source address; none: each has one of its own.
    pub behind: Option<IpAddr>,
    /// How many threads drive them.
    pub threads: u32,
}

impl SwarmSettings {
    /// Clients with an address each.
    #[must_use]
    pub const fn spread(plan: &Plan, clients: u32) -> Self {
        Self { clients, endpoint: SocketAddr::new(plan.vip, Plan::PORT), behind: None, threads: 1 }
    }

    /// Clients behind the one address that the topology's client has.
    #[must_use]
    pub const fn behind_one_address(plan: &Plan, clients: u32) -> Self {
        Self { behind: Some(plan.client), ..Self::spread(plan, clients) }
    }
}

/// Running clients. Dropping it ends them.
#[derive(Debug)]
pub struct Swarm {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What the threads and their owner share.
#[derive(Debug)]
struct Shared {
    settings: SwarmSettings,
    records: Vec<Record>,
    stopped: AtomicBool,
    establishing: AtomicBool,
    talk_every: AtomicU32,
    talk_period_ns: AtomicU64,
    roam_period_ns: AtomicU64,
}

impl Shared {
    fn source(&self, number: u32) -> IpAddr {
        let ipv6 = self.settings.endpoint.is_ipv6();
        self.settings.behind.unwrap_or_else(|| identity::spread_address(number, ipv6))
    }
}

impl Swarm {
    /// Opens all sockets; nothing is sent yet.
    ///
    /// # Errors
    /// The system's.
    pub fn start(topology: &Topology, settings: SwarmSettings) -> Result<Self> {
        allow_files(u64::from(settings.clients) + 1000)?;
        if settings.behind.is_none() {
            make_addresses(topology)?;
        }
        let (clients, threads) = (settings.clients, settings.threads);
        let shared = Arc::new(Shared {
            records: (0..clients).map(|_| Record::default()).collect(),
            settings,
            stopped: AtomicBool::new(false),
            establishing: AtomicBool::new(false),
            talk_every: AtomicU32::new(0),
            talk_period_ns: AtomicU64::new(0),
            roam_period_ns: AtomicU64::new(0),
        });
        let mut swarm = Self { shared, threads: Vec::new() };
        for thread in 0..threads {
            let share = |thread: u32| clients * thread / threads;
            swarm.start_shard(&topology.client, share(thread)..share(thread + 1))?;
        }
        Ok(swarm)
    }

    fn start_shard(&mut self, client: &Namespace, numbers: std::ops::Range<u32>) -> Result<()> {
        let (shared, namespace) = (Arc::clone(&self.shared), client.clone());
        let (opened, is_open) = mpsc::sync_channel(1);
        let inside = move || {
            let shard = Shard::open(shared, numbers)?;
            // Nobody waits any more if the start has failed elsewhere.
            let _ = opened.send(());
            shard.run()
        };
        let thread =
            std::thread::Builder::new().name("swarm".into()).spawn(move || namespace.inside(inside))?;
        if is_open.recv().is_err() {
            return thread.join().map_err(|_| anyhow!("a thread of the swarm panicked"))?;
        }
        self.threads.push(thread);
        Ok(())
    }

    /// What is known of each client, by number.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.shared.records
    }

    /// Sums over all clients.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::of(self.shared.records.iter())
    }

    /// Where a client sends from now.
    #[must_use]
    pub fn address(&self, number: u32) -> SocketAddr {
        let port = self.shared.records[number as usize].port.load(Relaxed);
        SocketAddr::new(self.shared.source(number), u16::try_from(port).unwrap_or(0))
    }

    /// Has every client make a session and send an echo request, a few at a time, and waits for all answers from
    /// `which`. Returns how long that took.
    ///
    /// # Errors
    /// That some had none within `timeout`.
    pub fn establish(&self, which: Which, timeout: Duration) -> Result<Duration> {
        let start_ns = monotonic_ns();
        self.shared.establishing.store(true, Relaxed);
        let answered = |r: &Record| r.hop_limit.load(Relaxed) == which.hop_limit();
        let waited = clock::wait_until(&format!("all clients' sessions with {which}"), timeout, || {
            Ok(self.shared.records.iter().all(answered))
        });
        waited.with_context(|| format!("{:?}", self.counts()))?;
        Ok(Duration::from_nanos(monotonic_ns() - start_ns))
    }

    /// Has this many clients, spread evenly, each send an echo request in every `interval`.
    pub fn talk(&self, talkers: u32, interval: Duration) {
        let every = self.shared.settings.clients.checked_div(talkers).unwrap_or(0);
        self.shared.talk_every.store(every, Relaxed);
        self.shared.talk_period_ns.store(nanoseconds(interval), Relaxed);
    }

    /// Has clients move to a new port, and say so by an echo request: all of them once in `period` on average, or, at
    /// zero, none any more.
    pub fn roam(&self, period: Duration) {
        self.shared.roam_period_ns.store(nanoseconds(period), Relaxed);
    }

    /// Sets the mark after which [`Swarm::all_back`] looks, and returns its `CLOCK_BOOTTIME` ns.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let now_ns = monotonic_ns();
        self.shared.records.iter().for_each(|record| record.mark(now_ns));
        now_ns
    }

    /// When the talkers had the first transport packet of a session that was made after the mark.
    #[must_use]
    pub fn talkers_back(&self) -> Back {
        let every = self.shared.talk_every.load(Relaxed);
        self.back(|number| is_talker(number, every))
    }

    /// When all clients had it.
    #[must_use]
    pub fn all_back(&self) -> Back {
        self.back(|_| true)
    }

    fn back(&self, counts: impl Fn(usize) -> bool) -> Back {
        let records = self.shared.records.iter().enumerate().filter(|&(number, _)| counts(number));
        let times =
            records.map(|(_, r)| (r.back_ns.load(Relaxed), r.mark_ns.load(Relaxed))).collect::<Vec<_>>();
        let back = times.iter().filter(|&&(back, _)| back != 0);
        let mut after: Vec<_> = back.map(|&(back, mark)| Duration::from_nanos(back - mark)).collect();
        after.sort_unstable();
        Back { of: times.len(), after }
    }

    /// Ends all clients.
    ///
    /// # Errors
    /// What a thread has failed with.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stopped.store(true, Relaxed);
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        ended
            .into_iter()
            .try_for_each(|thread| thread.map_err(|_| anyhow!("a thread of the swarm panicked"))?)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the swarm ended early: {error:#}");
        }
    }
}

/// Lets clients send from every address of a prefix, without adding 10,000 of them: that is quadratic.
fn make_addresses(topology: &Topology) -> Result<()> {
    let (plan, client) = (&topology.plan, &topology.client);
    let prefix = identity::spread_prefix(plan.is_ipv6());
    let family = if plan.is_ipv6() { "ipv6" } else { "ipv4" };
    client.set_net(&format!("{family}/ip_nonlocal_bind"), "1")?;
    client.ip(&format!("route replace local {prefix} dev lo"))?;
    topology.gateway.ip(&format!("route replace {prefix} via {} dev wan", plan.client))?;
    Ok(())
}

fn allow_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed))
            .with_context(|| format!("more than {soft} open files"))?;
    }
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

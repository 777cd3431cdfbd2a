//! A thread that drives a share of the clients: their sockets by epoll, their timers in turn, their traffic by the clock.

use std::{
    ops::Range,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{Shared, client::Client, identity, record::Record};
use crate::monotonic_ns;

/// Every client's timers are looked at once in this time, as boringtun's own device does.
const TIMERS_EVERY_NS: u64 = 250_000_000;
/// A share of them each time.
const TIMER_SHARES: u64 = 25;
/// How many handshakes of one shard are under way while sessions are first established: far below what makes a
/// server ask for cookies (128 queued in wireguard-go).
const AT_A_TIME: usize = 24;
/// How many datagrams of one socket are taken at a time.
const BATCH: usize = 8;

/// Some clients with neighbouring numbers.
pub(super) struct Shard {
    shared: Arc<Shared>,
    clients: Vec<Client>,
    first: usize,
    epoll: Epoll,
    timers: Turns,
    talk: Turns,
    roam: Turns,
    /// Which of them talk, and what was asked for when that was found out.
    talkers: (u32, Vec<usize>),
    /// How many have begun their first handshake, and which of them have not ended it.
    begun: usize,
    waiting: Vec<usize>,
}

/// Whose turn it is, when each of `n` has one in a period.
#[derive(Default)]
struct Turns {
    period_ns: u64,
    since_ns: u64,
    done: u64,
}

impl Turns {
    /// Those whose turn has come since the last call: `n` at most, what is missed is not made up for.
    fn due(&mut self, period_ns: u64, n: usize, now_ns: u64) -> impl Iterator<Item = usize> + use<> {
        if self.period_ns != period_ns {
            *self = Self { period_ns, since_ns: now_ns, done: 0 };
        }
        let wide = n as u64;
        let elapsed = u128::from(now_ns.saturating_sub(self.since_ns)) * u128::from(wide);
        let due = elapsed.checked_div(period_ns.into()).and_then(|due| u64::try_from(due).ok()).unwrap_or(0);
        let from = self.done.max(due.saturating_sub(wide));
        self.done = due;
        (from..due).map(move |turn| (turn % wide) as usize)
    }

    /// When the next turn comes.
    fn next_ns(&self, n: usize) -> Option<u64> {
        ((self.done + 1) * self.period_ns)
            .checked_div(n as u64)
            .filter(|&at| at != 0)
            .map(|at| self.since_ns + at)
    }
}

impl Shard {
    /// Opens the sockets of its clients, in the namespace of the calling thread.
    pub(super) fn open(shared: Arc<Shared>, numbers: Range<u32>) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut shard = Self {
            first: numbers.start as usize,
            shared,
            clients: Vec::with_capacity(numbers.len()),
            epoll,
            timers: Turns::default(),
            talk: Turns::default(),
            roam: Turns::default(),
            talkers: (0, Vec::new()),
            begun: 0,
            waiting: Vec::new(),
        };
        for number in numbers {
            let (source, endpoint) = (shard.shared.source(number), shard.shared.settings.endpoint);
            shard.clients.push(Client::new(number, source, endpoint)?);
            shard.watch(shard.clients.len() - 1)?;
        }
        Ok(shard)
    }

    /// Waits for datagrams at a socket that is new. The kernel forgets one that is closed.
    fn watch(&mut self, at: usize) -> Result<()> {
        let (client, record) = (&self.clients[at], &self.shared.records[self.first + at]);
        self.epoll.add(client.socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, at as u64))?;
        record.port.store(client.port(), Relaxed);
        Ok(())
    }

    /// Drives them until the swarm is stopped.
    pub(super) fn run(mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        while !self.shared.stopped.load(Relaxed) {
            let ready = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error).context("epoll"),
            };
            for event in &events[..ready] {
                let Ok(at) = usize::try_from(event.data()) else { continue };
                let (client, record) = self.at(at);
                let _ = (0..BATCH).all(|_| client.receive(record));
            }
            let now_ns = monotonic_ns();
            self.look_at_timers(now_ns);
            self.establish();
            self.talk(now_ns);
            self.roam(now_ns)?;
        }
        Ok(())
    }

    /// Milliseconds until something is due.
    fn timeout(&self) -> u16 {
        let share_ns = TIMERS_EVERY_NS / TIMER_SHARES;
        let next = [self.talk.next_ns(self.talkers.1.len()), self.roam.next_ns(self.clients.len())];
        let now_ns = monotonic_ns();
        let waits = next.into_iter().flatten().map(|at| at.saturating_sub(now_ns));
        let wait = Duration::from_nanos(waits.fold(share_ns, u64::min));
        u16::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(0)
    }

    fn at(&mut self, at: usize) -> (&mut Client, &Record) {
        (&mut self.clients[at], &self.shared.records[self.first + at])
    }

    fn look_at_timers(&mut self, now_ns: u64) {
        for turn in self.timers.due(TIMERS_EVERY_NS, self.clients.len(), now_ns) {
            let (client, record) = self.at(turn);
            client.look_at_timers(record);
        }
    }

    /// Lets some clients more begin their first handshake.
    fn establish(&mut self) {
        if !self.shared.establishing.load(Relaxed) {
            return;
        }
        let (records, first) = (&self.shared.records, self.first);
        self.waiting.retain(|at| records[first + at].session_ns.load(Relaxed) == 0);
        while self.waiting.len() < AT_A_TIME && self.begun < self.clients.len() {
            let at = self.begun;
            let (client, record) = self.at(at);
            client.talk(record);
            self.waiting.push(at);
            self.begun += 1;
        }
    }

    fn talk(&mut self, now_ns: u64) {
        let every = self.shared.talk_every.load(Relaxed);
        if self.talkers.0 != every {
            let last = self.first + self.clients.len();
            let talkers = (self.first..last).filter(|&number| is_talker(number, every));
            self.talkers = (every, talkers.map(|number| number - self.first).collect());
        }
        let period_ns = self.shared.talk_period_ns.load(Relaxed);
        for turn in self.talk.due(period_ns, self.talkers.1.len(), now_ns) {
            let at = self.talkers.1[turn];
            let (client, record) = self.at(at);
            client.talk(record);
        }
    }

    /// Has clients move, each to a new port once in the period, in an order of no pattern.
    fn roam(&mut self, now_ns: u64) -> Result<()> {
        let n = self.clients.len();
        for turn in self.roam.due(self.shared.roam_period_ns.load(Relaxed), n, now_ns) {
            let at = (identity::mixed((turn as u64) ^ now_ns) % n as u64) as usize;
            self.clients[at].roam()?;
            self.watch(at)?;
            let (client, record) = self.at(at);
            record.moved_ns.store(monotonic_ns(), Relaxed);
            client.talk(record);
        }
        Ok(())
    }
}

/// Every so-manieth client talks, so that talkers are spread evenly over the servers' configuration.
pub(super) const fn is_talker(number: usize, every: u32) -> bool {
    every != 0 && (number + 1).is_multiple_of(every as usize)
}

//! A model of one node's kernel half: what the maps hold, and the rules of the packet path.

use std::{collections::VecDeque, net::IpAddr};

use wgha::proto::{Answered, Heard, Input, Listened, PeerId};
use wgha_common::{
    Address, Centiseconds, Timestamp,
    abi::{EventKind, Lease, OUTSTANDING, RING_PAUSE_NANOS, Role, outranks},
};

use crate::bounds::MILLI;

/// An advert on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Advert {
    pub from: usize,
    pub priority: u8,
    pub interval: Centiseconds,
}

/// A probe and, given back with the sender's state, its answer.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    pub from: usize,
    /// My Discriminator: which daemon's, and which of its probes.
    pub mine: (u32, u64),
    /// Your Discriminator: which daemon has introduced itself with it.
    pub yours: u32,
    /// Its sender serves, or claims to.
    pub up: bool,
}

/// What a reflector says.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub from: usize,
    pub to_probe: (u32, u64),
    pub up: bool,
    /// It has ceased to serve because of the probe.
    pub yielded: bool,
}

/// What goes over the wire.
#[derive(Debug, Clone, Copy)]
pub enum Packet {
    Advert(Advert),
    Probe(Probe),
    Answer(Answer),
    /// An answer of the gateway.
    Neighbour,
}

/// The coarse clock's grain.
const TICK: u64 = 4 * MILLI;

/// Where node `n` sends from.
pub fn address(n: usize) -> IpAddr {
    IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, n as u16 + 1])
}

#[derive(Debug)]
enum Rung {
    Advert(EventKind, Heard),
    AdminDown(Answered),
}

/// Programs and maps; they outlive the daemon.
#[derive(Debug)]
pub struct Kernel {
    me: Address,
    pub lease: Lease,
    pub revoked: u64,
    pub stamp: (u8, Centiseconds),
    /// The interval of the last advert that has left.
    pub said: Centiseconds,
    pub routers: Vec<Option<Heard>>,
    /// What the reflector answers to; 0: to nobody.
    pub discriminator: u32,
    /// The probes to each node that an answer may still come for, the last first.
    probes: Vec<VecDeque<(u32, u64)>>,
    answers: Vec<Option<Answered>>,
    /// Which priority each node has introduced itself with.
    pub introduced: Vec<Option<u8>>,
    /// Claims have to be proven.
    pub authenticated: bool,
    ring: VecDeque<Rung>,
    rival_rang: Option<Timestamp>,
    contested_rang: Option<Timestamp>,
    /// How many of the next events find no room.
    pub ring_full: u32,
    /// What `ARRIVALS` holds.
    pub arrivals: Listened,
}

impl Kernel {
    pub fn new(me: usize, nodes: usize, interval: Centiseconds) -> Self {
        Self {
            me: address(me).into(),
            lease: Lease::default(),
            revoked: 0,
            stamp: (0, interval),
            said: interval,
            routers: vec![None; nodes],
            discriminator: 0,
            probes: vec![VecDeque::new(); nodes],
            answers: vec![None; nodes],
            introduced: vec![None; nodes],
            authenticated: false,
            ring: VecDeque::new(),
            rival_rang: None,
            contested_rang: None,
            ring_full: 0,
            arrivals: Listened::default(),
        }
    }

    /// Whether packets of the VIP pass.
    pub fn serves(&self, now: Timestamp) -> bool {
        self.lease.serves(self.revoked, now.as_nanos())
    }

    /// As the packet path asks: a serving lease that is found lapsed is over for good (I5).
    fn gives(&mut self, role: Role, now: Timestamp) -> bool {
        let given = self.lease.gives(role, self.revoked, now.as_nanos());
        if !given && self.lease.role == Role::Active as u32 && self.lease.stands(self.revoked) {
            self.revoked = self.lease.epoch;
        }
        given
    }

    /// Something has come in. It is noted by a clock that ticks 250 times a second.
    pub fn hears(&mut self, at: Timestamp) {
        let nanos = at.as_nanos();
        self.arrivals.heard = Timestamp::from_nanos(nanos - nanos % TICK);
    }

    pub fn answered_by_gateway(&mut self, at: Timestamp) {
        self.arrivals.answered = at;
    }

    /// TC egress: whether an advert leaves, and what it says.
    pub fn egress(&mut self, from: usize, now: Timestamp) -> Option<Advert> {
        let (priority, interval) = self.stamp;
        let leaves = priority == 0 || self.gives(Role::Claiming, now);
        self.said = if leaves { interval } else { self.said };
        leaves.then_some(Advert { from, priority, interval })
    }

    /// XDP ingress. Whether it rang.
    pub fn ingress(&mut self, advert: Advert, at: Timestamp) -> bool {
        let source = address(advert.from);
        let heard = Heard { at, source, priority: advert.priority, interval: advert.interval };
        let before = self.routers[advert.from].replace(heard);
        match self.claim(&heard).or_else(|| change(before, &heard)) {
            Some(kind) => self.ring_for_advert(kind, heard),
            None => false,
        }
    }

    /// A daemon begins: it forgets its predecessor's probes and has a ring of its own.
    pub fn begin(&mut self, discriminator: u32) {
        self.discriminator = discriminator;
        self.ring.clear();
        self.rival_rang = None;
        self.contested_rang = None;
        self.probes.iter_mut().for_each(VecDeque::clear);
        self.answers.fill(None);
    }

    pub fn note_probe(&mut self, to: usize, mine: (u32, u64)) {
        self.probes[to].truncate(OUTSTANDING - 1);
        self.probes[to].push_front(mine);
    }

    /// TC egress: whether a probe leaves.
    pub fn asks(&mut self, up: bool, now: Timestamp) -> bool {
        !up || self.gives(Role::Claiming, now)
    }

    /// The reflector: what it answers, if it does, and whether that rang. A lapsed lease that it finds is over for good.
    pub fn reflect(&mut self, me: usize, probe: &Probe, now: Timestamp) -> (Option<Answer>, bool) {
        if probe.yours != self.discriminator {
            return (None, false);
        }
        let before = self.revoked;
        let rang = probe.up && self.contest(probe.from, now);
        let yielded = probe.up && self.revoked != before && self.revoked == self.lease.epoch;
        let up = self.gives(Role::Active, now);
        (Some(Answer { from: me, to_probe: probe.mine, up, yielded }), rang)
    }

    /// A peer serves, or claims to.
    fn contest(&mut self, from: usize, at: Timestamp) -> bool {
        let Some(priority) = self.introduced[from] else { return false };
        if !self.gives(Role::Claiming, at) {
            return false;
        }
        let heard = Heard { at, source: address(from), priority, interval: self.stamp.1 };
        if outranks(priority, &heard.source.into(), self.stamp.0, &self.me) {
            self.revoked = self.lease.epoch;
            return self.ring(Rung::Advert(EventKind::Outranked, heard));
        }
        let pauses = pauses(self.contested_rang, at);
        self.contested_rang = if pauses { self.contested_rang } else { Some(at) };
        !pauses && self.ring(Rung::Advert(EventKind::Contested, heard))
    }

    /// An answer. Whether it rang.
    pub fn answered(&mut self, answer: Answer, at: Timestamp) -> bool {
        let Answer { from, to_probe, up, yielded } = answer;
        if !self.probes[from].contains(&to_probe) {
            return false;
        }
        let answer = Answered { peer: PeerId(from as u8), number: to_probe.1, at, up, yielded };
        let before = self.answers[from].replace(answer);
        !up && before.is_none_or(|before| before.up) && self.ring(Rung::AdminDown(answer))
    }

    fn claim(&mut self, heard: &Heard) -> Option<EventKind> {
        if heard.priority == 0 || !self.gives(Role::Claiming, heard.at) {
            return None;
        }
        if self.authenticated || !outranks(heard.priority, &heard.source.into(), self.stamp.0, &self.me) {
            return Some(EventKind::Rival);
        }
        self.revoked = self.lease.epoch;
        Some(EventKind::Outranked)
    }

    fn ring_for_advert(&mut self, kind: EventKind, heard: Heard) -> bool {
        if kind == EventKind::Rival {
            if pauses(self.rival_rang, heard.at) {
                return false;
            }
            self.rival_rang = Some(heard.at);
        }
        self.ring(Rung::Advert(kind, heard))
    }

    fn ring(&mut self, rung: Rung) -> bool {
        if self.ring_full > 0 {
            self.ring_full -= 1;
            return false;
        }
        self.ring.push_back(rung);
        true
    }

    /// The next record, as the driver makes an input of it.
    pub fn read_ring(&mut self) -> Option<Input> {
        self.ring.pop_front().map(|rung| match rung {
            Rung::Advert(EventKind::Outranked, by) => Input::LeaseRevoked { epoch: self.revoked, by },
            Rung::Advert(EventKind::Contested, heard) => Input::Contested(heard),
            Rung::Advert(_, heard) => Input::AdvertHeard(heard),
            Rung::AdminDown(answer) => Input::Answered(answer),
        })
    }

    pub fn look(&self, routers: bool) -> Input {
        let routers = self.routers.iter().flatten().filter(|_| routers).copied().collect();
        let answers = self.answers.iter().flatten().copied().collect();
        Input::LookedAgain { routers, revoked_epoch: self.revoked, answers }
    }
}

fn pauses(rang: Option<Timestamp>, now: Timestamp) -> bool {
    rang.is_some_and(|at| now.since(at).as_nanos() < u128::from(RING_PAUSE_NANOS))
}

fn change(before: Option<Heard>, heard: &Heard) -> Option<EventKind> {
    match (before, heard.priority) {
        (Some(before), 0) if before.priority == 0 => None,
        (_, 0) => Some(EventKind::Resigned),
        (None, _) => Some(EventKind::NewRouter),
        (Some(before), _) if before.priority == 0 => Some(EventKind::NewRouter),
        (Some(before), p) if before.priority != p || before.interval != heard.interval => {
            Some(EventKind::ChangedRouter)
        }
        _ => None,
    }
}

//! A model of one node's kernel half: what the maps hold, and the rules of the packet path.

use std::{collections::VecDeque, net::IpAddr};

use wgha::proto::{Heard, Input};
use wgha_common::{
    Address, Centiseconds, Timestamp,
    abi::{EventKind, Lease, RING_PAUSE_NANOS, Role, outranks},
};

/// An advert on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Advert {
    pub from: usize,
    pub priority: u8,
    pub interval: Centiseconds,
}

/// Where node `n` sends from.
pub fn address(n: usize) -> IpAddr {
    IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, n as u16 + 1])
}

/// Programs and maps; they outlive the daemon.
#[derive(Debug)]
pub struct Kernel {
    me: Address,
    pub lease: Lease,
    pub revoked: u64,
    pub stamp: (u8, Centiseconds),
    pub routers: Vec<Option<Heard>>,
    ring: VecDeque<(EventKind, Heard)>,
    rival_rang: Option<Timestamp>,
    /// How many of the next events find no room.
    pub ring_full: u32,
}

impl Kernel {
    pub fn new(me: usize, nodes: usize, interval: Centiseconds) -> Self {
        Self {
            me: address(me).into(),
            lease: Lease::default(),
            revoked: 0,
            stamp: (0, interval),
            routers: vec![None; nodes],
            ring: VecDeque::new(),
            rival_rang: None,
            ring_full: 0,
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

    /// TC egress: whether an advert leaves, and what it says.
    pub fn egress(&mut self, from: usize, now: Timestamp) -> Option<Advert> {
        let (priority, interval) = self.stamp;
        (priority == 0 || self.gives(Role::Claiming, now)).then_some(Advert { from, priority, interval })
    }

    /// XDP ingress. Whether it rang.
    pub fn ingress(&mut self, advert: Advert, at: Timestamp) -> bool {
        let source = address(advert.from);
        let heard = Heard { at, source, priority: advert.priority, interval: advert.interval };
        let before = self.routers[advert.from].replace(heard);
        match self.claim(&heard).or_else(|| change(before, &heard)) {
            Some(kind) => self.ring(kind, heard),
            None => false,
        }
    }

    fn claim(&mut self, heard: &Heard) -> Option<EventKind> {
        if heard.priority == 0 || !self.gives(Role::Claiming, heard.at) {
            return None;
        }
        if !outranks(heard.priority, &heard.source.into(), self.stamp.0, &self.me) {
            return Some(EventKind::Rival);
        }
        self.revoked = self.lease.epoch;
        Some(EventKind::Outranked)
    }

    fn ring(&mut self, kind: EventKind, heard: Heard) -> bool {
        if kind == EventKind::Rival {
            if self.rival_rang.is_some_and(|at| heard.at.since(at).as_nanos() < u128::from(RING_PAUSE_NANOS))
            {
                return false;
            }
            self.rival_rang = Some(heard.at);
        }
        if self.ring_full > 0 {
            self.ring_full -= 1;
            return false;
        }
        self.ring.push_back((kind, heard));
        true
    }

    /// The next record, as the driver makes an input of it.
    pub fn read_ring(&mut self) -> Option<Input> {
        self.ring.pop_front().map(|(kind, heard)| match kind {
            EventKind::Outranked => Input::LeaseRevoked { epoch: self.revoked, by: heard },
            _ => Input::AdvertHeard(heard),
        })
    }

    pub fn look(&self) -> Input {
        let routers = self.routers.iter().flatten().copied().collect();
        Input::LookedAgain { routers, revoked_epoch: self.revoked, answers: Vec::new() }
    }
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

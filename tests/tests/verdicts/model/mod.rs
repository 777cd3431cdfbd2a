//! What the kernel half must do with a frame, said a second time: plainly, slowly, one packet after the other.
//!
//! The kernel half says it for speed, for the verifier, in two ways for most of what it sees, over codecs that the daemon
//! shares. This shares nothing with it but the records of the maps and the names of the counters. Where both agree on
//! every packet, either both are right or one mistake was made twice.

mod egress;
mod frame;
mod ingress;
mod sum;
mod wireguard;

use std::collections::BTreeMap;

use wgha_common::{
    Address,
    abi::{
        AdvertSeen, AdvertStamp, Answer, Counter, Event, EventKind, Lease, MAX_PEERS, Outstanding, Peer,
        Role, Sbfd, TRAFFIC_ENTRIES, UplinkConfig,
    },
};

use crate::kernel::{Hook, Then};

pub use frame::Frame;

/// How several packets come in one buffer: how many, and the payload of each. A size of 0: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segments {
    pub count: u32,
    pub size: u32,
}

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub then: Then,
    /// The frame as it goes on.
    pub out: Vec<u8>,
    /// Where `out` has a checksum for which 0 and 0xffff are the same.
    pub either_zero: Option<usize>,
    /// What has rung, but for the time.
    pub events: Vec<Event>,
}

/// What is counted of WireGuard's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    pub packets: u64,
    pub bytes: u64,
    /// Of the last packet.
    pub epoch: u64,
}

/// All that the kernel half knows, and all that it has told.
#[derive(Debug, Clone)]
pub struct World {
    pub uplink: UplinkConfig,
    pub vips: Vec<Address>,
    pub lease: Lease,
    pub stamp: AdvertStamp,
    pub sbfd: Sbfd,
    pub peers: Vec<(Address, Peer, Outstanding)>,
    pub gateways: Vec<Address>,
    /// Whether the pause after an event of a kind lasts: it does not ring then.
    pub pausing: [bool; EventKind::COUNT as usize],
    /// Now, if leases do not end within a second.
    pub now: u64,

    /// The epoch that is over, and by whom.
    pub revoked: (u64, Address),
    /// Without times.
    pub routers: BTreeMap<Address, AdvertSeen>,
    /// Without times.
    pub answers: [Answer; MAX_PEERS as usize],
    pub counters: [u64; Counter::COUNT as usize],
    pub traffic: [Counted; TRAFFIC_ENTRIES as usize],
    /// What has rung since somebody last looked.
    pub rang: [bool; EventKind::COUNT as usize],
    /// How many events of a kind have not rung.
    pub suppressed: [u64; EventKind::COUNT as usize],
    /// Where sessions were last seen.
    pub places: wireguard::Places,
    /// Whether the last frame is noted as one that has come in; none: it may be.
    pub arrived: Option<bool>,
    /// Whether it is noted as an answer of a gateway.
    pub witnessed: bool,
}

impl World {
    /// Nothing is configured, nothing has happened.
    pub fn new() -> Self {
        Self {
            uplink: UplinkConfig::default(),
            vips: Vec::new(),
            lease: Lease::default(),
            stamp: AdvertStamp::default(),
            sbfd: Sbfd::default(),
            peers: Vec::new(),
            gateways: Vec::new(),
            pausing: Default::default(),
            now: 0,
            revoked: (0, Address::UNSPECIFIED),
            routers: BTreeMap::new(),
            answers: Default::default(),
            counters: [0; Counter::COUNT as usize],
            traffic: Default::default(),
            rang: Default::default(),
            suppressed: Default::default(),
            places: wireguard::Places::default(),
            arrived: Some(false),
            witnessed: false,
        }
    }

    /// Puts a frame through.
    pub fn see(&mut self, hook: Hook, frame: &[u8], segments: Segments) -> Outcome {
        self.arrived = Some(hook != Hook::Egress && self.uplink.vrid != 0);
        self.witnessed = false;
        let mut seen = Seen {
            hook,
            frame: Frame(frame),
            segments,
            world: self,
            out: frame.to_vec(),
            either_zero: None,
            events: Vec::new(),
        };
        let verdict = match hook {
            _ if seen.world.uplink.vrid == 0 => Verdict::Pass,
            Hook::Xdp | Hook::Ingress => ingress::verdict(&mut seen),
            Hook::Egress => egress::verdict(&mut seen),
        };
        let (then, counter) = match verdict {
            Verdict::Pass => (Then::Passes, None),
            Verdict::Count(counter) => (Then::Passes, Some(counter)),
            Verdict::Drop(counter) => (Then::Drops, Some(counter)),
            Verdict::Return(counter) => (Then::Returns, Some(counter)),
        };
        let Seen { out, either_zero, events, .. } = seen;
        counter.into_iter().for_each(|counter| self.count(counter));
        Outcome { then, out, either_zero, events }
    }

    fn count(&mut self, counter: Counter) {
        self.counters[counter as usize] += 1;
    }

    fn is_vip(&self, address: Address) -> bool {
        self.vips.contains(&address)
    }

    /// Whether the lease gives this role. One that would let us serve, but that is found lapsed, is over (I5).
    fn may(&mut self, role: Role) -> bool {
        let stands = self.lease.until != 0 && self.lease.epoch > self.revoked.0;
        let lapsed = self.lease.until <= self.now;
        if stands && lapsed && self.lease.role == Role::Active as u32 {
            self.revoked = (self.lease.epoch, Address::UNSPECIFIED);
            self.count(Counter::LeaseLapsed);
        }
        stands && !lapsed && self.lease.role >= role as u32
    }

    fn serves(&mut self) -> bool {
        self.may(Role::Active)
    }
}

/// What becomes of a frame, and how that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Count(Counter),
    Drop(Counter),
    Return(Counter),
}

/// A frame on its way.
struct Seen<'a> {
    hook: Hook,
    frame: Frame<'a>,
    segments: Segments,
    world: &'a mut World,
    out: Vec<u8>,
    either_zero: Option<usize>,
    events: Vec<Event>,
}

impl Seen<'_> {
    /// Rings, unless this kind pauses. Says whether it rang.
    fn ring(&mut self, kind: EventKind, event: Event) -> bool {
        let can_pause = matches!(
            kind,
            EventKind::Rival
                | EventKind::Malformed
                | EventKind::Contested
                | EventKind::NewRouter
                | EventKind::ChangedRouter
                | EventKind::Resigned
                | EventKind::NewSource
                | EventKind::NeighbourAnswered
        );
        if can_pause && self.world.pausing[kind as usize] {
            self.world.suppressed[kind as usize] += 1;
            return false;
        }
        self.world.rang[kind as usize] = true;
        self.events.push(Event { kind: kind as u32, ..event });
        true
    }

    /// Drops what belongs to a VIP, unless we serve (I4).
    fn fenced(&mut self, counter: Counter) -> Verdict {
        if self.world.serves() { Verdict::Pass } else { Verdict::Drop(counter) }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

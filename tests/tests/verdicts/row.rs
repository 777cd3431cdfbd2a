//! A row of the table: what is set up, what goes in, what must come out.

use std::net::IpAddr;

use wgha_common::{
    Address,
    abi::{
        AdvertStamp, Answer, Counter, Direction, EventKind, Lease, Outstanding, Peer, RING_PAUSE_NANOS,
        Revoked, Role, Rung, Sbfd, UplinkConfig,
    },
    wire::wireguard::MessageType,
};

use crate::{
    kernel::{Hook, Kernel, Then, now},
    net::{CLIENT_PORT, Net},
};

/// The epoch of every lease, unless a step says otherwise.
pub const EPOCH: u64 = 7;
const SECOND: u64 = 1_000_000_000;

/// What `LEASE` and `REVOKED` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// As the daemon leaves it at its start.
    Nothing,
    /// A Backup's: it gives nothing.
    Backup,
    /// Adverts may leave.
    Claiming,
    /// All may.
    Active,
    /// It was Active until a second ago.
    Lapsed,
    /// It is Active by its time, but the kernel has ended its epoch.
    Revoked,
    /// The daemon has ended it.
    Ended,
    /// It is Active in the epoch after [`EPOCH`].
    NextEpoch,
}

impl Held {
    pub fn set(self, kernel: &mut Kernel) {
        let (role, epoch, until) = match self {
            Self::Nothing => return kernel.set_lease(Lease::default()),
            Self::Backup => (Role::Backup, EPOCH, now() + 10 * SECOND),
            Self::Claiming => (Role::Claiming, EPOCH, now() + 10 * SECOND),
            Self::Active | Self::Revoked => (Role::Active, EPOCH, now() + 10 * SECOND),
            Self::Lapsed => (Role::Active, EPOCH, now() - SECOND),
            Self::Ended => (Role::Active, EPOCH, 0),
            Self::NextEpoch => (Role::Active, EPOCH + 1, now() + 10 * SECOND),
        };
        kernel.set_lease(Lease { until, epoch, role: role as u32, reserved: 0 });
        if self == Self::Revoked {
            kernel.set_revoked(Revoked { epoch: EPOCH, at: 1, by: Address::UNSPECIFIED });
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Backup => "backup",
            Self::Claiming => "claiming",
            Self::Active => "active",
            Self::Lapsed => "lapsed",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
            Self::NextEpoch => "next epoch",
        }
    }
}

/// What happens before the packet.
#[derive(Debug, Clone)]
pub enum Before {
    /// Another packet.
    Packet(Vec<u8>),
    /// The daemon writes a lease.
    Lease(Held),
    /// The ring's pause passes.
    Pause,
    /// It does not: what has rung has rung just now, however slow this test is.
    NoPause,
}

/// Who has ended our lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nobody, by this packet.
    No,
    /// Time.
    Lapsed,
    /// A router.
    By(IpAddr),
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    held: Held,
    before: Vec<Before>,
    packet: Vec<u8>,
    configure: Option<fn(&mut Configured)>,
    then: Then,
    counted: Vec<Counter>,
    rings: Option<EventKind>,
    port: u16,
    suppressed: u64,
    traffic: Option<(MessageType, u64)>,
    out: Option<Vec<u8>>,
    ended: Ended,
    /// What is recorded of an answer: of which peer, to which probe, with which state, and how many it makes.
    recorded: Option<(u32, u32, u8, u64)>,
    diagnostic: u8,
    /// Whom the event is about, if not the packet's source.
    about: Option<IpAddr>,
    only: Option<Hook>,
}

/// What the daemon has configured, for rows that configure something else.
#[derive(Debug, Clone, Copy)]
pub struct Configured {
    pub uplink: UplinkConfig,
    pub stamp: AdvertStamp,
    pub sbfd: Sbfd,
    pub peers: [(Address, Peer, Outstanding); 2],
}

/// A packet that passes without a trace, on a Backup.
pub fn row(what: impl Into<String>, packet: Vec<u8>) -> Row {
    Row {
        what: what.into(),
        held: Held::Backup,
        before: Vec::new(),
        packet,
        configure: None,
        then: Then::Passes,
        counted: Vec::new(),
        rings: None,
        port: CLIENT_PORT,
        suppressed: 0,
        traffic: None,
        out: None,
        ended: Ended::No,
        recorded: None,
        diagnostic: 0,
        about: None,
        only: None,
    }
}

impl Row {
    pub const fn held(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    pub fn after(mut self, before: Before) -> Self {
        self.before.push(before);
        self
    }

    pub const fn configured(mut self, configure: fn(&mut Configured)) -> Self {
        self.configure = Some(configure);
        self
    }

    /// It is dropped and counted.
    pub fn drops(mut self, counter: Counter) -> Self {
        self.then = Then::Drops;
        self.counts(counter)
    }

    /// It leaves where it came in, as this, and is counted.
    pub fn returns(mut self, counter: Counter, out: Vec<u8>) -> Self {
        self.then = Then::Returns;
        self.counts(counter).leaves_as(out)
    }

    /// It is recorded as an answer of this peer to this probe: so many have come.
    pub const fn records(mut self, peer: u32, probe: u32, state: u8, answers: u64) -> Self {
        self.recorded = Some((peer, probe, state, answers));
        self
    }

    /// With this diagnostic.
    pub const fn diagnosed(mut self, diagnostic: u8) -> Self {
        self.diagnostic = diagnostic;
        self
    }

    /// It is a claim, of a router that has told where its adverts come from.
    pub const fn claims_for(mut self, router: IpAddr) -> Self {
        self.about = Some(router);
        self
    }

    /// It is counted.
    pub fn counts(mut self, counter: Counter) -> Self {
        self.counted.push(counter);
        self
    }

    pub const fn rings(mut self, kind: EventKind) -> Self {
        self.rings = Some(kind);
        self
    }

    /// Its UDP source port.
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// It would have rung, but for the pause.
    pub const fn suppressed(mut self) -> Self {
        self.suppressed = 1;
        self
    }

    /// It is WireGuard traffic.
    pub const fn traffic(mut self, message: MessageType) -> Self {
        self.traffic = Some((message, 1));
        self
    }

    /// It is WireGuard traffic that comes in, of a session and a source that are new.
    pub const fn arrives(self, message: MessageType) -> Self {
        match message {
            MessageType::Cookie | MessageType::Malformed => self.traffic(message),
            _ => self.traffic(message).rings(EventKind::NewSource),
        }
    }

    /// It leaves as this.
    pub fn leaves_as(mut self, out: Vec<u8>) -> Self {
        self.out = Some(out);
        self
    }

    pub const fn ends(mut self, ended: Ended) -> Self {
        self.ended = ended;
        self
    }

    /// The kernel puts no such frame into a socket buffer for a test; behind a tag it does.
    pub const fn only_xdp(self) -> Self {
        self.only(Hook::Xdp)
    }

    /// It is run in no other program.
    pub const fn only(mut self, hook: Hook) -> Self {
        self.only = Some(hook);
        self
    }

    pub fn runs_in(&self, hook: Hook) -> bool {
        self.only.is_none_or(|only| only == hook)
    }

    /// Puts it through the kernel half, and panics where something else comes out.
    pub fn run(&self, kernel: &mut Kernel, net: &Net, hook: Hook) {
        let at = format!("{} ({}, {})", self.what, hook.program(), net.family);
        let (uplink, stamp, sbfd, peers) = (net.uplink(), net.stamp(), net.sbfd(), net.peers());
        let mut configured = Configured { uplink, stamp, sbfd, peers };
        if let Some(configure) = self.configure {
            configure(&mut configured);
        }
        kernel.reset(configured.uplink, &net.vips(), configured.stamp);
        kernel.set_sbfd(configured.sbfd, &configured.peers);
        self.held.set(kernel);
        self.before.iter().for_each(|before| prepare(kernel, hook, before));
        kernel.forget();
        let (revoked, suppressed) = (kernel.revoked(), all_suppressed(kernel));
        let (answers, started) = (kernel.answers(), now());
        let ran = kernel.run(hook, &self.packet);
        assert_eq!(ran.then, self.then, "{at}");
        assert_eq!(kernel.counters(), self.wanted_counters(), "{at}: counters");
        assert_eq!(all_suppressed(kernel) - suppressed, self.suppressed, "{at}: suppressed");
        self.check_out(&at, &ran.out);
        self.check_traffic(&at, kernel, hook, started);
        self.check_event(&at, kernel, started);
        self.check_answers(&at, answers, &kernel.answers(), started);
        self.check_revoked(&at, revoked, kernel.revoked(), started);
    }

    fn wanted_counters(&self) -> Vec<(Counter, u64)> {
        let mut wanted: Vec<_> = self.counted.iter().map(|counter| (*counter, 1)).collect();
        wanted.sort_by_key(|(counter, _)| *counter as u32);
        wanted
    }

    fn check_out(&self, at: &str, out: &[u8]) {
        let wanted = self.out.as_ref().unwrap_or(&self.packet);
        assert!(out == wanted, "{at}: packet out\n got {out:02x?}\nwant {wanted:02x?}");
    }

    fn check_traffic(&self, at: &str, kernel: &Kernel, hook: Hook, started: u64) {
        let direction = if hook == Hook::Egress { Direction::Egress } else { Direction::Ingress };
        let seen = kernel.traffic();
        let got: Vec<_> = seen.iter().map(|(d, m, t)| (*d, *m, t.packets)).collect();
        let wanted: Vec<_> = self.traffic.iter().map(|(m, packets)| (direction, *m, *packets)).collect();
        assert_eq!(got, wanted, "{at}: traffic");
        for (.., traffic) in seen {
            assert_eq!(traffic.epoch, kernel.lease().epoch, "{at}: the traffic's epoch");
            assert!((started..=now()).contains(&traffic.first), "{at}: when the first came");
        }
    }

    fn check_event(&self, at: &str, kernel: &mut Kernel, started: u64) {
        let events = kernel.events();
        let kinds: Vec<_> = events.iter().map(|event| EventKind::from_number(event.kind)).collect();
        assert_eq!(kinds, self.rings.iter().map(|kind| Some(*kind)).collect::<Vec<_>>(), "{at}: events");
        for event in events {
            assert!((started..=now()).contains(&event.at), "{at}: the event's time");
            let counter = self.counted.first().filter(|_| self.about.is_none());
            let counter = counter.map_or(0, |counter| *counter as u32);
            assert_eq!(event.counter, counter, "{at}: the event's counter");
            let source = self.about.map_or_else(|| source_of(&self.packet), Address::from);
            assert_eq!(event.source, source, "{at}: the event's source");
            let from_port = event.kind == EventKind::NewSource as u32;
            assert_eq!(event.port, if from_port { self.port } else { 0 }, "{at}: the event's port");
        }
    }

    fn check_answers(&self, at: &str, mut wanted: Vec<Answer>, got: &[Answer], started: u64) {
        if let Some((peer, discriminator, state, answers)) = self.recorded {
            let when = got[peer as usize].at;
            assert!((started..=now()).contains(&when), "{at}: the answer's time");
            wanted[peer as usize] = Answer {
                at: when,
                answers,
                discriminator,
                state,
                diagnostic: self.diagnostic,
                reserved: [0; 2],
            };
        }
        assert_eq!(got, wanted, "{at}: answers");
    }

    fn check_revoked(&self, at: &str, before: Revoked, after: Revoked, started: u64) {
        let by = match self.ended {
            Ended::No => return assert_eq!(after, before, "{at}: the lease"),
            Ended::Lapsed => Address::UNSPECIFIED,
            Ended::By(router) => router.into(),
        };
        assert_eq!((after.epoch, after.by), (EPOCH, by), "{at}: the lease");
        assert!((started..=now()).contains(&after.at), "{at}: when the lease ended");
    }

    /// The row for people; `seen` is where it was run.
    pub fn print(&self, seen: &str) {
        let counted: Vec<_> = self.counted.iter().map(|counter| counter.name()).collect();
        println!(
            "| {:<62} | {:<8} | {:<10} | {:<4} | {:<36} | {:<14} | {:<10} | {:<7} |",
            self.what,
            seen,
            self.held.name(),
            match self.then {
                Then::Passes => "pass",
                Then::Drops => "drop",
                Then::Returns => "back",
            },
            if counted.is_empty() { "-".to_owned() } else { counted.join(", ") },
            self.rings.map_or(if self.suppressed > 0 { "(paused)" } else { "-" }, EventKind::name),
            self.traffic.map_or("-", |(message, _)| message.name()),
            if self.out.as_ref().is_some_and(|out| *out != self.packet) { "changed" } else { "same" },
        );
    }
}

/// The table's head.
pub fn print_head(title: &str) {
    println!("\n{title}");
    println!(
        "| {:<62} | {:<8} | {:<10} | {:<4} | {:<36} | {:<14} | {:<10} | {:<7} |",
        "packet", "run as", "lease", "then", "counters", "event", "traffic", "out"
    );
}

fn prepare(kernel: &mut Kernel, hook: Hook, before: &Before) {
    match before {
        Before::Packet(packet) => drop(kernel.run(hook, packet)),
        Before::Lease(held) => held.set(kernel),
        Before::Pause => ring_at(kernel, now() - RING_PAUSE_NANOS),
        Before::NoPause => ring_at(kernel, now() + SECOND),
    }
}

/// Whatever has rung has rung then.
fn ring_at(kernel: &mut Kernel, at: u64) {
    for kind in EventKind::ALL {
        let rung = kernel.rung(kind);
        if rung.at != 0 {
            kernel.set_rung(kind, Rung { at, ..rung });
        }
    }
}

fn all_suppressed(kernel: &Kernel) -> u64 {
    EventKind::ALL.iter().map(|kind| kernel.rung(*kind).suppressed).sum()
}

/// The source in a frame with one IP header, or the sender in one with ARP, behind any tags.
fn source_of(frame: &[u8]) -> Address {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    if frame[at..at + 2] == [0x08, 0x06] {
        return Address::v4(frame[at + 16..at + 20].try_into().unwrap());
    }
    match frame[at + 2] >> 4 {
        4 => Address::v4(frame[at + 14..at + 18].try_into().unwrap()),
        _ => Address::v6(frame[at + 10..at + 26].try_into().unwrap()),
    }
}

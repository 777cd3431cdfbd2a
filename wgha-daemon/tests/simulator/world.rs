//! Nodes, the network between them, and one queue of events.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use wgha::proto::{Action, Input};
use wgha_common::{Timestamp, abi::Lease};

use crate::{
    audit::Audit,
    group::{MICRO, MILLI},
    kernel::{Packet, Probe},
    node::Node,
    random::Random,
    trouble::{Incident, Schedule},
};

/// No frame takes longer.
pub const MAX_DELAY: u64 = 3 * MILLI;
/// No daemon that is awake is scheduled later.
pub const MAX_LATENCY: u64 = 2 * MILLI;

/// What happens.
#[derive(Debug)]
pub enum Event {
    Frame {
        to: usize,
        packet: Packet,
    },
    /// Two daemons find each other through the peer channel.
    Meet {
        nodes: [usize; 2],
        incarnations: [u32; 2],
    },
    Wake {
        node: usize,
        incarnation: u32,
    },
    EffectEnds {
        node: usize,
        incarnation: u32,
    },
    Told {
        node: usize,
        incarnation: u32,
        input: Box<Input>,
    },
    Start {
        node: usize,
    },
    Thaw {
        node: usize,
        incarnation: u32,
    },
    Begins(Incident),
    Ends(Incident),
}

impl Event {
    /// Most events are probes and renewals, which begin nothing; the audit is not troubled with them.
    fn is_eventful(&self) -> bool {
        !matches!(self, Self::Frame { packet: Packet::Probe(_) | Packet::Answer(_), .. } | Self::Wake { .. })
    }
}

fn is_eventful(action: &Action, lease: &Lease) -> bool {
    match action {
        Action::SetLease { role, epoch, until } => {
            *until == Timestamp::ZERO || (*role as u32, *epoch) != (lease.role, lease.epoch)
        }
        Action::LookAgain | Action::SendProbe { .. } => false,
        _ => true,
    }
}

/// Who hears whom.
#[derive(Debug)]
pub struct Network {
    /// In which part of the switch each node is.
    pub part: Vec<usize>,
    pub lossy: u32,
    pub deaf: Vec<u32>,
    /// Whose firewall drops probes.
    pub filtered: Vec<u32>,
    /// Whose adverts are lost.
    pub unheard: Vec<u32>,
    /// When the last frame from each to each arrives.
    arrival: Vec<Vec<u64>>,
}

/// All of it.
pub struct World {
    pub now: u64,
    pub nodes: Vec<Node>,
    pub network: Network,
    pub random: Random,
    pub audit: Audit,
    pub trace: bool,
    /// Which node never finds the others through the peer channel.
    pub stranger: Option<usize>,
    max_delay: u64,
    max_latency: u64,
    /// Something has happened that the audit wants to know of.
    eventful: bool,
    events: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
}

/// An event with its time; of two at one time the one that was queued first comes first.
struct Queued(u64, u64, Event);

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Queued {}

impl World {
    pub fn new(schedule: &Schedule, mut random: Random, trace: bool) -> Self {
        let count = schedule.nodes.len();
        let node = |(me, settings): (usize, &_)| {
            Node::new(me, count, *settings, random.between(1, 1_000_000) * MILLI)
        };
        let nodes = schedule.nodes.iter().enumerate().map(node).collect();
        let none = || vec![0; count];
        let (part, deaf) = (vec![0; count], none());
        let arrival = vec![vec![0; count]; count];
        let network = Network { part, lossy: 0, deaf, filtered: none(), unheard: none(), arrival };
        let audit = Audit::new(count, schedule.interval);
        let events = BinaryHeap::new();
        let mut world = Self {
            now: 0,
            nodes,
            network,
            random,
            audit,
            trace,
            stranger: schedule.stranger,
            max_delay: schedule.max_delay(),
            max_latency: schedule.max_latency(),
            eventful: false,
            events,
            sequence: 0,
        };
        for (node, at) in schedule.starts.iter().enumerate() {
            world.at(*at, Event::Start { node });
        }
        for incident in &schedule.incidents {
            world.at(incident.at, Event::Begins(*incident));
        }
        world
    }

    /// Runs until `end`.
    ///
    /// # Errors
    /// What does not hold.
    pub fn run(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse(Queued(at, _, event))) = self.events.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.eventful = event.is_eventful();
            self.happens(event)?;
            if self.eventful {
                Audit::check(self)?;
            }
        }
        self.now = end;
        Audit::check_end(self)
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Queued(at, self.sequence, event)));
    }

    pub fn tell(&self, node: usize, what: impl std::fmt::Debug) {
        if self.trace {
            eprintln!("{:>14.6} node {node}: {what:?}", self.now as f64 / 1e6);
        }
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Frame { to, packet } => self.frame(to, packet),
            Event::Meet { nodes, incarnations } => self.meet(nodes, incarnations),
            Event::Wake { node, incarnation } => return self.wake(node, incarnation),
            Event::EffectEnds { node, incarnation } => self.effect_ends(node, incarnation),
            Event::Told { node, incarnation, input } => self.told(node, incarnation, *input),
            Event::Start { node } => self.start(node),
            Event::Thaw { node, incarnation } => self.thaw(node, incarnation),
            Event::Begins(incident) => self.begins(incident),
            Event::Ends(incident) => self.ends(incident),
        }
        Ok(())
    }

    pub fn start(&mut self, node: usize) {
        if self.nodes[node].powered && self.nodes[node].daemon.is_none() {
            self.tell(node, "starts");
            self.audit.disturbed(node, self.now);
            self.nodes[node].start_daemon(self.now);
            self.wake_soon(node);
            self.seek_peers(node);
        }
    }

    pub fn frame(&mut self, to: usize, packet: Packet) {
        let node = &mut self.nodes[to];
        if !node.powered || !node.carrier {
            return;
        }
        if node.paused {
            node.held_frames.push(packet);
            return;
        }
        let at = node.clock(self.now);
        let rang = match packet {
            Packet::Advert(advert) => node.kernel.ingress(advert, at),
            Packet::Answer(answer) => node.kernel.answered(answer, at),
            Packet::Probe(probe) => {
                let (answer, rang) = node.kernel.reflect(to, &probe, at);
                // A lease may have ended.
                self.eventful |= probe.up;
                if let Some(answer) = answer {
                    self.transmit(to, probe.from, Packet::Answer(answer));
                }
                rang
            }
        };
        self.tell(to, packet);
        if rang {
            self.wake_soon(to);
        }
    }

    /// Schedules the daemon as a scheduler does: soon, mostly.
    pub fn wake_soon(&mut self, node: usize) {
        let at = self.now + self.latency();
        self.wake_at(node, at);
    }

    fn latency(&mut self) -> u64 {
        let most = if self.random.one_in(16) { self.max_latency } else { self.max_latency.min(200 * MICRO) };
        self.random.between(10 * MICRO, most)
    }

    fn wake_at(&mut self, node: usize, at: u64) {
        let incarnation = self.nodes[node].incarnation;
        if let Some(daemon) = &mut self.nodes[node].daemon
            && daemon.wakes_at.is_none_or(|sooner| at < sooner)
        {
            daemon.wakes_at = Some(at);
            self.at(at, Event::Wake { node, incarnation });
        }
    }

    fn wake(&mut self, me: usize, incarnation: u32) -> Result<(), String> {
        let node = &mut self.nodes[me];
        match &mut node.daemon {
            Some(daemon) if node.incarnation == incarnation && daemon.wakes_at == Some(self.now) => {
                daemon.wakes_at = None;
            }
            _ => return Ok(()),
        }
        // One thing at a time, everything that has been done before the next: as the driver does.
        while self.nodes[me].is_awake() && self.carry_out(me)? {
            let node = &mut self.nodes[me];
            let clock = node.clock(self.now);
            let Some(daemon) = &mut node.daemon else { break };
            let Some(input) = daemon.next_input(&mut node.kernel, clock) else { break };
            if self.trace {
                eprintln!("{:>14.6} node {me}: {input:?}", self.now as f64 / 1e6);
            }
            let told = if let Input::PeerIntroduced(told) = &input { Some(*told) } else { None };
            daemon.handle(input, clock);
            told.into_iter().for_each(|told| self.say_that_we_wait(me, &told));
        }
        self.wake_when_due(me);
        Ok(())
    }

    fn wake_when_due(&mut self, me: usize) {
        let node = &self.nodes[me];
        if !node.is_awake() {
            return;
        }
        if let Some(due) = node.daemon.as_ref().and_then(|d| d.machine.poll_timeout()) {
            let due = self.nodes[me].world_time(due).max(self.now);
            let at = due + self.latency();
            self.wake_at(me, at);
        }
    }

    /// Carries out what the machine has decided. Whether the process still runs after that.
    fn carry_out(&mut self, me: usize) -> Result<bool, String> {
        loop {
            let Some(daemon) = &mut self.nodes[me].daemon else { return Ok(false) };
            match daemon.next_action() {
                Ok(Some(action)) => {
                    self.tell(me, &action);
                    self.audit.action(&self.nodes[me], &action, self.now)?;
                    self.act(me, action);
                }
                Ok(None) => return Ok(true),
                Err(lasts) => {
                    self.freeze(me, lasts);
                    return Ok(false);
                }
            }
        }
    }

    fn act(&mut self, me: usize, action: Action) {
        let node = &mut self.nodes[me];
        let Some(daemon) = &mut node.daemon else { return };
        self.eventful |= is_eventful(&action, &daemon.lease);
        match action {
            Action::SetLease { role, epoch, until } => {
                daemon.lease = Lease::new(role, epoch, until);
                if node.maps_fail > 0 && until != Timestamp::ZERO {
                    node.maps_fail -= 1;
                    daemon.follow.push_back(Input::MapFailed("no".into()));
                } else {
                    node.kernel.lease = daemon.lease;
                }
            }
            Action::StampAdverts { priority, interval } => node.kernel.stamp = (priority, interval),
            Action::SendAdvert if node.adverts_fail => {
                daemon.follow.push_back(Input::AdvertFailed("no".into()))
            }
            Action::SendAdvert => self.send(me),
            Action::LookAgain => {
                let look = node.kernel.look(daemon.machine.minds_routers());
                daemon.follow.push_back(look);
            }
            Action::Announce => {
                daemon.follow.push_back(Input::Announced(Ok(())));
                self.solicit_gateway(me);
            }
            Action::SendProbe { peer, number, up } => self.probe(me, usize::from(peer.0), number, up),
            Action::TellLease { lease } => {
                daemon.told_lease = Some(lease);
                self.tell_lease(me);
            }
            Action::Report { .. } | Action::StartHandshakes | Action::StopHandshakes => {}
            // No node has a gateway to ask yet.
            Action::AskGateway | Action::Listen { .. } | Action::TellWhetherReached { .. } => {}
            Action::ReportFinding { .. } | Action::HoldBack { .. } => {}
            // Traffic is not simulated.
            Action::ReadTraffic | Action::AskWireguard => {}
            Action::TellHealth { .. } | Action::ReportHealth { .. } => {}
            Action::KeepOn { .. } => self.audit.seen.kept_on += 1,
            Action::HandOver => self.hand_over(me),
            Action::Finish => self.finished(me),
            effect => {
                if daemon.worker.ask(effect) {
                    self.begin_effect(me);
                }
            }
        }
    }

    fn finished(&mut self, me: usize) {
        self.daemon_ends(me);
        let at = self.now + self.random.between(MILLI, 500 * MILLI);
        self.at(at, Event::Start { node: me });
    }

    fn hand_over(&mut self, me: usize) {
        let node = &mut self.nodes[me];
        node.handed_over = Some(self.now);
        let takes = node.successor_takes;
        self.audit.disturbed(me, self.now);
        self.audit.hands_over(me, self.nodes[me].serves(self.now), self.now);
        self.daemon_ends(me);
        self.at(self.now + takes, Event::Start { node: me });
    }

    fn send(&mut self, me: usize) {
        let clock = self.nodes[me].clock(self.now);
        let Some(advert) = self.nodes[me].kernel.egress(me, clock) else { return };
        for to in (0..self.nodes.len()).filter(|to| *to != me) {
            let copies = 1 + u64::from(self.random.one_in(32));
            for _ in 0..copies {
                self.transmit(me, to, Packet::Advert(advert));
            }
        }
    }

    fn transmit(&mut self, from: usize, to: usize, packet: Packet) {
        let dropped = match packet {
            Packet::Advert(_) => self.network.unheard[from] > 0,
            Packet::Probe(_) | Packet::Answer(_) => self.network.filtered[to] > 0,
        };
        if dropped || !self.carries(from, to) || (self.network.lossy > 0 && self.random.one_in(3)) {
            return;
        }
        let most = if self.random.one_in(16) { self.max_delay } else { self.max_delay.min(500 * MICRO) };
        // A switch keeps the order of what one port sends to another.
        let before = &mut self.network.arrival[from][to];
        let at = (self.now + self.random.between(50 * MICRO, most)).max(*before + 1);
        *before = at;
        self.at(at, Event::Frame { to, packet });
    }

    fn probe(&mut self, me: usize, to: usize, number: u64, up: bool) {
        let node = &mut self.nodes[me];
        let clock = node.clock(self.now);
        let Some(yours) = node.daemon.as_ref().and_then(|daemon| daemon.introduced[to]) else { return };
        let mine = (node.incarnation, number);
        node.kernel.note_probe(to, mine);
        if node.kernel.asks(up, clock) {
            self.transmit(me, to, Packet::Probe(Probe { from: me, mine, yours, up }));
        }
    }

    pub fn carries(&self, from: usize, to: usize) -> bool {
        let same_part = self.network.part[from] == self.network.part[to];
        same_part && self.nodes[from].carrier && self.network.deaf[to] == 0
    }

    fn begin_effect(&mut self, node: usize) {
        let incarnation = self.nodes[node].incarnation;
        if let Some(daemon) = &self.nodes[node].daemon {
            let at = self.now + daemon.worker.takes(&mut self.random);
            self.at(at, Event::EffectEnds { node, incarnation });
        }
    }

    fn effect_ends(&mut self, me: usize, incarnation: u32) {
        let asleep = !self.nodes[me].is_awake();
        let node = &mut self.nodes[me];
        let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) else { return };
        if asleep {
            daemon.effect_waits = true;
            return;
        }
        let before = (node.group.present, node.group.up);
        let report = daemon.worker.end(&mut node.group);
        let more = !daemon.worker.is_idle();
        // The notification and the report come by different ways.
        if before != (node.group.present, node.group.up) {
            let tunnel = node.group.tunnel();
            self.notify(me, tunnel);
        }
        if let Some(report) = report {
            let at = self.now + self.random.between(1, 100 * MICRO);
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(report) });
        }
        if more {
            self.begin_effect(me);
        }
    }

    /// A notification of the kernel: later than what it tells of, but never before an earlier one.
    pub fn notify(&mut self, me: usize, input: Input) {
        let incarnation = self.nodes[me].incarnation;
        let at = self.now + self.random.between(1, 3 * MILLI);
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.last_told = at.max(daemon.last_told + 1);
            let at = daemon.last_told;
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(input) });
        }
    }

    fn told(&mut self, me: usize, incarnation: u32, input: Input) {
        let node = &mut self.nodes[me];
        if let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) {
            daemon.inbox.push_back(input);
            self.wake_soon(me);
        }
    }

    pub fn freeze(&mut self, me: usize, lasts: u64) {
        let incarnation = self.nodes[me].incarnation;
        if let Some(daemon) = &mut self.nodes[me].daemon
            && !daemon.frozen
        {
            daemon.frozen = true;
            self.tell(me, "is frozen");
            self.audit.disturbed(me, self.now);
            self.at(self.now + lasts, Event::Thaw { node: me, incarnation });
        }
    }

    fn thaw(&mut self, me: usize, incarnation: u32) {
        let node = &mut self.nodes[me];
        if let Some(daemon) = node.daemon.as_mut().filter(|_| node.incarnation == incarnation) {
            daemon.frozen = false;
            self.tell(me, "is thawed");
            self.awakes(me);
        }
    }

    /// It runs again: what has waited is done now.
    pub fn awakes(&mut self, me: usize) {
        self.audit.disturbed(me, self.now);
        let incarnation = self.nodes[me].incarnation;
        if !self.nodes[me].is_awake() {
            return;
        }
        if let Some(daemon) = &mut self.nodes[me].daemon {
            daemon.wakes_at = None;
            if std::mem::take(&mut daemon.effect_waits) {
                self.at(self.now + 1, Event::EffectEnds { node: me, incarnation });
            }
        }
        self.wake_soon(me);
    }
}

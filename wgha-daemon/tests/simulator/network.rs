//! The switch between the nodes, and the gateway behind it.

use wgha::proto::Input;

use crate::{
    bounds::MILLI,
    kernel::{Packet, Probe},
    queue::Event,
    world::World,
};

const MICRO: u64 = 1_000;

/// There are no more nodes.
pub const MOST_NODES: usize = 5;
/// The gateway's place beside the nodes.
pub const GATEWAY: usize = MOST_NODES;
/// No frame takes longer through a congested switch.
pub const CONGESTED: u64 = 60 * MILLI;

/// Those on one side of a cut: a bit each.
pub type Side = u8;

/// Who hears whom.
#[derive(Debug)]
pub struct Network {
    /// No frame takes longer, as long as the switch is not congested.
    max_delay: u64,
    /// How many troubles keep frames of the first from the second.
    cuts: [[u8; MOST_NODES + 1]; MOST_NODES + 1],
    pub lossy: u32,
    /// Frames wait in long queues.
    pub congested: u32,
    /// Frames overtake each other.
    pub disorderly: u32,
    /// The gateway answers nobody.
    pub gateway_gone: u32,
    /// Whose firewall drops probes.
    pub filtered: [u32; MOST_NODES],
    /// Whose adverts are lost.
    pub unheard: [u32; MOST_NODES],
    /// When the last frame from each to each arrives.
    arrival: [[u64; MOST_NODES]; MOST_NODES],
}

/// Which frames a cut stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// Those to the side.
    In,
    /// Those from it.
    Out,
    Both,
}

impl Network {
    pub fn new(max_delay: u64) -> Self {
        Self {
            max_delay,
            cuts: Default::default(),
            lossy: 0,
            congested: 0,
            disorderly: 0,
            gateway_gone: 0,
            filtered: Default::default(),
            unheard: Default::default(),
            arrival: Default::default(),
        }
    }

    /// Cuts one side off the other, or mends it.
    pub fn cut(&mut self, side: Side, ways: Ways, begins: bool) {
        let is_on_side = |n: usize| side & (1 << n) != 0;
        for (from, row) in self.cuts.iter_mut().enumerate() {
            for (to, cuts) in row.iter_mut().enumerate() {
                let stopped = match ways {
                    Ways::In => !is_on_side(from) && is_on_side(to),
                    Ways::Out => is_on_side(from) && !is_on_side(to),
                    Ways::Both => is_on_side(from) != is_on_side(to),
                };
                match (stopped, begins) {
                    (true, true) => *cuts += 1,
                    (true, false) => *cuts -= 1,
                    (false, _) => {}
                }
            }
        }
    }

    /// Cuts the wire between two, or mends it.
    pub fn cut_wire(&mut self, a: usize, b: usize, begins: bool) {
        for (from, to) in [(a, b), (b, a)] {
            let cuts = &mut self.cuts[from][to];
            *cuts = if begins { *cuts + 1 } else { *cuts - 1 };
        }
    }

    /// Whether nothing keeps frames of the one from the other.
    pub const fn joins(&self, from: usize, to: usize) -> bool {
        self.cuts[from][to] == 0
    }

    /// Whether frames arrive in time, if they may arrive.
    pub const fn is_orderly(&self) -> bool {
        self.lossy == 0 && self.congested == 0
    }
}

impl World {
    pub fn carries(&self, from: usize, to: usize) -> bool {
        self.network.joins(from, to) && self.nodes[from].carrier
    }

    /// An advert to everybody.
    pub fn send_advert(&mut self, me: usize) {
        let clock = self.nodes[me].clock(self.now);
        let Some(advert) = self.nodes[me].kernel.egress(me, clock) else { return };
        for to in (0..self.nodes.len()).filter(|to| *to != me) {
            self.transmit(me, to, Packet::Advert(advert));
        }
    }

    pub fn send_probe(&mut self, me: usize, to: usize, number: u64, up: bool) {
        let node = &mut self.nodes[me];
        let clock = node.clock(self.now);
        let Some(yours) = node.daemon.as_ref().and_then(|daemon| daemon.introduced[to]) else { return };
        let mine = (node.incarnation, number);
        node.kernel.note_probe(to, mine);
        if node.kernel.asks(up, clock) {
            self.transmit(me, to, Packet::Probe(Probe { from: me, mine, yours, up }));
        }
    }

    fn transmit(&mut self, from: usize, to: usize, packet: Packet) {
        let dropped = match packet {
            Packet::Advert(_) => self.network.unheard[from] > 0,
            Packet::Probe(_) | Packet::Answer(_) => self.network.filtered[to] > 0,
            Packet::Neighbour => false,
        };
        if dropped || !self.carries(from, to) {
            return;
        }
        let copies = 1 + u64::from(self.random.one_in(64));
        for _ in 0..copies {
            if self.network.lossy == 0 || !self.random.one_in(3) {
                let at = self.arrival(from, to);
                self.at(at, Event::Frame { to, packet });
            }
        }
    }

    fn arrival(&mut self, from: usize, to: usize) -> u64 {
        let max_delay = self.network.max_delay;
        let most = if self.network.congested > 0 {
            CONGESTED
        } else if self.random.one_in(16) {
            max_delay
        } else {
            max_delay.min(500 * MICRO)
        };
        let at = self.now + self.random.between(50 * MICRO, most);
        // A switch keeps the order of what one port sends to another; two switches with two wires between them may not.
        let before = &mut self.network.arrival[from][to];
        let at = if self.network.disorderly > 0 { at } else { at.max(*before + 1) };
        *before = at.max(*before);
        at
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
        node.kernel.hears(at);
        let rang = match packet {
            Packet::Neighbour => {
                node.kernel.answered_by_gateway(at);
                false
            }
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

    /// Whether the gateway hears a node, and that one its answer.
    pub fn reaches_gateway(&self, me: usize) -> bool {
        self.carries(me, GATEWAY) && self.network.joins(GATEWAY, me) && self.network.gateway_gone == 0
    }

    /// Whether frames of nobody reach a node.
    pub fn is_deaf(&self, me: usize) -> bool {
        (0..self.nodes.len()).chain([GATEWAY]).all(|from| from == me || !self.network.joins(from, me))
    }

    /// The gateway is asked for itself.
    pub fn ask_gateway(&mut self, me: usize) {
        if self.reaches_gateway(me) && (self.network.lossy == 0 || !self.random.one_in(3)) {
            let most = if self.network.congested > 0 { CONGESTED } else { MILLI };
            let at = self.now + self.random.between(50 * MICRO, most);
            self.at(at, Event::Frame { to: me, packet: Packet::Neighbour });
        }
    }

    /// A gateway that hears us answers, mostly.
    pub fn solicit_gateway(&mut self, me: usize) {
        if self.reaches_gateway(me) && !self.random.one_in(8) {
            let at = self.now + self.random.between(50 * MICRO, MILLI);
            let input = Input::GatewayAnswered(self.nodes[me].clock(at));
            let incarnation = self.nodes[me].incarnation;
            self.at(at, Event::Told { node: me, incarnation, input: Box::new(input) });
        }
    }
}

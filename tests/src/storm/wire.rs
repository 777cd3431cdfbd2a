//! What is to be seen on the wire of who serves: adverts, answers about the VIP, WireGuard.

use std::net::IpAddr;

use anyhow::Result;

use crate::{
    Capture, Frame, Namespace, Packet, Plan, Topology,
    Which::{self, A, B},
    topology::UPLINK,
};

/// From where something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// At the server's own port of the switch: all that it says, whether it gets anywhere or not.
    Port,
    /// At the gateway's port: what the clients' way back sees.
    Gateway,
    /// At the port of the one that asks.
    Asker,
}

/// What a server has said that only the one that serves may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An advert of a priority above 0.
    Advert,
    /// A packet from WireGuard's port.
    Wireguard {
        /// From the VIP; else from an address that it must never use.
        from_vip: bool,
    },
    /// An answer to somebody who had asked for the VIP.
    Answer {
        /// To whom.
        to: IpAddr,
    },
    /// Word to all where the VIP is.
    Announcement,
}

/// One of those, seen once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// `CLOCK_BOOTTIME` ns.
    pub at_ns: u64,
    /// Who has said it.
    pub by: Which,
    /// Where it was seen.
    pub view: View,
    /// What.
    pub what: What,
}

/// Eyes at the ports of both servers, of the gateway and of the asker.
#[derive(Debug)]
pub struct Wire {
    captures: [(Capture, From, View); 4],
    plan: Plan,
    seen: Vec<Sighting>,
}

/// How the sender of a frame is known.
#[derive(Debug, Clone, Copy)]
enum From {
    /// Everything that comes into this port is one server's.
    PortOf(Which),
    /// By the addresses on Ethernet of A and B.
    Sender([[u8; 6]; 2]),
}

impl Wire {
    /// Sees everything from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn watch(topology: &Topology, asker: &Namespace) -> Result<Self> {
        let sender = From::Sender([topology.a.mac()?, topology.b.mac()?]);
        let captures = [
            (Capture::at_port(topology, A)?, From::PortOf(A), View::Port),
            (Capture::at_port(topology, B)?, From::PortOf(B), View::Port),
            (Capture::start(&topology.gateway, "lan")?, sender, View::Gateway),
            (Capture::start(asker, UPLINK)?, sender, View::Asker),
        ];
        Ok(Self { captures, plan: topology.plan.clone(), seen: Vec::new() })
    }

    /// Reads what has been captured meanwhile.
    pub fn read(&mut self) {
        for (capture, from, view) in &self.captures {
            let received = capture.take().into_iter().filter(|packet| !packet.sent);
            self.seen.extend(received.filter_map(|packet| sighting(&packet, *from, *view, &self.plan)));
        }
    }

    /// All that has been seen so far, in order; it is forgotten here.
    #[must_use]
    pub fn take_sightings(&mut self) -> Vec<Sighting> {
        self.read();
        let mut seen = std::mem::take(&mut self.seen);
        seen.sort_by_key(|sighting| sighting.at_ns);
        seen
    }
}

fn sighting(packet: &Packet, from: From, view: View, plan: &Plan) -> Option<Sighting> {
    let by = match from {
        From::PortOf(which) => which,
        From::Sender(macs) => {
            let sender = packet.bytes.get(6..12)?;
            Which::BOTH.into_iter().zip(macs).find(|(_, mac)| mac == sender)?.0
        }
    };
    let what = what(packet.frame(), plan)?;
    Some(Sighting { at_ns: packet.at_ns, by, view, what })
}

fn what(frame: Frame<'_>, plan: &Plan) -> Option<What> {
    if let Some(neighbour) = frame.neighbour() {
        return (neighbour.answers && neighbour.target == plan.vip).then(|| tells(frame));
    }
    if let Some(advert) = frame.advert() {
        return (advert.vrid == Plan::VRID && advert.priority > 0).then_some(What::Advert);
    }
    let from_vip = frame.ip()?.source == plan.vip;
    (frame.udp()?.source_port == Plan::PORT).then_some(What::Wireguard { from_vip })
}

/// Answers go to whoever has asked, announcements to a group.
fn tells(frame: Frame<'_>) -> What {
    let is_to_group = frame.0.first().is_some_and(|first| first & 1 == 1);
    match asker(frame) {
        Some(to) if !is_to_group => What::Answer { to },
        _ => What::Announcement,
    }
}

fn asker(frame: Frame<'_>) -> Option<IpAddr> {
    if let Some(ip) = frame.ip() {
        return Some(ip.destination);
    }
    let target: [u8; 4] = frame.0.get(14 + 24..14 + 28)?.try_into().ok()?;
    Some(target.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{self, Advert, Datagram, ICMPV6, Ip, UDP, VRRP};

    const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn seen(frame: Vec<u8>) -> Option<(Which, What)> {
        let packet = Packet { at_ns: 1, sent: false, bytes: frame };
        let found = sighting(&packet, From::Sender([[9; 6], SENDER]), View::Gateway, &Plan::ipv6())?;
        Some((found.by, found.what))
    }

    #[test]
    fn what_only_the_active_may_say_is_recognized() {
        let plan = Plan::ipv6();
        let from = |source, protocol| Ip::new(source, plan.gateway, protocol);
        let wireguard =
            |source, port| Datagram::new(port, 9, packets::wireguard(4, 32)).frame(&from(source, UDP));
        assert_eq!(seen(wireguard(plan.vip, Plan::PORT)), Some((B, What::Wireguard { from_vip: true })));
        assert_eq!(seen(wireguard(plan.b, Plan::PORT)), Some((B, What::Wireguard { from_vip: false })));
        assert_eq!(seen(wireguard(plan.vip, 9)), None);
        let advert = |priority| Advert::new(Plan::VRID, priority, 10, plan.vip).frame(&from(plan.b, VRRP));
        assert_eq!((seen(advert(99)), seen(advert(0))), (Some((B, What::Advert)), None));
    }

    #[test]
    fn answers_are_told_from_questions_and_from_announcements() {
        let plan = Plan::ipv6();
        let ip = Ip::new(plan.b, plan.gateway, ICMPV6);
        let message = |kind, target| ip.frame(&packets::icmpv6(kind, 0, target, &ip));
        let answer = Some((B, What::Answer { to: plan.gateway }));
        assert_eq!(seen(message(136, plan.vip)), answer);
        assert_eq!((seen(message(135, plan.vip)), seen(message(136, plan.b))), (None, None));
        let mut to_all = message(136, plan.vip);
        to_all[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(seen(to_all), Some((B, What::Announcement)));
    }

    #[test]
    fn arp_names_the_asker_and_its_sender() {
        let plan = Plan::ipv4();
        let mut frame = packets::arp(2, plan.vip, plan.gateway);
        frame[6..12].copy_from_slice(&SENDER);
        assert_eq!(what(Frame(&frame), &plan), Some(What::Answer { to: plan.gateway }));
        frame[..6].copy_from_slice(&[0xff; 6]);
        assert_eq!(what(Frame(&frame), &plan), Some(What::Announcement));
    }
}

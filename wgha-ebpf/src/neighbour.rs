//! Neighbour discovery and ARP: who asks for, or speaks of, which address.

use wgha_common::{
    Address, Family,
    abi::{Event, EventKind},
    wire::{arp, ip, ndisc},
};

use crate::{
    chain::{Carried, Part},
    clock::Clock,
    fence, maps,
    packet::Packet,
    report,
};

/// A neighbour message that the stack would believe: whole (RFC 6980) and with a hop limit of 255 (RFC 4861 §7.1).
#[inline(always)]
pub fn heard<P: Packet>(packet: &P, carried: &Carried) -> Option<[u8; ndisc::HEADER_LEN]> {
    if carried.part != Part::Whole || carried.hop_limit != ip::HOP_LIMIT {
        return None;
    }
    message(packet, carried)
}

/// The target of any neighbour message.
#[inline(always)]
pub fn target<P: Packet>(packet: &P, carried: &Carried) -> Option<Address> {
    ndisc::target(&message(packet, carried)?)
}

#[inline(always)]
fn message<P: Packet>(packet: &P, carried: &Carried) -> Option<[u8; ndisc::HEADER_LEN]> {
    // ICMPv6 in IPv4 is nobody's.
    if carried.family == Family::V6 { carried.load(packet) } else { None }
}

/// Rings when `neighbour` has answered `vip`, which is ours to ask from.
#[inline(never)]
pub fn answered(neighbour: &Address, vip: &Address) {
    if maps::is_vip(vip) && !maps::is_vip(neighbour) && fence::serves() {
        let (at, source) = (Clock::Exact.now(), *neighbour);
        report::ring(EventKind::NeighbourAnswered, &Event { at, source, ..Event::default() });
    }
}

/// Notes that a gateway has answered us, who have asked from `to`.
#[inline(never)]
pub fn witnessed(neighbour: &Address, to: &Address) {
    if maps::uplink().is_some_and(|uplink| uplink.source == *to) && maps::is_gateway(neighbour) {
        maps::gateway_answered(Clock::Exact.now());
    }
}

/// An ARP packet at `at`, and whether it is a reply.
#[inline(always)]
pub fn arp<P: Packet>(packet: &P, at: usize) -> Option<(arp::Packet, bool)> {
    let bytes = packet.load(at)?;
    Some((arp::Packet::parse(&bytes)?, arp::is_reply(&bytes)))
}

//! Neighbour discovery and ARP: who asks for, or speaks of, which address.

use wgha_common::{
    Address, Family,
    wire::{arp, ip, ndisc},
};

use crate::{
    chain::{Carried, Part},
    packet::Packet,
};

/// The target of a neighbour message that the stack would believe: whole (RFC 6980) and with a hop limit of 255 (RFC 4861 §7.1).
#[inline(always)]
pub fn heard<P: Packet>(packet: &P, carried: &Carried) -> Option<Address> {
    if carried.part != Part::Whole || carried.hop_limit != ip::HOP_LIMIT {
        return None;
    }
    target(packet, carried)
}

/// The target of any neighbour message.
#[inline(always)]
pub fn target<P: Packet>(packet: &P, carried: &Carried) -> Option<Address> {
    // ICMPv6 in IPv4 is nobody's.
    if carried.family != Family::V6 {
        return None;
    }
    ndisc::target(&carried.load(packet)?)
}

/// An ARP packet at `at`.
#[inline(always)]
pub fn arp<P: Packet>(packet: &P, at: usize) -> Option<arp::Packet> {
    arp::Packet::parse(&packet.load(at)?)
}

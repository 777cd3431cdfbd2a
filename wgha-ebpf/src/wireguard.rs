//! WireGuard, from outside: the UDP header, the message type, the length.

use wgha_common::{
    abi::Direction,
    wire::{
        udp,
        wireguard::{MessageType, TYPE_LEN},
    },
};

use crate::{
    chain::{Carried, Part},
    maps,
    packet::Packet,
};

/// Bytes of the UDP header and the message's type: read together, they are where nearly every packet has them.
const BEGINNING: usize = udp::HEADER_LEN + TYPE_LEN;

/// The UDP header.
#[inline(always)]
pub fn header<P: Packet>(packet: &P, carried: &Carried) -> Option<udp::Header> {
    carried.load(packet).map(|bytes| udp::Header::parse(&bytes))
}

/// Counts a packet that passes.
#[inline(always)]
pub fn count<P: Packet>(packet: &P, carried: &Carried, udp: &udp::Header, direction: Direction) {
    let (packets, segment) = packet.segments();
    let message = message(packet, carried, udp, segment);
    maps::count_traffic(direction, message, packets, carried.frame_len() as u64);
}

/// Of several messages in one buffer the first one's: they are of one kind and length, but for the last.
#[inline(always)]
fn message<P: Packet>(
    packet: &P,
    carried: &Carried,
    udp: &udp::Header,
    segment: Option<usize>,
) -> MessageType {
    let len = udp.len as usize;
    if len < BEGINNING || is_cut_short(packet, carried, len) {
        return MessageType::Malformed;
    }
    let Some(beginning) = carried.load::<P, BEGINNING>(packet) else {
        return MessageType::Malformed;
    };
    let [.., a, b, c, d] = beginning;
    MessageType::of(&[a, b, c, d], segment.unwrap_or(len - udp::HEADER_LEN))
}

/// Whether there is less than UDP says; of a first fragment there is.
#[inline(always)]
fn is_cut_short<P: Packet>(packet: &P, carried: &Carried, len: usize) -> bool {
    carried.part == Part::Whole && (len > carried.len || !carried.is_complete(packet))
}

//! WireGuard, from outside: the UDP header, the message type, the length.

use wgha_common::{
    Address,
    abi::{Direction, Event, EventKind, SOURCE_WAYS, Traffic, traffic_index},
    wire::{
        udp,
        wireguard::{self, MessageType, TYPE_LEN},
    },
};

use crate::{
    chain::{Carried, Part},
    clock::Clock,
    maps,
    packet::Packet,
    report,
};

/// Bytes of the UDP header and the message's type: read together, they are where nearly every packet has them.
const BEGINNING: usize = udp::HEADER_LEN + TYPE_LEN;
/// The same with the receiver's index.
const RECEIVER_END: usize = udp::HEADER_LEN + wireguard::RECEIVER_OFFSET + 4;

/// The UDP header.
#[inline(always)]
pub fn header<P: Packet>(packet: &P, carried: &Carried) -> Option<udp::Header> {
    carried.load(packet).map(|bytes| udp::Header::parse(&bytes))
}

/// Counts a packet that passes under the lease of this epoch. Says what it is.
#[inline(always)]
pub fn count<P: Packet>(
    packet: &P,
    carried: &Carried,
    udp: &udp::Header,
    direction: Direction,
    epoch: u64,
) -> MessageType {
    let (packets, segment) = packet.segments();
    let message = message(packet, carried, udp, segment);
    if let Some(traffic) = maps::traffic(traffic_index(direction, message)) {
        add(traffic, packets, carried.frame_len(), epoch);
    }
    message
}

/// Adds to what is counted, and notes when the first one under a lease came.
#[inline(always)]
pub fn add(traffic: &mut Traffic, packets: u64, bytes: usize, epoch: u64) {
    traffic.packets += packets;
    traffic.bytes += bytes as u64;
    if traffic.epoch != epoch {
        traffic.first = Clock::Exact.now();
        traffic.epoch = epoch;
    }
}

/// Rings when a message comes from where its session has not been, or may begin a session.
#[inline(always)]
pub fn watch<P: Packet>(packet: &P, carried: &Carried, udp: &udp::Header, message: MessageType) {
    let Some(source) = carried.source(packet) else {
        return;
    };
    match message {
        MessageType::Initiation | MessageType::Response => drop(tell(&source, udp.source)),
        MessageType::Transport => {
            if let Some([.., a, b, c, d]) = carried.load::<P, RECEIVER_END>(packet)
                && let Some(place) = Place::of(u32::from_le_bytes([a, b, c, d]), source.words(), udp.source)
                && !place.is_known()
            {
                let [a, b] = source.words();
                place.tell(a, b, udp.source);
            }
        }
        MessageType::Cookie | MessageType::Malformed => {}
    }
}

/// Where a session and its source are noted.
///
/// A tag is both in one: a client that goes to and fro between two addresses rings each time. It is noted only when it has
/// rung. So a flood forgets no more sessions than the ring's pause lets through, and who could not ring tries again with
/// the next packet.
pub struct Place {
    set: &'static mut [u64; SOURCE_WAYS],
    tag: u64,
}

impl Place {
    /// Of a session, and a source's address in words and port.
    #[inline(always)]
    pub fn of(session: u32, source: [u64; 2], port: u16) -> Option<Self> {
        let tag = u64::from(session) << 32 | u64::from(digest(source, port));
        maps::sources(session).map(|set| Self { set, tag })
    }

    /// Whether the session's last packet came from there.
    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.set.contains(&self.tag)
    }

    /// Rings, and notes it. A session has one tag; a new one takes the place of the oldest.
    ///
    /// A function of its own, and by words: data does without its stack.
    #[inline(never)]
    pub fn tell(self, a: u64, b: u64, port: u16) {
        if !tell(&Address::of_words([a, b]), port) {
            return;
        }
        match self.set.iter_mut().find(|known| **known >> 32 == self.tag >> 32) {
            Some(known) => *known = self.tag,
            None => *self.set = [self.tag, self.set[0], self.set[1], self.set[2]],
        }
    }
}

/// A source in 32 bits. That it looks like the one before, once in 2^32 times, costs a change that is not noticed.
#[inline(always)]
fn digest([a, b]: [u64; 2], port: u16) -> u32 {
    let sum = a
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(b.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(u64::from(port).wrapping_mul(0x1656_67b1_9e37_79f9));
    (sum >> 32) as u32
}

/// Rings for a source. Says whether it rang.
#[inline(never)]
fn tell(source: &Address, port: u16) -> bool {
    let at = Clock::Exact.now();
    report::ring(EventKind::NewSource, &Event { at, source: *source, port, ..Event::default() })
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

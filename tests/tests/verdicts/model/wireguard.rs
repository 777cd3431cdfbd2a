//! WireGuard's packets: what is counted, and who is noticed.

use std::collections::HashMap;

use wgha_common::{
    Address,
    abi::{Direction, Event, EventKind, SOURCE_SETS, SOURCE_WAYS, traffic_index},
    wire::wireguard::MessageType,
};

use super::{
    Seen,
    frame::{Ip, Part},
};
use crate::kernel::Hook;

/// Where a session's last packet came from.
type Place = (u32, Address, u16);

/// Where sessions were last seen: four of each set. Who was seen first is forgotten first.
#[derive(Debug, Clone, Default)]
pub struct Places(HashMap<u32, [Option<Place>; SOURCE_WAYS]>);

impl Places {
    /// The sets that somebody was seen in.
    pub fn sets(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    fn set(&mut self, session: u32) -> &mut [Option<Place>; SOURCE_WAYS] {
        self.0.entry(session % SOURCE_SETS).or_default()
    }

    fn has(&mut self, place: Place) -> bool {
        self.set(place.0).contains(&Some(place))
    }

    fn note(&mut self, place: Place) {
        let set = self.set(place.0);
        // An empty place is that of session 0: no other session has this number.
        let same = |known: &Option<Place>| known.map_or(0, |(session, ..)| session) == place.0;
        if let Some(known) = set.iter_mut().find(|known| same(known)) {
            *known = Some(place);
        } else {
            set.rotate_right(1);
            set[0] = Some(place);
        }
    }
}

/// The ports and the length in a UDP header.
#[derive(Debug, Clone, Copy)]
pub struct Udp {
    pub source: u16,
    pub destination: u16,
    pub len: usize,
}

impl Udp {
    pub fn of(seen: &Seen<'_>, ip: &Ip) -> Option<Self> {
        let b = seen.frame.carried(ip, 8)?;
        let word = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        Some(Self { source: word(0), destination: word(2), len: word(4).into() })
    }
}

/// A packet of WireGuard has passed.
pub fn passed(seen: &mut Seen<'_>, ip: &Ip, udp: &Udp) {
    let out = seen.hook == Hook::Egress;
    let session = session(seen, ip);
    let place = seen.frame.source(ip).map(|source| (session.unwrap_or_default(), source, udp.source));
    let message = if !out && is_believed(seen, ip, udp, place) {
        MessageType::Transport
    } else {
        message(seen, ip, udp)
    };
    let epoch = seen.world.lease.epoch;
    let direction = if out { Direction::Egress } else { Direction::Ingress };
    let counted = &mut seen.world.traffic[traffic_index(direction, message) as usize];
    counted.packets += if seen.segments.size == 0 { 1 } else { u64::from(seen.segments.count.max(1)) };
    counted.bytes += (ip.at + ip.len) as u64;
    counted.epoch = epoch;
    let Some((_, source, port)) = place.filter(|_| !out) else {
        return;
    };
    let ring =
        |seen: &mut Seen<'_>| seen.ring(EventKind::NewSource, Event { source, port, ..Event::default() });
    match (message, place.zip(session)) {
        (MessageType::Initiation | MessageType::Response, _) => drop(ring(seen)),
        // Who could not ring is not known: the next packet tries again.
        (MessageType::Transport, Some((place, _))) if !seen.world.places.has(place) && ring(seen) => {
            seen.world.places.note(place);
        }
        _ => {}
    }
}

/// The receiver's index of transport data.
fn session(seen: &Seen<'_>, ip: &Ip) -> Option<u32> {
    seen.frame.carried(ip, 16).map(|b| u32::from_le_bytes([b[12], b[13], b[14], b[15]]))
}

/// What kind of message it is.
fn message(seen: &Seen<'_>, ip: &Ip, udp: &Udp) -> MessageType {
    // A first fragment need not have all that UDP says.
    let cut = ip.part == Part::Whole && (udp.len > ip.len || !seen.frame.is_complete(ip));
    let Some(b) = seen.frame.carried(ip, 12).filter(|_| !cut && udp.len >= 12) else {
        return MessageType::Malformed;
    };
    let len = if seen.segments.size == 0 { udp.len - 8 } else { seen.segments.size as usize };
    match (&b[8..12], len) {
        ([1, 0, 0, 0], 148) => MessageType::Initiation,
        ([2, 0, 0, 0], 92) => MessageType::Response,
        ([3, 0, 0, 0], 64) => MessageType::Cookie,
        ([4, 0, 0, 0], 32..) => MessageType::Transport,
        _ => MessageType::Malformed,
    }
}

/// Data of a known session from where it was, not the first of its lease, is not measured: it is data even if the frame
/// is cut short. Nothing is told of it that was not told before, and WireGuard will not believe it.
fn is_believed(seen: &mut Seen<'_>, ip: &Ip, udp: &Udp, place: Option<Place>) -> bool {
    let data = [4, 0, 0, 0];
    let looks_like_data = ip.is_plain()
        && ip.part == Part::Whole
        && seen.segments.size == 0
        && udp.len == ip.len
        && udp.len >= 8 + 32
        && seen.frame.carried(ip, 16).is_some_and(|b| b[8..12] == data);
    let index = traffic_index(Direction::Ingress, MessageType::Transport) as usize;
    let is_first = seen.world.traffic[index].epoch != seen.world.lease.epoch;
    looks_like_data && !is_first && place.is_some_and(|place| seen.world.places.has(place))
}

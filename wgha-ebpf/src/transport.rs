//! WireGuard's data in plain frames: nearly every packet of a busy server, judged by the shortest way.
//!
//! Nothing is judged here in another way than by [`crate::ingress`] and [`crate::egress`]: what is not exactly as it nearly
//! always is, is left to them. So this knows one EtherType, no tags, no options, no extension headers, no fragments, one
//! message type and no segmentation, and reads the frame in words.

use wgha_common::{
    Address, Family,
    abi::{Counter, Direction, UplinkConfig, traffic_index},
    wire::{
        ethernet,
        ip::{IPV4_LEN, IPV6_LEN, protocol},
        udp,
        wireguard::MessageType,
    },
};

use crate::{
    fence, maps,
    packet::{Head, Packet},
    verdict::Verdict,
    wireguard::{self, Place},
};

/// Bytes of the UDP header, the message type and the receiver's index.
const BEGINNING: usize = udp::HEADER_LEN + 8;
/// The shortest transport data in a datagram: a keepalive.
const KEEPALIVE: u16 = udp::HEADER_LEN as u16 + 32;
/// Its type in the first four bytes.
const TRANSPORT: u32 = 4;

/// Bytes of the frame up to the receiver's index.
const IPV4_HEAD: usize = ethernet::HEADER_LEN + IPV4_LEN + BEGINNING;
const IPV6_HEAD: usize = ethernet::HEADER_LEN + IPV6_LEN + BEGINNING;

/// Transport data, by what there is to know of it.
struct Data {
    /// The source address in words.
    source: [u64; 2],
    source_port: u16,
    destination_port: u16,
    /// Bytes of the frame.
    len: usize,
    session: u32,
}

/// What becomes of a packet that comes in, if it is data in a plain frame.
#[inline(always)]
pub fn comes_in<P: Packet>(packet: &P, uplink: &UplinkConfig) -> Option<Verdict> {
    let data = read(packet)?;
    if uplink.wireguard_port == 0 || data.destination_port != uplink.wireguard_port {
        return None;
    }
    let Some(epoch) = fence::serves_wireguard() else {
        return Some(Verdict::Drop(Counter::WireguardInFenced));
    };
    let place = Place::of(data.session, data.source, data.source_port)?;
    let traffic = maps::traffic(traffic_index(Direction::Ingress, MessageType::Transport))?;
    let is_known = place.is_known();
    // A frame that is cut short tells nothing new. In XDP only a helper knows how long a frame is.
    if (!is_known || traffic.epoch != epoch) && !packet.holds(data.len) {
        return None;
    }
    wireguard::add(traffic, 1, data.len, epoch);
    if !is_known {
        let [a, b] = data.source;
        place.tell(a, b, data.source_port);
    }
    Some(Verdict::Pass)
}

/// What becomes of a packet that goes out, if it is data in a plain frame and comes from the VIP.
#[inline(always)]
pub fn goes_out<P: Packet>(packet: &P, uplink: &UplinkConfig) -> Option<Verdict> {
    let data = read(packet)?;
    let ours = uplink.wireguard_port != 0 && data.source_port == uplink.wireguard_port;
    if !ours || data.source != uplink.vip.words() {
        return None;
    }
    if !packet.holds(data.len) {
        return None;
    }
    let Some(epoch) = fence::serves_wireguard() else {
        return Some(Verdict::Drop(Counter::WireguardOutFenced));
    };
    let traffic = maps::traffic(traffic_index(Direction::Egress, MessageType::Transport))?;
    wireguard::add(traffic, 1, data.len, epoch);
    Some(Verdict::Pass)
}

/// Reads it, if it is what it nearly always is.
#[inline(always)]
fn read<P: Packet>(packet: &P) -> Option<Data> {
    if packet.stripped_vlan().is_some() || packet.segments().1.is_some() {
        return None;
    }
    let head = packet.head::<{ ethernet::HEADER_LEN }>()?;
    match head.word16::<12>().swap_bytes() {
        ethernet::IPV6 => ipv6(&packet.head()?),
        ethernet::IPV4 => ipv4(&packet.head()?),
        _ => None,
    }
}

#[inline(always)]
fn ipv6(head: &Head<IPV6_HEAD>) -> Option<Data> {
    // Version and traffic class; next header.
    if head.word8::<14>() >> 4 != Family::V6.version() || head.word8::<20>() != protocol::UDP {
        return None;
    }
    let source = [head.word64::<22>(), head.word64::<30>()];
    datagram(source, IPV6_HEAD, head.word16::<18>().swap_bytes(), head.word64::<54>(), head.word64::<62>())
}

#[inline(always)]
fn ipv4(head: &Head<IPV4_HEAD>) -> Option<Data> {
    // Version and header length; More Fragments and the offset; protocol.
    let whole = head.word16::<20>().swap_bytes() & 0x3fff == 0;
    if head.word8::<14>() != 0x45 || !whole || head.word8::<23>() != protocol::UDP {
        return None;
    }
    let source = Address::words_v4(head.word32::<26>());
    let len = head.word16::<16>().swap_bytes().checked_sub(IPV4_LEN as u16)?;
    datagram(source, IPV4_HEAD, len, head.word64::<34>(), head.word64::<42>())
}

/// A datagram of `len` bytes by the IP header, as the words of its UDP header and of the message's beginning.
#[inline(always)]
fn datagram(source: [u64; 2], head: usize, len: u16, header: u64, beginning: u64) -> Option<Data> {
    let header = udp::Header::parse(&header.to_le_bytes());
    let (message, session) = (beginning as u32, (beginning >> 32) as u32);
    if header.len != len || len < KEEPALIVE || message != TRANSPORT {
        return None;
    }
    let len = head - BEGINNING + len as usize;
    Some(Data { source, source_port: header.source, destination_port: header.destination, len, session })
}

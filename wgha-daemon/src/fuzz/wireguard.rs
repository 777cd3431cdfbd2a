use wgha_common::{
    Address, Family,
    wire::{
        checksum::Sum,
        ip::{self, Fragment, IPV4_LEN, IPV6_LEN, Start},
        udp,
        wireguard::MessageType,
    },
};

/// An IP packet, of either version, with a datagram in it. Both headers are written again as they were read, and the
/// message is one of WireGuard's only with its type and its length.
#[must_use]
pub fn wireguard(bytes: &[u8]) -> bool {
    let Some(header) = ip_header(bytes) else { return false };
    header_again(&header);
    let Some(rest) = bytes.get(usize::from(header.header_len)..) else { return false };
    extensions(rest);
    let Some((udp, message)) = rest.split_first_chunk() else { return false };
    let datagram = udp::Header::parse(udp);
    assert_eq!(&datagram.bytes(), udp);
    assert_ne!(udp::checksum(Sum::default().bytes(rest), datagram.len), 0, "0 would say that there is none");
    let Some(first) = message.first_chunk() else { return false };
    let kind = MessageType::of(first, message.len());
    assert_eq!(MessageType::ALL[kind as usize], kind);
    let wanted = match kind {
        MessageType::Initiation => (1, message.len() == 148),
        MessageType::Response => (2, message.len() == 92),
        MessageType::Cookie => (3, message.len() == 64),
        MessageType::Transport => (4, message.len() >= 32),
        MessageType::Malformed => return false,
    };
    assert_eq!((u32::from_le_bytes(*first), true), wanted, "{kind:?} of {} bytes", message.len());
    true
}

fn ip_header(bytes: &[u8]) -> Option<ip::Header> {
    let starts = [bytes.first_chunk().and_then(Start::ipv4), bytes.first_chunk().and_then(Start::ipv6)];
    assert!(starts.iter().flatten().count() < 2, "of both versions: {starts:?}");
    let v4 = bytes.first_chunk::<IPV4_LEN>().and_then(ip::Header::ipv4);
    let header = v4.or_else(|| bytes.first_chunk::<IPV6_LEN>().and_then(ip::Header::ipv6))?;
    let start = starts.into_iter().flatten().next()?;
    assert_eq!((start.protocol, start.payload_len), (header.protocol, header.payload_len));
    assert!((20..=60).contains(&start.header_len) && start.header_len % 4 == 0, "{start:?}");
    Some(header)
}

/// It is written without options, and never as a fragment.
fn header_again(header: &ip::Header) {
    let family =
        if header.header_len == 40 && header.source.family() == Family::V6 { Family::V6 } else { Family::V4 };
    let is_of = |address: &Address| address.family() == family;
    if !is_of(&header.source) || !is_of(&header.destination) {
        return; // an IPv4 address in an IPv6 header, which nobody writes
    }
    let header_len = if family == Family::V4 { 20 } else { 40 };
    let plain = ip::Header { header_len, more_fragments: false, later_fragment: false, ..*header };
    let mut out = [0; IPV6_LEN];
    if plain.emit(&mut out).is_err() {
        panic!("no room for {plain:?}");
    }
    match family {
        Family::V4 => assert_eq!(out.first_chunk().and_then(ip::Header::ipv4), Some(plain)),
        Family::V6 => assert_eq!(ip::Header::ipv6(&out), Some(plain)),
    }
}

fn extensions(rest: &[u8]) {
    let Some(bytes) = rest.first_chunk() else { return };
    let (_, len) = ip::extension(bytes);
    assert!((8..=2048).contains(&len) && len % 8 == 0, "{len}");
    let Fragment { later, more, .. } = Fragment::parse(bytes);
    assert_eq!((later, more), (bytes[2] != 0 || bytes[3] & 0xf8 != 0, bytes[3] & 1 != 0));
}

//! What clients say inside the tunnel: ICMP echo requests, which the server's kernel answers.

use std::net::Ipv4Addr;

use super::identity;

/// An IPv4 header, an ICMP echo header and its two numbers.
pub(super) const LEN: usize = 28;

const TTL: u8 = 64;
const PROTOCOL_ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;

/// An echo request of a client to the server's address in the tunnel.
pub(super) fn request(number: u32, sequence: u16) -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(LEN as u16).to_be_bytes());
    packet[8] = TTL;
    packet[9] = PROTOCOL_ICMP;
    packet[12..16].copy_from_slice(&identity::tunnel_address(number).octets());
    packet[16..20].copy_from_slice(&identity::SERVER.octets());
    packet[20] = ECHO_REQUEST;
    packet[24..26].copy_from_slice(&(number as u16).to_be_bytes());
    packet[26..28].copy_from_slice(&sequence.to_be_bytes());
    let header = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    let message = checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&message.to_be_bytes());
    packet
}

/// The hop limit of a packet from the tunnel if the server has written it: it names the server.
pub(super) fn answered_by(packet: &[u8], source: Ipv4Addr) -> Option<u8> {
    (source == identity::SERVER).then(|| packet.get(8).copied())?
}

/// RFC 1071's, of whole words.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

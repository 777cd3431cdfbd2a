//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use super::{NoRoom, be16, ethernet::Mac};
use crate::Address;

/// Bytes of a packet.
pub const LEN: usize = 28;

const ETHERNET: [u8; 2] = [0, 1];
const IPV4: [u8; 4] = [0x08, 0x00, 6, 4];
const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// The addresses of an ARP packet.
///
/// ```text
/// | htype | ptype | hlen | plen | oper | sender MAC | sender IP | target MAC | target IP |
/// 0       2       4      5      6      8            14          18           24          28
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who speaks.
    pub sender: Address,
    /// Who is asked for, or told.
    pub target: Address,
}

impl Packet {
    /// Reads it; `None` when it is not about IPv4 over Ethernet.
    #[must_use]
    #[inline(always)]
    pub const fn parse(b: &[u8; LEN]) -> Option<Self> {
        if be16(b, 0) != 1 || be16(b, 2) != 0x0800 || b[4] != 6 || b[5] != 4 {
            return None;
        }
        Some(Self {
            sender: Address::v4([b[14], b[15], b[16], b[17]]),
            target: Address::v4([b[24], b[25], b[26], b[27]]),
        })
    }
}

/// Whether a packet, of whatever kind, is a reply; else it asks.
#[must_use]
#[inline(always)]
pub const fn is_reply(b: &[u8; LEN]) -> bool {
    be16(b, 6) == REPLY
}

/// An ARP request. One for the sender's own address is gratuitous: it announces it (RFC 5227 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub sender: Address,
    /// Where the sender is.
    pub mac: Mac,
    /// Who is asked for.
    pub target: Address,
}

impl Request {
    /// Writes it to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] below 28 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out: &mut [u8; LEN] = out.first_chunk_mut().ok_or(NoRoom)?;
        *out = [0; LEN];
        out[0..2].copy_from_slice(&ETHERNET);
        out[2..6].copy_from_slice(&IPV4);
        out[6..8].copy_from_slice(&REQUEST.to_be_bytes());
        out[8..14].copy_from_slice(&self.mac);
        out[14..18].copy_from_slice(&self.sender.v4_bytes());
        out[24..28].copy_from_slice(&self.target.v4_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back() {
        let (sender, target) = (Address::v4([192, 0, 2, 2]), Address::v4([192, 0, 2, 1]));
        let mut out = [0; LEN];
        Request { sender, mac: [2, 0, 0, 0, 0, 1], target }.emit(&mut out).unwrap();
        assert_eq!(Packet::parse(&out), Some(Packet { sender, target }));
        assert!(!is_reply(&out));
        out[7] = 2;
        assert!(is_reply(&out));
        out[3] = 1;
        assert_eq!(Packet::parse(&out), None);
    }
}

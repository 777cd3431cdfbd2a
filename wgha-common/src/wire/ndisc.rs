//! Neighbour solicitation and advertisement (RFC 4861 §4.3, §4.4).

use super::{NoRoom, checksum::Sum, ethernet::Mac, ip};
use crate::Address;

/// Bytes before the options.
pub const HEADER_LEN: usize = 24;
/// Bytes of a message with one link-layer address option.
pub const MESSAGE_LEN: usize = HEADER_LEN + 8;

/// ICMPv6 type of a solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of an advertisement.
pub const ADVERTISEMENT: u8 = 136;

/// ff02::1
pub const ALL_NODES: Address = Address::v6([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The Router and Override flags: the receiver replaces the link-layer address it has (RFC 4861 §4.4,
/// RFC 9568 §6.4.2).
const ROUTER_OVERRIDE: u8 = 0xa0;
/// The Solicited flag.
const SOLICITED: u8 = 0x40;
/// Option type 2, Target Link-Layer Address, of length 1 (× 8 bytes).
const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];
/// Option type 1, Source Link-Layer Address, likewise.
const SOURCE_LINK_LAYER_ADDRESS: [u8; 2] = [1, 1];

/// The target of a solicitation or an advertisement; `None` for every other ICMPv6 message.
#[must_use]
#[inline(always)]
pub fn target(b: &[u8; HEADER_LEN]) -> Option<Address> {
    if !matches!(b[0], SOLICITATION | ADVERTISEMENT) || b[1] != 0 {
        return None;
    }
    let mut target = [0; 16];
    target.copy_from_slice(&b[8..24]);
    Some(Address::v6(target))
}

/// The target of an advertisement that answers a solicitation (RFC 4861 §4.4, the S flag).
#[must_use]
#[inline(always)]
pub fn answered(b: &[u8; HEADER_LEN]) -> Option<Address> {
    if b[0] == ADVERTISEMENT && b[4] & SOLICITED != 0 { target(b) } else { None }
}

/// An unsolicited neighbour advertisement with Router and Override (RFC 4861 §7.2.6, RFC 9568 §6.4.2).
///
/// ```text
/// | 136 | 0 | checksum | flags, reserved | target address | 2 | 1 | link-layer address |
/// 0     1   2          4                 8                24      26
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// From which address.
    pub source: Address,
    /// Which address is announced.
    pub target: Address,
    /// Where it is.
    pub mac: Mac,
}

impl Advertisement {
    /// The IP header that carries it.
    #[must_use]
    pub const fn ip_header(&self) -> ip::Header {
        ip::Header {
            source: self.source,
            destination: ALL_NODES,
            protocol: ip::protocol::ICMPV6,
            hop_limit: ip::HOP_LIMIT,
            header_len: 40,
            payload_len: MESSAGE_LEN as u16,
            more_fragments: false,
            later_fragment: false,
        }
    }

    /// Writes it, with its checksum, to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] below 32 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out: &mut [u8; MESSAGE_LEN] = out.first_chunk_mut().ok_or(NoRoom)?;
        *out = [0; MESSAGE_LEN];
        out[0] = ADVERTISEMENT;
        out[4] = ROUTER_OVERRIDE;
        out[8..24].copy_from_slice(&self.target.0);
        out[24..26].copy_from_slice(&TARGET_LINK_LAYER_ADDRESS);
        out[26..].copy_from_slice(&self.mac);
        let sum = Sum::default().bytes(out);
        let sum = sum.pseudo_header(&self.source, &ALL_NODES, ip::protocol::ICMPV6, MESSAGE_LEN as u16);
        out[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        Ok(())
    }
}

/// A neighbour solicitation to the target's solicited-node multicast address (RFC 4861 §4.3).
///
/// ```text
/// | 135 | 0 | checksum | reserved | target address | 1 | 1 | link-layer address of the source |
/// 0     1   2          4          8                24      26
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks.
    pub source: Address,
    /// Where the source is: whoever answers learns it.
    pub mac: Mac,
    /// Who is asked for.
    pub target: Address,
}

impl Solicitation {
    /// Where it is sent to: ff02::1:ff and the last three bytes of the target (RFC 4291 §2.7.1).
    #[must_use]
    pub const fn destination(&self) -> Address {
        let [.., a, b, c] = self.target.0;
        Address::v6([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
    }

    /// The IP header that carries it.
    #[must_use]
    pub const fn ip_header(&self) -> ip::Header {
        let all = Advertisement { source: self.source, target: self.target, mac: self.mac }.ip_header();
        ip::Header { destination: self.destination(), ..all }
    }

    /// Writes it, with its checksum, to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] below 32 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out: &mut [u8; MESSAGE_LEN] = out.first_chunk_mut().ok_or(NoRoom)?;
        *out = [0; MESSAGE_LEN];
        out[0] = SOLICITATION;
        out[8..24].copy_from_slice(&self.target.0);
        out[24..26].copy_from_slice(&SOURCE_LINK_LAYER_ADDRESS);
        out[26..].copy_from_slice(&self.mac);
        let sum = Sum::default().bytes(out);
        let to = self.destination();
        let sum = sum.pseudo_header(&self.source, &to, ip::protocol::ICMPV6, MESSAGE_LEN as u16);
        out[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_read_back_and_sums_up() {
        let na = Advertisement {
            source: Address::v6([0xfe; 16]),
            target: Address::v6([0x20; 16]),
            mac: [2, 0, 0, 0, 0, 1],
        };
        let mut out = [0; MESSAGE_LEN];
        na.emit(&mut out).unwrap();
        assert_eq!(target(out.first_chunk().unwrap()), Some(na.target));
        let sum = Sum::default().bytes(&out).pseudo_header(&na.source, &ALL_NODES, 58, 32);
        assert!(sum.is_right());
        assert_eq!(answered(out.first_chunk().unwrap()), None, "nobody asked");
        out[4] |= SOLICITED;
        assert_eq!(answered(out.first_chunk().unwrap()), Some(na.target));
        let (to, mut out) = (Address::v6([0x20; 16]), [0; MESSAGE_LEN]);
        let ns = Solicitation { source: na.source, mac: na.mac, target: to };
        ns.emit(&mut out).unwrap();
        assert_eq!(target(out.first_chunk().unwrap()), Some(to));
        assert_eq!(ns.destination().to_string(), "ff02::1:ff20:2020");
        let sum = Sum::default().bytes(&out).pseudo_header(&ns.source, &ns.destination(), 58, 32);
        assert!(sum.is_right());
        assert_eq!(answered(out.first_chunk().unwrap()), None, "it asks");
        out[0] = 134;
        assert_eq!(target(out.first_chunk().unwrap()), None, "a router advertisement has no target");
    }
}

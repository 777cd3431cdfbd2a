//! Ethernet II and 802.1Q.

use super::{NoRoom, be16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;
/// Bytes of one VLAN tag.
pub const VLAN_LEN: usize = 4;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of a customer VLAN tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (802.1ad).
pub const SERVICE_VLAN: u16 = 0x88a8;

/// A MAC address.
pub type Mac = [u8; 6];

/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];

/// ```text
///  0               6               12      14
/// +---------------+---------------+-------+
/// |  destination  |    source     | type  |
/// +---------------+---------------+-------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// To whom.
    pub destination: Mac,
    /// From whom.
    pub source: Mac,
    /// What follows.
    pub ethertype: u16,
}

impl Header {
    /// Writes it to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] below 14 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out: &mut [u8; HEADER_LEN] = out.first_chunk_mut().ok_or(NoRoom)?;
        out[..6].copy_from_slice(&self.destination);
        out[6..12].copy_from_slice(&self.source);
        out[12..].copy_from_slice(&self.ethertype.to_be_bytes());
        Ok(())
    }
}

/// The EtherType of a header.
#[must_use]
#[inline(always)]
pub const fn ethertype(header: &[u8; HEADER_LEN]) -> u16 {
    be16(header, 12)
}

/// The VLAN identifier of a tag, and the EtherType after it. Identifier 0 is a priority tag: the frame belongs to the interface itself.
#[must_use]
#[inline(always)]
pub const fn vlan(tag: &[u8; VLAN_LEN]) -> (u16, u16) {
    (be16(tag, 0) & 0x0fff, be16(tag, 2))
}

/// The MAC address that a multicast IPv6 group maps to (RFC 2464 §7).
#[must_use]
pub const fn ipv6_multicast(group: [u8; 16]) -> Mac {
    [0x33, 0x33, group[12], group[13], group[14], group[15]]
}

/// The MAC address that a multicast IPv4 group maps to (RFC 1112 §6.4).
#[must_use]
pub const fn ipv4_multicast(group: [u8; 4]) -> Mac {
    [0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]]
}

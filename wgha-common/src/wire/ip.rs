//! IPv4 and IPv6 headers, as far as a header chain must be walked.

use super::{NoRoom, be16, checksum::Sum};
use crate::{Address, Family};

/// Protocol numbers, of IPv4 and of IPv6's Next Header.
pub mod protocol {
    /// Hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Routing header (RFC 8200 §4.4).
    pub const ROUTING: u8 = 43;
    /// Fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Destination options (RFC 8200 §4.6).
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// VRRP (RFC 9568 §5.1.1.4).
    pub const VRRP: u8 = 112;
}

/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Bytes of an IPv6 fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Bytes of what all extension headers but the fragment header begin with.
pub const EXTENSION_LEN: usize = 8;

/// The hop limit of what must not have crossed a router (RFC 5082).
pub const HOP_LIMIT: u8 = 255;

/// Bytes of an IPv4 header before its addresses.
pub const IPV4_START_LEN: usize = 12;
/// Bytes of an IPv6 header before its addresses.
pub const IPV6_START_LEN: usize = 8;

/// What both versions say of a packet before they name its addresses: enough to pass what is none of our business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// What follows this header.
    pub protocol: u8,
    /// TTL, in IPv4.
    pub hop_limit: u8,
    /// Bytes of this header: 20..=60, or 40.
    pub header_len: u8,
    /// Bytes after this header.
    pub payload_len: u16,
    /// Whether more fragments follow (IPv4; IPv6 says it in an extension header).
    pub more_fragments: bool,
    /// Whether this is not the first fragment (likewise).
    pub later_fragment: bool,
}

impl Start {
    /// Of an IPv4 header, as [`Header::ipv4`] has it.
    #[must_use]
    #[inline(always)]
    pub const fn ipv4(b: &[u8; IPV4_START_LEN]) -> Option<Self> {
        let header_len = (b[0] & 0x0f) * 4;
        let total_len = be16(b, 2);
        if b[0] >> 4 != 4 || header_len < 20 || total_len < header_len as u16 {
            return None;
        }
        let fragment = be16(b, 6);
        Some(Self {
            protocol: b[9],
            hop_limit: b[8],
            header_len,
            payload_len: total_len - header_len as u16,
            more_fragments: fragment & 0x2000 != 0,
            later_fragment: fragment & 0x1fff != 0,
        })
    }

    /// Of an IPv6 header, as [`Header::ipv6`] has it.
    #[must_use]
    #[inline(always)]
    pub const fn ipv6(b: &[u8; IPV6_START_LEN]) -> Option<Self> {
        if b[0] >> 4 != 6 {
            return None;
        }
        Some(Self {
            protocol: b[6],
            hop_limit: b[7],
            header_len: IPV6_LEN as u8,
            payload_len: be16(b, 4),
            more_fragments: false,
            later_fragment: false,
        })
    }
}

/// What both versions say of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// From whom.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// What follows this header.
    pub protocol: u8,
    /// TTL, in IPv4.
    pub hop_limit: u8,
    /// Bytes of this header: 20..=60, or 40.
    pub header_len: u8,
    /// Bytes after this header.
    pub payload_len: u16,
    /// Whether more fragments follow (IPv4; IPv6 says it in an extension header).
    pub more_fragments: bool,
    /// Whether this is not the first fragment (likewise).
    pub later_fragment: bool,
}

impl Header {
    /// Reads an IPv4 header; its checksum is the stack's to check.
    ///
    /// ```text
    /// |ver|ihl|  tos  | total length  |   id  |flg| offset | ttl | proto | checksum | source | destination |
    /// 0               2               4       6            8     9       10         12       16
    /// ```
    /// `None`: not version 4, or lengths that contradict each other.
    #[must_use]
    #[inline(always)]
    pub fn ipv4(b: &[u8; IPV4_LEN]) -> Option<Self> {
        let (start, _) = b.split_first_chunk()?;
        let source = Address::v4([b[12], b[13], b[14], b[15]]);
        let destination = Address::v4([b[16], b[17], b[18], b[19]]);
        Some(Self::of(Start::ipv4(start)?, source, destination))
    }

    /// Reads an IPv6 header.
    ///
    /// ```text
    /// |ver| class, flow label | payload length | next header | hop limit | source | destination |
    /// 0                       4                6             7           8        24
    /// ```
    /// `None`: not version 6.
    #[must_use]
    #[inline(always)]
    pub fn ipv6(b: &[u8; IPV6_LEN]) -> Option<Self> {
        let (start, _) = b.split_first_chunk()?;
        let mut source = [0; 16];
        let mut destination = [0; 16];
        source.copy_from_slice(&b[8..24]);
        destination.copy_from_slice(&b[24..40]);
        Some(Self::of(Start::ipv6(start)?, Address::v6(source), Address::v6(destination)))
    }

    #[inline(always)]
    const fn of(start: Start, source: Address, destination: Address) -> Self {
        Self {
            source,
            destination,
            protocol: start.protocol,
            hop_limit: start.hop_limit,
            header_len: start.header_len,
            payload_len: start.payload_len,
            more_fragments: start.more_fragments,
            later_fragment: start.later_fragment,
        }
    }

    /// Bytes that [`Header::emit`] writes.
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        match self.source.family() {
            Family::V4 => IPV4_LEN,
            Family::V6 => IPV6_LEN,
        }
    }

    /// Writes it to the start of `out`, without options.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        match self.source.family() {
            Family::V4 => self.emit_ipv4(out.first_chunk_mut().ok_or(NoRoom)?),
            Family::V6 => self.emit_ipv6(out.first_chunk_mut().ok_or(NoRoom)?),
        }
        Ok(())
    }

    fn emit_ipv4(&self, b: &mut [u8; IPV4_LEN]) {
        *b = [0; IPV4_LEN];
        b[0] = 0x45;
        b[1] = 0xc0; // internetwork control (RFC 4594 §3.1): what routers use among themselves
        b[2..4].copy_from_slice(&(self.payload_len + IPV4_LEN as u16).to_be_bytes());
        b[8] = self.hop_limit;
        b[9] = self.protocol;
        b[12..16].copy_from_slice(&self.source.v4_bytes());
        b[16..20].copy_from_slice(&self.destination.v4_bytes());
        let sum = Sum::default().bytes(b).checksum();
        b[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn emit_ipv6(&self, b: &mut [u8; IPV6_LEN]) {
        *b = [0; IPV6_LEN];
        b[0] = 0x6c; // version 6, internetwork control
        b[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        b[6] = self.protocol;
        b[7] = self.hop_limit;
        b[8..24].copy_from_slice(&self.source.0);
        b[24..40].copy_from_slice(&self.destination.0);
    }
}

/// An IPv6 fragment header (RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// What follows it.
    pub protocol: u8,
    /// Whether this is not the first fragment.
    pub later: bool,
    /// Whether more follow.
    pub more: bool,
}

impl Fragment {
    /// Reads it.
    #[must_use]
    #[inline(always)]
    pub const fn parse(b: &[u8; FRAGMENT_LEN]) -> Self {
        let word = be16(b, 2);
        Self { protocol: b[0], later: word & 0xfff8 != 0, more: word & 1 != 0 }
    }
}

/// What follows an extension header, and its length in bytes: 8..=2048.
#[must_use]
#[inline(always)]
pub const fn extension(b: &[u8; EXTENSION_LEN]) -> (u8, usize) {
    (b[0], (b[1] as usize + 1) * 8)
}

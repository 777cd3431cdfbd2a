//! UDP.

use super::{be16, checksum::Sum, ip};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Where in the header the checksum stands.
pub const CHECKSUM_OFFSET: usize = 6;

/// ```text
/// | source port | destination port | length | checksum |
/// 0             2                  4        6          8
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Bytes of header and payload.
    pub len: u16,
    /// 0: none (IPv4 only).
    pub checksum: u16,
}

impl Header {
    /// Reads it.
    #[must_use]
    #[inline(always)]
    pub const fn parse(b: &[u8; HEADER_LEN]) -> Self {
        Self { source: be16(b, 0), destination: be16(b, 2), len: be16(b, 4), checksum: be16(b, 6) }
    }

    /// Its bytes.
    #[must_use]
    #[inline(always)]
    pub const fn bytes(&self) -> [u8; HEADER_LEN] {
        let (s, d) = (self.source.to_be_bytes(), self.destination.to_be_bytes());
        let (l, c) = (self.len.to_be_bytes(), self.checksum.to_be_bytes());
        [s[0], s[1], d[0], d[1], l[0], l[1], c[0], c[1]]
    }
}

/// The checksum to write into a datagram of `len` bytes. `sum` is that over it, with a checksum of 0, and over the two
/// addresses as they stand in the IP header.
#[must_use]
#[inline(always)]
pub const fn checksum(sum: Sum, len: u16) -> u16 {
    match sum.word(len).word(ip::protocol::UDP as u16).checksum() {
        0 => 0xffff, // 0 says that there is none (RFC 768)
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    #[test]
    fn the_checksum_makes_the_sum_right() {
        for (source, destination) in [
            (Address::v4([192, 0, 2, 1]), Address::v4([192, 0, 2, 2])),
            (Address::v6([0x20; 16]), Address::v6([0xfe; 16])),
        ] {
            for last in 0..=255 {
                let payload = [1, 2, 3, last];
                let header = Header { source: 7784, destination: 50_000, len: 12, checksum: 0 };
                let sum = Sum::default().bytes(source.bytes()).bytes(destination.bytes());
                let sum = sum.bytes(&header.bytes()).bytes(&payload);
                let header = Header { checksum: checksum(sum, 12), ..header };
                let sum = Sum::default().pseudo_header(&source, &destination, 17, 12);
                assert!(sum.bytes(&header.bytes()).bytes(&payload).is_right(), "{header:?}");
                assert_eq!(Header::parse(&header.bytes()), header);
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_its_twin() {
        let rest = checksum(Sum::default(), 10);
        assert_eq!(checksum(Sum::default().word(rest), 10), 0xffff);
    }
}

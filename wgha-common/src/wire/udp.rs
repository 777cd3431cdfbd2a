//! UDP.

use super::be16;

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
}

//! The outside of WireGuard's messages: type and length. Nothing inside can be read without keys.

/// Bytes that [`MessageType::of`] looks at.
pub const TYPE_LEN: usize = 4;

/// Where in transport data the receiver's index stands, little endian: which of its sessions this is.
pub const RECEIVER_OFFSET: usize = 4;

/// A WireGuard message by its first four bytes (little endian) and its length.
///
/// | type | length | message |
/// |---|---|---|
/// | 1 | 148 | handshake initiation |
/// | 2 | 92 | handshake response |
/// | 3 | 64 | cookie reply |
/// | 4 | 32 and more | transport data |
///
/// The lengths are those of the WireGuard paper §5.4; the three bytes after the type are zero.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Handshake initiation.
    Initiation = 0,
    /// Handshake response.
    Response = 1,
    /// Cookie reply: the receiver is under load.
    Cookie = 2,
    /// Transport data; 32 bytes of it are a keepalive.
    Transport = 3,
    /// To or from the port, but none of these.
    Malformed = 4,
}

impl MessageType {
    /// How many there are.
    pub const COUNT: u32 = 5;
    /// All of them, by number.
    pub const ALL: [Self; Self::COUNT as usize] =
        [Self::Initiation, Self::Response, Self::Cookie, Self::Transport, Self::Malformed];

    /// Of a UDP payload of `len` bytes that begins with `first`.
    #[must_use]
    #[inline(always)]
    pub const fn of(first: &[u8; TYPE_LEN], len: usize) -> Self {
        match (u32::from_le_bytes(*first), len) {
            (1, 148) => Self::Initiation,
            (2, 92) => Self::Response,
            (3, 64) => Self::Cookie,
            (4, 32..) => Self::Transport,
            _ => Self::Malformed,
        }
    }

    /// Its name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initiation => "initiation",
            Self::Response => "response",
            Self::Cookie => "cookie",
            Self::Transport => "transport",
            Self::Malformed => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_length_must_fit() {
        for (first, len, want) in [
            ([1, 0, 0, 0], 148, MessageType::Initiation),
            ([1, 0, 0, 0], 147, MessageType::Malformed),
            ([1, 0, 0, 0], 149, MessageType::Malformed),
            ([2, 0, 0, 0], 92, MessageType::Response),
            ([3, 0, 0, 0], 64, MessageType::Cookie),
            ([4, 0, 0, 0], 32, MessageType::Transport),
            ([4, 0, 0, 0], 1452, MessageType::Transport),
            ([4, 0, 0, 0], 31, MessageType::Malformed),
            ([4, 0, 0, 1], 64, MessageType::Malformed),
            ([0, 0, 0, 0], 148, MessageType::Malformed),
            ([5, 0, 0, 0], 148, MessageType::Malformed),
        ] {
            assert_eq!(MessageType::of(&first, len), want, "{first:?} {len}");
        }
    }
}

//! IPv4 and IPv6 addresses as one type, so that code is written once for both.

use core::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, ARP.
    V4,
    /// IPv6, neighbour discovery.
    V6,
}

impl Family {
    /// Bytes of an address on the wire.
    #[must_use]
    pub const fn address_len(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The version number, 4 or 6.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// The bits of an address.
    #[must_use]
    pub const fn max_prefix_len(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv{}", self.version())
    }
}

/// An address in 16 bytes; IPv4 is mapped (`::ffff:a.b.c.d`). The key of the maps.
///
/// Aligned as the records of the maps are: the kernel half copies and compares it as two words.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, Eq, Default)]
pub struct Address(pub [u8; 16]);

/// What IPv4 addresses have before their four bytes, as a number.
const MAPPED: u128 = 0xffff;

impl Address {
    /// `::`
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// From the four bytes of the wire.
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self((MAPPED << 32 | u32::from_be_bytes(b) as u128).to_be_bytes())
    }

    /// From the sixteen bytes of the wire.
    #[must_use]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self(b)
    }

    /// From two little-endian words.
    #[must_use]
    #[inline(always)]
    pub const fn of_words([first, second]: [u64; 2]) -> Self {
        Self((first as u128 | (second as u128) << 64).to_le_bytes())
    }

    /// As two little-endian words: how a machine of that kind reads it in two loads.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        let both = u128::from_le_bytes(self.0);
        [both as u64, (both >> 64) as u64]
    }

    /// The words of the IPv4 address that is this little-endian word.
    #[must_use]
    #[inline(always)]
    pub const fn words_v4(address: u32) -> [u64; 2] {
        [0, (address as u64) << 32 | 0xffff_0000]
    }

    /// As a number that is ordered as the bytes are.
    ///
    /// Comparisons go by it: in the kernel half they are then a few instructions, not a call of `memcmp`.
    #[must_use]
    #[inline(always)]
    pub const fn number(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Which IP version it is of.
    #[must_use]
    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.number() >> 32 == MAPPED { Family::V4 } else { Family::V6 }
    }

    /// The last four bytes: the address, when it is IPv4.
    #[must_use]
    pub const fn v4_bytes(&self) -> [u8; 4] {
        let b = &self.0;
        [b[12], b[13], b[14], b[15]]
    }

    /// The bytes of the wire: 4 or 16.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self.family() {
            Family::V4 => &self.0[12..],
            Family::V6 => &self.0,
        }
    }

    /// Whether it can be the source of a packet from one host: neither multicast nor unspecified (nor limited broadcast).
    #[must_use]
    pub fn is_unicast(&self) -> bool {
        match self.family() {
            Family::V4 => !matches!(self.0[12], 0 | 224..=255),
            Family::V6 => self.0[0] != 0xff && *self != Self::UNSPECIFIED,
        }
    }
}

impl PartialEq for Address {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Ord for Address {
    #[inline(always)]
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for Address {
    #[inline(always)]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

impl From<IpAddr> for Address {
    fn from(a: IpAddr) -> Self {
        match a {
            IpAddr::V4(a) => Self::v4(a.octets()),
            IpAddr::V6(a) => Self::v6(a.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(a: Address) -> Self {
        match a.family() {
            Family::V4 => Self::V4(Ipv4Addr::from(a.v4_bytes())),
            Family::V6 => Self::V6(Ipv6Addr::from(a.0)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_mapped() {
        let address = Address::v4([192, 0, 2, 1]);
        assert_eq!(address.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!((address.family(), address.bytes()), (Family::V4, &[192, 0, 2, 1][..]));
        for near in [[0xff; 16], [0; 16], Address::v6([0x20; 16]).0] {
            assert_eq!(Address(near).family(), Family::V6, "{near:?}");
        }
    }

    #[test]
    fn words_are_the_same_address() {
        let v4 = Address::v4([192, 0, 2, 1]);
        assert_eq!(Address::words_v4(u32::from_le_bytes([192, 0, 2, 1])), v4.words());
        let v6 = Address::v6([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(v6.words(), [0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]);
        assert_eq!([Address::of_words(v4.words()), Address::of_words(v6.words())], [v4, v6]);
    }

    #[test]
    fn addresses_are_ordered_as_their_bytes() {
        let bytes =
            [[0; 16], [0x20; 16], Address::v4([10, 0, 0, 1]).0, Address::v4([10, 0, 1, 0]).0, [0xff; 16]];
        for a in bytes {
            for b in bytes {
                assert_eq!(Address(a).cmp(&Address(b)), a.cmp(&b));
                assert_eq!(Address(a) == Address(b), a == b);
            }
        }
    }
}

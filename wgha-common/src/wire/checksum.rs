//! The Internet checksum (RFC 1071).

use crate::{Address, Family};

/// A running one's-complement sum of 16-bit words in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u32);

impl Sum {
    /// From the kernel's sum (`__wsum`), whose words are in the order of the machine (RFC 1071 §2 (B)).
    #[must_use]
    #[inline(always)]
    pub const fn of_kernel(sum: u32) -> Self {
        Self(u16::from_be(Self(sum).folded()) as u32)
    }

    /// Adds one word.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, word: u16) -> Self {
        // Folding at each step keeps it below 2^17: it never overflows, however long the packet is.
        let sum = (self.0 & 0xffff) + (self.0 >> 16) + word as u32;
        Self(sum)
    }

    /// Adds bytes; an odd one at the end counts as the high half of a word.
    #[must_use]
    #[inline(always)]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self;
        let mut words = bytes.chunks_exact(2);
        for w in words.by_ref() {
            sum = sum.word(u16::from_be_bytes([w[0], w[1]]));
        }
        if let [last] = words.remainder() {
            sum = sum.word(u16::from_be_bytes([*last, 0]));
        }
        sum
    }

    /// Adds the pseudo-header of IPv6 (RFC 8200 §8.1) or IPv4 (RFC 768): addresses, length, protocol.
    #[must_use]
    #[inline(always)]
    pub fn pseudo_header(self, src: &Address, dst: &Address, protocol: u8, len: u16) -> Self {
        let sum = match src.family() {
            // Also right for a mapped address, but for the ::ffff: prefix, which must not count.
            Family::V4 => self.bytes(&src.v4_bytes()).bytes(&dst.v4_bytes()),
            Family::V6 => self.bytes(&src.0).bytes(&dst.0),
        };
        sum.word(len).word(protocol as u16)
    }

    /// The sum folded to 16 bits: `0xffff` over a packet whose checksum is right.
    #[must_use]
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }

    /// The checksum to write.
    #[must_use]
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether a packet summed with its checksum is right.
    #[must_use]
    #[inline(always)]
    pub const fn is_right(self) -> bool {
        self.folded() == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).folded(), 0xddf2);
        assert!(Sum::default().bytes(&bytes).word(0x220d).is_right());
    }

    #[test]
    fn the_kernel_sums_in_the_order_of_the_machine() {
        let words = [0x0001u16, 0xf203, 0xf4f5, 0xf6f7].map(|word| u32::from(word.to_be()));
        assert_eq!(Sum::of_kernel(words.iter().sum()).folded(), 0xddf2);
    }

    #[test]
    fn an_odd_byte_is_the_high_half() {
        assert_eq!(Sum::default().bytes(&[0x12]).folded(), 0x1200);
    }
}

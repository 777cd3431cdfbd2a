use crate::Address;

/// What the VRRP checksum covers.
///
/// IPv6 adverts always include the pseudo-header. For IPv4 RFC 9568 leaves it out, RFC 5798 as most
/// read it, and keepalived by default, include it.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChecksumStyle {
    /// As RFC 9568 §5.2.8 says.
    Rfc9568 = 0,
    /// IPv4 with the pseudo-header.
    PseudoHeader = 1,
}

impl ChecksumStyle {
    /// From the number in a record.
    #[must_use]
    pub const fn from_number(n: u8) -> Self {
        if n == Self::PseudoHeader as u8 { Self::PseudoHeader } else { Self::Rfc9568 }
    }
}

/// What egress writes into every advert of ours before it leaves. Writer: daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdvertStamp {
    /// 0 resigns. Above 0 it leaves only under a lease.
    pub priority: u8,
    /// A [`ChecksumStyle`] as a number.
    pub checksum: u8,
    /// Max Advertise Interval, 1..=4095 centiseconds.
    pub interval: u16,
    /// Zero.
    pub reserved: u32,
}

/// The last valid advert of one router. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdvertSeen {
    /// `CLOCK_BOOTTIME` ns at which it arrived.
    pub at: u64,
    /// How many have come from this router.
    pub adverts: u64,
    /// Max Advertise Interval, centiseconds.
    pub interval: u16,
    /// Its priority.
    pub priority: u8,
    /// The [`ChecksumStyle`] that fits it, as a number.
    pub checksum: u8,
    /// How many addresses it lists.
    pub addresses: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Whether a claim of (`priority`, `source`) outranks ours: the higher priority, then the higher address (RFC 9568 §6.4.3).
#[must_use]
#[inline(always)]
pub fn outranks(priority: u8, source: &Address, our_priority: u8, our_source: &Address) -> bool {
    priority > our_priority || (priority == our_priority && source > our_source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_priority_wins_then_higher_address() {
        let (low, high) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        assert!(outranks(101, &low, 100, &high));
        assert!(!outranks(99, &high, 100, &low));
        assert!(outranks(100, &high, 100, &low));
        assert!(!outranks(100, &low, 100, &high));
        assert!(!outranks(100, &low, 100, &low));
    }
}

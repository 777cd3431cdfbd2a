use crate::{Address, Family};

/// What the kernel half must know of the link that it sits on. Writer: daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UplinkConfig {
    /// The source of our own adverts: a link-local address, or the primary IPv4 address (RFC 9568 §5.1.1.1, §5.1.2.1).
    pub source: Address,
    /// The VIP that WireGuard speaks from: a packet of another source is rewritten to it (I8). Unspecified: none.
    pub vip: Address,
    /// UDP port of WireGuard in host order; 0: none, nothing is WireGuard.
    pub wireguard_port: u16,
    /// The VRID; 0: not configured yet, everything passes uncounted.
    pub vrid: u8,
    /// 4 or 6: the family of the virtual router. Adverts of the other one are counted and passed.
    pub family: u8,
    /// [`UplinkConfig::AUTHENTICATED`] and [`UplinkConfig::ACQUAINTED`].
    pub flags: u32,
}

impl UplinkConfig {
    /// An advert ends no lease: a claim has to be proven.
    pub const AUTHENTICATED: u32 = 1 << 0;
    /// Every peer has introduced itself: the adverts of all others are counted and mean nothing.
    pub const ACQUAINTED: u32 = 1 << 1;

    /// Whether all of `flags` are set.
    #[must_use]
    #[inline(always)]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether the virtual router is of this family.
    #[must_use]
    #[inline(always)]
    pub fn is_family(&self, family: Family) -> bool {
        self.family == family.version()
    }

    /// The VIP of this family, if there is one.
    #[must_use]
    #[inline(always)]
    pub fn vip_of(&self, family: Family) -> Option<&Address> {
        let there = self.vip != Address::UNSPECIFIED && self.vip.family() == family;
        there.then_some(&self.vip)
    }
}

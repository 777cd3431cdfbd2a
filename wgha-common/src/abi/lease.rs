use crate::{Address, Timestamp};

/// What a node may do, from less to more.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing that belongs to the VIP gets in or out.
    Backup = 0,
    /// Adverts get out, so that a lower Active Router hears the claim and yields; the VIP stays fenced.
    Claiming = 1,
    /// Serves the VIP.
    Active = 2,
}

/// May this node serve, and until when (invariants I4 to I7). Writer: daemon.
///
/// A packet of the VIP passes only while [`Lease::serves`]. A daemon that dies or hangs does not
/// renew it, and the data plane goes silent by itself.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// `CLOCK_BOOTTIME` ns at which it ends; 0: it has ended.
    pub until: u64,
    /// Which election granted it. Grows by one with each; 0 is no lease.
    pub epoch: u64,
    /// A [`Role`] as a number.
    pub role: u32,
    /// Zero.
    pub reserved: u32,
}

/// The newest lease that has ended for good. Writer: kernel.
///
/// Written when a foreign advert outranks ours (I7), and when a packet finds the lease lapsed (I5: a
/// late renewal of the same epoch does not bring it back).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revoked {
    /// Leases of this epoch and of all before it are over.
    pub epoch: u64,
    /// `CLOCK_BOOTTIME` ns of the packet that ended it.
    pub at: u64,
    /// The router that outranked us; unspecified: it lapsed.
    pub by: Address,
}

impl Lease {
    /// A lease of `role` until `until`.
    #[must_use]
    pub const fn new(role: Role, epoch: u64, until: Timestamp) -> Self {
        Self { until: until.as_nanos(), epoch, role: role as u32, reserved: 0 }
    }

    /// Whether it was granted and has not been revoked; says nothing about time.
    #[must_use]
    #[inline(always)]
    pub const fn stands(&self, revoked_epoch: u64) -> bool {
        self.epoch > revoked_epoch && self.until != 0
    }

    /// Whether it gives `role` or more at `now` (`CLOCK_BOOTTIME` ns).
    #[must_use]
    #[inline(always)]
    pub const fn gives(&self, role: Role, revoked_epoch: u64, now: u64) -> bool {
        self.role >= role as u32 && self.stands(revoked_epoch) && now < self.until
    }

    /// Whether packets of the VIP pass at `now` (`CLOCK_BOOTTIME` ns).
    #[must_use]
    #[inline(always)]
    pub const fn serves(&self, revoked_epoch: u64, now: u64) -> bool {
        self.gives(Role::Active, revoked_epoch, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_only_while_active_in_time_and_not_revoked() {
        let at = Timestamp::from_nanos(1000);
        let lease = Lease::new(Role::Active, 3, at);
        assert!(lease.serves(2, 999));
        assert!(!lease.serves(2, 1000), "lapsed");
        assert!(!lease.serves(3, 999), "revoked");
        assert!(!Lease::new(Role::Claiming, 3, at).serves(2, 999), "only claiming");
        assert!(Lease::new(Role::Claiming, 3, at).gives(Role::Claiming, 2, 999));
        assert!(!Lease::default().gives(Role::Backup, 0, 0), "never granted");
    }
}

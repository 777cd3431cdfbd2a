use std::time::Duration;

use wgha_common::{Centiseconds, Timestamp, abi::Role};

use super::Action;

/// No advert takes so much longer than another.
const UNDER_WAY: Duration = Duration::from_millis(10);
/// The least of [`first`].
const FIRST: Duration = Duration::from_millis(10);

/// How long a lease lasts before its first advert has been sent: until then nobody waits for it. If it lapses before, the
/// kernel half drops that advert, and the failover has failed: where intervals are long, for the machine is slow, there is
/// more time.
pub(super) fn first(interval: Centiseconds) -> Duration {
    FIRST.max(interval.duration() / 10)
}

/// The daemon's side of `LEASE` and `REVOKED` (invariants I4 to I7).
///
/// A lease lasts three of our own intervals from each advert, less what an advert may be under way. A Backup waits for three and its
/// Skew_Time from the arrival of the same advert, hence longer (I6). Where there are peers that probe us, it
/// lasts no longer than they count unanswered probes, and is renewed between the adverts.
#[derive(Debug, Clone)]
pub(super) struct LeaseKeeper {
    role: Role,
    epoch: u64,
    until: Timestamp,
    revoked: u64,
    /// How long it may last after each renewal, because of the probes.
    renewal: Option<Duration>,
}

impl LeaseKeeper {
    /// With `renewal`: a serving lease lasts no longer than that after each renewal.
    pub(super) const fn new(renewal: Option<Duration>) -> Self {
        Self { role: Role::Backup, epoch: 0, until: Timestamp::ZERO, revoked: 0, renewal }
    }

    /// How long an advert makes a lease last at most. What is said in its last moment is still heard in time, before those that
    /// wait for it give up, be it so much longer under way than the advert before.
    pub(super) fn duration(interval: Centiseconds) -> Duration {
        3 * interval.duration() - UNDER_WAY.min(interval.duration() / 2)
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) const fn until(&self) -> Timestamp {
        self.until
    }

    /// A new election's lease, for as long as the first advert may take to leave. A predecessor may
    /// have left revoked epochs behind: it outgrows them.
    pub(super) fn grant(&mut self, role: Role, interval: Centiseconds, now: Timestamp) -> Action {
        self.epoch = self.epoch.max(self.revoked).saturating_add(1);
        self.role = role;
        self.until = now + first(interval);
        self.cap(now);
        self.write()
    }

    /// The daemon before this one had leases up to `epoch`.
    pub(super) fn inherit(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The last of them is ours now, and is not over.
    pub(super) fn take_over(&mut self, until: Timestamp) {
        self.role = Role::Active;
        self.until = until;
    }

    /// How long a serving lease may last after each renewal, from now on, because of the probes.
    pub(super) fn set_renewal(&mut self, renewal: Option<Duration>) {
        self.renewal = renewal;
    }

    /// A claim becomes a service of the same election, for no longer than it lasts anyway.
    pub(super) fn serve(&mut self, now: Timestamp) -> Action {
        self.role = Role::Active;
        self.cap(now);
        self.write()
    }

    /// The same lease until `until`, or for as long as a renewal may last. The caller has seen that it is not
    /// over.
    pub(super) fn renew(&mut self, until: Timestamp, now: Timestamp) -> Action {
        self.until = until;
        self.cap(now);
        self.write()
    }

    /// The same lease, not beyond `until`.
    pub(super) fn shorten(&mut self, until: Timestamp) -> Action {
        self.until = self.until.min(until);
        self.write()
    }

    /// Nobody probes a claim.
    fn cap(&mut self, now: Timestamp) {
        if let (Role::Active, Some(renewal)) = (self.role, self.renewal) {
            self.until = self.until.min(now + renewal);
        }
    }

    pub(super) fn end(&mut self) -> Action {
        self.role = Role::Backup;
        self.until = Timestamp::ZERO;
        self.write()
    }

    /// The kernel has ended this epoch and all before.
    pub(super) fn revoke(&mut self, epoch: u64) {
        self.revoked = self.revoked.max(epoch);
    }

    /// Whether a lease that was granted must not be renewed any more (I5, I7).
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until || self.epoch <= self.revoked
    }

    fn write(&self) -> Action {
        Action::SetLease { role: self.role, epoch: self.epoch, until: self.until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_waits_longer_than_a_lease_lasts() {
        for cs in [1, 10, 100, 4095] {
            let interval = Centiseconds::new(cs).unwrap();
            for priority in [1, 100, 254] {
                assert!(LeaseKeeper::duration(interval) < interval.active_down_interval(priority));
            }
        }
    }

    #[test]
    fn the_first_one_is_short_and_longer_where_everything_is() {
        let first = |cs| first(Centiseconds::new(cs).unwrap()).as_millis();
        assert_eq!([1, 10, 80, 100].map(first), [10, 10, 80, 100]);
    }

    #[test]
    fn a_lease_is_over_when_it_lapses_or_is_revoked() {
        let at = Timestamp::from_nanos;
        let mut lease = LeaseKeeper::new(None);
        lease.revoke(7);
        lease.grant(Role::Active, Centiseconds::new(10).unwrap(), at(0));
        assert_eq!((lease.epoch(), lease.until()), (8, Timestamp::ZERO + FIRST));
        lease.renew(at(100), at(0));
        assert!(!lease.is_over(at(99)));
        assert!(lease.is_over(at(100)));
        lease.renew(at(200), at(0));
        lease.revoke(7);
        assert!(!lease.is_over(at(100)));
        lease.revoke(8);
        assert!(lease.is_over(at(100)));
    }
}

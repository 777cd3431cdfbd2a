use wgha_common::Timestamp;

/// What waits for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// RFC 9568's Active_Down_Timer: nobody serves any more.
    ActiveDown = 0,
    /// RFC 9568's Adver_Timer: our next advert.
    Adver = 1,
    /// The router that we claim the role from must have yielded.
    Claim = 2,
    /// The VIP is announced once more.
    Announce = 3,
    /// It is doubtful whether the tunnel that we have raised is up.
    Doubt = 4,
    /// After a fault that cannot be seen to be mended: try again.
    HoldOff = 5,
    /// Whoever has set the tunnel up on a node that does not serve must have finished with it.
    Stray = 6,
    /// The next probe of the router that we obey.
    Probe = 7,
    /// The router that we obey is found dead, if nothing comes.
    Verdict = 8,
    /// The next renewal of our lease.
    Renew = 9,
    /// The gateway has had its time to answer.
    Gateway = 10,
    /// Everybody may have heard that we are to be waited for.
    Reload = 11,
    /// Handshakes are started once more.
    Greet = 12,
    /// The gateway is asked whether we hear it.
    Hearing = 13,
    /// What was suspected of WireGuard here may be over.
    Suspicion = 14,
    /// Nobody has told us where the clients are.
    Untold = 15,
}

impl Timer {
    /// How many there are.
    pub(super) const COUNT: usize = 16;

    const ALL: [Self; Self::COUNT] = [
        Self::ActiveDown,
        Self::Adver,
        Self::Claim,
        Self::Announce,
        Self::Doubt,
        Self::HoldOff,
        Self::Stray,
        Self::Probe,
        Self::Verdict,
        Self::Renew,
        Self::Gateway,
        Self::Reload,
        Self::Greet,
        Self::Hearing,
        Self::Suspicion,
        Self::Untold,
    ];
}

/// Timers as data: moments, at most one per [`Timer`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timers([Option<Timestamp>; Timer::COUNT]);

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer, at: Timestamp) {
        self.0[timer as usize] = Some(at);
    }

    pub(super) fn disarm(&mut self, timer: Timer) {
        self.0[timer as usize] = None;
    }

    /// Disarms all that belong to a role; [`Timer::HoldOff`], [`Timer::Hearing`] and [`Timer::Suspicion`] belong to this node,
    /// [`Timer::Stray`] to the tunnel.
    pub(super) fn leave_role(&mut self) {
        let others = [Timer::HoldOff, Timer::Stray, Timer::Hearing, Timer::Suspicion];
        let others = others.map(|timer| (timer, self.at(timer)));
        *self = Self::default();
        others.into_iter().for_each(|(timer, at)| self.0[timer as usize] = at);
    }

    pub(super) fn at(&self, timer: Timer) -> Option<Timestamp> {
        self.0[timer as usize]
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.iter().flatten().min().copied()
    }

    /// Disarms and gives the earliest that is due.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(Timer, Timestamp)> {
        let at = self.next().filter(|at| *at <= now)?;
        let timer = Timer::ALL.into_iter().find(|timer| self.at(*timer) == Some(at))?;
        self.disarm(timer);
        Some((timer, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn the_earliest_due_comes_first_and_once() {
        let mut timers = Timers::default();
        timers.arm(Timer::ActiveDown, at(30));
        timers.arm(Timer::Adver, at(10));
        timers.arm(Timer::Claim, at(50));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.take_due(at(40)), Some((Timer::Adver, at(10))));
        assert_eq!(timers.take_due(at(40)), Some((Timer::ActiveDown, at(30))));
        assert_eq!(timers.take_due(at(40)), None);
        assert_eq!(timers.next(), Some(at(50)));
    }

    #[test]
    fn what_belongs_to_no_role_outlives_it() {
        let mut timers = Timers::default();
        Timer::ALL.into_iter().for_each(|timer| timers.arm(timer, at(1)));
        timers.leave_role();
        assert_eq!(timers.take_due(at(1)), Some((Timer::HoldOff, at(1))));
        assert_eq!(timers.take_due(at(1)), Some((Timer::Stray, at(1))));
        assert_eq!(timers.take_due(at(1)), Some((Timer::Hearing, at(1))));
        assert_eq!(timers.take_due(at(1)), Some((Timer::Suspicion, at(1))));
        assert_eq!(timers.next(), None);
    }
}

//! Our own adverts, and the lease that each of them renews.

use std::time::Duration;

use wgha_common::{Priority, Timestamp};

use super::{Action, Machine, State, health::Needed, lease::LeaseKeeper, note::Note, timers::Timer};

/// Adverts that others provoke are at least this far from the one before.
pub(super) const PROVOKED_PAUSE: Duration = Duration::from_millis(10);
/// So many failures in a row are a fault.
const MAX_FAILURES: u8 = 3;

/// What is known of our own adverts.
#[derive(Debug, Clone, Default)]
pub(super) struct Adverts {
    last: Timestamp,
    last_failed: bool,
    /// In a row.
    failures: u8,
    /// Until when what was said has others wait: no lease lasts longer.
    said: Timestamp,
    /// The same without the last advert.
    unsaid: Timestamp,
}

impl Machine {
    /// Says `priority` from now on; 0 resigns.
    pub(super) fn stamp(&mut self, priority: u8) {
        self.push(Action::StampAdverts { priority, interval: self.said_interval() });
    }

    /// The first advert of a role, under the lease that was just granted.
    pub(super) fn begin_adverts(&mut self, now: Timestamp) {
        self.advertise(now);
        self.timers.arm(Timer::Adver, now + self.settings.interval.duration());
    }

    /// RFC 9568 §6.4.3: Adver_Timer. From due time to due time; a late one is not made up for.
    pub(super) fn advert_due(&mut self, due: Timestamp, now: Timestamp) {
        self.advertise(now);
        let interval = self.settings.interval.duration();
        let next = due + interval;
        self.timers.arm(Timer::Adver, if next > now { next } else { now + interval });
        // The ring may have lost the news that the kernel has ended our lease.
        self.push(Action::LookAgain);
        self.look_at_traffic(now);
    }

    /// RFC 9568 §6.4.3: an Active Router answers priority 0 and lower priorities with its own advert at
    /// once, and restarts its Adver_Timer after priority 0. Whoever floods us with them gets one per [`PROVOKED_PAUSE`].
    pub(super) fn advertise_soon(&mut self, restart_timer: bool, now: Timestamp) {
        let earliest = self.adverts.last + PROVOKED_PAUSE;
        if now < earliest {
            let due = self.timers.at(Timer::Adver).map_or(earliest, |due| due.min(earliest));
            self.timers.arm(Timer::Adver, due);
            return;
        }
        self.advertise(now);
        if restart_timer {
            self.timers.arm(Timer::Adver, now + self.settings.interval.duration());
        }
    }

    /// Sends an advert under the lease that stands, and only then makes the lease last for as long as
    /// the advert has others wait. Were it the other way round, a process that is stopped between the
    /// two would go on to serve while a Backup, which has heard nothing, takes over (I6).
    pub(super) fn advertise(&mut self, now: Timestamp) {
        if !self.adverts.last_failed {
            self.adverts.failures = 0;
            self.note(Note::Advert, Ok(()));
        }
        self.adverts.last_failed = false;
        self.adverts.last = now;
        self.adverts.unsaid = self.adverts.said;
        self.adverts.said = now + LeaseKeeper::duration(self.said_interval());
        self.push(Action::SendAdvert);
        self.renew_lease(now);
        if self.timers.at(Timer::Renew).is_some() {
            self.begin_renewals(now); // this was one
        }
    }

    /// A role with a lease begins: nothing was said yet.
    pub(super) fn begin_lease(&mut self, lease: Action) {
        self.adverts.said = self.lease.until();
        self.push(lease);
    }

    /// A lease that others were told of goes on.
    pub(super) fn go_on_with_lease(&mut self) {
        self.adverts.said = self.lease.until();
    }

    /// Between adverts, a serving lease is renewed for those that probe us.
    pub(super) fn begin_renewals(&mut self, now: Timestamp) {
        if let Some(detect) = self.settings.detect {
            self.timers.arm(Timer::Renew, now + detect.renewal());
        }
    }

    pub(super) fn renew_lease(&mut self, now: Timestamp) {
        let renew = self.lease.renew(self.adverts.said, now);
        self.push(renew);
    }

    pub(super) fn renewal_due(&mut self, due: Timestamp, now: Timestamp) {
        let Some(detect) = self.settings.detect else { return };
        self.renew_lease(now);
        self.listen_while_serving();
        self.look_at_traffic(now);
        let next = due + detect.renewal();
        self.timers.arm(Timer::Renew, if next > now { next } else { now + detect.renewal() });
    }

    /// Says goodbye, with the lease already ended.
    pub(super) fn send_resignation(&mut self) {
        self.stamp(Priority::RESIGNED);
        self.push(Action::SendAdvert);
        self.note(Note::Advert, Ok(()));
    }

    /// What was not said must not be done: the lease is again as it was before this advert.
    pub(super) fn advert_failed(&mut self, why: String, now: Timestamp) {
        if !matches!(self.state, State::Active | State::Claiming) {
            return;
        }
        self.adverts.last_failed = true;
        self.adverts.failures = self.adverts.failures.saturating_add(1);
        if self.adverts.failures < MAX_FAILURES {
            self.adverts.said = self.adverts.unsaid;
            let shorten = self.lease.shorten(self.adverts.said);
            self.push(shorten);
            self.note(Note::Advert, Err(why));
        } else {
            self.adverts.failures = 0;
            self.fail(Needed::Advert, why, now);
        }
    }
}

//! Another program takes this one's place and goes on with what it serves (I11).
//!
//! ```text
//! asked    Active: tell lease ▸ stamp a long interval ▸ advert, twice ─everybody waits▸ lease ▸ hand over
//!          others: hand over
//! started  go on under the same lease: stamp ▸ advert ▸ lease ▸ tell lease
//! ```
//! Nobody renews the lease in between, so it has to last longer; and no lease lasts longer than the others have been told to
//! wait (I6): those that go by adverts by a longer interval, those that probe through the peer channel, and they have to
//! say that they have heard. A successor that does not come costs the tunnels so long and no more.

use std::{cmp, time::Duration};

use wgha_common::{Centiseconds, Timestamp};

use super::{Action, Detect, Machine, Reason, State, adverts::PROVOKED_PAUSE, timers::Timer};

/// How long a lease may last while nobody renews it. A start takes half a second, most of it the verifier's; on a machine with
/// five times as much to do as it can, 4.2 s were seen.
pub const MAINTENANCE: Duration = Duration::from_secs(5);

/// A Backup that goes by adverts waits for three of these, and its Skew_Time.
pub(super) const LONG_INTERVAL: Centiseconds = match Centiseconds::new(200) {
    Ok(interval) => interval,
    Err(_) => Centiseconds::MAX,
};
/// How long an advert may take to be heard and obeyed.
const HEARING: Duration = Duration::from_millis(100);
/// How long peers may take to say that they wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reload {
    #[default]
    Unasked,
    /// It waits for a moment at which nothing is under way.
    Asked,
    /// The others are told to wait, since then.
    Told(Timestamp),
}

impl Machine {
    /// What our adverts say.
    pub(super) fn said_interval(&self) -> Centiseconds {
        match self.reload {
            Reload::Told(_) => cmp::max(self.settings.interval, LONG_INTERVAL),
            Reload::Unasked | Reload::Asked => self.settings.interval,
        }
    }

    /// Under the lease of the daemon before this one: it has not lapsed (I5), and what the kernel has ended meanwhile it does
    /// not open again.
    pub(super) fn go_on(&mut self, until: Timestamp, now: Timestamp) {
        self.lease.take_over(until);
        self.go_on_with_lease();
        self.group.take_over(now);
        self.stamp(self.priority());
        self.begin_adverts(now);
        self.begin_renewals(now);
        self.tell_usual_lease();
        self.push(Action::LookAgain);
        self.enter(State::Active, Reason::WentOn, now);
    }

    pub(super) fn reload_requested(&mut self) {
        if self.is_running() && self.reload == Reload::Unasked {
            self.reload = Reload::Asked;
        }
    }

    /// Goes on with it as soon as nothing else is under way.
    pub(super) fn pursue_reload(&mut self, now: Timestamp) {
        match (self.reload, self.state) {
            (Reload::Unasked, _) | (_, State::Claiming | State::Stopping) => {}
            (Reload::Asked, State::Active) if self.group.serves() => self.have_others_wait(now),
            (_, State::Active) => {}
            // The role is lost, and with it the lease.
            (Reload::Told(_), _) => {
                self.reload = Reload::Asked;
                self.tell_usual_lease();
                self.pursue_reload(now);
            }
            (Reload::Asked, State::Backup | State::Fault) if self.group.is_idle() => self.hand_over(),
            (Reload::Asked, State::Backup | State::Fault) => {}
        }
    }

    fn have_others_wait(&mut self, now: Timestamp) {
        self.reload = Reload::Told(now);
        if let Some(lease) = self.maintenance() {
            self.push(Action::TellLease { lease });
        }
        self.stamp(self.priority());
        self.advertise(now);
        self.timers.arm(Timer::Adver, now + PROVOKED_PAUSE); // one may be lost
        self.timers.arm(Timer::Reload, now + HEARING);
    }

    pub(super) fn reload_due(&mut self, now: Timestamp) {
        let (State::Active, Reload::Told(since)) = (self.state, self.reload) else { return };
        let maintenance = self.maintenance();
        let impatient = maintenance.and_then(|lease| self.acquaintances.impatient(lease));
        match impatient {
            None => {
                self.lease.set_renewal(maintenance);
                self.renew_lease(now);
                self.hand_over();
            }
            Some(who) if now.since(since) >= PATIENCE => {
                self.keep_on(format!("{who} has not said that it would wait"), now);
            }
            Some(_) => self.timers.arm(Timer::Reload, now + LOOK_EVERY),
        }
    }

    fn hand_over(&mut self) {
        self.push(Action::HandOver);
        self.end_life();
    }

    fn keep_on(&mut self, why: String, now: Timestamp) {
        self.reload = Reload::Unasked;
        self.stamp(self.priority());
        self.advertise(now);
        self.tell_usual_lease();
        self.push(Action::KeepOn { why });
    }

    /// How long the lease may last meanwhile, where there are peers that probe us.
    fn maintenance(&self) -> Option<Duration> {
        self.settings.detect.map(|detect| cmp::max(detect.lease(), MAINTENANCE))
    }

    fn tell_usual_lease(&mut self) {
        if let Some(lease) = self.settings.detect.as_ref().map(Detect::lease) {
            self.push(Action::TellLease { lease });
        }
    }
}

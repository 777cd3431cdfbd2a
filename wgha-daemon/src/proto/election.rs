//! Who serves: RFC 9568 §6.4, with a last look before every decision (I3) and a claim before every
//! preemption (I6).

use std::{cmp, net::IpAddr, time::Duration};

use wgha_common::{Address, Centiseconds, Timestamp, abi::outranks};

use super::{Action, Answered, Heard, Machine, Reason, State, claim::Claim, note::Note, timers::Timer};

/// A deadline may be noticed this late even where the interval is shorter.
const MIN_PATIENCE: Duration = Duration::from_millis(50);
/// A deadline that is noticed later than this was slept through.
const PUNCTUAL: Duration = Duration::from_millis(10);
/// How late an advert may be without being lost.
const HEARING_MARGIN: Duration = Duration::from_millis(10);
/// A look that took longer shows what has been.
const LOOK_PATIENCE: Duration = Duration::from_millis(10);

/// What a node that does not serve knows of the others.
#[derive(Debug, Clone)]
pub(super) struct Election {
    /// Active_Adver_Interval.
    pub(super) interval: Centiseconds,
    /// From when the Active_Down_Timer counts: the last arrival that mattered (I2).
    basis: Timestamp,
    /// Since when we would have heard whoever serves.
    listening_since: Timestamp,
    /// The last router heard with a priority above 0.
    pub(super) active: Option<Heard>,
    /// Whom we leave the role to.
    pub(super) obeyed: Option<IpAddr>,
    /// Who has resigned since the basis.
    resigned: Option<IpAddr>,
    /// Whom we claim the role from.
    pub(super) claim: Claim,
    /// When the look was asked for whose answer decides.
    pub(super) asked: Option<Timestamp>,
    /// When the look was asked for that elected us. What arrived before it has been taken into account.
    elected_on: Timestamp,
    /// Lower Active Routers are obeyed until then.
    preempt_from: Timestamp,
}

impl Election {
    pub(super) fn new(interval: Centiseconds) -> Self {
        Self {
            interval,
            basis: Timestamp::ZERO,
            listening_since: Timestamp::ZERO,
            active: None,
            obeyed: None,
            resigned: None,
            claim: Claim::default(),
            asked: None,
            elected_on: Timestamp::ZERO,
            preempt_from: Timestamp::ZERO,
        }
    }

    pub(super) fn active_router(&self) -> Option<IpAddr> {
        self.active.map(|heard| heard.source)
    }

    fn heard(&mut self, heard: Heard) {
        if self.active.is_none_or(|last| last.at <= heard.at) {
            self.active = Some(heard);
        }
    }

    /// One that acts later than this has overslept.
    pub(super) fn patience(&self) -> Duration {
        cmp::max(self.interval.duration(), MIN_PATIENCE)
    }
}

// Backup.
impl Machine {
    pub(super) fn start_preempt_delay(&mut self, now: Timestamp) {
        self.election.preempt_from = now + self.settings.preempt_delay;
    }

    /// RFC 9568 §6.4.1: with our own interval until an advert says another.
    pub(super) fn become_backup(&mut self, reason: Reason, now: Timestamp) {
        let preempt_from = self.election.preempt_from;
        self.election = Election {
            basis: now,
            listening_since: now,
            preempt_from,
            ..Election::new(self.settings.interval)
        };
        self.timers.leave_role();
        self.hold_back_anew();
        self.arm_active_down(now);
        self.enter(State::Backup, reason, now);
    }

    /// Active_Down_Interval after `from`.
    fn arm_active_down(&mut self, from: Timestamp) {
        self.timers.arm(Timer::ActiveDown, from + self.active_down_interval());
    }

    pub(super) fn active_down_interval(&self) -> Duration {
        self.election.interval.active_down_interval(self.priority())
    }

    pub(super) fn skew_time(&self) -> Duration {
        self.election.interval.skew_time(self.priority())
    }

    pub(super) fn advert_heard(&mut self, heard: Heard, now: Timestamp) {
        if self.wants_proof() {
            self.unproven_heard(&heard, now);
        } else {
            self.claim_heard(heard, now);
        }
    }

    /// An advert that counts, or the claim of a peer's probe.
    pub(super) fn claim_heard(&mut self, heard: Heard, now: Timestamp) {
        match self.state {
            State::Backup => self.heard_as_backup(heard, now),
            State::Claiming | State::Active if heard.at < self.election.elected_on => {}
            State::Claiming => self.heard_as_claimer(heard, now),
            State::Active => self.heard_as_active(heard, now),
            State::Fault | State::Stopping => {}
        }
    }

    /// RFC 9568 §6.4.2. An advert that comes to us after a newer one may only prolong the wait.
    pub(super) fn heard_as_backup(&mut self, heard: Heard, now: Timestamp) {
        let late = heard.at < self.election.basis;
        match heard.priority {
            0 if late => {}
            0 => self.heard_resignation(heard, now),
            _ if !self.obeys(&heard, now) => self.election.heard(heard),
            _ if late => self.prolong(heard),
            _ => self.obey(heard),
        }
    }

    /// RFC 9568 §6.4.2: Skew_Time, or not at all if we know to be the first in rank. But one that has just begun
    /// to listen does not know yet whether it was the Active Router that has resigned: it waits for an advert of
    /// another one first.
    fn heard_resignation(&mut self, heard: Heard, now: Timestamp) {
        self.election.basis = heard.at;
        self.election.active = self.election.active.filter(|active| active.source != heard.source);
        self.election.obeyed = self.election.obeyed.filter(|obeyed| *obeyed != heard.source);
        self.election.resigned = Some(heard.source);
        let ours = heard.at + self.stagger_after(&heard);
        let listened = self.election.listening_since + self.election.interval.duration() + HEARING_MARGIN;
        let due = cmp::max(ours, listened);
        self.timers.arm(Timer::ActiveDown, due);
        if due <= now {
            self.active_down(due, now);
        }
    }

    /// Adopts the Active Router's interval and waits from the arrival of its advert.
    pub(super) fn obey(&mut self, heard: Heard) {
        self.timers.disarm(Timer::Untold);
        self.election.interval = heard.interval;
        self.election.basis = heard.at;
        self.election.active = Some(heard);
        self.election.obeyed = Some(heard.source);
        self.election.resigned = None;
        self.arm_active_down(heard.at);
    }

    /// As if we had just begun to listen.
    pub(super) fn obey_nobody(&mut self, now: Timestamp) {
        self.election.interval = self.settings.interval;
        self.election.basis = now;
        (self.election.active, self.election.obeyed) = (None, None);
        self.arm_active_down(now);
    }

    fn prolong(&mut self, heard: Heard) {
        self.election.heard(heard);
        let until = self.silent_from(&heard);
        if self.timers.at(Timer::ActiveDown).is_none_or(|due| due < until) {
            self.timers.arm(Timer::ActiveDown, until);
        }
    }

    /// Whether a Backup leaves the role to whoever sent this.
    fn obeys(&self, heard: &Heard, now: Timestamp) -> bool {
        let may = self.settings.preempt && self.may_preempt() && !self.is_shy(now);
        let preempts = may && now >= self.election.preempt_from;
        !preempts || heard.priority >= self.priority() || self.cannot_prove(heard.source)
    }

    /// When this router will have been silent for Active_Down_Interval.
    pub(super) fn silent_from(&self, heard: &Heard) -> Timestamp {
        silent_from(heard, self.priority())
    }

    /// RFC 9568 §6.4.2: Active_Down_Timer. Nothing is decided before the last look (I3).
    pub(super) fn active_down(&mut self, due: Timestamp, now: Timestamp) {
        match now.since(due) {
            late if late > self.election.patience() => self.void_deadline(now),
            late if late > PUNCTUAL => self.listen_longer(now),
            _ => {
                self.arm_active_down(now); // asks again if no answer comes
                self.ask(now);
            }
        }
    }

    /// We stood still when it was to be decided, and nobody knows since when: what has come in may be lost with the rest. Whoever serves
    /// says so within an interval of its own.
    fn listen_longer(&mut self, now: Timestamp) {
        self.election.listening_since = now;
        self.timers.arm(Timer::ActiveDown, now + self.election.interval.duration() + HEARING_MARGIN);
    }

    /// We have overslept: the silence was ours. We listen for as long as somebody who had just started.
    pub(super) fn void_deadline(&mut self, now: Timestamp) {
        self.election.basis = now;
        self.election.listening_since = now;
        self.arm_active_down(now);
        self.probes_overslept();
    }

    pub(super) fn ask(&mut self, now: Timestamp) {
        self.election.asked = Some(now);
        self.listen_before_decision();
        self.push(Action::LookAgain);
    }

    pub(super) fn looked_again(
        &mut self,
        routers: &[Heard],
        revoked_epoch: u64,
        answers: &[Answered],
        now: Timestamp,
    ) {
        self.note(Note::Map, Ok(()));
        let believed: Vec<_>;
        let routers = if self.wants_proof() {
            believed = routers.iter().filter_map(|heard| self.believed(heard)).collect();
            &believed
        } else {
            routers
        };
        self.lease.revoke(revoked_epoch);
        self.count_probes(routers, answers, now);
        self.look_for_trouble(routers, now);
        let asked = self.election.asked.take();
        self.rivals_answered(answers, now);
        let in_time = asked.filter(|asked| now.since(*asked) <= LOOK_PATIENCE);
        match (self.state, in_time) {
            (State::Claiming | State::Active, _) if self.lease.is_over(now) => {
                self.outranked_unheard(routers, now);
            }
            (State::Claiming, _) if self.election.claim.is_unconfirmed() => self.confirm_claim(now),
            (State::Backup, None) if asked.is_none() => {
                self.obey_unless_somebody_is(routers, now);
                self.looked_after_probe(now);
            }
            (State::Backup | State::Claiming, None) => {
                asked.into_iter().for_each(|at| self.looked_late(at, now))
            }
            (State::Backup, Some(asked)) => self.decide_as_backup(routers, asked, now),
            (State::Claiming, Some(_)) => self.decide_as_claimer(routers, now),
            (State::Active, _) => self.find_yielded(routers, now),
            _ => {}
        }
    }

    /// Whom the kernel half has heard before we have listened. Who waits for longer than usual, or is being executed anew, may
    /// be silent for longer than we would listen.
    fn obey_unless_somebody_is(&mut self, routers: &[Heard], now: Timestamp) {
        if self.election.obeyed.is_none() {
            let obeyed = self.live(routers, now).filter(|r| self.obeys(r, now));
            let last = obeyed.max_by_key(|r| self.silent_from(r)).copied();
            last.into_iter().for_each(|router| self.obey(router));
        }
    }

    /// The answer shows what has been. A short stall costs another look; after a long one our machine may
    /// have been deaf as well.
    fn looked_late(&mut self, asked: Timestamp, now: Timestamp) {
        if now.since(asked) <= self.election.patience() {
            self.ask(now);
        } else if self.state == State::Backup {
            self.void_deadline(now);
        } else {
            self.claim_anew(now);
        }
    }

    /// Those that may still serve: not silent for as long as they may be, and not resigned.
    pub(super) fn live<'a>(
        &self,
        routers: &'a [Heard],
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Heard> + use<'a> {
        let priority = self.priority();
        routers.iter().filter(move |r| r.priority != 0 && silent_from(r, priority) > now)
    }

    fn decide_as_backup(&mut self, routers: &[Heard], asked: Timestamp, now: Timestamp) {
        let dead = self.found_dead(routers, now);
        let is_dead = |r: &Heard| dead.as_ref().is_some_and(|(active, _)| *active == r.source);
        let live: Vec<_> = self.live(routers, now).filter(|r| !is_dead(r)).copied().collect();
        let obeyed = live.iter().filter(|r| self.obeys(r, now));
        if let Some(router) = obeyed.max_by_key(|r| self.silent_from(r)) {
            self.obey(*router);
        } else if dead.is_none() && self.answers_vouch(&live, now) {
            // A way for adverts is broken, not the router.
        } else if live.is_empty() && self.is_silence(dead.as_ref()) && !self.may_believe_silence(now) {
            // It may be ours.
        } else if self.awaits_endpoints(&live, now) {
            self.leave_role_to(&live);
        } else {
            self.election.elected_on = asked;
            if live.is_empty() {
                let reason = dead.map_or_else(|| self.why_nobody_serves(), |(_, reason)| reason);
                self.take_over(reason, now);
            } else {
                self.claim(&live, now);
            }
        }
    }

    /// Whether nobody has said that it does not serve.
    fn is_silence(&self, dead: Option<&(IpAddr, Reason)>) -> bool {
        match dead {
            Some((_, why)) => matches!(why, Reason::ProbesUnanswered { .. }),
            None => self.election.resigned.is_none(),
        }
    }

    fn why_nobody_serves(&self) -> Reason {
        match self.election.resigned {
            Some(who) => Reason::ActiveResigned(who),
            None => Reason::ActiveDown { last: self.election.active_router() },
        }
    }
}

// Active, and both that hold a lease.
impl Machine {
    /// RFC 9568 §6.4.3.
    fn heard_as_active(&mut self, heard: Heard, now: Timestamp) {
        if self.is_outranked_by(&heard) {
            self.yield_to(heard, now);
            return;
        }
        self.advertise_soon(heard.priority == 0, now);
        // Whoever believed that it served may have announced the VIP as its own.
        self.announce_again(now);
        // One that resigns may have served behind a cut, unheard, or until now.
        self.greet_again(&heard, now);
    }

    /// Behind a cut a rival may have served unheard once more. That it yields is what we have last heard of it before, too: for
    /// that the kernel half does not ring.
    fn find_yielded(&mut self, routers: &[Heard], now: Timestamp) {
        let since = self.group.greeted.max(self.group.provoked);
        if let Some(yielded) = routers.iter().find(|r| r.priority == 0 && r.at > since) {
            self.announce_again(now);
            self.greet_again(yielded, now);
        }
    }

    pub(super) fn is_outranked_by(&self, heard: &Heard) -> bool {
        let ours = self.health.uplink.source.map_or(Address::UNSPECIFIED, Address::from);
        outranks(heard.priority, &heard.source.into(), self.priority(), &ours)
    }

    pub(super) fn yield_to(&mut self, by: Heard, now: Timestamp) {
        let listening_since = self.election.listening_since;
        self.resign();
        self.become_backup(Reason::Outranked { by: by.source, priority: by.priority }, now);
        self.election.listening_since = listening_since;
        self.obey(by);
    }

    /// The kernel has ended our lease already; news of an older one is no news.
    pub(super) fn lease_revoked(&mut self, epoch: u64, by: Heard, now: Timestamp) {
        self.lease.revoke(epoch);
        match self.state {
            State::Claiming | State::Active if self.lease.is_over(now) => self.yield_to(by, now),
            State::Backup if !self.wants_proof() => self.heard_as_backup(by, now),
            _ => {}
        }
    }

    /// The look says that the kernel has ended our lease, but the ring has lost by whom.
    fn outranked_unheard(&mut self, routers: &[Heard], now: Timestamp) {
        let by = routers.iter().filter(|r| self.is_outranked_by(r) && self.silent_from(r) > now);
        match by.max_by_key(|r| r.at).copied() {
            Some(by) => self.yield_to(by, now),
            None => self.lapse(now),
        }
    }

    /// I5: a lease that is over is never renewed. We were stopped, starved or late; somebody else may
    /// serve by now.
    pub(super) fn step_down_if_lease_is_over(&mut self, now: Timestamp) {
        if matches!(self.state, State::Claiming | State::Active) && self.lease.is_over(now) {
            self.lapse(now);
        }
    }

    fn lapse(&mut self, now: Timestamp) {
        self.resign();
        self.become_backup(Reason::LeaseLapsed, now);
    }
}

/// When a Backup of `priority` will have heard nothing of this router for Active_Down_Interval.
fn silent_from(heard: &Heard, priority: u8) -> Timestamp {
    heard.at + heard.interval.active_down_interval(priority)
}

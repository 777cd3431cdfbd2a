//! Preemption (I6): Active Routers of lower priority are told to yield, and we serve only once they
//! have said so or must have heard us.

use std::{net::IpAddr, time::Duration};

use wgha_common::{Timestamp, abi::Role};

use super::{Action, Heard, Introduced, Machine, Reason, State, lease::first, timers::Timer};

/// What a claimed router may need beyond its interval to hear and to yield; and so long an advert may be under way to one
/// that is paused before it comes.
const MARGIN: Duration = Duration::from_millis(10);

/// Whom we claim the role from.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    /// Those that have been told, or are being told, since the claim began.
    told: Vec<IpAddr>,
    /// How long they may take.
    wait: Duration,
    /// When the advert was decided on of which it is not known yet that it has left.
    unconfirmed: Option<Timestamp>,
    /// They have had their time.
    waited: bool,
    /// Who has answered a probe in state Up that it does not serve, and when.
    yielded: Vec<(IpAddr, Timestamp)>,
}

impl Claim {
    /// Whether an advert has been decided on of which it is not known yet that it has left.
    pub(super) const fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }

    /// Whether this router has yielded to our probe, and has not been heard since, if that counts.
    fn has_yielded(&self, router: &Heard, adverts_count: bool) -> bool {
        let since = |at: Timestamp| adverts_count && router.at > at;
        self.yielded.iter().any(|(source, at)| *source == router.source && !since(*at))
    }
}

impl Machine {
    /// `rivals` serve and do not outrank us. Our advert ends their leases, if they are wgha's, but
    /// whether it has arrived cannot be seen.
    pub(super) fn claim(&mut self, rivals: &[Heard], now: Timestamp) {
        let newest = rivals.iter().max_by_key(|r| r.at).copied();
        self.timers.leave_role();
        self.election.active = newest;
        self.election.claim = Claim::default();
        rivals.iter().for_each(|rival| self.add_rival(rival));
        self.suspect_all();
        self.stamp(self.priority());
        let grant = self.lease.grant(Role::Claiming, self.settings.interval, now);
        self.begin_lease(grant);
        self.begin_adverts(now);
        self.await_rivals(now);
        self.enter(State::Claiming, self.why_claiming(), now);
    }

    fn why_claiming(&self) -> Reason {
        self.election.active_router().map_or(Reason::ActiveDown { last: None }, Reason::Preempted)
    }

    /// One that is paused hears nothing, and goes on under what is left of its lease: it has told peers how long that lasts.
    fn add_rival(&mut self, rival: &Heard) {
        let lease = self.acquaintances.at(rival.source).map_or(Duration::ZERO, |told| told.lease);
        let claim = &mut self.election.claim;
        claim.told.push(rival.source);
        claim.wait = claim.wait.max(rival.interval.duration().max(lease).saturating_add(MARGIN));
    }

    /// It goes by our word that we wait for a longer lease from now on, as one does that is executed anew.
    pub(super) fn claim_outlasts(&mut self, told: &Introduced, now: Timestamp) {
        let claim = &mut self.election.claim;
        let wait = told.lease.saturating_add(MARGIN);
        if self.state == State::Claiming && claim.told.contains(&told.source) && wait > claim.wait {
            (claim.wait, claim.waited) = (wait, false);
            self.timers.arm(Timer::Claim, now + wait);
        }
    }

    /// The wait is from when the advert has left. A look is the shortest way to learn a time that is
    /// not before that.
    fn await_rivals(&mut self, now: Timestamp) {
        self.election.claim.unconfirmed = Some(now);
        self.timers.arm(Timer::Claim, now + self.election.claim.wait);
        self.push(Action::LookAgain);
    }

    /// An advert that has taken longer than the first lease may have
    /// been fenced: it is sent again.
    pub(super) fn confirm_claim(&mut self, now: Timestamp) {
        let Some(decided) = self.election.claim.unconfirmed.take() else { return };
        if now.since(decided) > first(self.settings.interval) {
            self.claim_anew(now);
        } else {
            self.timers.arm(Timer::Claim, now + self.election.claim.wait);
        }
    }

    /// Whatever has been said and waited for does not count.
    pub(super) fn claim_anew(&mut self, now: Timestamp) {
        self.election.claim.waited = false;
        self.advertise(now);
        self.await_rivals(now);
    }

    pub(super) fn heard_as_claimer(&mut self, heard: Heard, now: Timestamp) {
        if self.is_outranked_by(&heard) {
            self.yield_to(heard, now);
        } else if heard.priority == 0 {
            self.ask(now); // was it the last one?
        } else {
            self.tell(&[heard], now);
        }
    }

    /// A peer has answered our probe, which has claimed the role, that it does not serve.
    pub(super) fn claim_answered(&mut self, source: IpAddr, at: Timestamp, now: Timestamp) {
        self.election.claim.yielded.push((source, at));
        if self.election.claim.told.contains(&source) {
            self.ask(now); // was it the last one?
        }
    }

    /// Routers that have begun to serve, or to claim, in the meantime have to be told as well, once.
    fn tell(&mut self, rivals: &[Heard], now: Timestamp) -> bool {
        let untold = |r: &&Heard| !self.election.claim.told.contains(&r.source);
        let newcomers: Vec<_> = rivals.iter().filter(untold).copied().collect();
        if newcomers.is_empty() {
            return false;
        }
        newcomers.iter().for_each(|rival| self.add_rival(rival));
        self.claim_anew(now);
        true
    }

    pub(super) fn claim_due(&mut self, due: Timestamp, now: Timestamp) {
        // Again, if there is no answer or if we have overslept.
        self.timers.arm(Timer::Claim, now + self.election.claim.wait);
        if now.since(due) <= self.election.patience() {
            self.election.claim.waited = true;
            self.ask(now);
        }
    }

    /// The kernel would have ended our lease if anybody had outranked us.
    pub(super) fn decide_as_claimer(&mut self, routers: &[Heard], now: Timestamp) {
        let waited = std::mem::take(&mut self.election.claim.waited);
        let proof = self.wants_proof();
        let live: Vec<_> = self.live(routers, now).filter(|r| !self.is_out(r, now)).copied().collect();
        if self.tell(&live, now) {
            return;
        }
        // That it must have heard our adverts does not prove that it was there to hear them.
        if live.is_empty() || (waited && !proof) {
            self.take_over(self.why_claiming(), now);
        } else if waited {
            self.leave_it_to_unproven(&live, now);
        }
    }

    /// A rival that has had its time cannot tell us that it does not serve, and nor can its silence. It is left the role, as a
    /// Backup leaves it to such a one, until it answers. To go on would keep it from everybody: whoever has yielded to us waits for us.
    fn leave_it_to_unproven(&mut self, live: &[Heard], now: Timestamp) {
        let unproven = |who| self.cannot_prove(who) || self.rival_is_deaf_to_us(who);
        let unproven = live.iter().filter(|rival| unproven(rival.source));
        let Some(rival) = unproven.max_by_key(|rival| self.silent_from(rival)).copied() else { return };
        self.acquaintances.proves_nothing(rival.source);
        self.resign();
        self.become_backup(Reason::Unproven(rival.source), now);
        self.obey(rival);
    }

    /// Whether a router that we claim the role from does not serve any more, by its own word or its silence.
    fn is_out(&self, router: &Heard, now: Timestamp) -> bool {
        let proof = self.wants_proof();
        let silent = proof && self.acquaintances.has_answered(router.source);
        (self.election.claim.has_yielded(router, !proof) && !(proof && self.is_asked_anew(router.source)))
            || (silent && self.rival_is_silent(router.source, now))
    }

    /// Whether one that has yielded has been heard since, and so may have taken the role again: its next answer tells.
    fn is_asked_anew(&self, source: IpAddr) -> bool {
        self.acquaintances.at(source).is_some_and(|told| self.is_suspected(told.peer))
    }
}

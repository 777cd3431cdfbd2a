//! The S-BFD initiator (RFC 7880): a Backup probes the Active Router that it obeys, if that has introduced
//! itself. (For those of an Active Router see [`super::rivals`].)
//!
//! ```text
//! Probe    every interval: send a probe, look at the answers
//!            so many in a row unanswered ▸ Verdict, when the last one has had its time
//!            AdminDown                   ▸ Verdict, at once
//! Verdict  look again, then take over
//! ```
//! Whoever is outranked by another Backup waits Skew_Time before its verdict. Until the first answer that is
//! Up, silence means nothing and adverts decide.

use std::{net::IpAddr, time::Duration};

use wgha_common::Timestamp;

use super::{
    Action, Answered, Heard, Introduced, Machine, PeerId, Reason, State,
    introduced::Acquaintance,
    note::Note,
    prober::{Pace, Target},
    timers::Timer,
};

/// An answer that we hear of later than this shows what has been.
const NEWS: Duration = Duration::from_millis(10);

/// How a failure of the Active Router would be noticed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// By missing adverts alone.
    Adverts(WhyAdverts),
    /// By unanswered probes.
    Probes {
        /// To whom.
        peer: PeerId,
        /// Between two of them.
        interval: Duration,
        /// So many in a row must go unanswered.
        probes: u32,
        /// So many have.
        unanswered: u32,
        /// How long the last answer took.
        last_rtt: Option<Duration>,
    },
}

/// Why probes do not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyAdverts {
    /// No other servers are configured.
    NoPeers,
    /// We are no Backup, or hear no Active Router that we would obey.
    NobodyObeyed,
    /// The Active Router has not introduced itself.
    NotIntroduced(IpAddr),
    /// The Active Router has not answered Up since we obey it.
    NotAnswered(PeerId),
}

/// The numbers of our probes, and whom they go to.
#[derive(Debug, Clone, Default)]
pub(super) struct Prober {
    number: u64,
    target: Option<Target>,
    stalls: u64,
}

impl Prober {
    /// What this peer has answered so far does not count.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.target = self.target.take().filter(|target| target.peer != peer);
    }

    /// Whether the router whose adverts come from there is probed.
    pub(super) fn is_aimed_at(&self, source: IpAddr) -> bool {
        self.target.as_ref().is_some_and(|target| target.source == source)
    }

    pub(super) fn stop(&mut self) {
        self.target = None;
    }

    /// That of the last probe.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Machine {
    /// Whether the answer to [`Action::LookAgain`], as things stand, needs what `ROUTERS` holds. At the tick of a Backup
    /// whose probes are answered it does not: nothing is decided on it, and adverts count once an answer is missing.
    #[must_use]
    pub fn minds_routers(&self) -> bool {
        let is_tick = self.state == State::Backup && self.election.asked.is_none();
        let (true, Some(target), Some(pace)) = (is_tick, &self.prober.target, self.pace()) else {
            return true;
        };
        // The probe of this tick, and the one before, whose answer the look is to show.
        let answered =
            target.counts() && target.unanswered() <= 2 && target.unanswered() < target.needed(&pace);
        !answered || self.notes.contains_key(&Note::HalfHeard)
    }
}

// For people.
impl Machine {
    /// How a failure of the Active Router would be noticed now.
    #[must_use]
    pub fn detection(&self) -> Detection {
        let because = Detection::Adverts;
        if self.settings.detect.is_none() {
            return because(WhyAdverts::NoPeers);
        }
        let Some(active) = self.obeyed() else { return because(WhyAdverts::NobodyObeyed) };
        let (Some(target), Some(pace)) = (&self.prober.target, self.pace()) else {
            return because(WhyAdverts::NotIntroduced(active));
        };
        if !target.counts() {
            return because(WhyAdverts::NotAnswered(target.peer));
        }
        Detection::Probes {
            peer: target.peer,
            interval: pace.interval,
            probes: target.needed(&pace),
            unanswered: target.unanswered(),
            last_rtt: target.last_rtt,
        }
    }

    /// How often a verdict was put off because we had stood still ourselves.
    #[must_use]
    pub const fn suppressed_stalls(&self) -> u64 {
        self.prober.stalls
    }

    /// Everybody who has been introduced, and whether probes have ever worked with them.
    #[must_use]
    pub fn acquaintances(&self) -> Vec<Acquaintance> {
        self.acquaintances.all()
    }
}

impl Machine {
    fn obeyed(&self) -> Option<IpAddr> {
        self.election.obeyed.filter(|_| self.state == State::Backup)
    }

    fn pace(&self) -> Option<Pace> {
        let told = self.acquaintances.told(self.prober.target.as_ref()?.peer)?;
        Some(Pace::of(&self.settings.detect?, told))
    }

    /// Keeps the target in step with whom we obey. Whoever is obeyed anew has to answer anew.
    pub(super) fn aim(&mut self, now: Timestamp) {
        let told = self.obeyed().and_then(|source| self.acquaintances.at(source)).copied();
        let is_it =
            |target: &Target, told: &Introduced| (target.peer, target.source) == (told.peer, told.source);
        match (&self.prober.target, told) {
            (None, None) => {}
            (Some(target), Some(told)) if is_it(target, &told) => {}
            (_, None) => {
                self.prober.target = None;
                self.timers.disarm(Timer::Probe);
                self.stop_judging();
            }
            (_, Some(told)) => {
                self.prober.target = Some(Target::new(told.peer, told.source, self.prober.number));
                self.timers.arm(Timer::Probe, now);
                self.stop_judging();
            }
        }
    }

    fn stop_judging(&mut self) {
        self.timers.disarm(Timer::Verdict);
        self.note(Note::HalfHeard, Ok(()));
    }

    pub(super) fn probe_due(&mut self, due: Timestamp, now: Timestamp) {
        if self.state != State::Backup {
            return self.ask_rivals(due, now);
        }
        let Some(pace) = self.pace() else { return };
        if now.since(due) > pace.patience() {
            self.probes_stalled(due, now);
        }
        let Some(pace) = self.pace() else { return };
        let next = due + pace.interval;
        self.timers.arm(Timer::Probe, if next > now { next } else { now + pace.interval });
        let Some(target) = &mut self.prober.target else { return };
        self.prober.number += 1;
        target.probed(self.prober.number, now);
        let (peer, number) = (target.peer, self.prober.number);
        self.actions.push_back(Action::SendProbe { peer, number, up: false });
        self.push(Action::LookAgain);
    }

    /// A daemon that overslept has seen nothing (I3).
    fn probes_stalled(&mut self, due: Timestamp, now: Timestamp) {
        let Some(pace) = self.pace() else { return };
        self.timers.disarm(Timer::Verdict);
        if self.prober.target.as_mut().is_some_and(|target| target.stalled(&pace)) {
            self.prober.stalls += 1;
        }
        if now.since(due) > self.election.patience() {
            self.probes_overslept();
        }
    }

    /// For so long that the router may have died and come back meanwhile: it has to answer anew.
    pub(super) fn probes_overslept(&mut self) {
        self.timers.disarm(Timer::Verdict);
        self.prober.stop();
    }

    /// The kernel half has rung for an AdminDown. If that was long ago, the next probe says how it is now.
    pub(super) fn answered(&mut self, answer: Answered, now: Timestamp) {
        self.take_answer(&answer);
        self.rivals_answered(&[answer], now);
        if self.state == State::Backup && now.since(answer.at) <= NEWS {
            self.judge(now);
        }
    }

    fn take_answer(&mut self, answer: &Answered) {
        let fresh = self.freshness();
        if self.prober.target.as_mut().is_some_and(|target| target.answered(answer, fresh)) {
            self.acquaintances.answered(answer.peer);
        }
    }

    /// How long an AdminDown counts, from its question on: the next answer tells better, and whoever has said it may be elected anew
    /// by the silence of three adverts.
    fn freshness(&self) -> Duration {
        let election = self.election.interval.duration().saturating_mul(3);
        self.pace().map_or(Duration::ZERO, |pace| election.min(pace.interval + NEWS))
    }

    /// What a look has shown of the peer that we probe.
    pub(super) fn count_probes(&mut self, routers: &[Heard], answers: &[Answered], now: Timestamp) {
        answers.iter().for_each(|answer| self.take_answer(answer));
        let (Some(pace), proof) = (self.pace(), self.wants_proof()) else { return };
        let Some(target) = &mut self.prober.target else { return };
        let advert = routers.iter().find(|r| r.source == target.source && r.priority != 0);
        // One that anybody may have sent does not prolong its life.
        target.counted(advert.filter(|_| !proof).map(|r| r.at), &pace, now);
        if advert.is_some_and(|r| self.silent_from(r) > now) {
            self.note(Note::HalfHeard, Ok(()));
        }
    }

    /// The look of a tick, which follows its probe at once unless we have stood still between the two.
    pub(super) fn looked_after_probe(&mut self, now: Timestamp) {
        let probed = self.prober.target.as_ref().and_then(Target::probed_at);
        match (self.pace(), probed) {
            (Some(pace), Some(at)) if now.since(at) > pace.patience() => self.probes_stalled(at, now),
            _ => self.judge(now),
        }
    }

    /// Decides, or says when.
    fn judge(&mut self, now: Timestamp) {
        match self.verdict_at() {
            None => self.timers.disarm(Timer::Verdict),
            Some(at) if at <= now => {
                self.timers.disarm(Timer::Verdict);
                self.ask(now);
            }
            Some(at) => self.timers.arm(Timer::Verdict, at),
        }
    }

    /// When it is our turn to take over from the one that we probe, as it looks now.
    fn verdict_at(&self) -> Option<Timestamp> {
        let target = self.prober.target.as_ref()?;
        let pace = self.pace()?;
        let from = target.down().map(|down| down.since).or_else(|| target.silent_from(&pace))?;
        Some(from + self.stagger(Some(target.source)))
    }

    pub(super) fn verdict_due(&mut self, due: Timestamp, now: Timestamp) {
        match self.pace() {
            Some(pace) if now.since(due) > pace.patience() => self.probes_stalled(due, now),
            _ => self.ask(now),
        }
    }

    /// The router that does not serve any more, by its own word or its silence: its last adverts mean
    /// nothing. One that comes after its word means that it serves again, or will.
    pub(super) fn found_dead(&self, routers: &[Heard], now: Timestamp) -> Option<(IpAddr, Reason)> {
        let target = self.prober.target.as_ref()?;
        let (pace, active) = (self.pace()?, target.source);
        if let Some(down) = target.down() {
            let again = !self.wants_proof() && routers.iter().any(|r| r.source == active && r.at > down.said);
            let recent = now.since(down.asked) <= self.freshness();
            return (recent && !again).then_some((active, Reason::AdminDown(active)));
        }
        target.silent_from(&pace).filter(|at| *at <= now)?;
        let since = target.silent_since.unwrap_or(now);
        Some((active, Reason::ProbesUnanswered { active, probes: target.unanswered(), since }))
    }

    /// Whether the router that we obey goes on to answer Up although its adverts do not come. If so, we do not
    /// take over, and say what is wrong.
    pub(super) fn answers_vouch(&mut self, heard: &[Heard], now: Timestamp) -> bool {
        let (Some(target), Some(pace)) = (&self.prober.target, self.pace()) else { return false };
        let active = target.source;
        let valid = self.active_down_interval().max(pace.interval + pace.grace);
        let unheard = heard.iter().all(|r| r.source != active);
        let vouched = unheard && target.up().is_some_and(|at| now.since(at) <= valid);
        if vouched {
            self.note(Note::HalfHeard, Err(format!("adverts of {active} are not heard, its answers are")));
        }
        vouched
    }
}

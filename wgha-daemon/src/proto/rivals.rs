//! Who may serve, or claim to, beside us: whoever holds a lease asks them in state Up, and such a question is a claim (I7).
//!
//! ```text
//! claim, take over ▸ everybody may ▸ Probe every interval, in state Up ─AdminDown▸ that one does not
//!                                                                      ─Up, and it outranks us▸ yield
//! ```
//! Of two Active Routers the one that took the role later goes on asking the other, so that the first probe after a cut
//! ends one of the two leases: the other one's by the question, or ours by the answer. While the others are Backups, nothing is sent.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use wgha_common::{Priority, Timestamp};

use super::{Action, Answered, Heard, Machine, PeerId, State, prober::Pace, timers::Timer};

/// Those of whom it is not known that they do not serve.
#[derive(Debug, Clone, Default)]
pub(super) struct Rivals(BTreeMap<PeerId, Rival>);

#[derive(Debug, Clone, Copy, Default)]
struct Rival {
    /// Answers to this probe and those before it are known, or do not count.
    known: u64,
    /// So many probes in a row are unanswered.
    unanswered: u32,
    /// The first of them was sent then.
    silent_since: Option<Timestamp>,
    /// So many have gone to it since it was first suspected, answered or not.
    asked: u32,
    /// It has claimed the role: if it has given it up, that was because of us.
    contests: bool,
}

impl Rivals {
    fn keep(&mut self, peer: PeerId, number: u64) {
        let asked = self.0.get(&peer).map_or(0, |rival| rival.asked);
        self.0.insert(peer, Rival { known: number, asked, ..Rival::default() });
    }

    /// Whether this answer is news of one of them.
    fn answered(&mut self, answer: &Answered) -> bool {
        let Some(rival) = self.0.get_mut(&answer.peer).filter(|rival| answer.number > rival.known) else {
            return false;
        };
        let Rival { asked, contests, .. } = *rival;
        *rival = Rival { known: answer.number, asked, contests, ..Rival::default() };
        true
    }
}

impl Machine {
    const fn holds_role(&self) -> bool {
        matches!(self.state, State::Claiming | State::Active)
    }

    /// A role with a lease begins.
    pub(super) fn suspect_all(&mut self) {
        self.rivals = Rivals::default();
        let number = self.prober.number();
        self.acquaintances.all().iter().for_each(|known| self.rivals.keep(known.told.peer, number));
    }

    /// It may have begun to serve.
    pub(super) fn suspect(&mut self, peer: PeerId) {
        if self.holds_role() {
            self.rivals.keep(peer, self.prober.number());
        }
    }

    pub(super) fn is_suspected(&self, peer: PeerId) -> bool {
        self.rivals.0.contains_key(&peer)
    }

    /// Whether the peer whose adverts come from there has left as many of our claims unanswered as a Backup would
    /// wait for: its lease is over.
    pub(super) fn rival_is_silent(&self, source: IpAddr, now: Timestamp) -> bool {
        let (Some(detect), Some(told)) = (&self.settings.detect, self.acquaintances.at(source)) else {
            return false;
        };
        let Some(rival) = self.rivals.0.get(&told.peer) else { return false };
        let pace = Pace::of(detect, told);
        let over = rival.silent_since.map(|since| since + told.lease + pace.grace);
        rival.unanswered >= pace.probes && over.is_some_and(|over| over <= now)
    }

    /// Whether the peer whose adverts come from there has been asked twice as often as it takes to find one silent, and has neither been so nor
    /// said that it does not serve: it lives, and something keeps our claims from it, or its answers from us.
    pub(super) fn rival_is_deaf_to_us(&self, source: IpAddr) -> bool {
        let (Some(detect), Some(told)) = (&self.settings.detect, self.acquaintances.at(source)) else {
            return false;
        };
        let rival = self.rivals.0.get(&told.peer);
        rival.is_some_and(|rival| rival.asked >= Pace::of(detect, told).probes.saturating_mul(2))
    }

    /// Keeps the timer in step with whether there is somebody to be asked. A claim asks at once; whoever takes over has
    /// other things to do first.
    pub(super) fn watch_rivals(&mut self, now: Timestamp) {
        if !self.holds_role() {
            self.rivals = Rivals::default();
            return;
        }
        let interval = self.rivals_interval();
        match (interval, self.timers.at(Timer::Probe)) {
            (None, _) => self.timers.disarm(Timer::Probe),
            (Some(_), None) if self.state == State::Claiming => self.timers.arm(Timer::Probe, now),
            (Some(interval), None) => self.timers.arm(Timer::Probe, now + interval),
            (Some(_), Some(_)) => {}
        }
    }

    /// As often as the slowest of them can be asked.
    fn rivals_interval(&self) -> Option<Duration> {
        let ours = self.settings.detect?.interval;
        let told = self.rivals.0.keys().filter_map(|peer| self.acquaintances.told(*peer));
        told.map(|told| told.required_min_rx.max(ours)).max()
    }

    pub(super) fn ask_rivals(&mut self, due: Timestamp, now: Timestamp) {
        let Some(interval) = self.rivals_interval() else { return };
        let next = due + interval;
        self.timers.arm(Timer::Probe, if next > now { next } else { now + interval });
        let peers: Vec<_> = self.rivals.0.keys().copied().collect();
        for peer in peers {
            let number = self.prober.next_number();
            if let Some(rival) = self.rivals.0.get_mut(&peer) {
                rival.unanswered = rival.unanswered.saturating_add(1);
                rival.asked = rival.asked.saturating_add(1);
                rival.silent_since.get_or_insert(now);
            }
            self.push(Action::SendProbe { peer, number, up: true });
        }
        self.push(Action::LookAgain);
    }

    pub(super) fn rivals_answered(&mut self, answers: &[Answered], now: Timestamp) {
        for answer in answers {
            if self.holds_role() && self.rivals.answered(answer) {
                self.rival_answered(answer, now);
            }
        }
    }

    fn rival_answered(&mut self, answer: &Answered, now: Timestamp) {
        let Some(told) = self.acquaintances.told(answer.peer).copied() else { return };
        self.acquaintances.answered(answer.peer);
        // Its adverts may say another interval; they will be heard.
        let (source, interval) = (told.source, self.settings.interval);
        let says = |priority| Heard { at: answer.at, source, priority, interval };
        if !answer.up {
            let rival = self.rivals.0.remove(&answer.peer);
            let yields = answer.yielded || rival.is_some_and(|rival| rival.contests);
            self.rival_does_not_serve(says(Priority::RESIGNED), yields, now);
        } else if self.ranks_behind(&told) {
            self.yield_to(says(told.priority), now);
        }
    }

    /// Whoever has yielded may have announced the VIP, and may have had clients.
    fn rival_does_not_serve(&mut self, rival: Heard, yields: bool, now: Timestamp) {
        match self.state {
            State::Claiming => self.claim_answered(rival.source, rival.at, now),
            State::Active if yields => {
                self.announce_again(now);
                self.greet_again(&rival, now);
            }
            _ => {}
        }
    }

    /// A peer that we outrank has asked us in state Up. That it yields then it says by a resignation, which may be lost: it is
    /// asked.
    pub(super) fn contested(&mut self, heard: Heard, now: Timestamp) {
        if !self.holds_role() {
            return;
        }
        if let Some(peer) = self.acquaintances.at(heard.source).map(|told| told.peer) {
            self.suspect(peer);
            self.rivals.0.entry(peer).and_modify(|rival| rival.contests = true);
        }
        self.claim_heard(heard, now);
    }
}

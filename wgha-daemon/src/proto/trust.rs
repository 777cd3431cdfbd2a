//! What an advert is worth where claims have to be proven: nothing by itself.
//!
//! ```text
//! Backup            an advert of a peer counts, with the priority that the peer has told; a resignation has it probed at once
//! Claiming, Active  an advert of a peer has it asked in state Up; its answer decides, or its own claim in our kernel half
//! ```
//! A discriminator is told over the peer channel alone, so that a probe and its answer prove who has sent them. Until every
//! peer has introduced itself a Backup obeys whatever it hears: a server whose channel cannot be built must not serve beside another.

use std::{cmp, net::IpAddr};

use wgha_common::Timestamp;

use super::{Heard, Machine, State, reload::LONG_INTERVAL, timers::Timer};

/// The highest priority (RFC 9568 §5.2.4): it is obeyed by everybody.
const OWNER: u8 = 255;

/// Claims have to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authentication {
    /// How many other servers there are.
    pub peers: usize,
}

impl Machine {
    /// Whether a claim has to be proven.
    pub(super) const fn wants_proof(&self) -> bool {
        self.settings.authentication.is_some()
    }

    /// Every peer has introduced itself: nobody else is one.
    fn knows_all(&self) -> bool {
        self.settings.authentication.is_some_and(|all| self.acquaintances.count() >= all.peers)
    }

    /// What is to be believed of an advert. Of what it says itself only that its sender may be there.
    pub(super) fn believed(&self, heard: &Heard) -> Option<Heard> {
        if !self.wants_proof() {
            return Some(*heard);
        }
        let longest = cmp::max(self.settings.interval, LONG_INTERVAL);
        let interval = cmp::min(heard.interval, longest);
        let priority = match self.acquaintances.at(heard.source) {
            Some(told) => told.priority,
            None if self.knows_all() => return None,
            None => OWNER,
        };
        Some(Heard { priority, interval, ..*heard })
    }

    /// An advert, of which nothing is proven.
    pub(super) fn unproven_heard(&mut self, heard: &Heard, now: Timestamp) {
        let Some(believed) = self.believed(heard) else { return };
        match self.state {
            State::Backup if heard.priority == 0 => self.doubt(heard.source, now),
            State::Backup => self.heard_as_backup(believed, now),
            State::Claiming | State::Active => self.have_it_proven(heard, believed, now),
            State::Fault | State::Stopping => {}
        }
    }

    /// Somebody says that the router we obey has resigned: it is asked at once. A question that should have been asked before stays
    /// late, which shows that we have stood still.
    fn doubt(&mut self, source: IpAddr, now: Timestamp) {
        if self.prober.is_aimed_at(source) {
            let due = self.timers.at(Timer::Probe).map_or(now, |due| due.min(now));
            self.timers.arm(Timer::Probe, due);
        }
    }

    /// Somebody speaks for a peer, which may serve or claim the role. Where probes do not get through, its word over the channel
    /// will do, if that is younger than our role.
    fn have_it_proven(&mut self, heard: &Heard, believed: Heard, now: Timestamp) {
        let Some(told) = self.acquaintances.at(heard.source).copied() else { return };
        if heard.at < self.since() {
            return;
        }
        let confirmed = told.serving && self.acquaintances.told_at(told.peer) >= Some(self.since());
        if heard.priority != 0 && confirmed && self.ranks_behind(&told) {
            self.yield_to(believed, now);
        } else if !self.is_suspected(told.peer) {
            self.suspect(told.peer);
            self.timers.arm(Timer::Probe, now);
        }
    }

    /// Whether a router cannot be preempted, because it could not prove that it has yielded.
    pub(super) fn cannot_prove(&self, router: IpAddr) -> bool {
        self.wants_proof() && !self.acquaintances.has_answered(router)
    }

    /// Whom a Backup has obeyed before it knew all its peers may be nobody.
    pub(super) fn obey_no_stranger(&mut self, now: Timestamp) {
        let stranger = |who: &IpAddr| self.acquaintances.at(*who).is_none();
        if self.state == State::Backup
            && self.knows_all()
            && self.election.obeyed.is_some_and(|who| stranger(&who))
        {
            self.obey_nobody(now);
        }
    }
}

//! Whether this node has been told where WireGuard's clients are; one that has not does not preempt.
//!
//! ```text
//! wg1 is new here ─▶ a lower router serves ─▶ it would claim the role ─▶ held back ─┬─ EndpointsKnown ─▶ it claims
//!                                                                                   └─ LONGEST ────────▶ it claims
//! ```
//! A client that nobody begins with finds out by itself, which takes 15 s. So the role stays for that moment with whom the
//! clients know. It is about preemption alone: from a router that is dead the role is taken whatever is known.

use std::time::Duration;

use wgha_common::Timestamp;

use super::{Action, Heard, Machine, State, timers::Timer};

/// What has not come by then does not come: an attempt to connect and the pause after it last 2.6 s, and a second one may be
/// needed; a snapshot of 10,000 clients takes half a second, but is begun 2 s after the Active Router has taken over.
const LONGEST: Duration = Duration::from_secs(5);

/// What is known of the clients.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clients {
    /// Our own WireGuard has the endpoints that the Active has told.
    known: bool,
    /// Since when we would have claimed the role.
    held_since: Option<Timestamp>,
}

impl Machine {
    /// Whether this node would preempt, and waits to be told where the clients are.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.state == State::Backup && self.timers.at(Timer::Untold).is_some()
    }

    pub(super) fn endpoints_known(&mut self, now: Timestamp) {
        self.clients.known = true;
        self.hold_back_no_longer(now);
    }

    pub(super) fn endpoints_lost(&mut self) {
        self.clients.known = false;
    }

    /// Nobody has told us in time, and may never: who preempts is to serve after all.
    pub(super) fn untold_due(&mut self, now: Timestamp) {
        self.push(Action::HoldBackNoLonger);
        self.decide_anew(now);
    }

    /// As a Backup that has just begun to be one.
    pub(super) fn hold_back_anew(&mut self) {
        self.clients.held_since = None;
    }

    /// Whether the role is left for now to `rivals`, which serve and do not outrank us: one of them may tell us where the
    /// clients are, and has not.
    pub(super) fn awaits_endpoints(&mut self, rivals: &[Heard], now: Timestamp) -> bool {
        if self.clients.known || !rivals.iter().any(|rival| self.may_tell(rival)) {
            return false;
        }
        if self.clients.held_since.is_none() {
            self.push(Action::HoldBackUntold);
        }
        now < *self.clients.held_since.get_or_insert(now) + LONGEST
    }

    /// They are obeyed until then, so that we notice when they are gone.
    pub(super) fn leave_role_to(&mut self, rivals: &[Heard]) {
        let last = rivals.iter().max_by_key(|rival| self.silent_from(rival)).copied();
        last.into_iter().for_each(|rival| self.obey(rival));
        if let Some(since) = self.clients.held_since {
            self.timers.arm(Timer::Untold, since + LONGEST);
        }
    }

    /// A router that is a peer, or may turn out to be one: a plain VRRP router tells nobody anything.
    fn may_tell(&self, router: &Heard) -> bool {
        let all_are_known = self.acquaintances.count() >= self.settings.peers;
        self.settings.peers > 0 && (!all_are_known || self.acquaintances.at(router.source).is_some())
    }

    fn hold_back_no_longer(&mut self, now: Timestamp) {
        self.clients.held_since = None;
        if self.timers.at(Timer::Untold).is_some() {
            self.timers.disarm(Timer::Untold);
            self.decide_anew(now);
        }
    }

    /// Now, if somebody serves as far as we have heard. Whoever has overslept has heard nobody, and listens first (I3).
    fn decide_anew(&mut self, now: Timestamp) {
        let serves = self.election.active.is_some_and(|active| self.silent_from(&active) > now);
        if self.state == State::Backup && serves {
            self.ask(now);
        }
    }
}

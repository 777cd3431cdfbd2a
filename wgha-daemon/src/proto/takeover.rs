//! Taking over and stepping down, in order.
//!
//! ```text
//! take over   stamp ▸ short lease ▸ advert ▸ lease ▸ hold VIP ─held▸ announce ▸ raise tunnel ▸ handshakes ─raised▸ announce, again and again
//! step down   lease ended ▸ stamp 0 ▸ advert ▸ no more handshakes ▸ lower tunnel ▸ release VIP
//! ```
//! Adverts are stamped before the lease lets them out, and the lease is ended before anything else:
//! between two actions the kernel half never has more to go by than the node may do.

use std::time::Duration;

use wgha_common::{Timestamp, abi::Role};

use super::{
    Action, Heard, Machine, Reason, State, TunnelState, adverts::PROVOKED_PAUSE, gateway::Gateway,
    group::Verdict, health::Needed, note::Note, timers::Timer,
};

/// Pauses between announcements after the tunnel is up: caches may have missed the first.
const ANNOUNCE_PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

/// Handshakes that others provoke are at least this far from the ones before, and twice as far each time.
const GREETING_PAUSE: Duration = Duration::from_secs(1);
/// The same of one that yields: it may have started handshakes after ours, but will not do so again.
const YIELDED_PAUSE: Duration = Duration::from_millis(100);
/// It is doubled so many times at most: 17 minutes.
const GREETING_DOUBLINGS: u32 = 10;

/// How long whoever sets the tunnel up may take for its addresses and routes.
const STRAY_PATIENCE: Duration = Duration::from_secs(5);

impl Machine {
    /// RFC 9568 §6.4.2, the way from Backup to Active. A claim's lease becomes a serving one of the
    /// same election, so that what has ended the claim in the kernel has ended this, too.
    pub(super) fn take_over(&mut self, reason: Reason, now: Timestamp) {
        let lease = if self.state == State::Claiming {
            self.lease.serve(now)
        } else {
            self.suspect_all();
            self.stamp(self.priority());
            self.lease.grant(Role::Active, self.settings.interval, now)
        };
        self.timers.leave_role();
        self.group.gateway = Gateway::default();
        self.group.repeats = 0;
        self.begin_lease(lease);
        self.begin_adverts(now);
        self.begin_renewals(now);
        self.hold_vip();
        self.enter(State::Active, reason, now);
    }

    /// Ends what a role with a lease does, in order. Does nothing in the other roles.
    pub(super) fn resign(&mut self) {
        self.timers.leave_role();
        if !matches!(self.state, State::Active | State::Claiming) {
            return;
        }
        let end = self.lease.end();
        self.push(end);
        self.send_resignation();
        if self.state == State::Active {
            self.note(Note::Gateway, Ok(()));
            self.push(Action::StopHandshakes);
            self.undo_group();
        }
    }

    /// Lowers the tunnel and releases the VIP. Whatever is under way in the worker ends before.
    pub(super) fn undo_group(&mut self) {
        self.lower_tunnel();
        self.group.vip.asked();
        self.push(Action::ReleaseVip);
    }

    fn hold_vip(&mut self) {
        self.group.vip.asked();
        self.push(Action::HoldVip);
    }

    fn raise_tunnel(&mut self) {
        self.group.tunnel.asked_up();
        self.push(Action::RaiseTunnel);
    }

    fn lower_tunnel(&mut self) {
        self.group.tunnel.asked_down();
        self.push(Action::LowerTunnel);
    }

    pub(super) fn vip_held(&mut self, result: Result<(), String>, now: Timestamp) {
        if !self.group.vip.ended(result.is_ok()) {
            return;
        }
        match (self.state, result) {
            (State::Active, Ok(())) => self.vip_is_ours(now),
            (State::Active, Err(why)) => self.fail(Needed::Vip, why, now),
            // Stepping down has asked for the release already; this is for a worker out of order.
            (_, Ok(())) => {
                self.group.vip.asked();
                self.push(Action::ReleaseVip);
            }
            (_, Err(_)) => {}
        }
    }

    fn announce(&mut self, now: Timestamp) {
        self.group.announced = now;
        self.push(Action::Announce);
    }

    fn vip_is_ours(&mut self, now: Timestamp) {
        self.announce(now);
        self.await_gateway(now);
        if !self.group.tunnel.is_wanted() {
            self.raise_tunnel();
            self.group.greetings = 0;
            self.start_handshakes(false, now);
        }
    }

    fn start_handshakes(&mut self, again: bool, now: Timestamp) {
        self.group.greeted = now;
        self.push(Action::StartHandshakes { again });
    }

    /// Somebody else has served: clients may have sessions with it, and nobody would tell them that it has ended. One that
    /// goes on to claim the role, and serves nobody, must not cost them theirs again and again.
    pub(super) fn greet_again(&mut self, rival: &Heard, now: Timestamp) {
        // It was gone since: what it did behind a cut is another matter than what it claims while it is heard.
        let gone = (3 * rival.interval.duration()).max(GREETING_PAUSE);
        if now.since(self.group.provoked) >= gone {
            self.group.greetings = 0;
        }
        self.group.provoked = now;
        let pause = if rival.priority == 0 { YIELDED_PAUSE } else { GREETING_PAUSE };
        let earliest = self.group.greeted + pause * 2_u32.pow(self.group.greetings.min(GREETING_DOUBLINGS));
        if now >= earliest {
            self.greet(now);
        } else {
            // Not to do so at all would leave them to WireGuard's own 15 s.
            let due = self.timers.at(Timer::Greet).map_or(earliest, |due| due.min(earliest));
            self.timers.arm(Timer::Greet, due);
        }
    }

    pub(super) fn greet(&mut self, now: Timestamp) {
        if self.holds_vip() {
            self.timers.disarm(Timer::Greet);
            self.group.greetings += 1;
            self.start_handshakes(true, now);
        } else {
            self.timers.arm(Timer::Greet, now + GREETING_PAUSE);
        }
    }

    pub(super) fn vip_lost(&mut self) {
        self.group.vip.lost();
        if self.state == State::Active {
            self.hold_vip();
        }
    }

    pub(super) fn vip_released(&mut self, result: Result<(), String>) {
        let last = self.group.vip.ended(false);
        if last && self.state == State::Active {
            self.hold_vip(); // reported after what it was overtaken by; make sure
        }
        // The addresses of an interface that is gone are gone.
        self.note(Note::Release, if self.health.uplink.present { result } else { Ok(()) });
    }

    pub(super) fn tunnel_raised(&mut self, result: Result<(), String>, now: Timestamp) {
        if !self.group.tunnel.ended() {
            return;
        }
        match (self.state, result) {
            (State::Active, Ok(())) => {
                self.health.succeeded();
                self.group.tunnel.is_up_since(now);
                self.announce_anew(now);
                self.judge_tunnel(now);
                self.health_changed(now);
            }
            (State::Active, Err(why)) => self.fail(Needed::Tunnel, why, now),
            // Stepping down has asked to lower it already; this is for a worker out of order.
            (_, Ok(())) => self.lower_tunnel(),
            (_, Err(_)) => {}
        }
    }

    /// Neighbours know the VIP at the old one.
    pub(super) fn mac_changed(&mut self, now: Timestamp) {
        if self.state == State::Active {
            self.announce_again(now);
        }
    }

    /// Somebody else may have announced the VIP: announces it at once, unless that was only just done, and
    /// then again and again.
    pub(super) fn announce_again(&mut self, now: Timestamp) {
        let earliest = self.group.announced + PROVOKED_PAUSE;
        if !self.holds_vip() {
            // It is announced as soon as it is held.
        } else if now >= earliest {
            self.announce_anew(now);
        } else {
            self.group.repeats = 0;
            self.timers.arm(Timer::Announce, earliest);
        }
    }

    /// Announces the VIP, and again after each of the pauses.
    fn announce_anew(&mut self, now: Timestamp) {
        self.group.repeats = 0;
        self.announce_due(now);
    }

    pub(super) fn announce_due(&mut self, now: Timestamp) {
        self.announce(now);
        match self.group.gateway.pause() {
            Some(pause) => self.timers.arm(Timer::Announce, now + pause),
            None => self.announce_at_leisure(),
        }
    }

    /// Not again before the next of the pauses.
    pub(super) fn announce_at_leisure(&mut self) {
        self.timers.disarm(Timer::Announce);
        if let Some(pause) = ANNOUNCE_PAUSES.get(self.group.repeats) {
            self.group.repeats += 1;
            self.timers.arm(Timer::Announce, self.group.announced + *pause);
        }
    }

    pub(super) fn tunnel_lowered(&mut self, result: Result<(), String>, now: Timestamp) {
        let last = self.group.tunnel.ended();
        if last && self.state == State::Active && self.group.tunnel.is_wanted() {
            self.raise_tunnel(); // likewise
        }
        // A link that is gone is down.
        self.note(Note::Lower, if self.health.tunnel.present { result } else { Ok(()) });
        self.watch_stray_tunnel(now);
    }

    pub(super) fn tunnel_changed(&mut self, tunnel: TunnelState, now: Timestamp) {
        self.group.tunnel.saw(tunnel.present && tunnel.up);
        // Somebody has set it up again, or has made a new one, which is down because nobody has
        // raised it yet.
        if tunnel.up || !tunnel.present {
            self.health.set_down = false;
        }
        self.health.tunnel = tunnel;
        self.judge_tunnel(now);
        self.watch_stray_tunnel(now);
        self.health_changed(now);
    }

    /// I14: a tunnel that was set down under a serving node is seen here before anybody misses it.
    fn judge_tunnel(&mut self, now: Timestamp) {
        if self.state != State::Active {
            return;
        }
        match self.group.tunnel.verdict(now) {
            Verdict::Ours => self.timers.disarm(Timer::Doubt),
            Verdict::DoubtUntil(at) => self.timers.arm(Timer::Doubt, at),
            Verdict::SetDown => self.health.set_down = self.health.tunnel.present,
        }
    }

    pub(super) fn tunnel_doubted(&mut self, now: Timestamp) {
        self.judge_tunnel(now);
        self.health_changed(now);
    }

    /// The fence keeps a tunnel silent that somebody has set up on a node that does not serve, so there is
    /// no hurry to lower it, and a good reason to wait: wg-quick adds routes after the link is up, and
    /// takes the whole interface away when it finds the link down.
    fn watch_stray_tunnel(&mut self, now: Timestamp) {
        if !self.is_stray() {
            self.timers.disarm(Timer::Stray);
        } else if self.timers.at(Timer::Stray).is_none() {
            self.timers.arm(Timer::Stray, now + STRAY_PATIENCE);
        }
    }

    pub(super) fn stray_due(&mut self) {
        if self.is_stray() {
            self.lower_tunnel();
        }
    }

    fn is_stray(&self) -> bool {
        self.is_running() && self.state != State::Active && self.group.tunnel.is_stray()
    }
}

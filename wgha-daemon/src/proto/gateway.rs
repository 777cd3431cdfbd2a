//! Whether the segment has learnt that the VIP is here now: its gateway answers a solicitation from the VIP.

use std::time::Duration;

use wgha_common::Timestamp;

use super::{Machine, State, note::Note, timers::Timer};

/// Pauses between announcements until the gateway has answered for the first time.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
];

/// A gateway that has not answered for so long is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the gateway since the last take-over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gateway {
    /// When the VIP was announced first.
    asked: Option<Timestamp>,
    answered: bool,
    repeats: usize,
}

impl Gateway {
    /// How long to wait before the VIP is announced again because the gateway has not answered.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let pause = PAUSES.get(self.repeats).filter(|_| !self.answered)?;
        self.repeats += 1;
        Some(*pause)
    }
}

impl Machine {
    /// The VIP has just been announced, perhaps for the first time since the take-over.
    pub(super) fn await_gateway(&mut self, now: Timestamp) {
        if self.group.gateway.asked.is_none() {
            self.group.gateway.asked = Some(now);
            self.timers.arm(Timer::Gateway, now + PATIENCE);
        }
        if let Some(pause) = self.group.gateway.pause() {
            self.timers.arm(Timer::Announce, now + pause);
        }
    }

    pub(super) fn gateway_answered(&mut self, at: Timestamp) {
        let gateway = &mut self.group.gateway;
        if self.state != State::Active || gateway.answered || gateway.asked.is_none_or(|asked| at < asked) {
            return;
        }
        gateway.answered = true;
        self.timers.disarm(Timer::Gateway);
        self.note(Note::Gateway, Ok(()));
        // Before the tunnel is up, nothing else is waited for: it is announced after that, and again and again.
        if self.group.repeats > 0 {
            // It came late; the long pauses have begun already.
        } else if self.group.tunnel.is_up() {
            self.announce_at_leisure();
        } else {
            self.timers.disarm(Timer::Announce);
        }
    }

    pub(super) fn gateway_silent(&mut self) {
        let why = "the gateway has not answered a solicitation from the VIP for 1 s".to_owned();
        self.note(Note::Gateway, Err(why));
    }
}

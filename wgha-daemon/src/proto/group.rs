//! What moves together, and what is known of the effects that move it.
//!
//! The worker carries effects out one after the other and reports each one's end in that order. So a
//! result says how things stand only when no effect on the same thing is under way behind it; the
//! others are results of a role that has passed, and what was asked for later wins.

use std::time::Duration;

use wgha_common::Timestamp;

use super::gateway::Gateway;

/// How long the notification of a link that was set up may come after the news that it was.
const ECHO: Duration = Duration::from_millis(100);

/// The VIP and the tunnel.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) vip: Vip,
    pub(super) tunnel: Tunnel,
    /// How often the VIP has been announced in this row.
    pub(super) repeats: usize,
    /// When it was announced last.
    pub(super) announced: Timestamp,
    /// When handshakes were started last.
    pub(super) greeted: Timestamp,
    /// How often others have provoked that since the take-over.
    pub(super) greetings: u32,
    /// When the last of them was.
    pub(super) provoked: Timestamp,
    pub(super) gateway: Gateway,
}

/// The virtual addresses, which are held and released together.
#[derive(Debug, Clone, Default)]
pub(super) struct Vip {
    pending: u32,
    held: bool,
}

/// The WireGuard link.
#[derive(Debug, Clone, Default)]
pub(super) struct Tunnel {
    pending: u32,
    wish: Wish,
    /// What has been seen of the link since the last effect on it was asked for.
    seen: Option<bool>,
    /// It has been seen up since it was raised: what is seen from now on is no late notification.
    confirmed: bool,
}

/// What we last wanted of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Wish {
    #[default]
    Down,
    Up,
    /// Up, and so it was at that time.
    UpSince(Timestamp),
}

/// What is to be made of a link that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As we want it, or on its way.
    Ours,
    /// It may be a late notification of how it was before; if it is still down then, it is not.
    DoubtUntil(Timestamp),
    /// Somebody has set it down.
    SetDown,
}

impl Group {
    pub(super) const fn holds_vip(&self) -> bool {
        self.vip.held
    }

    /// VIP and tunnel were in place before we were.
    pub(super) fn take_over(&mut self, now: Timestamp) {
        self.vip.held = true;
        self.tunnel.is_up_since(now);
    }

    /// VIP and tunnel are where an Active Router has them, and nothing is under way that would change it.
    pub(super) const fn serves(&self) -> bool {
        self.vip.held && self.tunnel.is_up() && self.is_idle()
    }

    /// No effect is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.vip.pending == 0 && self.tunnel.pending == 0
    }
}

impl Vip {
    pub(super) fn asked(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    pub(super) fn lost(&mut self) {
        self.held = false;
    }

    /// An effect has ended and left the VIP so. Whether it was the last one asked for.
    pub(super) fn ended(&mut self, held: bool) -> bool {
        self.held = held;
        self.pending = self.pending.saturating_sub(1);
        self.pending == 0
    }
}

impl Tunnel {
    pub(super) fn asked_up(&mut self) {
        self.asked(Wish::Up);
    }

    pub(super) fn asked_down(&mut self) {
        self.asked(Wish::Down);
    }

    fn asked(&mut self, wish: Wish) {
        self.pending = self.pending.saturating_add(1);
        self.wish = wish;
        self.seen = None;
        self.confirmed = false;
    }

    /// An effect has ended. Whether it was the last one asked for.
    pub(super) fn ended(&mut self) -> bool {
        self.pending = self.pending.saturating_sub(1);
        self.pending == 0
    }

    /// It is up because we wanted it so.
    pub(super) fn is_up_since(&mut self, now: Timestamp) {
        self.wish = Wish::UpSince(now);
        self.confirmed = self.seen == Some(true);
    }

    pub(super) const fn is_wanted(&self) -> bool {
        !matches!(self.wish, Wish::Down)
    }

    /// It was raised, as far as we have been told.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.wish, Wish::UpSince(_))
    }

    pub(super) fn saw(&mut self, up: bool) {
        self.seen = Some(up);
        self.confirmed |= up && self.is_wanted() && self.pending == 0;
    }

    /// It is up although nobody here wants it so, and nothing is under way that would change it.
    pub(super) const fn is_stray(&self) -> bool {
        self.pending == 0 && !self.is_wanted() && matches!(self.seen, Some(true))
    }

    pub(super) fn verdict(&self, now: Timestamp) -> Verdict {
        match (self.wish, self.seen) {
            (Wish::UpSince(since), Some(false)) if self.pending == 0 => {
                let until = since + ECHO;
                if self.confirmed || now >= until { Verdict::SetDown } else { Verdict::DoubtUntil(until) }
            }
            _ => Verdict::Ours,
        }
    }
}

use std::time::Duration;

use wgha_common::{Centiseconds, Priority};

use super::Authentication;

/// What the machine is configured with. The family does not matter to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Our priority.
    pub priority: Priority,
    /// Advertisement_Interval.
    pub interval: Centiseconds,
    /// Preempt_Mode: take the role from an Active Router of lower priority.
    pub preempt: bool,
    /// How long after the start, or after a fault was mended, a lower Active Router is left alone.
    pub preempt_delay: Duration,
    /// Probes between the servers; `None`: no other servers are configured, adverts alone decide.
    pub detect: Option<Detect>,
    /// Claims have to be proven by probes; `None`: adverts are obeyed as RFC 9568 says.
    pub authentication: Option<Authentication>,
}

/// `[detect]`: how a failure of a peer is noticed by S-BFD, and how long our own lease lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detect {
    /// Between two probes.
    pub interval: Duration,
    /// How many probes in a row must go unanswered.
    pub multiplier: u8,
}

impl Detect {
    /// How long a lease lasts after each renewal. A Backup's last answered probe may have come right before a
    /// renewal; it sends the first one that goes unanswered up to an interval later, and the last one of
    /// `multiplier` so much after that (I6).
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.interval * u32::from(self.multiplier).saturating_sub(1)
    }

    /// Between two renewals: a quarter of the lease, so that a stall of ours may last for three quarters of it. No more
    /// often than twice an interval and no less than once: each is a wake-up.
    #[must_use]
    pub fn renewal(&self) -> Duration {
        (self.lease() / 4).clamp(self.interval / 2, self.interval)
    }
}

use std::time::Duration;

use wgha_common::{Centiseconds, Priority};

use super::{Ailment, Authentication};

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
    /// How many other servers are configured.
    pub peers: usize,
    /// Probes between the servers; `None`: no other servers are configured, adverts alone decide.
    pub detect: Option<Detect>,
    /// Claims have to be proven by probes; `None`: adverts are obeyed as RFC 9568 says.
    pub authentication: Option<Authentication>,
    /// What is done about faults that only traffic shows; `None`: nothing, nor are the peers told of our health.
    pub health: Option<HealthRules>,
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

/// `[health]`: what is done about faults of WireGuard that no interface shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    /// `wireguard_stuck`: clients are heard, and nothing goes out.
    pub wireguard_stuck: Remedy,
    /// `path_broken`: clients are spoken to, and nothing comes in.
    pub path_broken: Remedy,
    /// `weight`: by how much the priority is lowered.
    pub weight: u8,
    /// `silence`: how long it must be so.
    pub silence: Duration,
    /// `hold_off`: how long what is done about it stands, the first time.
    pub hold_off: Duration,
}

/// What is done about such a fault, if another server is fit to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    Ignore,
    /// The priority is lowered.
    Priority,
    /// The node resigns.
    Fault,
}

impl HealthRules {
    /// What is done about this.
    #[must_use]
    pub const fn remedy(&self, ailment: Ailment) -> Remedy {
        match ailment {
            Ailment::WireguardStuck => self.wireguard_stuck,
            Ailment::PathBroken => self.path_broken,
        }
    }

    /// Whether there is anything to look for.
    #[must_use]
    pub fn watches(&self) -> bool {
        [self.wireguard_stuck, self.path_broken].iter().any(|remedy| *remedy != Remedy::Ignore)
    }
}

/// A false alarm must not hurt. With a lower priority the node still serves if nobody else does; and what sets it off means that
/// nobody is being served, so that a change of roles is at nobody's cost.
impl Default for HealthRules {
    fn default() -> Self {
        Self {
            wireguard_stuck: Remedy::Priority,
            path_broken: Remedy::Priority,
            weight: 20,
            silence: Duration::from_secs(15),
            hold_off: Duration::from_secs(60),
        }
    }
}

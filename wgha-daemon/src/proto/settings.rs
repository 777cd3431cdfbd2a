use std::time::Duration;

use wgha_common::{Centiseconds, Priority};

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
}

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How many bytes a second a peer may have us read, unless the settings say otherwise: a snapshot of
/// 10,000 records is a sixth of it.
pub const RATE: u32 = 4 << 20;
/// What even the smallest message costs.
const LEAST: u32 = 1024;
/// How much may come at once.
const BURST: Duration = Duration::from_secs(1);

/// What may be read of one peer: who sends more is read more slowly, and TCP tells it so.
#[derive(Debug)]
pub(super) struct Budget {
    /// When all that was read will have been paid for.
    paid: Instant,
    /// Bytes in a second, not 0.
    rate: u32,
}

impl Budget {
    pub(super) fn new(rate: u32) -> Self {
        Self { paid: Instant::now(), rate: rate.max(1) }
    }

    /// Pays for `bytes`; waits if the peer is too far ahead of its time.
    pub(super) async fn pay(&mut self, bytes: usize) {
        if let Some(until) = self.charge(bytes, Instant::now()) {
            sleep_until(until).await;
        }
    }

    fn charge(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(LEAST);
        let cost = Duration::from_secs(1) * bytes / self.rate;
        self.paid = self.paid.max(now) + cost;
        (self.paid > now + BURST).then(|| self.paid - BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_a_flood_is_not() {
        let now = Instant::now();
        let mut budget = Budget { paid: now, rate: RATE };
        for _ in 0..RATE / LEAST {
            assert_eq!(budget.charge(1, now), None);
        }
        let wait = budget.charge(65_535, now).unwrap();
        assert!(wait > now && wait < now + Duration::from_millis(20));
        assert_eq!(budget.charge(65_535, now + Duration::from_secs(1)), None);
    }
}

use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(100);
/// A server that comes back waits for it before it takes the role back; an attempt is one packet.
const LONGEST: Duration = Duration::from_millis(500);
/// What a mismatch that somebody must mend waits for.
const AFTER_MISMATCH: Duration = Duration::from_secs(60);
/// A connection that lasted so long was good.
const GOOD: Duration = Duration::from_secs(2);

/// When to connect again.
#[derive(Debug)]
pub(super) struct Retry {
    pause: Duration,
    at: Instant,
}

impl Retry {
    /// At once.
    pub(super) fn now() -> Self {
        Self { pause: SHORTEST, at: Instant::now() }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// It did not come to be, or has ended after `lasted`.
    pub(super) fn after(&mut self, lasted: Duration) {
        if lasted >= GOOD {
            self.pause = SHORTEST;
        }
        self.at = Instant::now() + jitter(self.pause, getrandom::u32().unwrap_or(0));
        self.pause = (self.pause * 2).min(LONGEST);
    }

    pub(super) fn after_mismatch(&mut self) {
        self.at = Instant::now() + AFTER_MISMATCH;
    }

    /// We are not the side that connects. Sides change with addresses, seldom.
    pub(super) fn idle(&mut self) {
        self.at = Instant::now() + LONGEST;
    }
}

/// Three to five quarters of `pause`: several servers that have lost one another do not keep time.
fn jitter(pause: Duration, random: u32) -> Duration {
    pause * 3 / 4 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second_and_shrink_after_a_good_connection() {
        let mut retry = Retry::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            retry.after(Duration::ZERO);
            pauses.push(retry.at().saturating_duration_since(Instant::now()).as_millis());
        }
        assert!((50..=125).contains(&pauses[0]), "{pauses:?}");
        assert!((350..=625).contains(&pauses[7]), "{pauses:?}");
        retry.after(GOOD);
        assert!(retry.at() < Instant::now() + Duration::from_millis(130));
    }

    #[test]
    fn jitter_stays_near() {
        assert_eq!(jitter(Duration::from_secs(4), 0), Duration::from_secs(3));
        assert_eq!(jitter(Duration::from_secs(4), u32::MAX), Duration::from_secs(5));
    }
}

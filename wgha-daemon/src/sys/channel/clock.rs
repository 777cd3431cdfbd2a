//! How far a peer's wall clock is ahead of ours: a new Active whose clock is behind starts no session
//! that the old one's clock has outdated.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::message::Pong;

/// Nanoseconds since the Unix epoch. Replaced in tests.
pub type WallClock = fn() -> i64;

/// The system's.
#[must_use]
pub fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// How many measurements the median is of.
const KEPT: usize = 7;
/// An estimate that stays as it was is told again so rarely.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// A smaller change is not worth telling: WireGuard's own timestamps are coarser.
const WORTH_TELLING_NS: u64 = 1_000_000;

/// The peer's clock minus ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Positive: the peer is ahead.
    pub offset_ns: i64,
    /// By how much that may be wrong: half the round trip.
    pub uncertainty_ns: u64,
}

/// The measurements of one connection.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The ping under way: its number, and T1 by both clocks.
    asked: Option<(u64, i64, Instant)>,
    number: u64,
    measured: VecDeque<Offset>,
    told: Option<(Offset, Instant)>,
}

impl Clock {
    /// A ping is about to be sent; its number. One that is still under way is given up.
    pub(super) fn ping(&mut self, wall: i64, now: Instant) -> u64 {
        self.number += 1;
        self.asked = Some((self.number, wall, now));
        self.number
    }

    /// The answer to the ping under way has come (RFC 5905 §8: T1 to T4). Others are not looked at.
    pub(super) fn pong(&mut self, pong: Pong, now: Instant) {
        let Some((_, t1, sent)) = self.asked.take_if(|(number, ..)| *number == pong.number) else { return };
        // The round trip by the clock that nobody sets: T4 is T1 and so long after.
        let trip = i128::try_from(now.duration_since(sent).as_nanos()).unwrap_or(i128::MAX);
        let (t1, t2, t3) = (i128::from(t1), i128::from(pong.received), i128::from(pong.sent));
        let held = t3 - t2;
        if held < 0 || held > trip {
            return; // its clock was set in between, or it does not tell the truth
        }
        let offset = ((t2 - t1) + (t3 - t1 - trip)) / 2;
        let Ok(offset_ns) = i64::try_from(offset) else { return };
        let uncertainty_ns = u64::try_from((trip - held) / 2).unwrap_or(u64::MAX);
        self.measured.push_back(Offset { offset_ns, uncertainty_ns });
        if self.measured.len() > KEPT {
            self.measured.pop_front();
        }
    }

    /// The median of the last measurements.
    pub(super) fn offset(&self) -> Option<Offset> {
        let mut sorted: Vec<Offset> = self.measured.iter().copied().collect();
        sorted.sort_by_key(|measured| measured.offset_ns);
        sorted.get(sorted.len() / 2).copied()
    }

    /// The estimate, if it was not told yet, or has changed, or was told long ago.
    pub(super) fn news(&mut self, now: Instant) -> Option<Offset> {
        let offset = self.offset()?;
        if let Some((told, at)) = self.told {
            let moved = told.offset_ns.abs_diff(offset.offset_ns);
            let same = moved <= WORTH_TELLING_NS.max(offset.uncertainty_ns);
            if same && now.duration_since(at) < TOLD_EVERY {
                return None;
            }
        }
        self.told = Some((offset, now));
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// A ping that takes `there` and `back`, answered after 1 ms by a clock that is `ahead`. In milliseconds.
    fn measure(clock: &mut Clock, now: &mut Instant, ahead: i64, there: i64, back: i64) {
        let t1 = 1_700_000_000_000 * MS;
        let number = clock.ping(t1, *now);
        let received = t1 + (there + ahead) * MS;
        *now += Duration::from_nanos(((there + 1 + back) * MS).unsigned_abs());
        clock.pong(Pong { number, received, sent: received + MS }, *now);
    }

    #[test]
    fn the_offset_is_that_of_ntp() {
        let (mut clock, mut now) = (Clock::default(), Instant::now());
        measure(&mut clock, &mut now, -5000, 2, 2);
        let exact = Offset { offset_ns: -5000 * MS, uncertainty_ns: 2_000_000 };
        assert_eq!(clock.offset(), Some(exact));
        assert_eq!(clock.news(now), Some(exact));
        assert_eq!(clock.news(now), None);
        assert_eq!(clock.news(now + TOLD_EVERY), Some(exact));
    }

    #[test]
    fn one_way_that_takes_longer_is_within_the_uncertainty() {
        let (mut clock, mut now) = (Clock::default(), Instant::now());
        measure(&mut clock, &mut now, 100, 30, 2);
        let Offset { offset_ns, uncertainty_ns } = clock.offset().unwrap();
        assert!(offset_ns.abs_diff(100 * MS) <= uncertainty_ns);
    }

    #[test]
    fn one_that_is_far_off_does_not_count() {
        let (mut clock, mut now) = (Clock::default(), Instant::now());
        for back in [1, 1, 1, 400, 1] {
            measure(&mut clock, &mut now, 0, 1, back);
        }
        assert_eq!(clock.offset(), Some(Offset { offset_ns: 0, uncertainty_ns: 1_000_000 }));
        for _ in 0..1000 {
            measure(&mut clock, &mut now, 3000, 1, 1);
        }
        assert_eq!(clock.offset().unwrap().offset_ns, 3000 * MS);
        assert_eq!(clock.measured.len(), KEPT);
    }

    #[test]
    fn answers_that_fit_no_ping_do_not_count() {
        let (mut clock, now) = (Clock::default(), Instant::now());
        let number = clock.ping(0, now);
        clock.pong(Pong { number: number + 1, received: 0, sent: 0 }, now);
        clock.pong(Pong { number, received: 0, sent: 1 }, now); // held longer than it was away
        clock.pong(Pong { number, received: 0, sent: 0 }, now); // answered already
        assert_eq!(clock.offset(), None);
        let number = clock.ping(i64::MIN, now);
        clock.pong(Pong { number, received: i64::MAX, sent: i64::MAX }, now);
        assert_eq!(clock.offset(), None);
    }
}

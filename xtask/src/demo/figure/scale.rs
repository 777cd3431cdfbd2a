//! Times and round trips to places on paper.

use super::super::words::millis;

/// Nanoseconds to x.
pub trait TimeScale {
    /// Where a time is; outside of the axis, its nearer end.
    fn x(&self, ns: u64) -> f64;
    /// Both ends of the axis.
    fn ends(&self) -> (f64, f64);
}

/// Equal steps for equal times.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Times at both ends.
    pub times: (u64, u64),
    /// Places of both ends.
    pub ends: (f64, f64),
}

impl TimeScale for Linear {
    fn x(&self, ns: u64) -> f64 {
        let (from, to) = self.times;
        let share = millis(ns.saturating_sub(from)) / millis(to - from).max(f64::MIN_POSITIVE);
        self.ends.0 + share.clamp(0.0, 1.0) * (self.ends.1 - self.ends.0)
    }

    fn ends(&self) -> (f64, f64) {
        self.ends
    }
}

/// A short linear piece before the fault, then equal steps for ten times the time.
#[derive(Debug, Clone, Copy)]
pub struct SinceFault {
    /// When the fault was.
    pub zero_ns: u64,
    /// How much after it the axis ends, milliseconds.
    pub until_ms: f64,
    /// Places of both ends.
    pub ends: (f64, f64),
}

impl SinceFault {
    /// How much before the fault the axis begins, milliseconds.
    pub const BEFORE_MS: f64 = 40.0;
    /// How much paper that gets.
    const BEFORE_WIDTH: f64 = 44.0;

    /// Where so many milliseconds after the fault are.
    pub fn x_of_ms(&self, ms: f64) -> f64 {
        let zero = self.ends.0 + Self::BEFORE_WIDTH;
        if ms < 0.0 {
            return zero + (ms / Self::BEFORE_MS).max(-1.0) * Self::BEFORE_WIDTH;
        }
        let decades = |ms: f64| (1.0 + ms).log10();
        zero + (decades(ms) / decades(self.until_ms)).min(1.0) * (self.ends.1 - zero)
    }

    /// Round times on the axis and how they are written.
    pub fn ticks(&self) -> Vec<(f64, &'static str)> {
        let all = [
            (0.0, "0"),
            (1.0, "1 ms"),
            (10.0, "10 ms"),
            (100.0, "100 ms"),
            (1000.0, "1 s"),
            (10_000.0, "10 s"),
        ];
        all.into_iter().filter(|(ms, _)| *ms <= self.until_ms).map(|(ms, t)| (self.x_of_ms(ms), t)).collect()
    }
}

impl TimeScale for SinceFault {
    fn x(&self, ns: u64) -> f64 {
        if ns < self.zero_ns {
            self.x_of_ms(-millis(self.zero_ns - ns))
        } else {
            self.x_of_ms(millis(ns - self.zero_ns))
        }
    }

    fn ends(&self) -> (f64, f64) {
        self.ends
    }
}

/// Round trips to y: logarithmic, from 0.1 ms at the bottom to 100 ms at the top.
#[derive(Debug, Clone, Copy)]
pub struct RoundTrips {
    /// y of 100 ms.
    pub top: f64,
    /// y of 0.1 ms.
    pub bottom: f64,
}

impl RoundTrips {
    /// What is written beside the axis, milliseconds.
    pub const TICKS: [(f64, &'static str); 3] = [(0.1, "0.1 ms"), (1.0, "1 ms"), (10.0, "10 ms")];

    /// Where a round trip is; outside of the axis, its nearer end.
    pub fn y(&self, ms: f64) -> f64 {
        let share = (ms.max(0.01).log10() + 1.0) / 3.0;
        self.bottom - share.clamp(0.0, 1.0) * (self.bottom - self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_a_fault_never_runs_backwards() {
        let scale = SinceFault { zero_ns: 1_000_000_000, until_ms: 20_000.0, ends: (10.0, 510.0) };
        let xs: Vec<_> = (0..25_000).step_by(7).map(|ms| scale.x(ms * 1_000_000)).collect();
        assert!(xs.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!((xs[0], *xs.last().unwrap()), (10.0, 510.0));
        assert_eq!(scale.x(1_000_000_000), 54.0);
    }

    #[test]
    fn round_trips_stay_on_the_axis() {
        let scale = RoundTrips { top: 0.0, bottom: 90.0 };
        let ys = [0.0, 0.1, 1.0, 10.0, 100.0, 5000.0].map(|ms| scale.y(ms).round());
        assert_eq!(ys, [90.0, 90.0, 60.0, 30.0, 0.0, 0.0]);
    }
}

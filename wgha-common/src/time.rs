//! The one clock of both halves, and the unit of VRRP's interval.

use core::{fmt, ops, time::Duration};

/// A moment of `CLOCK_BOOTTIME`, in nanoseconds: what `bpf_ktime_get_boot_ns` returns.
///
/// `CLOCK_MONOTONIC` stands still while the machine is suspended: a lease of before would seem to last (I4), and a deadline would seem
/// to be yet to come (I3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// From `CLOCK_BOOTTIME` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `CLOCK_BOOTTIME` nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        let nanos = u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// VRRP's unit of time, 1/100 s, in the 12 bits of Max Advertise Interval (RFC 9568 §5.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Centiseconds(u16);

/// Not between 10 ms and 40.95 s, or not a multiple of 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidInterval;

impl Centiseconds {
    /// The largest interval that fits into 12 bits.
    pub const MAX: Self = Self(0x0fff);

    /// # Errors
    /// [`InvalidInterval`] for 0 and above 4095.
    pub const fn new(cs: u16) -> Result<Self, InvalidInterval> {
        match cs {
            1..=0x0fff => Ok(Self(cs)),
            _ => Err(InvalidInterval),
        }
    }

    /// # Errors
    /// [`InvalidInterval`] unless `d` is a multiple of 10 ms from 10 ms to 40.95 s.
    pub fn from_duration(d: Duration) -> Result<Self, InvalidInterval> {
        if !d.as_nanos().is_multiple_of(10_000_000) {
            return Err(InvalidInterval);
        }
        u16::try_from(d.as_millis() / 10).map_err(|_| InvalidInterval).and_then(Self::new)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }

    /// `Skew_Time = (256 - Priority) * Active_Adver_Interval / 256` (RFC 9568 §6.1), not rounded to centiseconds:
    /// at an interval of 10 ms they would make all priorities equal.
    #[must_use]
    pub const fn skew_time(self, priority: u8) -> Duration {
        let interval = self.0 as u64 * 10_000_000;
        Duration::from_nanos((256 - priority as u64) * interval / 256)
    }

    /// `Active_Down_Interval = 3 * Active_Adver_Interval + Skew_Time` (RFC 9568 §6.1).
    #[must_use]
    pub fn active_down_interval(self, priority: u8) -> Duration {
        3 * self.duration() + self.skew_time(priority)
    }
}

impl fmt::Display for Centiseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", u32::from(self.0) * 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_down_interval_is_that_of_the_rfc() {
        let one_second = Centiseconds::new(100).unwrap();
        assert_eq!(one_second.skew_time(100), Duration::from_nanos(609_375_000));
        assert_eq!(one_second.active_down_interval(100), Duration::from_nanos(3_609_375_000));
        let fastest = Centiseconds::new(1).unwrap();
        assert!(fastest.skew_time(99) > fastest.skew_time(100));
    }

    #[test]
    fn intervals_off_the_grid_are_refused() {
        for (ms, ok) in [(0, false), (5, false), (10, true), (15, false), (40_950, true), (40_960, false)] {
            let got = Centiseconds::from_duration(Duration::from_millis(ms));
            assert_eq!(got.is_ok(), ok, "{ms} ms");
        }
        assert!(Centiseconds::from_duration(Duration::from_micros(10_500)).is_err());
    }
}

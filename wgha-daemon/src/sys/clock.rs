//! The one clock: `CLOCK_MONOTONIC`, which is also `bpf_ktime_get_ns` (invariant I2).

use nix::time::{ClockId, clock_gettime};
use wgha_common::Timestamp;

/// Now. Zero if the kernel has no such clock, which Linux always has.
#[must_use]
pub fn now() -> Timestamp {
    let Ok(t) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return Timestamp::ZERO };
    let nanos = i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec());
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

//! The one clock: `CLOCK_BOOTTIME`, which is also `bpf_ktime_get_boot_ns` (invariant I2).

use std::{fs, io, time::Duration};

use nix::time::{ClockId, clock_gettime};
use wgha_common::Timestamp;

/// Now. Zero if the kernel has no such clock, which Linux always has.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::ZERO + read(ClockId::CLOCK_BOOTTIME)
}

/// `CLOCK_MONOTONIC`, in which systemd wants to be told: it leaves out what the machine was suspended for.
#[must_use]
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// By how many seconds this process's time namespace shifts [`now`]. The kernel half does not see that.
///
/// # Errors
/// The system's.
pub fn shift() -> io::Result<i64> {
    match fs::read_to_string("/proc/self/timens_offsets") {
        Ok(text) => Ok(boottime_of(&text)),
        // A kernel without time namespaces.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// `boottime  1000  0`: seconds, nanoseconds.
fn boottime_of(text: &str) -> i64 {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let shift = words.filter(|words| words.first() == Some(&"boottime")).find_map(|words| {
        let seconds: i64 = words.get(1)?.parse().ok()?;
        let nanos: i64 = words.get(2)?.parse().ok()?;
        // Less than a second is a shift, too.
        Some(if seconds == 0 { nanos.signum() } else { seconds })
    });
    shift.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_read_as_the_kernel_writes_it() {
        assert_eq!(boottime_of("monotonic           0         0\nboottime            0         0\n"), 0);
        assert_eq!(boottime_of("monotonic           7         0\nboottime        -1000        10\n"), -1000);
        assert_eq!(boottime_of("boottime            0    500000\n"), 1);
        assert_eq!(boottime_of(""), 0);
    }
}

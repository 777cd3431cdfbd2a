//! The one clock (`CLOCK_BOOTTIME`, as in wgha's events) and waiting for conditions.

use std::{
    env,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime, clock_settime},
};

use crate::{interrupt, sys};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// `CLOCK_BOOTTIME` in nanoseconds, which never goes back: the clock of `at_ns` in wgha's events, and of all captures and probes.
#[must_use]
pub fn monotonic_ns() -> u64 {
    sys::clock_ns(libc::CLOCK_BOOTTIME)
}

/// Says by how much everything takes longer here: in a virtual machine whose processor is emulated, 4 times.
pub const SLOW: &str = "WGHA_SLOW";

/// As much longer as things take here ([`SLOW`]): for what may take `time` elsewhere.
#[must_use]
pub fn patience(time: Duration) -> Duration {
    static SLOWNESS: LazyLock<u32> =
        LazyLock::new(|| env::var(SLOW).ok().and_then(|text| text.parse().ok()).unwrap_or(1));
    time * *SLOWNESS
}

/// Waits until `look` finds something and returns it. Where everything is slow it waits longer ([`patience`]).
///
/// # Errors
/// `look`'s own, or that nothing was found within `timeout`, or that the user interrupted.
pub fn wait_for<T>(what: &str, timeout: Duration, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    wait_at_most(what, patience(timeout), look)
}

/// The same, but waits no longer where everything is slow: for a timeout that is one of a protocol's own.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_at_most<T>(
    what: &str,
    timeout: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        interrupt::check()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {timeout:?} in vain for {what}");
        }
        // A look may be a program that is started: there must be time left for what is waited for.
        std::thread::sleep(patience(LOOK_EVERY));
    }
}

/// Waits until `look` says true.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(what, timeout, || Ok(look()?.then_some(())))
}

/// Lets `time` pass while something is observed.
///
/// # Errors
/// That the user interrupted.
pub fn observe_for(time: Duration) -> Result<()> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        interrupt::check()?;
        std::thread::sleep(LOOK_EVERY.min(deadline.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Puts the wall clock of the whole machine forward, where that is ours ([`crate::Property::OwnClock`]). Dropping it puts
/// it back. What follows it, WireGuard's own idea of what is newer for one, is ahead meanwhile.
#[derive(Debug)]
pub struct ClockAhead(#[expect(dead_code, reason = "it is dropped")] WallClock);

impl ClockAhead {
    /// By so many seconds.
    ///
    /// # Errors
    /// That we may not.
    pub fn by(seconds: u32) -> Result<Self> {
        let mut clock = WallClock::ours();
        clock.step(seconds.into())?;
        Ok(Self(clock))
    }
}

/// The wall clock of the whole machine, where that is ours: stepped as one likes, and put right again when this is dropped.
#[derive(Debug)]
pub struct WallClock {
    ahead: i64,
}

impl WallClock {
    /// As it is now, which is right.
    #[must_use]
    pub const fn ours() -> Self {
        Self { ahead: 0 }
    }

    /// By so many seconds, forward or back.
    ///
    /// # Errors
    /// That we may not.
    pub fn step(&mut self, seconds: i64) -> Result<()> {
        let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
        clock_settime(ClockId::CLOCK_REALTIME, now + TimeSpec::new(seconds, 0))?;
        self.ahead += seconds;
        Ok(())
    }

    /// To so many seconds after the Unix epoch.
    ///
    /// # Errors
    /// That we may not.
    pub fn set(&mut self, seconds: i64) -> Result<()> {
        self.step(seconds - clock_gettime(ClockId::CLOCK_REALTIME)?.tv_sec())
    }

    /// To so many seconds ahead of what is right; negative: behind.
    ///
    /// # Errors
    /// That we may not.
    pub fn put_ahead(&mut self, seconds: i64) -> Result<()> {
        self.step(seconds - self.ahead)
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        if let Err(e) = self.put_ahead(0) {
            eprintln!("the wall clock stays wrong: {e:#}");
        }
    }
}

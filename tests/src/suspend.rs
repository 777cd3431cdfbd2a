//! Suspends the whole machine, where it is ours and wakes up again ([`crate::Property::Suspend`]).

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{monotonic_ns, sys};

/// Where the machine is told when to wake up,
const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";
/// that it is not to fall asleep if that has been meanwhile,
const WAKEUPS: &str = "/sys/power/wakeup_count";
/// and to fall asleep.
const STATE: &str = "/sys/power/state";
/// When it is to wake up: in so many seconds by its RTC, of which falling asleep takes some.
const ALARM_IN: &str = "+20";
/// How often it may be woken up before it sleeps.
const TRIES: usize = 3;

/// A sleep that is over.
#[derive(Debug, Clone, Copy)]
pub struct Sleep {
    /// Before it, by [`monotonic_ns`].
    began_ns: u64,
    /// How long nothing at all has happened.
    pub slept: Duration,
}

impl Sleep {
    /// What is stamped later than this has happened after it.
    #[must_use]
    pub fn woke_ns(&self) -> u64 {
        self.began_ns + nanos(self.slept)
    }
}

/// Suspends to RAM (`mem`). Returns when the machine has woken up.
///
/// # Errors
/// It cannot be suspended, or does not sleep for longer than it takes to fall asleep and to wake up.
pub fn to_ram() -> Result<Sleep> {
    let tries = (1..TRIES).fold(once(), |tried, _| tried.or_else(|_| once()));
    tries.with_context(|| format!("the machine does not sleep, tried {TRIES} times"))
}

/// Fails if the alarm was sooner, among other things.
fn once() -> Result<Sleep> {
    write(ALARM, "0")?;
    let wakeups = fs::read_to_string(WAKEUPS).context(WAKEUPS)?;
    write(ALARM, ALARM_IN)?;
    let (began_ns, before) = (monotonic_ns(), suspended_ns());
    write(WAKEUPS, wakeups.trim())?;
    write(STATE, "mem")?;
    let slept = suspended_ns() - before;
    let awake = monotonic_ns() - began_ns - slept;
    ensure!(slept > awake, "it was woken up when it had only just fallen asleep");
    Ok(Sleep { began_ns, slept: Duration::from_nanos(slept) })
}

/// For how long the machine has been suspended since it was started.
fn suspended_ns() -> u64 {
    monotonic_ns().saturating_sub(sys::clock_ns(libc::CLOCK_MONOTONIC))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{text} to {path}"))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

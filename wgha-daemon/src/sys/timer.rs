//! The timer that decides: a timerfd, which is right to some microseconds where a timer of tokio's is right to a
//! millisecond.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::io::{Interest, unix::AsyncFd};
use wgha_common::Timestamp;

/// One moment of `CLOCK_MONOTONIC` to be woken at.
pub struct Timer {
    timer: TimerFd,
    /// The same timer, under a descriptor that can be waited for.
    fd: AsyncFd<OwnedFd>,
    at: Option<Timestamp>,
}

impl Timer {
    /// # Errors
    /// EMFILE; and outside a tokio runtime.
    pub fn new() -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        #[expect(unsafe_code, reason = "tokio wants the promise in this form")]
        // SAFETY: an OwnedFd stays open and the same until it is dropped, and AsyncFd owns it.
        let fd = unsafe {
            AsyncFd::register_with_interest(timer.as_fd().try_clone_to_owned()?, Interest::READABLE)
        };
        Ok(Self { timer, fd: fd.map_err(io::Error::from)?, at: None })
    }

    /// Is to wake at `at`; `None`: not at all. A moment that has passed wakes at once.
    pub fn set(&mut self, at: Option<Timestamp>) {
        if self.at == at {
            return;
        }
        self.at = at;
        // An expiration of zero would disarm it.
        let moment = |at: Timestamp| TimeSpec::from_duration(Duration::from_nanos(at.as_nanos().max(1)));
        let set = match at {
            Some(at) => self.timer.set(Expiration::OneShot(moment(at)), TimerSetTimeFlags::TFD_TIMER_ABSTIME),
            None => self.timer.unset(),
        };
        // The kernel refuses times before zero only.
        debug_assert!(set.is_ok(), "{set:?}");
    }

    /// Waits until the moment has come. Cancel-safe.
    pub async fn fired(&mut self) {
        if let Ok(mut ready) = self.fd.readable_mut().await {
            ready.clear_ready();
        }
        // Set anew in any case: what was read or not does not matter.
        self.at = None;
    }
}

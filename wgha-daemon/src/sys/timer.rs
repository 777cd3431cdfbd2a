//! The timer that decides: a timerfd, which is right to some microseconds where a timer of tokio's is right to a
//! millisecond.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use wgha_common::Timestamp;

/// One moment of `CLOCK_BOOTTIME` to be woken at: readable from then on, until it is set anew. It need not be read.
pub struct Timer {
    timer: TimerFd,
    set: Set,
}

#[derive(PartialEq, Eq)]
enum Set {
    Never,
    At(Timestamp),
    /// It is set anew in any case.
    Fired,
}

impl Timer {
    /// # Errors
    /// EMFILE.
    pub fn new() -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer, set: Set::Never })
    }

    /// Is to wake at `at`; `None`: not at all. A moment that has passed wakes at once.
    pub fn set(&mut self, at: Option<Timestamp>) {
        let wanted = at.map_or(Set::Never, Set::At);
        if self.set == wanted {
            return;
        }
        self.set = wanted;
        // An expiration of zero would disarm it.
        let moment = |at: Timestamp| TimeSpec::from_duration(Duration::from_nanos(at.as_nanos().max(1)));
        let set = match at {
            Some(at) => self.timer.set(Expiration::OneShot(moment(at)), TimerSetTimeFlags::TFD_TIMER_ABSTIME),
            None => self.timer.unset(),
        };
        // The kernel refuses times before zero only.
        debug_assert!(set.is_ok(), "{set:?}");
    }

    /// It was found to have fired.
    pub const fn fired(&mut self) {
        self.set = Set::Fired;
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        poll::{PollFd, PollFlags, PollTimeout, poll},
        sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    };

    use super::*;
    use crate::sys::clock;

    fn fires(timer: &Timer) -> bool {
        let mut fds = [PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn it_is_set_anew_without_being_read() {
        let mut timer = Timer::new().unwrap();
        let (past, hour) = (Some(clock::now()), Some(clock::now() + Duration::from_secs(3600)));
        for _ in 0..2 {
            timer.set(past);
            assert!(fires(&timer));
            timer.fired();
            timer.set(hour);
            assert!(!fires(&timer));
            timer.set(past);
            timer.fired();
            timer.set(None);
            assert!(!fires(&timer));
        }
    }

    /// As the loop waits: who is told once must be told again.
    #[test]
    fn the_same_moment_can_come_once_more() {
        let mut timer = Timer::new().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).unwrap();
        let past = Some(clock::now());
        for _ in 0..2 {
            timer.set(past);
            let mut ready = [EpollEvent::empty()];
            assert_eq!(epoll.wait(&mut ready, EpollTimeout::ZERO), Ok(1));
            timer.fired();
        }
    }
}

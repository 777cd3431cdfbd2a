//! What wakes the loop.

use std::{os::fd::AsFd, task::Waker};

use anyhow::Context as _;
use aya::maps::{MapData, RingBuf};
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use wgha_common::Timestamp;

use crate::sys::{bell::Bell, bpf::events::Events, timer::Timer};

const TIMER: u64 = 0;
const RING: u64 = 1;
const BELL: u64 = 2;

/// The timer, the ring, and the bell of the channels. A tick is one call to set the timer and one to wait: what wakes the
/// loop at every tick is counted in microseconds of cold caches, and a runtime has many of them.
pub struct Wakers {
    /// What the kernel half says.
    pub events: Events,
    timer: Timer,
    bell: Bell,
    epoll: Epoll,
}

/// What has woken the loop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Woken {
    /// The moment has come.
    pub timer: bool,
    /// The ring holds something.
    pub ring: bool,
    /// A channel that was empty may not be.
    pub bell: bool,
}

impl Wakers {
    /// # Errors
    /// EMFILE.
    pub fn new(ring: RingBuf<MapData>) -> anyhow::Result<Self> {
        let (timer, bell) = (Timer::new().context("timerfd")?, Bell::new().context("eventfd")?);
        let events = Events::new(ring);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // The timer tells that it has fired once, and is not read.
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        epoll.add(events.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, RING))?;
        epoll.add(bell.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Self { events, timer, bell, epoll })
    }

    /// What a channel rings.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.bell.waker()
    }

    /// Waits for one of them, at most until `at`; with `only_look`, not at all.
    ///
    /// # Errors
    /// The system's, of which none is known.
    pub fn wait(&mut self, at: Option<Timestamp>, only_look: bool) -> anyhow::Result<Woken> {
        self.timer.set(at);
        let timeout = if only_look { EpollTimeout::ZERO } else { EpollTimeout::NONE };
        let mut ready = [EpollEvent::empty(); 3];
        let count = match self.epoll.wait(&mut ready, timeout) {
            Err(Errno::EINTR) => 0,
            waited => waited.context("waiting")?,
        };
        let is_ready = |which| ready.iter().take(count).any(|event| event.data() == which);
        let woken = Woken { timer: is_ready(TIMER), ring: is_ready(RING), bell: is_ready(BELL) };
        if woken.timer {
            self.timer.fired();
        }
        if woken.bell {
            self.bell.heard();
        }
        Ok(woken)
    }
}

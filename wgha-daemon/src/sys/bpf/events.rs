//! The ring of events.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use wgha_common::abi::Event;

use super::maps::record;

/// The consumer's end of `EVENTS`. It is readable while it holds something.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Of this ring.
    #[must_use]
    pub const fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The next record, without waiting.
    #[expect(clippy::should_implement_trait, reason = "the records are not borrowed: no iterator is needed")]
    pub fn next(&mut self) -> Option<Event> {
        self.0.next().and_then(|item| record(&item))
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Hands on what the kernel half logs, to `log` and so to tracing, for as long as it is polled.
pub async fn forward_logs(logger: EbpfLogger<&'static dyn log::Log>) {
    #[expect(unsafe_code, reason = "tokio wants the promise in this form")]
    // SAFETY: the logger owns its file descriptor until it is dropped, and AsyncFd owns the logger.
    let Ok(mut fd) = (unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }) else { return };
    while let Ok(mut guard) = fd.readable_mut().await {
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}

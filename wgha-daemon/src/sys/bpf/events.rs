//! The ring of events.

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use wgha_common::abi::Event;

use super::{load::BpfError, maps::record};

/// The consumer's end of `EVENTS`.
pub struct Events(AsyncFd<RingBuf<MapData>>);

impl Events {
    /// # Errors
    /// [`BpfError::Ring`] outside a tokio runtime, or when epoll refuses.
    pub fn new(ring: RingBuf<MapData>) -> Result<Self, BpfError> {
        #[expect(unsafe_code, reason = "tokio wants the promise in this form")]
        // SAFETY: the ring owns its file descriptor, which stays open and the same until it is dropped,
        // and AsyncFd owns the ring.
        let fd = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        fd.map(Self).map_err(|e| BpfError::Ring(e.into()))
    }

    /// Waits until there is something. Cancel-safe.
    ///
    /// # Errors
    /// [`BpfError::Ring`].
    pub async fn ready(&mut self) -> Result<(), BpfError> {
        self.0.readable_mut().await.map_err(BpfError::Ring)?.clear_ready();
        Ok(())
    }

    /// The next record, without waiting.
    #[expect(clippy::should_implement_trait, reason = "the records are not borrowed: no iterator is needed")]
    pub fn next(&mut self) -> Option<Event> {
        self.0.get_mut().next().and_then(|item| record(&item))
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

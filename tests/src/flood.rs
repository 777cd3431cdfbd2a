//! The same frame again and again, from a server's uplink: between two of them there is no room for a gap in the fence.

use std::{
    fs::File,
    io::Write as _,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{Namespace, sys, topology::UPLINK};

/// In real time: the gaps are not longer when others want the core, and they get some of it.
const PAUSE: Duration = Duration::from_micros(1);

/// Sends until it is dropped.
#[derive(Debug)]
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    /// Begins to send `frame`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(namespace: &Namespace, frame: Vec<u8>) -> Result<Self> {
        let socket: OwnedFd = namespace.inside(|| sys::sending_socket(UPLINK))?;
        let mut socket = File::from(socket);
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            sys::prefer_this_thread();
            while !theirs.stop.load(Relaxed) {
                // What the fence drops is refused (ENOBUFS): it was sent all the same.
                let _ = socket.write(&frame);
                theirs.sent.fetch_add(1, Relaxed);
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ends it; says how many were sent.
    #[must_use]
    pub fn end(mut self) -> u64 {
        self.stop();
        self.shared.sent.load(Relaxed)
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // It does not panic.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop();
    }
}

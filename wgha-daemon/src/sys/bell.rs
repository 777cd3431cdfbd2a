//! A bell: another thread's channel wakes a thread that sleeps in `poll`.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// The end that is waited for.
pub struct Bell(Arc<Shared>);

struct Shared {
    fd: EventFd,
    /// It has rung and was not heard yet: ringing again needs no call of the system.
    rung: AtomicBool,
}

impl Bell {
    /// # Errors
    /// EMFILE.
    pub fn new() -> io::Result<Self> {
        let fd = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Self(Arc::new(Shared { fd, rung: AtomicBool::new(false) })))
    }

    /// What rings it.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Arc::clone(&self.0).into()
    }

    /// It was found readable; from now on it rings again. What it has rung for is to be looked at after this.
    pub fn heard(&self) {
        let _ = self.0.fd.read(); // what it says is that it has rung
        self.0.rung.store(false, Ordering::SeqCst);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // It only fails when it has rung 2^64 times and was not heard.
            let _ = self.fd.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn is_readable(bell: &Bell) -> bool {
        let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn it_rings_until_it_is_heard_and_then_again() {
        let bell = Bell::new().unwrap();
        let waker = bell.waker();
        assert!(!is_readable(&bell));
        for _ in 0..2 {
            waker.wake_by_ref();
            waker.wake_by_ref();
            assert!(is_readable(&bell));
            bell.heard();
            assert!(!is_readable(&bell));
        }
    }
}

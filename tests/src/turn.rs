//! How many networks exist at a time: their daemons share the machine's cores, and its clock.

use std::sync::{Condvar, Mutex, PoisonError};

/// Tests mostly wait: for WireGuard's timers, for a deadline. More at a time would wait for each other.
const AT_A_TIME: usize = 3;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREE: Condvar = Condvar::new();

/// The right to have a network; whoever drops it lets another one in.
#[derive(Debug)]
pub(crate) struct Turn(());

impl Turn {
    /// Waits for a free one.
    pub(crate) fn wait() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= AT_A_TIME {
            taken = FREE.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREE.notify_one();
    }
}

//! Ctrl-C: the waits of the harness end with an error, so that everything is dropped in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::sys;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT, SIGTERM and SIGHUP end the next wait instead of the process. A second one ends the process.
///
/// # Errors
/// The system's.
pub fn install() -> Result<()> {
    sys::on_signals(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP], note)
}

/// # Errors
/// When the user has interrupted.
pub fn check() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

extern "C" fn note(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

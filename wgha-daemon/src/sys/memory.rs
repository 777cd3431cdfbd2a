//! This process's memory: little of it, and what there is stays.

use std::io;

use caps::{CapSet, Capability};
use nix::sys::mman::{MlockAllFlags, mlockall};

/// Allocations from this size on are mappings of their own, and go back to the system when they are freed. It is glibc's
/// first value; setting it keeps glibc from raising it to the largest that was ever freed.
const OWN_MAPPING: libc::c_int = 128 * 1024;

/// Has the allocator give back what is freed. To be called before there is a second thread.
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "nobody wraps glibc's settings")]
    // SAFETY: it sets a number; there is no other thread that could be allocating.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
    }
}

/// Gives back what loading the kernel half has left behind (30 MiB: aya reads the types of the whole kernel). To be
/// called before [`lock`]: what is locked cannot be given back.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "nobody wraps glibc's malloc_trim")]
    // SAFETY: it may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps in memory what is used now and what is touched from now on. What never is costs nothing (MCL_ONFAULT).
///
/// # Errors
/// EPERM without CAP_IPC_LOCK.
pub fn lock() -> io::Result<()> {
    may_lock()?;
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?)
}

/// Without the capability a limit on locked memory would stay, and later allocations would fail at it.
///
/// # Errors
/// EPERM without CAP_IPC_LOCK.
pub fn may_lock() -> io::Result<()> {
    match caps::has_cap(None, CapSet::Effective, Capability::CAP_IPC_LOCK) {
        Ok(true) => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EPERM)),
    }
}

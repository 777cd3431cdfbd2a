//! Real-time conduct of the thread that decides: SCHED_FIFO and locked memory (see [`memory`]), where the system
//! allows them.

use std::io;

use super::memory;

/// Which thread. All are above 50, the priority of threaded interrupts, which could starve them, and far below the
/// kernel's migration and watchdog threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// Renews the lease, probes, decides: nothing of ours keeps it waiting.
    Deciding = 53,
    /// Carries out what was decided.
    CarryingOut = 52,
}

/// What this process may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conduct {
    /// Why the thread that decides is scheduled as any other; `None`: it has SCHED_FIFO.
    pub not_scheduled: Option<String>,
    /// Why its memory can be paged out; `None`: it can be locked.
    pub not_locked: Option<String>,
}

/// Whether a thread of this process may have SCHED_FIFO: tried on one that ends at once.
#[must_use]
pub fn probe() -> Conduct {
    let scheduled = std::thread::spawn(|| schedule(Thread::Deciding))
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("it panicked")));
    Conduct {
        not_scheduled: scheduled.err().map(why_not_scheduled),
        not_locked: memory::may_lock().err().map(why_not_locked),
    }
}

/// Gives the calling thread SCHED_FIFO. Threads that it starts have the usual class.
///
/// # Errors
/// EPERM without CAP_SYS_NICE, and with it under CONFIG_RT_GROUP_SCHED in a control group that has no real-time runtime.
pub fn schedule(thread: Thread) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: thread as i32 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    #[expect(unsafe_code, reason = "neither std nor nix sets a thread's scheduling")]
    // SAFETY: pid 0 is the calling thread; the call reads `param`, which lives until it returns.
    let error = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    if error == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread, and those that it starts later, the best of the usual class. As with
/// [`schedule`], what it means that this is refused is said by [`probe`].
///
/// # Errors
/// EPERM without CAP_SYS_NICE.
pub fn favour() -> io::Result<()> {
    set_nice(-20)
}

/// Gives the calling thread little more than everybody has: what takes long must not keep WireGuard waiting, and still come
/// to an end on a busy machine.
pub fn step_back() {
    // Nobody is refused less than he has, and whoever could not have it back keeps what he has.
    if favour().is_ok() {
        let _ = set_nice(-5);
    }
}

/// Gives the calling thread, and the programs that it starts, less than everybody has. There is no way back.
pub fn stand_last() {
    let _ = set_nice(10); // nobody is refused less
}

fn set_nice(nice: libc::c_int) -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither std nor nix sets a thread's nice value")]
    // SAFETY: the call takes integers only; process 0 is the calling thread.
    let error = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if error == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn why_not_scheduled(e: io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::EPERM) => {
            "not permitted: CAP_SYS_NICE is missing, or the control group has no real-time runtime \
                              (CONFIG_RT_GROUP_SCHED)"
                .to_owned()
        }
        _ => e.to_string(),
    }
}

fn why_not_locked(e: io::Error) -> String {
    match e.raw_os_error() {
        Some(libc::EPERM) => "not permitted: CAP_IPC_LOCK is missing".to_owned(),
        _ => e.to_string(),
    }
}

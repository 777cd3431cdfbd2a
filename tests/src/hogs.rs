//! What keeps a machine busy while its daemons have to be on time: processes that always want a core, and packets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Process, Topology, Which, monotonic_ns, process::locked, sys};

/// Processes of normal priority that compute for ever. Dropping it ends them; so does the end of the thread that has
/// started them, and of the time that they may use at most.
#[derive(Debug)]
pub struct Hogs(Vec<Process>);

impl Hogs {
    /// Starts `count` of them. None uses a core for longer than `longest`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(count: usize, longest: Duration) -> Result<Self> {
        let words = format!("ulimit -t {} && while :; do :; done", longest.as_secs().max(1));
        let hog = |_| {
            let mut command = Command::new("sh");
            sys::die_with_parent(&mut command);
            Process::start("a hog", command.args(["-c", &words]))
        };
        (0..count).map(hog).collect::<Result<_>>().map(Self)
    }

    /// Their process ids.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.0.iter().map(Process::id).collect()
    }

    /// How many still run.
    ///
    /// # Errors
    /// The system's.
    pub fn running(&mut self) -> Result<usize> {
        let mut running = 0;
        for hog in &mut self.0 {
            running += usize::from(hog.ended()?.is_none());
        }
        Ok(running)
    }
}

/// Small datagrams from the gateway to the uplinks of both servers, where nobody wants them. Dropping it ends them.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// RFC 863's: discard.
    const PORT: u16 = 9;
    /// How often some are sent.
    const PACE_NS: u64 = 1_000_000;

    /// Sends at most `per_second`: what could not be sent in time is left out.
    ///
    /// # Errors
    /// The system's.
    pub fn start(topology: &Topology, per_second: u64) -> Result<Self> {
        let any: IpAddr =
            if topology.plan.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = topology.gateway.inside(|| Ok(UdpSocket::bind((any, 0))?))?;
        let targets = Which::BOTH.map(|which| SocketAddr::new(topology.plan.server(which), Self::PORT));
        let (sent, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = Builder::new()
            .name("flood".into())
            .spawn(move || flood(&socket, targets, per_second.div_ceil(1000), &count, &stopped))
            .context("a thread")?;
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// How many were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, fewer were sent, and their number says so.
            let _ = thread.join();
        }
    }
}

fn flood(
    socket: &UdpSocket,
    targets: [SocketAddr; 2],
    at_a_time: u64,
    sent: &AtomicU64,
    stopped: &AtomicBool,
) {
    // Packets from elsewhere do not wait for a core of this machine. Below every daemon that is measured.
    sys::prefer_this_thread();
    let mut next = monotonic_ns();
    while !stopped.load(Ordering::Relaxed) {
        sys::sleep_until(next);
        next += Flood::PACE_NS * (monotonic_ns().saturating_sub(next) / Flood::PACE_NS + 1);
        for target in targets.into_iter().cycle().take(usize::try_from(at_a_time).unwrap_or(usize::MAX)) {
            // No buffer, no neighbour: one packet less, which the count tells.
            sent.fetch_add(u64::from(socket.send_to(&[0; 16], target).is_ok()), Ordering::Relaxed);
        }
    }
}

/// Who wakes up every millisecond and notes when it was late: what this machine does to everybody, whatever is measured.
/// Dropping it ends it.
#[derive(Debug)]
pub struct Sleeper {
    late: Arc<Mutex<Vec<Late>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A late wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// `CLOCK_BOOTTIME` ns of the wake-up.
    pub at_ns: u64,
    /// By how much.
    pub by: Duration,
}

impl Sleeper {
    /// Between two wake-ups.
    const PACE_NS: u64 = 1_000_000;
    /// Less is not noted.
    const LEAST_NS: u64 = 1_000_000;

    /// Goes to sleep: on one core, in real time above everything that is measured; or anywhere, as any other thread.
    ///
    /// # Errors
    /// The system's.
    pub fn start(core: Option<usize>) -> Result<Self> {
        let (late, stop) = (Arc::<Mutex<Vec<Late>>>::default(), Arc::<AtomicBool>::default());
        let (kept, stopped) = (Arc::clone(&late), Arc::clone(&stop));
        let thread = Builder::new().name("sleeper".into()).spawn(move || {
            if let Some(core) = core {
                // Elsewhere it is a witness all the same, of another core.
                let _ = sys::pin_this_thread(core);
                sys::prefer_this_thread_above_all();
            }
            let mut next = monotonic_ns();
            while !stopped.load(Ordering::Relaxed) {
                sys::sleep_until(next);
                let at_ns = monotonic_ns();
                let late = at_ns.saturating_sub(next);
                if late >= Self::LEAST_NS {
                    locked(&kept).push(Late { at_ns, by: Duration::from_nanos(late) });
                }
                next += Self::PACE_NS * (late / Self::PACE_NS + 1);
            }
        })?;
        Ok(Self { late, stop, thread: Some(thread) })
    }

    /// Every time it was late so far, in order.
    #[must_use]
    pub fn late(&self) -> Vec<Late> {
        locked(&self.late).clone()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SOON, wait_until};

    fn exists(process: u32) -> bool {
        std::path::Path::new(&format!("/proc/{process}")).exists()
    }

    #[test]
    fn hogs_compute_and_end() {
        let mut hogs = Hogs::start(2, Duration::from_secs(60)).unwrap();
        let processes = hogs.processes();
        wait_until("the hogs to compute", SOON, || {
            Ok(crate::usage::Usage::of(&processes)?.cpu_ns > 20_000_000)
        })
        .unwrap();
        assert_eq!(hogs.running().unwrap(), 2);
        drop(hogs);
        assert!(!processes.into_iter().any(exists));
    }

    #[test]
    fn a_hog_ends_by_itself() {
        let mut hogs = Hogs::start(1, Duration::from_secs(1)).unwrap();
        wait_until("the hog's end", SOON, || Ok(hogs.running()? == 0)).unwrap();
    }
}

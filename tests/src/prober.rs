//! UDP probes at a steady pace, and the time for which nothing was answered.
//!
//! Sending and receiving are two threads: a receiver that has much to do does not delay a probe. Sending follows
//! an absolute grid (`clock_nanosleep`), never catches up, and keeps when it sent: where the prober itself was late
//! (another machine had the core), [`Outages::own_pause`] says so.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{Namespace, Which, clock, echo, monotonic_ns, process::locked, sys};

/// Between two probes, unless told otherwise and where nothing is slow.
const PACE: Duration = Duration::from_micros(500);

/// The pace that this machine can keep.
#[must_use]
pub fn pace() -> Duration {
    clock::patience(PACE)
}

/// How often the receiver looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A probe's number and when it was sent.
const LEN: usize = 16;

/// A probe that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echoed {
    /// `CLOCK_BOOTTIME` ns at which the probe was sent.
    pub sent_ns: u64,
    /// And at which its answer came.
    pub at_ns: u64,
    /// Through which server.
    pub by: Which,
}

/// Who asks whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The client asks whichever server is behind the tunnel; the echo says which.
    Client,
    /// A server asks the client, through its own tunnel interface.
    Server(Which, &'static str),
}

/// Sends from threads of its own until it is dropped.
#[derive(Debug)]
pub struct Prober {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    sent: Mutex<Vec<u64>>,
    echoed: Mutex<Vec<Echoed>>,
}

/// What probers have seen around a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outages {
    /// The longest time between the sending of two successive probes that were answered.
    pub longest: Duration,
    /// When the first of these two was sent.
    pub from_ns: u64,
    /// How many probes were not answered.
    pub lost: usize,
    /// The longest time for which the prober itself sent nothing.
    pub own_pause: Duration,
}

impl Prober {
    /// Starts to send from `namespace` to the echo at `target`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(namespace: &Namespace, asks: Asks, target: IpAddr, pace: Duration) -> Result<Self> {
        let socket = namespace.inside(|| open(asks, target))?;
        let receiving = socket.try_clone()?;
        let (seen, stop) = (Arc::<Seen>::default(), Arc::new(AtomicBool::new(false)));
        // Room for a minute: a vector that moves its contents is a late probe.
        locked(&seen.sent).reserve(120_000);
        locked(&seen.echoed).reserve(120_000);
        let target = SocketAddr::new(target, echo::PORT);
        let (kept, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let sender = Builder::new()
            .name("probes".into())
            .spawn(move || send_probes(&socket, target, pace, &kept.sent, &stopped))?;
        let (kept, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let receiver = Builder::new()
            .name("echoes".into())
            .spawn(move || keep_echoes(&receiving, asks, &kept.echoed, &stopped))?;
        Ok(Self { seen, stop, threads: vec![sender, receiver] })
    }

    /// The first probe that was sent at or after `since_ns` and answered, by that server, or by any.
    #[must_use]
    pub fn first_echo(&self, since_ns: u64, by: Option<Which>) -> Option<Echoed> {
        let echoed = locked(&self.seen.echoed);
        let since = echoed.iter().rev().take_while(|e| e.at_ns >= since_ns);
        since.filter(|e| e.sent_ns >= since_ns && by.is_none_or(|by| e.by == by)).last().copied()
    }

    /// Waits for [`Prober::first_echo`].
    ///
    /// # Errors
    /// That there was none within `timeout`.
    pub fn wait_echo(&self, since_ns: u64, by: Option<Which>, timeout: Duration) -> Result<Echoed> {
        let whom = by.map_or_else(|| "any server".to_owned(), |which| format!("server {which}"));
        clock::wait_for(&format!("an echo through the tunnel by {whom}"), timeout, || {
            Ok(self.first_echo(since_ns, by))
        })
    }

    /// The last probe that was sent at or after `since_ns` and answered.
    #[must_use]
    pub fn last_echo(&self, since_ns: u64) -> Option<Echoed> {
        locked(&self.seen.echoed).last().copied().filter(|e| e.sent_ns >= since_ns)
    }
}

/// What happened between two times, in the eyes of one prober, or of two that ask from two sides: the tunnel is
/// there if one of them is answered.
#[must_use]
pub fn outages(probers: &[&Prober], from_ns: u64, to_ns: u64) -> Outages {
    let within = |ns: u64| (from_ns..to_ns).contains(&ns);
    let mut echoed: Vec<u64> = Vec::new();
    let (mut sent, mut own_pause, mut last) = (0, 0, None);
    for prober in probers {
        let times: Vec<u64> = locked(&prober.seen.sent).iter().copied().filter(|ns| within(*ns)).collect();
        own_pause = own_pause.max(longest_gap(&times).1);
        sent = sent.max(times.len());
        // What is silent to the end is silent until the last question.
        last = last.max(times.last().copied());
        echoed.extend(locked(&prober.seen.echoed).iter().map(|e| e.sent_ns).filter(|ns| within(*ns)));
    }
    echoed.sort_unstable();
    let answered = echoed.len();
    echoed.extend(last.filter(|last| echoed.last().is_some_and(|echo| echo < last)));
    let (gap_from_ns, longest) = longest_gap(&echoed);
    Outages {
        longest: Duration::from_nanos(longest),
        from_ns: gap_from_ns,
        lost: sent.saturating_sub(answered),
        own_pause: Duration::from_nanos(own_pause),
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // If it has panicked, probes or echoes stop, and whoever waits for them has said so.
            let _ = thread.join();
        }
    }
}

/// Where the longest gap of sorted times begins, and its length.
fn longest_gap(times: &[u64]) -> (u64, u64) {
    let gaps = times.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    gaps.max_by_key(|(_, gap)| *gap).unwrap_or_default()
}

fn open(asks: Asks, target: IpAddr) -> Result<UdpSocket> {
    let any: IpAddr =
        if target.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    if let Asks::Server(_, interface) = asks {
        // A Backup's tunnel is down; its probes must not leave by the default route instead.
        sys::bind_to_device(&socket, interface)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn send_probes(
    socket: &UdpSocket,
    target: SocketAddr,
    pace: Duration,
    sent: &Mutex<Vec<u64>>,
    stopped: &AtomicBool,
) {
    // keepalived's scripts inherit its real-time priority.
    sys::prefer_this_thread_above_all();
    let pace = u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX).max(1);
    let mut next = monotonic_ns();
    let mut number = 0_u64;
    while !stopped.load(Ordering::Relaxed) {
        sys::sleep_until(next);
        let now = monotonic_ns();
        next += pace * (now.saturating_sub(next) / pace + 1);
        let mut probe = [0; LEN];
        probe[..8].copy_from_slice(&number.to_be_bytes());
        probe[8..].copy_from_slice(&now.to_be_bytes());
        // No route, no key, no buffer: the probe was not answered, which is what counts.
        let _ = socket.send_to(&probe, target);
        locked(sent).push(now);
        number += 1;
    }
}

fn keep_echoes(socket: &UdpSocket, asks: Asks, echoed: &Mutex<Vec<Echoed>>, stopped: &AtomicBool) {
    sys::prefer_this_thread();
    while !stopped.load(Ordering::Relaxed) {
        // An unreachable target is reported here once; what follows is still to be received.
        let _ = sys::wait_readable(socket, LOOK_EVERY);
        let mut buffer = [0; 64];
        while let Ok(len) = socket.recv(&mut buffer) {
            let echo = read_echo(&buffer[..len], asks);
            locked(echoed).extend(echo);
        }
    }
}

fn read_echo(bytes: &[u8], asks: Asks) -> Option<Echoed> {
    let (sent_ns, name) = (bytes.get(8..LEN)?.try_into().ok()?, *bytes.get(LEN)?);
    let by = match asks {
        Asks::Client => Which::BOTH.into_iter().find(|which| which.hop_limit() == name)?,
        Asks::Server(which, _) => which,
    };
    Some(Echoed { sent_ns: u64::from_be_bytes(sent_ns), at_ns: monotonic_ns(), by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_found() {
        assert_eq!(longest_gap(&[0, 5, 10, 90, 95, 100]), (10, 80));
        assert_eq!(longest_gap(&[7]), (0, 0));
    }

    fn prober(sent: &[u64], echoed: &[u64]) -> Prober {
        let echoed = echoed.iter().map(|&ns| Echoed { sent_ns: ns, at_ns: ns + 1, by: Which::A });
        let seen = Seen { sent: Mutex::new(sent.to_vec()), echoed: Mutex::new(echoed.collect()) };
        Prober { seen: Arc::new(seen), stop: Arc::default(), threads: Vec::new() }
    }

    #[test]
    fn silence_counts_to_the_end() {
        let found = outages(&[&prober(&[10, 20, 30, 40, 50], &[10, 20])], 0, 100);
        assert_eq!((found.longest.as_nanos(), found.from_ns, found.lost), (30, 20, 3));
    }

    #[test]
    fn two_sides_are_one_service() {
        let (a, b) = (prober(&[10, 20, 30, 40], &[10, 20]), prober(&[10, 20, 30, 40], &[40]));
        let found = outages(&[&a, &b], 0, 100);
        assert_eq!((found.longest.as_nanos(), found.from_ns, found.lost), (20, 20, 1));
        assert_eq!(found.own_pause.as_nanos(), 10);
    }
}

//! Echo requests through the tunnel at a steady pace, and the outages that they see.

use std::{
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow};

use crate::{Namespace, Which, clock, monotonic_ns, process::locked, sys};

/// Between two requests, unless told otherwise.
pub const INTERVAL: Duration = Duration::from_millis(5);

const ECHO_LEN: usize = 16;

/// One echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// `CLOCK_BOOTTIME` ns at which it was sent.
    pub sent_ns: u64,
    /// Its answer, if there was one.
    pub answer: Option<Answer>,
}

/// One echo reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// `CLOCK_BOOTTIME` ns at which it was received.
    pub at_ns: u64,
    /// Its hop limit, which names the server: [`Which::hop_limit`].
    pub hop_limit: u8,
}

impl Answer {
    /// Which server has answered.
    #[must_use]
    pub fn from(&self) -> Option<Which> {
        Which::BOTH.into_iter().find(|which| which.hop_limit() == self.hop_limit)
    }
}

/// A time without answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the last request that was answered before it was sent.
    pub from_ns: u64,
    /// When the first answer after it came; none: it lasts.
    pub to_ns: Option<u64>,
    /// How many requests were not answered.
    pub lost: usize,
}

impl Outage {
    /// How long it was, if it is over.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        self.to_ns.map(|to| Duration::from_nanos(to.saturating_sub(self.from_ns)))
    }
}

/// Sends echo requests from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Pinger {
    probes: Arc<Mutex<Vec<Probe>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinger {
    /// Starts to send from `namespace` to `target`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(namespace: &Namespace, target: IpAddr, interval: Duration) -> Result<Self> {
        let socket = namespace.inside(|| Ok(open(target)?))?;
        let (probes, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let prober = Prober { socket, target, id: identity()?, probes: Arc::clone(&probes) };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("pinger".into())
            .spawn(move || prober.run(interval, &stopped))?;
        Ok(Self { probes, stop, thread: Some(thread) })
    }

    /// All requests so far.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        locked(&self.probes).clone()
    }

    /// The answer to a request that was sent at or after `since_ns`, by that server, or by any.
    ///
    /// # Errors
    /// That there was none within `timeout`.
    pub fn wait_answer(&self, since_ns: u64, by: Option<Which>, timeout: Duration) -> Result<Answer> {
        let whom = by.map_or_else(|| "any server".to_owned(), |which| format!("server {which}"));
        clock::wait_for(&format!("an answer through the tunnel by {whom}"), timeout, || {
            let probes = locked(&self.probes);
            let since = probes.iter().rev().take_while(|p| p.sent_ns >= since_ns);
            let answers = since.filter_map(|p| p.answer);
            Ok(answers.filter(|a| by.is_none() || a.from() == by).last())
        })
    }

    /// The times at or after `since_ns` in which requests remained without answer.
    #[must_use]
    pub fn outages(&self, since_ns: u64) -> Vec<Outage> {
        outages(&locked(&self.probes), since_ns, monotonic_ns())
    }

    /// The longest of [`Pinger::outages`].
    #[must_use]
    pub fn longest_outage(&self, since_ns: u64) -> Option<Outage> {
        self.outages(since_ns).into_iter().max_by_key(|o| o.to_ns.unwrap_or(u64::MAX) - o.from_ns)
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it has panicked, its probes stop, and whoever waits for answers has said so.
            let _ = thread.join();
        }
    }
}

/// Requests younger than this may still be answered.
const GRACE_NS: u64 = 250_000_000;

/// An outage begins with the last answered request before the first unanswered one, and ends with the next answer.
fn outages(probes: &[Probe], since_ns: u64, now_ns: u64) -> Vec<Outage> {
    let mut found = Vec::new();
    let mut open: Option<Outage> = None;
    let mut last_answered = since_ns;
    for probe in probes.iter().filter(|p| p.answer.is_some() || p.sent_ns + GRACE_NS < now_ns) {
        match probe.answer {
            Some(answer) => {
                if let Some(outage) = open.take() {
                    found.push(Outage { to_ns: Some(answer.at_ns), ..outage });
                }
                last_answered = probe.sent_ns;
            }
            None if probe.sent_ns >= since_ns => {
                open.get_or_insert(Outage { from_ns: last_answered, to_ns: None, lost: 0 }).lost += 1;
            }
            None => {}
        }
    }
    found.extend(open);
    found
}

struct Prober {
    socket: OwnedFd,
    target: IpAddr,
    id: u16,
    probes: Arc<Mutex<Vec<Probe>>>,
}

impl Prober {
    /// Sends on a fixed grid and never catches up: a late thread skips what it has missed.
    fn run(&self, interval: Duration, stopped: &AtomicBool) {
        sys::prefer_this_thread();
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let mut next = monotonic_ns();
        while !stopped.load(Ordering::Relaxed) {
            let now = monotonic_ns();
            if now >= next {
                self.send();
                next += interval * ((now - next) / interval + 1);
            }
            // An error here comes back at the next receive, as requests without answer.
            let _ =
                sys::wait_readable(&self.socket, Duration::from_nanos(next.saturating_sub(monotonic_ns())));
            while let Ok(true) = self.receive() {}
        }
    }

    fn send(&self) {
        let index = {
            let mut probes = locked(&self.probes);
            probes.push(Probe { sent_ns: monotonic_ns(), answer: None });
            probes.len() - 1
        };
        let request = echo_request(self.target.is_ipv6(), self.id, index);
        // No route, no key, no buffer: the request was not answered, which is what counts.
        let _ = sys::send_to(&self.socket, &request, self.target);
    }

    /// Whether there may be more to receive.
    fn receive(&self) -> io::Result<bool> {
        let mut buffer = [0; 256];
        let Some(received) = sys::receive(&self.socket, &mut buffer)? else { return Ok(false) };
        let at_ns = monotonic_ns();
        let packet = &buffer[..received.len.min(buffer.len())];
        let reply = if self.target.is_ipv6() {
            received.hop_limit.and_then(|hops| Some((hops, echo_reply(packet, 129, self.id)?)))
        } else {
            // A raw IPv4 socket delivers the IP header too.
            let header = usize::from(packet.first().map_or(0, |b| b & 0x0f)) * 4;
            packet.get(header..).and_then(|icmp| Some((*packet.get(8)?, echo_reply(icmp, 0, self.id)?)))
        };
        if let Some((hop_limit, index)) = reply
            && let Some(probe) = locked(&self.probes).get_mut(index)
        {
            probe.answer.get_or_insert(Answer { at_ns, hop_limit });
        }
        Ok(true)
    }
}

fn open(target: IpAddr) -> io::Result<OwnedFd> {
    if target.is_ipv4() {
        return sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
    }
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
    sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
    Ok(socket)
}

/// Two pingers of one process must not take each other's answers.
fn identity() -> Result<u16> {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).checked_add(0x5700).ok_or_else(|| anyhow!("too many pingers"))
}

/// ```text
/// | type | 0 | checksum | identifier | sequence | index of the probe |
/// 0             2          4            6          8                    16
/// ```
/// The kernel fills in the checksum of ICMPv6 only.
fn echo_request(v6: bool, id: u16, index: usize) -> [u8; ECHO_LEN] {
    let mut message = [0; ECHO_LEN];
    message[0] = if v6 { 128 } else { 8 };
    message[4..6].copy_from_slice(&id.to_be_bytes());
    message[6..8].copy_from_slice(&(index as u16).to_be_bytes());
    message[8..].copy_from_slice(&(index as u64).to_be_bytes());
    if !v6 {
        let words = message.chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let folded = ((sum & 0xffff) + (sum >> 16)) as u16;
        message[2..4].copy_from_slice(&(!folded).to_be_bytes());
    }
    message
}

/// The index in an echo reply to `id`.
fn echo_reply(message: &[u8], reply: u8, id: u16) -> Option<usize> {
    let ours = *message.first()? == reply && message.get(4..6)? == id.to_be_bytes();
    let index = message.get(8..ECHO_LEN)?.try_into().ok()?;
    ours.then(|| u64::from_be_bytes(index)).and_then(|index| usize::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(sent_ms: u64, answered_ms: Option<u64>) -> Probe {
        let answer = answered_ms.map(|ms| Answer { at_ns: ms * 1_000_000, hop_limit: b'A' });
        Probe { sent_ns: sent_ms * 1_000_000, answer }
    }

    #[test]
    fn an_outage_lasts_from_the_last_answered_request_to_the_next_answer() {
        let probes = [
            probe(0, Some(1)),
            probe(5, Some(6)),
            probe(10, None),
            probe(15, None),
            probe(20, Some(23)),
            probe(25, None),
        ];
        let found = outages(&probes, 0, u64::MAX);
        let first = Outage { from_ns: 5_000_000, to_ns: Some(23_000_000), lost: 2 };
        let second = Outage { from_ns: 20_000_000, to_ns: None, lost: 1 };
        assert_eq!(found, [first, second]);
        assert_eq!(first.length(), Some(Duration::from_millis(18)));
        assert_eq!(outages(&probes, 16_000_000, u64::MAX), [second], "earlier ones are another fault's");
        assert_eq!(outages(&probes, 0, 100_000_000), [], "may still be answered");
    }

    #[test]
    fn an_echo_request_of_ipv4_sums_up_and_its_reply_is_told_from_others() {
        let request = echo_request(false, 0xbeef, 70_000);
        let sum: u32 = request.chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(echo_reply(&request, 8, 0xbeef), Some(70_000));
        assert_eq!(echo_reply(&request, 8, 0xbee0), None);
        assert_eq!(echo_reply(&request, 0, 0xbeef), None);
        assert_eq!(echo_reply(&request[..12], 8, 0xbeef), None);
    }
}

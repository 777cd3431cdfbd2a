//! What passes on an interface: a packet socket in a namespace, read by a thread.

use std::{
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;

use crate::{Frame, Namespace, Server, Topology, Which, clock, process::locked, sys};

/// A captured frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// `CLOCK_MONOTONIC` ns at which the kernel saw it.
    pub at_ns: u64,
    /// Whether the interface sent it; else it received it.
    pub sent: bool,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// What it says.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        Frame(&self.bytes)
    }
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    packets: Arc<Mutex<Vec<Packet>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Captures on an interface; every frame from now on is seen.
    ///
    /// # Errors
    /// The system's.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = namespace.inside(|| sys::packet_socket(interface))?;
        let (packets, stop) = (Arc::<Mutex<Vec<Packet>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&packets), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name(format!("capture {interface}"))
            .spawn(move || keep_packets(&socket, &kept, &stopped))?;
        Ok(Self { packets, stop, thread: Some(thread) })
    }

    /// Captures at a server's port of the switch: behind its egress programs, and also while it is cut off.
    ///
    /// # Errors
    /// The system's.
    pub fn at_port(topology: &Topology, which: Which) -> Result<Self> {
        Self::start(&topology.switch, Server::port(which))
    }

    /// Everything so far.
    #[must_use]
    pub fn packets(&self) -> Vec<Packet> {
        locked(&self.packets).clone()
    }

    /// What came into the interface at or after `since_ns`: at a port of the switch, what its server has sent.
    #[must_use]
    pub fn received(&self, since_ns: u64) -> Vec<Packet> {
        let packets = locked(&self.packets);
        packets.iter().filter(|p| !p.sent && p.at_ns >= since_ns).cloned().collect()
    }

    /// The first frame received at or after `since_ns` of which `wanted` is true, waited for.
    ///
    /// # Errors
    /// That there was none within `timeout`.
    pub fn wait_received(
        &self,
        what: &str,
        since_ns: u64,
        timeout: Duration,
        wanted: impl Fn(Frame<'_>) -> bool,
    ) -> Result<Packet> {
        clock::wait_for(what, timeout, || Ok(self.received(since_ns).into_iter().find(|p| wanted(p.frame()))))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A capture that panicked has stopped, and whoever waits for its packets has said so.
            let _ = thread.join();
        }
    }
}

/// Writes packets to a file that any dissector reads.
///
/// # Errors
/// The system's.
pub fn write_pcap<'a>(path: &Path, packets: impl IntoIterator<Item = &'a Packet>) -> Result<()> {
    // Magic, version 2.4, zone, accuracy, longest packet, Ethernet.
    let header = [0xa1b2_c3d4_u32, 2 | 4 << 16, 0, 0, 65535, 1];
    let mut out: Vec<u8> = header.iter().flat_map(|word| word.to_ne_bytes()).collect();
    for packet in packets {
        let len = u32::try_from(packet.bytes.len())?;
        let seconds = u32::try_from(packet.at_ns / 1_000_000_000)?;
        let micros = u32::try_from(packet.at_ns / 1000 % 1_000_000)?;
        out.extend([seconds, micros, len, len].iter().flat_map(|word| word.to_ne_bytes()));
        out.extend(&packet.bytes);
    }
    Ok(std::fs::write(path, out)?)
}

/// How often a capture looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn keep_packets(socket: &OwnedFd, kept: &Mutex<Vec<Packet>>, stopped: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !stopped.load(Ordering::Relaxed) {
        // An interface that went down reports it once; what follows is still to be captured.
        let _ = sys::wait_readable(socket, LOOK_EVERY);
        while let Ok(Some(received)) = sys::receive(socket, &mut buffer) {
            let bytes = buffer[..received.len.min(buffer.len())].to_vec();
            let sent = received.packet_type == libc::PACKET_OUTGOING;
            locked(kept).push(Packet { at_ns: monotonic(received.realtime_ns), sent, bytes });
        }
    }
}

/// Packet sockets stamp with `CLOCK_REALTIME`.
fn monotonic(realtime_ns: Option<u64>) -> u64 {
    let now = clock::monotonic_ns();
    realtime_ns
        .map_or(now, |then| now.saturating_sub(sys::clock_ns(libc::CLOCK_REALTIME).saturating_sub(then)))
}

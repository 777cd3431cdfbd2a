//! What passes on an interface: a packet socket in a namespace, read by a thread.

use std::{
    net::Ipv6Addr,
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
    /// `CLOCK_BOOTTIME` ns at which the kernel saw it.
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
        Self::keep(namespace.inside(|| sys::packet_socket(interface))?, interface)
    }

    fn keep(socket: OwnedFd, interface: &str) -> Result<Self> {
        let (packets, stop) = (Arc::<Mutex<Vec<Packet>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&packets), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name(format!("capture {interface}"))
            .spawn(move || keep_packets(&socket, &kept, &stopped))?;
        Ok(Self { packets, stop, thread: Some(thread) })
    }

    /// Captures what of WireGuard's `port` somebody must look at: its handshakes, and everything that it sends from
    /// another address than `vip`; and with `all_sent`, everything that it sends. Data in passing is left to the
    /// kernel, so that a capture costs nothing while outages are measured. IPv6 without extension headers.
    ///
    /// # Errors
    /// The system's.
    pub fn of_wireguard(namespace: &Namespace, interface: &str, watch: &Watch) -> Result<Self> {
        let mut filter = watch.filter();
        let socket = namespace.inside(|| sys::filtered_packet_socket(interface, &mut filter))?;
        Self::keep(socket, interface)
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

    /// Everything so far, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<Packet> {
        std::mem::take(&mut locked(&self.packets))
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

/// What [`Capture::of_wireguard`] lets through.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// WireGuard's port on the servers.
    pub port: u16,
    /// From where alone it should speak.
    pub vip: Ipv6Addr,
    /// Everything that it sends, data too.
    pub all_sent: bool,
}

impl Watch {
    /// In classic BPF: absolute loads, and jumps by how many instructions to skip if equal and if not.
    fn filter(&self) -> Vec<libc::sock_filter> {
        let words = self.vip.segments();
        let vip = |i: usize| u32::from(words[2 * i]) << 16 | u32::from(words[2 * i + 1]);
        let port = u32::from(self.port);
        let sent = if self.all_sent { ACCEPT } else { 10 };
        let steps = [
            (LOAD_HALF, 12, 0, 0),
            (JUMP_IF_EQUAL, 0x86dd, 0, DROP - 2),
            (LOAD_BYTE, 20, 0, 0),
            (JUMP_IF_EQUAL, 17, 0, DROP - 4),
            // From the port?
            (LOAD_HALF, 54, 0, 0),
            (JUMP_IF_EQUAL, port, sent - 6, 0),
            // To it?
            (LOAD_HALF, 56, 0, 0),
            (JUMP_IF_EQUAL, port, 0, DROP - 8),
            // 4 is data, 1 to 3 shake hands.
            (LOAD_BYTE, 62, 0, 0),
            (JUMP_IF_EQUAL, 4, DROP - 10, ACCEPT - 10),
            // From the VIP?
            (LOAD_WORD, 22, 0, 0),
            (JUMP_IF_EQUAL, vip(0), 0, ACCEPT - 12),
            (LOAD_WORD, 26, 0, 0),
            (JUMP_IF_EQUAL, vip(1), 0, ACCEPT - 14),
            (LOAD_WORD, 30, 0, 0),
            (JUMP_IF_EQUAL, vip(2), 0, ACCEPT - 16),
            (LOAD_WORD, 34, 0, 0),
            (JUMP_IF_EQUAL, vip(3), 0, ACCEPT - 18),
            (LOAD_BYTE, 62, 0, 0),
            (JUMP_IF_EQUAL, 4, DROP - 20, 0),
            (RETURN, u32::MAX, 0, 0),
            (RETURN, 0, 0, 0),
        ];
        steps.map(|(code, k, jt, jf)| libc::sock_filter { code, jt, jf, k }).to_vec()
    }
}

/// Where [`Watch::filter`] accepts and where it drops.
const ACCEPT: u8 = 20;
const DROP: u8 = 21;
/// BPF_LD | BPF_ABS with BPF_W, BPF_H, BPF_B; BPF_JMP | BPF_JEQ | BPF_K; BPF_RET | BPF_K (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::packets::{Datagram, Ip, UDP, wireguard};

    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
    const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3);

    /// As much of classic BPF as [`Watch::filter`] uses.
    fn accepts(filter: &[libc::sock_filter], frame: &[u8]) -> bool {
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let step = filter[at];
            let k = step.k as usize;
            at += 1;
            match step.code {
                LOAD_WORD => a = u32::from_be_bytes(frame[k..k + 4].try_into().unwrap()),
                LOAD_HALF => a = u16::from_be_bytes(frame[k..k + 2].try_into().unwrap()).into(),
                LOAD_BYTE => a = frame[k].into(),
                JUMP_IF_EQUAL => at += usize::from(if a == step.k { step.jt } else { step.jf }),
                RETURN => return step.k != 0,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn frame(source: Ipv6Addr, ports: (u16, u16), message: u8) -> Vec<u8> {
        let ip = Ip::new(source.into(), IpAddr::V6(OTHER), UDP);
        Datagram::new(ports.0, ports.1, wireguard(message, 32)).frame(&ip)
    }

    #[test]
    fn a_watch_lets_through_what_must_be_looked_at() {
        for (from, ports, message, all_sent, wanted) in [
            (VIP, (51800, 9), 4, false, false),
            (VIP, (51800, 9), 4, true, true),
            (VIP, (51800, 9), 1, false, true),
            (OTHER, (51800, 9), 4, false, true),
            (OTHER, (9, 51800), 4, true, false),
            (OTHER, (9, 51800), 2, false, true),
            (OTHER, (9, 10), 1, true, false),
        ] {
            let filter = Watch { port: 51800, vip: VIP, all_sent }.filter();
            let frame = frame(from, ports, message);
            assert_eq!(accepts(&filter, &frame), wanted, "{}", Frame(&frame).describe());
        }
        let filter = Watch { port: 51800, vip: VIP, all_sent: true }.filter();
        let tcp = Ip::new(VIP.into(), VIP.into(), crate::packets::TCP).frame(&[0; 32]);
        assert!(!accepts(&filter, &tcp));
        assert!(!accepts(&filter, &crate::packets::ethernet(crate::packets::ARP, &[0; 64])));
    }
}

//! One WireGuard client: its noise sessions, its socket, and where it believes the server to be.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anyhow::{Context, Result};
use boringtun::noise::{Tunn, TunnResult, rate_limiter::RateLimiter};
use boringtun::x25519::{PublicKey, StaticSecret};

use super::{echo, identity, record::Record};
use crate::monotonic_ns;

/// Linux and wireguard-go refuse initiations of one peer that are closer than this (`INITIATIONS_PER_SECOND` 50).
const INITIATION_SPACING_NS: u64 = 20_000_000;
/// WireGuard's own REKEY_TIMEOUT: between two initiations to one peer.
const REKEY_TIMEOUT_NS: u64 = 5_000_000_000;
/// Larger than any packet here; boringtun wants at least an initiation's length.
const BUFFER: usize = 512;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE_REPLY: u8 = 3;
const TRANSPORT: u8 = 4;

/// One client. It does what its thread tells it to, and notes what it sees in a [`Record`].
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) socket: UdpSocket,
    source: IpAddr,
    endpoint: SocketAddr,
    tunn: Tunn,
    sequence: u16,
    /// The sender index of the initiation that has not been answered, nor overtaken by one from the server.
    pending: Option<u32>,
    /// Our index of the newest session.
    newest: Option<u32>,
    initiation_consumed_ns: u64,
    initiation_sent_ns: u64,
    /// An echo request waits for a session.
    queued: bool,
}

impl Client {
    /// Opens its socket, in the namespace of the calling thread.
    pub(super) fn new(number: u32, source: IpAddr, endpoint: SocketAddr) -> Result<Self> {
        let tunn = tunnel(identity::private_key(number), identity::server_public_key(), number);
        let socket = open(source)?;
        Ok(Self {
            number,
            socket,
            source,
            endpoint,
            tunn,
            sequence: 0,
            pending: None,
            newest: None,
            initiation_consumed_ns: 0,
            initiation_sent_ns: 0,
            queued: false,
        })
    }

    /// Sends an echo request, or an initiation if there is no session yet.
    pub(super) fn talk(&mut self, record: &Record) {
        let mut buffer = [0; BUFFER];
        // boringtun stamps packets with the time of the latest look at its timers.
        self.look_at_timers(record);
        if self.queued && monotonic_ns() < self.initiation_sent_ns + REKEY_TIMEOUT_NS {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let request = echo::request(self.number, self.sequence);
        let TunnResult::WriteToNetwork(packet) = self.tunn.encapsulate(&request, &mut buffer) else {
            self.queued = true;
            return;
        };
        send(&self.socket, self.endpoint, packet);
        let index = initiation(packet);
        self.queued = index.is_some();
        self.has_initiated(index, record);
    }

    /// Does what WireGuard's timers ask for.
    pub(super) fn look_at_timers(&mut self, record: &Record) {
        let mut buffer = [0; BUFFER];
        match self.tunn.update_timers(&mut buffer) {
            TunnResult::WriteToNetwork(packet) => {
                send(&self.socket, self.endpoint, packet);
                let index = initiation(packet);
                self.has_initiated(index, record);
            }
            // It has given up (REKEY_ATTEMPT_TIME); the next packet begins anew.
            TunnResult::Err(_) => self.queued = false,
            _ => {}
        }
    }

    fn has_initiated(&mut self, index: Option<u32>, record: &Record) {
        if index.is_some() {
            record.initiations.fetch_add(1, Relaxed);
            self.pending = index;
            self.initiation_sent_ns = monotonic_ns();
        }
    }

    /// Receives one datagram; whether there was one.
    pub(super) fn receive(&mut self, record: &Record) -> bool {
        let mut datagram = [0; BUFFER];
        let (len, from) = match self.socket.recv_from(&mut datagram) {
            Ok(received) => received,
            // An ICMP error of an earlier packet: the next one may be received.
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        let now_ns = monotonic_ns();
        if self.is_acceptable(&datagram[..len], record, now_ns) {
            self.take_in(&datagram[..len], from, record, now_ns);
        }
        true
    }

    /// Rules of WireGuard that boringtun does not have.
    fn is_acceptable(&self, datagram: &[u8], record: &Record, now_ns: u64) -> bool {
        let refused = match datagram.first() {
            Some(&INITIATION) if now_ns < self.initiation_consumed_ns + INITIATION_SPACING_NS => {
                &record.flooded
            }
            Some(&RESPONSE) if self.pending.is_none() || self.pending != word(datagram, 8) => &record.crossed,
            _ => return true,
        };
        refused.fetch_add(1, Relaxed);
        false
    }

    fn take_in(&mut self, datagram: &[u8], from: SocketAddr, record: &Record, now_ns: u64) {
        let mut buffer = [0; BUFFER];
        let kind = datagram[0];
        match self.tunn.decapsulate(None, datagram, &mut buffer) {
            TunnResult::Err(_) => {
                record.rejected.fetch_add(1, Relaxed);
                return;
            }
            TunnResult::WriteToNetwork(packet) => {
                self.endpoint = from;
                send(&self.socket, self.endpoint, packet);
                let index = if kind == INITIATION { word(packet, 4) } else { word(datagram, 8) };
                self.has_session(kind, index, record, now_ns);
            }
            TunnResult::WriteToTunnelV4(packet, source) => {
                let by = echo::answered_by(packet, source);
                self.endpoint = from;
                self.heard(word(datagram, 4), by, record, now_ns);
            }
            TunnResult::Done if kind == TRANSPORT => {
                self.endpoint = from;
                self.heard(word(datagram, 4), None, record, now_ns);
            }
            _ if kind == COOKIE_REPLY => _ = record.cookies.fetch_add(1, Relaxed),
            _ => {}
        }
        if matches!(kind, RESPONSE | TRANSPORT) {
            self.send_queued();
        }
    }

    fn has_session(&mut self, kind: u8, index: Option<u32>, record: &Record, now_ns: u64) {
        if kind == INITIATION {
            self.initiation_consumed_ns = now_ns;
            record.answered.fetch_add(1, Relaxed);
        } else {
            record.initiated.fetch_add(1, Relaxed);
        }
        self.newest = index;
        self.pending = None;
        record.session_ns.store(now_ns, Relaxed);
    }

    /// An authenticated transport packet, with an echo reply of `by` in it, or not.
    fn heard(&mut self, index: Option<u32>, by: Option<u8>, record: &Record, now_ns: u64) {
        record.heard_ns.store(now_ns, Relaxed);
        if let Some(by) = by {
            record.hop_limit.store(by, Relaxed);
            record.echoes.fetch_add(1, Relaxed);
        }
        if index == self.newest {
            record.heard_in_newest(by.is_some(), now_ns);
        }
    }

    fn send_queued(&mut self) {
        let mut buffer = [0; BUFFER];
        self.queued = false;
        while let TunnResult::WriteToNetwork(packet) = self.tunn.decapsulate(None, &[], &mut buffer) {
            send(&self.socket, self.endpoint, packet);
        }
    }

    /// Moves to another port of the same address, and says so to the server by its next packet.
    pub(super) fn roam(&mut self) -> Result<()> {
        self.socket = open(self.source)?;
        Ok(())
    }

    pub(super) fn port(&self) -> u32 {
        self.socket.local_addr().map_or(0, |address| address.port().into())
    }
}

/// One end of a tunnel. It has no limit of its own for handshakes: that is not what is measured.
pub(super) fn tunnel(key: StaticSecret, peer: PublicKey, number: u32) -> Tunn {
    let limiter = RateLimiter::new(&PublicKey::from(&key), u64::MAX);
    Tunn::new(key, peer, None, None, number, Some(Arc::new(limiter)))
}

fn open(source: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((source, 0)).with_context(|| format!("a socket of {source}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A packet that cannot be sent is lost, as others are.
fn send(socket: &UdpSocket, to: SocketAddr, packet: &[u8]) {
    let _ = socket.send_to(packet, to);
}

/// The index of an initiation; none for anything else.
fn initiation(packet: &[u8]) -> Option<u32> {
    if packet[0] == INITIATION { word(packet, 4) } else { None }
}

fn word(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

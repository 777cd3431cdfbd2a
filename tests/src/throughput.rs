//! How much gets through: datagrams past a program on the uplink of A, and a stream through the tunnel.
//!
//! The programs are attached here and not by a daemon, so that what only passes can take their place on the same hook.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use aya::Ebpf;

use crate::{
    Namespace, Plan, Topology, clock,
    cost::{self, Hook, Net},
    packets, sys,
    topology::UPLINK,
};

/// Where the client's datagrams come from and go to.
const CLIENT_PORT: u16 = 40_000;
/// A WireGuard message of data with 28 bytes in it.
const SMALL: usize = 60;
/// Where the stream is read.
const STREAM_PORT: u16 = 5001;
/// How long a stream may take to begin: WireGuard shakes hands, and tries again after 5 s.
const BEGINNING: Duration = Duration::from_secs(40);
/// How often whoever reads or writes looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which program is on the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnHook {
    /// wgha's.
    Wgha,
    /// One that only passes.
    Passing,
}

/// A network in which datagrams go between the client and the VIP on A, by way of gateway and switch, past a hook of A.
pub struct Veth {
    hook: Hook,
    wgha: Ebpf,
    passing: OwnedFd,
    from: (Namespace, UdpSocket),
    to: (Namespace, UdpSocket),
    topology: Topology,
}

impl Veth {
    /// Sets it up. `object` is the kernel half. Through [`Hook::Egress`] A sends; else it receives.
    ///
    /// # Errors
    /// The system's.
    pub fn prepare(object: &[u8], hook: Hook) -> Result<Self> {
        let mut topology = Topology::ipv6()?;
        // Its port is ours: a WireGuard behind it would be what is measured.
        topology.a.tunnel.delete()?;
        hold_vip(&topology)?;
        let plan = &topology.plan;
        let mut wgha = cost::load(object)?;
        Net::of(plan).configure(&mut wgha)?;
        let server = socket(&topology.a.namespace, plan.vip, Plan::PORT)?;
        let client = socket(&topology.client, plan.client, CLIENT_PORT)?;
        server.connect((plan.client, CLIENT_PORT))?;
        client.connect((plan.vip, Plan::PORT))?;
        let (server, client) = ((topology.a.namespace.clone(), server), (topology.client.clone(), client));
        let (from, to) = if hook == Hook::Egress { (server, client) } else { (client, server) };
        Ok(Self { hook, wgha, passing: cost::passing(hook)?, from, to, topology })
    }

    /// Packets a second that arrive while as many as possible are sent for `time`.
    ///
    /// # Errors
    /// The system's, or that hardly any arrive.
    pub fn packets_per_second(&self, on_hook: OnHook, time: Duration) -> Result<f64> {
        let _attached = self.attach(on_hook)?;
        let before = arrived(&self.to.0)?;
        let begun = Instant::now();
        let sent = send_for(&self.from.1, time);
        let took = begun.elapsed();
        let arrived = arrived(&self.to.0)? - before;
        // A program that drops them all would be the fastest.
        ensure!(arrived > sent / 2, "{on_hook:?}: of {sent} datagrams {arrived} have arrived");
        Ok(arrived as f64 / took.as_secs_f64())
    }

    /// The program is there until the link is dropped.
    fn attach(&self, on_hook: OnHook) -> Result<OwnedFd> {
        const BPF_XDP: u32 = 37;
        const BPF_TCX_INGRESS: u32 = 46;
        const BPF_TCX_EGRESS: u32 = 47;
        const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
        let (kind, flags) = match self.hook {
            Hook::Xdp => (BPF_XDP, XDP_FLAGS_DRV_MODE),
            Hook::Ingress => (BPF_TCX_INGRESS, 0),
            Hook::Egress => (BPF_TCX_EGRESS, 0),
        };
        let program = match on_hook {
            OnHook::Wgha => cost::descriptor(&self.wgha, self.hook)?,
            OnHook::Passing => self.passing.as_raw_fd(),
        };
        self.topology.a.namespace.inside(|| {
            let index = sys::interface_index(UPLINK)?;
            sys::link_program(program, index, kind, flags).with_context(|| format!("attaching to {UPLINK}"))
        })
    }
}

/// Gives the VIP to A, as somebody does who has one server.
///
/// # Errors
/// The system's.
pub fn hold_vip(topology: &Topology) -> Result<()> {
    let vip = topology.plan.with_prefix(topology.plan.vip);
    topology.a.namespace.ip(&format!("address add {vip} dev {UPLINK} nodad")).map(drop)
}

fn socket(namespace: &Namespace, address: IpAddr, port: u16) -> Result<UdpSocket> {
    namespace.inside(|| UdpSocket::bind((address, port)).with_context(|| format!("binding to {address}")))
}

/// Sends for so long, and returns how many.
fn send_for(socket: &UdpSocket, time: Duration) -> u64 {
    const BETWEEN_LOOKS: u64 = 64;
    let message = packets::wireguard(4, SMALL);
    let (until, mut sent) = (Instant::now() + time, 0);
    while Instant::now() < until {
        for _ in 0..BETWEEN_LOOKS {
            sent += u64::from(socket.send(&message).is_ok());
        }
    }
    sent
}

/// How many datagrams came to sockets that nobody reads: their buffers have long been full, so each counts as an error,
/// and nobody has to be woken for it.
fn arrived(namespace: &Namespace) -> Result<u64> {
    let snmp = namespace.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp6")?))?;
    let count = snmp.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors"));
    Ok(count.context("no Udp6RcvbufErrors")?.trim().parse()?)
}

/// A TCP stream from the client to the server's address in the tunnel, as fast as it goes. Dropping it ends it.
#[derive(Debug)]
pub struct Stream {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Begins: A serves.
    ///
    /// # Errors
    /// That the tunnel does not carry it.
    pub fn start(topology: &Topology) -> Result<Self> {
        let server = &topology.a.namespace;
        let listener = server.inside(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, STREAM_PORT))?))?;
        let target = SocketAddr::new(topology.plan.tunnel_server, STREAM_PORT);
        let sending = clock::wait_for("a connection through the tunnel", BEGINNING, || {
            let connected =
                topology.client.inside(|| Ok(TcpStream::connect_timeout(&target, Duration::from_secs(8))?));
            Ok(connected.ok())
        })?;
        let reading = accept(&listener, sending.local_addr()?)?;
        sending.set_write_timeout(Some(LOOK_EVERY))?;
        reading.set_read_timeout(Some(LOOK_EVERY))?;
        let mut stream = Self { received: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        let stopped = Arc::clone(&stream.stop);
        stream.spawn(move || write_until(sending, &stopped))?;
        let (count, stopped) = (Arc::clone(&stream.received), Arc::clone(&stream.stop));
        stream.spawn(move || count_until(reading, &count, &stopped))?;
        Ok(stream)
    }

    /// How many bytes have arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn spawn(&mut self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        self.threads.push(Builder::new().name("stream".into()).spawn(job)?);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // If it has panicked, nothing arrives any more, and that is what is told.
            let _ = thread.join();
        }
    }
}

/// The end of this very connection: an attempt that was given up may be in the queue before it.
fn accept(listener: &TcpListener, of: SocketAddr) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let accepted = clock::wait_for("the other end of the connection", BEGINNING, || {
        Ok(listener.accept().ok().filter(|(_, from)| *from == of))
    })?;
    accepted.0.set_nonblocking(false)?;
    Ok(accepted.0)
}

fn write_until(mut to: TcpStream, stopped: &AtomicBool) {
    let zeros = vec![0; 128 << 10];
    while !stopped.load(Ordering::Relaxed) {
        if to.write(&zeros).is_err_and(|e| !is_timeout(&e)) {
            return;
        }
    }
}

fn count_until(mut from: TcpStream, count: &AtomicU64, stopped: &AtomicBool) {
    let mut buffer = vec![0; 256 << 10];
    while !stopped.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(len) => drop(count.fetch_add(len as u64, Ordering::Relaxed)),
            Err(e) if is_timeout(&e) => {}
            Err(_) => return,
        }
    }
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

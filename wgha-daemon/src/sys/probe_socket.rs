//! Sending S-BFD probes: a UDP socket with hop limit 255 (RFC 7881 §3).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Socket, Type};
use wgha_common::{
    Family,
    wire::{bfd, ip},
};

/// RFC 7881 §3: the source port of an initiator is none that somebody listens on.
const PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// linux/pkt_sched.h, TC_PRIO_CONTROL: probes do not queue behind bulk traffic.
const CONTROL: u32 = 7;

/// Only sends: the answers end in the kernel half.
#[derive(Debug)]
pub struct ProbeSocket {
    socket: Socket,
    port: u16,
    /// Whom it is connected to: the way there, and the source address, are looked up once.
    to: Option<IpAddr>,
}

impl ProbeSocket {
    /// Bound to `uplink`, to any address, to a port that nobody has.
    ///
    /// # Errors
    /// The system's; EADDRINUSE when every port is taken.
    pub fn open(family: Family, uplink: &str) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_priority(CONTROL)?;
        socket.bind_device(Some(uplink.as_bytes()))?;
        // Whatever gets past the kernel half is not read, and need not be kept.
        socket.set_recv_buffer_size(0)?;
        match family {
            Family::V4 => socket.set_ttl_v4(u32::from(ip::HOP_LIMIT))?,
            Family::V6 => {
                socket.set_only_v6(true)?;
                socket.set_unicast_hops_v6(u32::from(ip::HOP_LIMIT))?;
            }
        }
        let port = bind(&socket, family)?;
        Ok(Self { socket, port, to: None })
    }

    /// The port that answers come to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The way to the reflector, or our address, may have changed.
    pub const fn lose_way(&mut self) {
        self.to = None;
    }

    /// Sends one probe to a reflector.
    ///
    /// # Errors
    /// EHOSTUNREACH and others when it cannot be sent.
    pub fn send(&mut self, to: IpAddr, probe: &[u8]) -> io::Result<()> {
        if self.to != Some(to) {
            self.to = None;
            self.socket.connect(&SocketAddr::new(to, bfd::PORT).into())?;
            self.to = Some(to);
        }
        let sent = match self.socket.send(probe) {
            // That is what has become of an earlier one; it is told once.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => self.socket.send(probe),
            sent => sent,
        };
        if sent.is_err() {
            self.lose_way();
        }
        sent.map(|_| ())
    }
}

fn bind(socket: &Socket, family: Family) -> io::Result<u16> {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut start = [0; 2];
    getrandom::fill(&mut start).map_err(io::Error::other)?;
    let count = PORTS.len();
    for n in 0..count {
        let port = PORTS.start() + ((usize::from(u16::from_ne_bytes(start)) + n) % count) as u16;
        match socket.bind(&SocketAddr::new(any, port).into()) {
            Ok(()) => return Ok(port),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

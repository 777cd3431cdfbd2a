//! Somebody on the servers' segment who is none of them, and says what he likes.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    net::IpAddr,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    Namespace, Plan, Topology, Which,
    fault::{VRRP_GROUP, link_local},
    packets::{Advert, Datagram, ICMPV6, Ip, UDP, VRRP, icmpv6, sbfd_question, wireguard},
    sys,
};

/// His own MAC address: with another's, the switch would take him for that one.
const MAC: [u8; 6] = [2, 0x66, 0, 0, 0, 0x66];
/// So often a full queue is waited for.
const MAX_TRIES: u32 = 1000;

/// A machine of his own, and a socket that sends whole frames.
#[derive(Debug)]
pub struct Stranger {
    /// Where he is.
    pub namespace: Namespace,
    /// His address.
    pub address: IpAddr,
    port: File,
    servers: [([u8; 6], IpAddr, IpAddr); 2],
}

impl Stranger {
    /// Plugs him in.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn join(topology: &Topology) -> Result<Self> {
        let namespace = topology.plug_stranger()?;
        let port = namespace.inside(|| sys::sending_socket("eth0"))?;
        let server = |which| -> Result<_> {
            let server = topology.server(which);
            Ok((server.mac()?, topology.plan.server(which), link_local(&server.namespace)?))
        };
        let address = topology.plan.stranger();
        Ok(Self {
            namespace,
            address,
            port: File::from(port),
            servers: [server(Which::A)?, server(Which::B)?],
        })
    }

    fn server(&self, which: Which) -> ([u8; 6], IpAddr, IpAddr) {
        self.servers[usize::from(which == Which::B)]
    }

    /// Where a server's adverts come from.
    #[must_use]
    pub fn source_of(&self, which: Which) -> IpAddr {
        self.server(which).2
    }

    /// An advert to everybody, from wherever.
    #[must_use]
    pub fn advert(source: IpAddr, priority: u8, vip: IpAddr) -> Vec<u8> {
        let ip = Ip::new(source, VRRP_GROUP.into(), VRRP);
        let mut frame = Advert::new(Plan::VRID, priority, 10, vip).frame(&ip);
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0x12]);
        frame[6..12].copy_from_slice(&MAC);
        frame
    }

    /// A datagram to a server, as if from the other one.
    fn as_peer(&self, to: Which, datagram: &Datagram) -> Vec<u8> {
        let ((mac, address, _), (_, from, _)) = (self.server(to), self.server(to.other()));
        addressed(datagram.frame(&Ip::new(from, address, UDP)), mac)
    }

    /// A probe to a server, in state Up, as if from the other one.
    #[must_use]
    pub fn claim(&self, to: Which, discriminator: u32) -> Vec<u8> {
        let mut question = sbfd_question(0x6666, discriminator);
        question[1] = 0xc2;
        self.as_peer(to, &Datagram::new(55_555, 7784, question))
    }

    /// An answer that the other server does not serve, to this port of a server.
    #[must_use]
    pub fn admin_down(&self, to: Which, port: u16, discriminator: u32) -> Vec<u8> {
        let mut answer = sbfd_question(0x6666, discriminator);
        (answer[0], answer[1]) = (0x27, 0);
        self.as_peer(to, &Datagram::new(7784, port, answer))
    }

    /// A solicitation for an address, to a server.
    #[must_use]
    pub fn solicitation(&self, to: Which, target: IpAddr) -> Vec<u8> {
        let (mac, address, _) = self.server(to);
        let ip = Ip::new(self.address, address, ICMPV6);
        addressed(ip.frame(&icmpv6(135, 0, target, &ip)), mac)
    }

    /// Something that looks like an initiation of WireGuard, to the VIP at a server.
    #[must_use]
    pub fn initiation(&self, to: Which, vip: IpAddr, port: u16) -> Vec<u8> {
        let (mac, ..) = self.server(to);
        let ip = Ip::new(self.address, vip, UDP);
        addressed(Datagram::new(port, Plan::PORT, wireguard(1, 148)).frame(&ip), mac)
    }

    /// Sends a frame, when the queue has room for it.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        for _ in 0..MAX_TRIES {
            match self.port.write_all(frame) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::ENOBUFS) => {
                    sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(e).context("sending a frame"),
            }
        }
        bail!("the queue stays full")
    }

    /// Sends so many, one after the other.
    ///
    /// # Errors
    /// The system's.
    pub fn flood(&mut self, count: u32, frame: impl Fn(&Self, u32) -> Vec<u8>) -> Result<()> {
        (0..count).try_for_each(|n| {
            let frame = frame(self, n);
            self.send(&frame)
        })
    }
}

fn addressed(mut frame: Vec<u8>, to: [u8; 6]) -> Vec<u8> {
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&MAC);
    frame
}

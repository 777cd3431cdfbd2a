//! The kernel's implementation: generic netlink, family "wireguard" (linux/wireguard.h).

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_GENERIC};
use socket2::SockRef;
use wireguard_control::{Backend, Device, InterfaceName, PeerInfo};

use super::{
    ANSWER_TIMEOUT,
    configuration::{AllowedIp, Change, Configuration, Peer, Section},
};
use crate::proto::peers::PeerKey;

const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFNAME: u16 = 2;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_FLAGS: u16 = 3;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_UPDATE_ONLY: u32 = 4;

/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;
/// What the answers to what is asked here need at most.
const ANSWER: usize = 8 * 1024;

/// A socket to the kernel's WireGuard, for one device.
pub(super) struct Connection {
    name: InterfaceName,
    socket: Socket,
    family: u16,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// This kernel has no WireGuard, or the device is none of it.
    pub fn open(name: InterfaceName) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        // A refusal does not repeat what was asked for, which may be larger than an answer.
        socket.set_cap_ack(true)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        let family = resolve(&socket)?;
        let mut connection = Self { name, socket, family };
        // Changes nothing, but is refused if there is no such device.
        connection.set(&[])?;
        Ok(connection)
    }

    /// Reads the device.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get(&mut self) -> io::Result<Configuration> {
        let device = Device::get(&self.name, Backend::Kernel)?;
        let mut configuration = Configuration {
            private_key: device.private_key.map(|key| key.0),
            listen_port: device.listen_port.filter(|port| *port != 0),
            peers: device.peers.into_iter().map(peer).collect(),
        };
        configuration.settle();
        Ok(configuration)
    }

    /// Changes peers, all in one message.
    ///
    /// # Errors
    /// The kernel's; what stood before the refused section is done then.
    pub fn set(&mut self, sections: &[&Section<'_>]) -> io::Result<()> {
        let message = set_device(self.family, &self.name.as_str_lossy(), sections);
        exchange(&self.socket, message).map(drop)
    }
}

fn peer(info: PeerInfo) -> Peer {
    let PeerInfo { config, stats, .. } = info;
    let allowed = |ip: wireguard_control::AllowedIp| AllowedIp { address: ip.address, length: ip.cidr };
    Peer {
        preshared_key: config.preshared_key.map_or([0; 32], |key| key.0),
        endpoint: config.endpoint,
        last_handshake: stats
            .last_handshake_time
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()),
        keepalive: config.persistent_keepalive_interval.unwrap_or(0),
        rx_bytes: stats.rx_bytes,
        tx_bytes: stats.tx_bytes,
        allowed_ips: config.allowed_ips.into_iter().map(allowed).collect(),
        key: PeerKey(config.public_key.0),
    }
}

pub(super) fn set_device(family: u16, name: &str, sections: &[&Section<'_>]) -> Vec<u8> {
    let mut message = request(family, WG_CMD_SET_DEVICE);
    attribute(&mut message, WGDEVICE_A_IFNAME, &[name.as_bytes(), &[0]].concat());
    nested(&mut message, WGDEVICE_A_PEERS, |peers| {
        for section in sections {
            nested(peers, 0, |peer| write_section(peer, section));
        }
    });
    message
}

/// The order does not matter to the kernel (`set_peer`).
fn write_section(peer: &mut Vec<u8>, section: &Section<'_>) {
    attribute(peer, WGPEER_A_PUBLIC_KEY, &section.key.0);
    let (endpoint, keepalive, allowed_ips) = match section.change {
        Change::Remove => return attribute(peer, WGPEER_A_FLAGS, &WGPEER_F_REMOVE_ME.to_ne_bytes()),
        Change::Add { preshared_key, endpoint, keepalive, allowed_ips } => {
            attribute(peer, WGPEER_A_PRESHARED_KEY, preshared_key);
            (endpoint, Some(keepalive), allowed_ips)
        }
        Change::Update { endpoint, keepalive, allowed_ips } => {
            attribute(peer, WGPEER_A_FLAGS, &WGPEER_F_UPDATE_ONLY.to_ne_bytes());
            (endpoint, keepalive, allowed_ips)
        }
    };
    if let Some(endpoint) = endpoint {
        attribute(peer, WGPEER_A_ENDPOINT, &sockaddr(endpoint));
    }
    if let Some(seconds) = keepalive {
        attribute(peer, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, &seconds.to_ne_bytes());
    }
    if !allowed_ips.is_empty() {
        nested(peer, WGPEER_A_ALLOWEDIPS, |prefixes| {
            for prefix in allowed_ips {
                nested(prefixes, 0, |attributes| write_prefix(attributes, prefix));
            }
        });
    }
}

fn write_prefix(attributes: &mut Vec<u8>, prefix: &AllowedIp) {
    let (family, octets) = match prefix.address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    attribute(attributes, WGALLOWEDIP_A_FAMILY, &address_family(family).to_ne_bytes());
    attribute(attributes, WGALLOWEDIP_A_IPADDR, &octets);
    attribute(attributes, WGALLOWEDIP_A_CIDR_MASK, &[prefix.length]);
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn sockaddr(endpoint: SocketAddr) -> Vec<u8> {
    let port = endpoint.port().to_be_bytes();
    match endpoint {
        SocketAddr::V4(v4) => {
            let family = address_family(libc::AF_INET).to_ne_bytes();
            [&family[..], &port, &v4.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(v6) => {
            let family = address_family(libc::AF_INET6).to_ne_bytes();
            let (flow, scope) = (v6.flowinfo().to_be_bytes(), v6.scope_id().to_ne_bytes());
            [&family[..], &port, &flow, &v6.ip().octets(), &scope].concat()
        }
    }
}

/// As 16 bits.
fn address_family(family: i32) -> u16 {
    u16::try_from(family).unwrap_or(0)
}

/// A message without attributes; its length is filled in by [`exchange`].
fn request(family: u16, command: u8) -> Vec<u8> {
    let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(0);
    let mut message = vec![0; 4];
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.resize(HEADERS, 0);
    message[16] = command;
    message[17] = 1; // the version of both families
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    with_header(message, kind, |message| message.extend_from_slice(value));
}

fn nested(message: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    with_header(message, kind | u16::try_from(libc::NLA_F_NESTED).unwrap_or(0), value);
}

/// `struct nlattr`, the value, and zeros up to a multiple of four. Callers keep values below 64 KiB.
fn with_header(message: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = message.len();
    message.extend([0; 2]);
    message.extend(kind.to_ne_bytes());
    value(message);
    let length = u16::try_from(message.len() - start).unwrap_or(u16::MAX);
    message[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Sends a request; returns the attributes of the answer, if it has any.
fn exchange(socket: &Socket, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    socket.send(&message, 0)?;
    let mut attributes = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(ANSWER);
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while let Some((kind, body, next)) = split_message(rest) {
            if i32::from(kind) == libc::NLMSG_ERROR {
                return acknowledged(body).map(|()| attributes);
            }
            attributes = body.get(4..).unwrap_or_default().to_vec();
            rest = next;
        }
    }
}

/// Type and body of the first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(16..length)?, next))
}

fn acknowledged(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn resolve(socket: &Socket) -> io::Result<u16> {
    let control = u16::try_from(libc::GENL_ID_CTRL).unwrap_or(0);
    let mut message = request(control, CTRL_CMD_GETFAMILY);
    attribute(&mut message, CTRL_ATTR_FAMILY_NAME, b"wireguard\0");
    let answer = exchange(socket, message)?;
    find(&answer, CTRL_ATTR_FAMILY_ID)
        .and_then(|value| value.first_chunk().map(|id| u16::from_ne_bytes(*id)))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == wanted {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

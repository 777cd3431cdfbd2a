//! The kernel's implementation: generic netlink, family "wireguard" (linux/wireguard.h).
//!
//! Its socket stays in the network namespace in which it was opened, whichever thread uses it.

mod message;
mod reading;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_sys::{Socket, SocketAddr as NetlinkAddress, protocols::NETLINK_GENERIC};
use socket2::SockRef;
use wireguard_control::InterfaceName;

use self::message::{attribute, attributes, dump, exchange, nested, number, request};
pub(super) use self::reading::read;
use super::{
    ANSWER_TIMEOUT,
    configuration::{AllowedIp, Change, Configuration, Section},
};

const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFNAME: u16 = 2;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_FLAGS: u16 = 3;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
const WGPEER_A_RX_BYTES: u16 = 7;
const WGPEER_A_TX_BYTES: u16 = 8;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_UPDATE_ONLY: u32 = 4;

/// How often a reading is begun again because the device was changed meanwhile.
const READINGS: usize = 5;

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
    /// The kernel's, or that the device is changed all the time.
    pub fn get(&mut self) -> io::Result<Configuration> {
        for _ in 0..READINGS {
            let mut message = request(self.family, WG_CMD_GET_DEVICE);
            attribute(&mut message, WGDEVICE_A_IFNAME, &[self.name.as_str_lossy().as_bytes(), &[0]].concat());
            let mut configuration = Configuration::new();
            let is_whole = dump(&self.socket, message, |part| read(&mut configuration, part))?;
            if is_whole {
                configuration.settle();
                return Ok(configuration);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
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

fn resolve(socket: &Socket) -> io::Result<u16> {
    let control = u16::try_from(libc::GENL_ID_CTRL).unwrap_or(0);
    let mut message = request(control, CTRL_CMD_GETFAMILY);
    attribute(&mut message, CTRL_ATTR_FAMILY_NAME, b"wireguard\0");
    let answer = exchange(socket, message)?;
    let found = attributes(&answer).find(|(kind, _)| *kind == CTRL_ATTR_FAMILY_ID);
    found
        .and_then(|(_, value)| number(value, u16::from_ne_bytes))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

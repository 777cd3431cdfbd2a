//! What WG_CMD_GET_DEVICE answers.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use super::{
    super::configuration::{AllowedIp, Configuration, Peer},
    WGALLOWEDIP_A_CIDR_MASK, WGALLOWEDIP_A_IPADDR, WGDEVICE_A_LISTEN_PORT, WGDEVICE_A_PEERS,
    WGDEVICE_A_PRIVATE_KEY, WGPEER_A_ALLOWEDIPS, WGPEER_A_ENDPOINT, WGPEER_A_LAST_HANDSHAKE_TIME,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, WGPEER_A_PRESHARED_KEY, WGPEER_A_PUBLIC_KEY, WGPEER_A_RX_BYTES,
    WGPEER_A_TX_BYTES,
    message::{attributes, number},
};
use crate::proto::peers::PeerKey;

/// Adds what one message tells. Only the first one tells more than peers.
pub(in super::super) fn read(to: &mut Configuration, part: &[u8]) {
    for (kind, value) in attributes(part) {
        match kind {
            WGDEVICE_A_PRIVATE_KEY => to.private_key = number(value, |key| key),
            WGDEVICE_A_LISTEN_PORT => {
                to.listen_port = number(value, u16::from_ne_bytes).filter(|port| *port != 0)
            }
            WGDEVICE_A_PEERS => to.peers.extend(attributes(value).filter_map(|(_, value)| peer(value))),
            _ => {}
        }
    }
}

fn peer(bytes: &[u8]) -> Option<Peer> {
    let key = attributes(bytes).find(|(kind, _)| *kind == WGPEER_A_PUBLIC_KEY)?;
    let mut peer = Peer::new(PeerKey(number(key.1, |key| key)?));
    for (kind, value) in attributes(bytes) {
        match kind {
            WGPEER_A_PRESHARED_KEY => peer.preshared_key = number(value, |key| key)?,
            WGPEER_A_ENDPOINT => peer.endpoint = endpoint(value),
            WGPEER_A_LAST_HANDSHAKE_TIME => peer.last_handshake = time(value),
            WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => peer.keepalive = number(value, u16::from_ne_bytes)?,
            WGPEER_A_RX_BYTES => peer.rx_bytes = number(value, u64::from_ne_bytes)?,
            WGPEER_A_TX_BYTES => peer.tx_bytes = number(value, u64::from_ne_bytes)?,
            WGPEER_A_ALLOWEDIPS => {
                peer.allowed_ips = attributes(value).filter_map(|(_, value)| allowed_ip(value)).collect();
            }
            _ => {}
        }
    }
    Some(peer)
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn endpoint(value: &[u8]) -> Option<SocketAddr> {
    let port = number(value.get(2..)?, u16::from_be_bytes)?;
    match i32::from(number(value, u16::from_ne_bytes)?) {
        libc::AF_INET => Some(SocketAddr::new(address(value.get(4..8)?)?, port)),
        libc::AF_INET6 => {
            let flow = number(value.get(4..)?, u32::from_be_bytes)?;
            let address = number(value.get(8..)?, Ipv6Addr::from)?;
            let scope = number(value.get(24..)?, u32::from_ne_bytes)?;
            Some(SocketAddrV6::new(address, port, flow, scope).into())
        }
        _ => None,
    }
}

/// `struct __kernel_timespec`, since the Unix epoch; zero: never.
fn time(value: &[u8]) -> Option<Duration> {
    let seconds = u64::try_from(number(value, i64::from_ne_bytes)?).ok()?;
    let nanoseconds = u32::try_from(number(value.get(8..)?, i64::from_ne_bytes)?).ok()?;
    Some(Duration::new(seconds, nanoseconds)).filter(|time| !time.is_zero())
}

fn allowed_ip(bytes: &[u8]) -> Option<AllowedIp> {
    let of = |wanted: u16| attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let length = *of(WGALLOWEDIP_A_CIDR_MASK)?.first()?;
    Some(AllowedIp { address: address(of(WGALLOWEDIP_A_IPADDR)?)?, length })
}

/// Of either family, by its length.
fn address(octets: &[u8]) -> Option<IpAddr> {
    let v6 = || <[u8; 16]>::try_from(octets).map(IpAddr::from).ok();
    <[u8; 4]>::try_from(octets).map(IpAddr::from).ok().or_else(v6)
}

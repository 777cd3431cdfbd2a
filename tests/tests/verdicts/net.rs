//! The network that the rows speak of, once for each family.

use std::net::IpAddr;

use wgha_common::{
    Address, Family,
    abi::{AdvertStamp, Outstanding, Peer, Sbfd, UplinkConfig},
};
use wgha_tests::packets::{Advert, Datagram, ICMPV6, Ip, UDP, VRRP, icmpv6, wireguard};

/// Our VRID.
pub const VRID: u8 = 52;
/// Our priority.
pub const PRIORITY: u8 = 100;
/// Our interval, centiseconds.
pub const INTERVAL: u16 = 10;
/// WireGuard's port.
pub const PORT: u16 = 51800;
/// A client's port.
pub const CLIENT_PORT: u16 = 40000;

/// The discriminator of our reflector.
pub const REFLECTOR: u32 = 0x5bfd_0001;
/// The port of our initiator.
pub const PROBE_PORT: u16 = 50_000;
/// How often our reflector can be asked, microseconds.
pub const MIN_RX: u32 = 10_000;
/// A probe that is under way to the peer.
pub const PROBE: u32 = 0xc0ff_ee01;
/// A probe that is under way to the other peer.
pub const PROBE2: u32 = 0xc0ff_ee02;
/// The number of the peer.
pub const PEER: u32 = 5;
/// The number of the other peer.
pub const PEER2: u32 = 2;

/// Addresses of one family.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    pub family: Family,
    /// Where our adverts come from.
    pub own: IpAddr,
    /// Another router, whose address is lower than ours.
    pub low: IpAddr,
    /// Another router, whose address is higher than ours.
    pub high: IpAddr,
    /// Where adverts go.
    pub group: IpAddr,
    /// The VIP that WireGuard speaks from.
    pub vip: IpAddr,
    /// Another VIP.
    pub vip2: IpAddr,
    /// Our address that is no VIP.
    pub host: IpAddr,
    /// The other server: a peer of ours.
    pub peer: IpAddr,
    /// A third server: another peer.
    pub peer2: IpAddr,
    /// Somebody on the other side of the gateway.
    pub client: IpAddr,
}

impl Net {
    pub fn of(family: Family) -> Self {
        let ip = |v4: &str, v6: &str| match family {
            Family::V4 => v4.parse().unwrap(),
            Family::V6 => v6.parse().unwrap(),
        };
        Self {
            family,
            own: ip("192.0.2.3", "fe80::3"),
            low: ip("192.0.2.1", "fe80::1"),
            high: ip("192.0.2.4", "fe80::4"),
            group: ip("224.0.0.18", "ff02::12"),
            vip: ip("192.0.2.2", "2001:db8:1::2"),
            vip2: ip("192.0.2.22", "2001:db8:1::22"),
            host: ip("192.0.2.3", "2001:db8:1::3"),
            peer: ip("192.0.2.4", "2001:db8:1::4"),
            peer2: ip("192.0.2.5", "2001:db8:1::5"),
            client: ip("198.51.100.9", "2001:db8:9::9"),
        }
    }

    pub fn both() -> [Self; 2] {
        [Self::of(Family::V6), Self::of(Family::V4)]
    }

    pub fn is_v4(&self) -> bool {
        self.family == Family::V4
    }

    /// The net of the other family.
    pub fn other(&self) -> Self {
        Self::of(if self.is_v4() { Family::V6 } else { Family::V4 })
    }

    /// As the daemon would write it.
    pub fn uplink(&self) -> UplinkConfig {
        UplinkConfig {
            source: self.own.into(),
            vip: self.vip.into(),
            wireguard_port: PORT,
            vrid: VRID,
            family: self.family.version(),
            flags: 0,
        }
    }

    /// As the daemon would write it.
    pub fn sbfd(&self) -> Sbfd {
        Sbfd { discriminator: REFLECTOR, required_min_rx: MIN_RX, port: PROBE_PORT, reserved: [0; 6] }
    }

    /// As the daemon would write them: with what they have told, and the probes under way. Of our own priority, the first
    /// outranks us by its address, and the other does not.
    pub fn peers(&self) -> [(Address, Peer, Outstanding); 2] {
        let under_way = |probe| Outstanding { discriminators: [0x11, 0, 0, 0x12, 0, 0, 0, probe] };
        let told = |number, source: IpAddr| Peer {
            source: source.into(),
            priority: PRIORITY,
            ..Peer::unknown(number)
        };
        [
            (self.peer.into(), told(PEER, self.high), under_way(PROBE)),
            (self.peer2.into(), told(PEER2, self.low), under_way(PROBE2)),
        ]
    }

    pub fn vips(&self) -> [Address; 2] {
        [self.vip.into(), self.vip2.into()]
    }

    /// As the daemon would write it.
    pub fn stamp(&self) -> AdvertStamp {
        AdvertStamp { priority: PRIORITY, checksum: 0, interval: INTERVAL, reserved: 0 }
    }

    /// The IP header of an advert.
    pub fn vrrp(&self, source: IpAddr) -> Ip {
        Ip::new(source, self.group, VRRP)
    }

    /// An advert.
    pub fn advert(&self, priority: u8) -> Advert {
        Advert::new(VRID, priority, INTERVAL, self.vip)
    }

    /// A right advert in a frame.
    pub fn heard(&self, source: IpAddr, priority: u8) -> Vec<u8> {
        self.advert(priority).frame(&self.vrrp(source))
    }

    /// The IP header of what the client sends to the VIP.
    pub fn inbound(&self) -> Ip {
        Ip { hop_limit: 60, ..Ip::new(self.client, self.vip, UDP) }
    }

    /// The IP header of what is sent to the client.
    pub fn outbound(&self, source: IpAddr) -> Ip {
        Ip { hop_limit: 64, ..Ip::new(source, self.client, UDP) }
    }

    /// A WireGuard message from the client.
    pub fn wireguard_in(&self, message_type: u8, len: usize) -> Datagram {
        Datagram::new(CLIENT_PORT, PORT, wireguard(message_type, len))
    }

    /// A WireGuard message to the client.
    pub fn wireguard_out(&self, message_type: u8, len: usize) -> Datagram {
        Datagram::new(PORT, CLIENT_PORT, wireguard(message_type, len))
    }

    /// An ICMPv6 message about `target` in a frame.
    pub fn neighbour(&self, message_type: u8, source: IpAddr, target: IpAddr) -> Vec<u8> {
        let ip = Ip::new(source, "ff02::1".parse().unwrap(), ICMPV6);
        ip.frame(&icmpv6(message_type, 0, target, &ip))
    }
}

//! Who has which address: the seed's configuration, and its IPv4-only twin.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Priority 100: Active as long as it can.
    A,
    /// Priority 99.
    B,
}

impl Which {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The hop limit of everything that this server sends of itself: an echo reply tells who wrote it.
    #[must_use]
    pub const fn hop_limit(self) -> u8 {
        match self {
            Self::A => b'A',
            Self::B => b'B',
        }
    }

    /// Its VRRP priority.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::A => 100,
            Self::B => 99,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// The addresses of one topology, all of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The gateway on the servers' segment.
    pub gateway: IpAddr,
    /// The virtual address of the servers.
    pub vip: IpAddr,
    /// Server A.
    pub a: IpAddr,
    /// Server B.
    pub b: IpAddr,
    /// The gateway on the client's segment.
    pub client_gateway: IpAddr,
    /// The client.
    pub client: IpAddr,
    /// The servers' address in the tunnel: both have it.
    pub tunnel_server: IpAddr,
    /// The client's address in the tunnel.
    pub tunnel_client: IpAddr,
    /// The length of every prefix.
    pub prefix_len: u8,
}

impl Plan {
    /// UDP port of WireGuard on the servers.
    pub const PORT: u16 = 51800;
    /// The Virtual Router Identifier.
    pub const VRID: u8 = 52;
    /// The private key that both servers have.
    pub const SERVER_KEY: &'static str = "YIEDx+A2ONo5+uv3mrk/p7ileL3T5QQ8hleQK0IYEEI=";
    /// Its public half.
    pub const SERVER_PUBLIC: &'static str = "XGubrkGtuECdvoykKeUiNMigk2onfLCPfEo9Im+vmx8=";
    /// The client's private key.
    pub const CLIENT_KEY: &'static str = "OIbpWVIVVBOtWfwkmXkFRN7Q/jBdfYtsGt7j97aHx1Q=";
    /// Its public half.
    pub const CLIENT_PUBLIC: &'static str = "3NGl6gTOGs6ai0RE91VmVFgF+N4gw1EBG11KOeiKJAg=";

    /// The seed's.
    #[must_use]
    pub const fn ipv6() -> Self {
        const fn at(subnet: u16, host: u16) -> IpAddr {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, host))
        }
        Self {
            gateway: at(1, 1),
            vip: at(1, 2),
            a: at(1, 3),
            b: at(1, 4),
            client_gateway: at(9, 1),
            client: at(9, 2),
            tunnel_server: at(2, 1),
            tunnel_client: at(2, 2),
            prefix_len: 64,
        }
    }

    /// The same in the three prefixes for documentation of RFC 5737.
    #[must_use]
    pub const fn ipv4() -> Self {
        const fn servers(host: u8) -> IpAddr {
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))
        }
        const fn clients(host: u8) -> IpAddr {
            IpAddr::V4(Ipv4Addr::new(198, 51, 100, host))
        }
        const fn tunnel(host: u8) -> IpAddr {
            IpAddr::V4(Ipv4Addr::new(203, 0, 113, host))
        }
        Self {
            gateway: servers(1),
            vip: servers(2),
            a: servers(3),
            b: servers(4),
            client_gateway: clients(1),
            client: clients(2),
            tunnel_server: tunnel(1),
            tunnel_client: tunnel(2),
            prefix_len: 24,
        }
    }

    /// A server's own address.
    #[must_use]
    pub const fn server(&self, which: Which) -> IpAddr {
        match which {
            Which::A => self.a,
            Which::B => self.b,
        }
    }

    /// An address on the servers' segment that is nobody's.
    #[must_use]
    pub const fn stranger(&self) -> IpAddr {
        match self.a {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x66)),
        }
    }

    /// An address with the length of its prefix.
    #[must_use]
    pub fn with_prefix(&self, address: IpAddr) -> String {
        format!("{address}/{}", self.prefix_len)
    }

    /// An address as AllowedIPs or a route name it alone.
    #[must_use]
    pub fn alone(address: IpAddr) -> String {
        format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })
    }

    /// Whether this is IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.vip.is_ipv6()
    }
}

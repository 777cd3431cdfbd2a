//! Membership of VRRP's multicast group: without it the network card, or a snooping switch before
//! it, filters adverts away before XDP could see them.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use wgha_common::{Family, IfIndex, wire::vrrp};

/// Held as long as this lives. A UDP socket: adverts are not queued on it.
#[derive(Debug)]
pub struct Membership(#[expect(dead_code, reason = "closing it ends the membership")] Socket);

impl Membership {
    /// Joins 224.0.0.18 or ff02::12 on `link`.
    ///
    /// # Errors
    /// ENODEV when the interface is gone.
    pub fn join(family: Family, link: IfIndex) -> io::Result<Self> {
        let socket = match family {
            Family::V4 => {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                let group = Ipv4Addr::from(vrrp::GROUP_V4);
                socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(link.0))?;
                socket
            }
            Family::V6 => {
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
                socket.join_multicast_v6(&Ipv6Addr::from(vrrp::GROUP_V6), link.0)?;
                socket
            }
        };
        Ok(Self(socket))
    }
}

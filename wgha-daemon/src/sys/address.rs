//! Addresses of an interface, and the VIPs among them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use rtnetlink::{AddressMessageBuilder, Handle};
use wgha_common::{Family, IfIndex};

use super::{
    netlink::{NetlinkError, is_errno},
    requests::{Answer, Request, Requests},
};
use crate::config::VirtualAddress;

/// How long the kernel may take to make a VIP local; 0.7 ms is the most that was measured without load on rtnl.
const LOCAL_ROUTE_TIMEOUT: Duration = Duration::from_secs(2);
/// The first pause between two looks for it, and the longest. Its work queue runs on the CPU that has asked, and is an
/// ordinary thread: one of ours that wakes up before it has ended puts it behind whoever else is waiting there.
const LOCAL_ROUTE_PAUSES: [Duration; 2] = [Duration::from_micros(150), Duration::from_millis(1)];
/// "For ever", of an address's lifetimes.
const INFINITE: u32 = u32::MAX;

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix_len: u8,
    /// Duplicate address detection has not ended, or has failed: nothing may be sent from it.
    pub unusable: bool,
}

/// Whether `a` and `b` share their first `prefix_len` bits.
#[must_use]
pub fn same_prefix(a: IpAddr, b: IpAddr, prefix_len: u8) -> bool {
    let bits = |a: IpAddr| match a {
        IpAddr::V4(a) => (u128::from(a.to_bits()), 32),
        IpAddr::V6(a) => (a.to_bits(), 128),
    };
    let ((a, width), (b, other)) = (bits(a), bits(b));
    let shift = width - u32::from(prefix_len).min(width);
    width == other && a.checked_shr(shift).unwrap_or(0) == b.checked_shr(shift).unwrap_or(0)
}

/// Reads the addresses of an interface.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn list(handle: &Handle, index: IfIndex) -> Result<Vec<InterfaceAddress>, NetlinkError> {
    Ok(messages(handle, index).await?.iter().filter_map(parse).collect())
}

/// The same as netlink has them, to be put back later.
pub(super) async fn messages(handle: &Handle, index: IfIndex) -> Result<Vec<AddressMessage>, NetlinkError> {
    let mut request = handle.address().get();
    request.message_mut().header.index = index.0;
    request.execute().try_collect().await.map_err(NetlinkError::refused("reading addresses"))
}

fn parse(message: &AddressMessage) -> Option<InterfaceAddress> {
    let mut address = None;
    let mut local = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(a) => address = Some(*a),
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    Some(InterfaceAddress {
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        unusable: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
    })
}

/// The address that adverts come from: the first link-local one, or for IPv4 the first that shares
/// its prefix with `vip` (RFC 9568 §5.1.1.1, §5.1.2.1), as long as it is not a VIP itself.
#[must_use]
pub fn advert_source(
    addresses: &[InterfaceAddress],
    family: Family,
    vips: &[VirtualAddress],
) -> Option<IpAddr> {
    let fits = |a: &&InterfaceAddress| match (family, a.address) {
        (Family::V6, IpAddr::V6(v6)) => v6.is_unicast_link_local(),
        (Family::V4, IpAddr::V4(_)) => vips.iter().any(|v| same_prefix(v.address, a.address, a.prefix_len)),
        _ => false,
    };
    let own = |a: &&InterfaceAddress| !a.unusable && !vips.iter().any(|v| v.address == a.address);
    addresses.iter().filter(own).find(fits).map(|a| a.address)
}

/// Adds the VIPs and waits until they are local: RTM_NEWADDR returns before addrconf's work queue has put the local
/// route in, and answers that arrive earlier are dropped.
///
/// No duplicate address detection (the other server had it a moment ago), no prefix route (the
/// interface has it), and deprecated: never chosen as the source of a new connection.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses, or a local route does not appear in time.
pub fn hold(requests: &mut Requests, index: IfIndex, vips: &[VirtualAddress]) -> Result<(), NetlinkError> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let add = vips.iter().map(|vip| (RouteNetlinkMessage::NewAddress(held(index, *vip)), flags)).collect();
    for (vip, answer) in vips.iter().zip(requests.ask(add).map_err(NetlinkError::Broken)?) {
        answer.map_err(NetlinkError::failed(format!("adding {}", vip.address)))?;
    }
    wait_until_local(requests, vips.iter().map(|vip| vip.address).collect())
}

fn held(index: IfIndex, vip: VirtualAddress) -> AddressMessage {
    let mut message = match vip.address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().address(address, vip.prefix_len).build()
        }
        IpAddr::V6(address) => {
            AddressMessageBuilder::<Ipv6Addr>::new().address(address, vip.prefix_len).build()
        }
    };
    message.header.index = index.0;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
    if vip.address.is_ipv6() {
        let mut lifetimes = CacheInfo::default();
        (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, INFINITE);
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    message
}

fn wait_until_local(requests: &mut Requests, mut missing: Vec<IpAddr>) -> Result<(), NetlinkError> {
    let begun = Instant::now();
    let mut pause = LOCAL_ROUTE_PAUSES[0];
    loop {
        let queries = missing.iter().map(|address| local_route(*address)).collect();
        let answers = requests.ask(queries).map_err(NetlinkError::Broken)?;
        let mut waited_for = Vec::new();
        for (address, answer) in missing.into_iter().zip(answers) {
            if !is_local(address, answer)? {
                waited_for.push(address);
            }
        }
        match waited_for.first() {
            None => return Ok(()),
            Some(address) if begun.elapsed() > LOCAL_ROUTE_TIMEOUT => {
                return Err(NetlinkError::NoLocalRoute(*address));
            }
            Some(_) => thread::sleep(pause),
        }
        missing = waited_for;
        pause = (pause * 2).min(LOCAL_ROUTE_PAUSES[1]);
    }
}

/// What `ip route get ADDRESS` asks.
fn local_route(address: IpAddr) -> Request {
    let mut query = RouteMessage::default();
    let (family, destination) = match address {
        IpAddr::V4(a) => (AddressFamily::Inet, RouteAddress::Inet(a)),
        IpAddr::V6(a) => (AddressFamily::Inet6, RouteAddress::Inet6(a)),
    };
    query.header.address_family = family;
    query.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
    query.attributes.push(RouteAttribute::Destination(destination));
    (RouteNetlinkMessage::GetRoute(query), 0)
}

/// Whether `ip route get ADDRESS` would call it `local`.
fn is_local(address: IpAddr, answer: Answer) -> Result<bool, NetlinkError> {
    match answer {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(route.header.kind == RouteType::Local),
        Ok(_) => Ok(false),
        Err(e) if e.raw_os_error() == Some(libc::ENETUNREACH) => Ok(false),
        Err(e) => Err(NetlinkError::failed(format!("looking up the route to {address}"))(e)),
    }
}

/// Removes a VIP; one that is not there is no error.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn release(handle: &Handle, index: IfIndex, vip: VirtualAddress) -> Result<(), NetlinkError> {
    release_if(handle, index, vip, |_| true).await
}

/// The same, unless it looks as if somebody else had added it: the server's own address, by now.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn release_left(handle: &Handle, index: IfIndex, vip: VirtualAddress) -> Result<(), NetlinkError> {
    release_if(handle, index, vip, is_as_held).await
}

/// As [`held`] has it added.
fn is_as_held(message: &AddressMessage) -> bool {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.is_some_and(|flags| flags.contains(AddressFlags::Noprefixroute))
}

async fn release_if(
    handle: &Handle,
    index: IfIndex,
    vip: VirtualAddress,
    is_ours: impl Fn(&AddressMessage) -> bool,
) -> Result<(), NetlinkError> {
    for message in messages(handle, index).await? {
        if parse(&message).is_some_and(|a| a.address == vip.address) && is_ours(&message) {
            match handle.address().del(message).execute().await {
                Err(e) if is_errno(&e, libc::EADDRNOTAVAIL) => {}
                other => other.map_err(NetlinkError::refused(format!("removing {}", vip.address)))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(address: &str, prefix_len: u8) -> InterfaceAddress {
        InterfaceAddress { address: address.parse().unwrap(), prefix_len, unusable: false }
    }

    fn vip(address: &str, prefix_len: u8) -> VirtualAddress {
        VirtualAddress { address: address.parse().unwrap(), prefix_len }
    }

    #[test]
    fn prefixes_of_every_length_compare() {
        for (a, b, len, same) in [
            ("2001:db8:1::2", "2001:db8:1::3", 64, true),
            ("2001:db8:1::2", "2001:db8:2::3", 64, false),
            ("192.0.2.2", "192.0.2.130", 24, true),
            ("192.0.2.2", "192.0.2.130", 25, false),
            ("192.0.2.2", "198.51.100.1", 0, true),
            ("::", "ff00::", 0, true),
            ("192.0.2.2", "192.0.2.3", 32, false),
            ("192.0.2.2", "::ffff:192.0.2.2", 0, false),
        ] {
            assert_eq!(same_prefix(a.parse().unwrap(), b.parse().unwrap(), len), same, "{a} {b}/{len}");
        }
    }

    #[test]
    fn adverts_come_from_the_link_local_or_the_primary_address() {
        let v6 = [on("2001:db8:1::3", 64), on("fe80::3", 64)];
        let vips = [vip("2001:db8:1::2", 64)];
        assert_eq!(advert_source(&v6, Family::V6, &vips), Some("fe80::3".parse().unwrap()));
        let v4 = [on("192.0.2.2", 24), on("203.0.113.1", 24), on("192.0.2.3", 24)];
        let vips = [vip("192.0.2.2", 24)];
        assert_eq!(advert_source(&v4, Family::V4, &vips), Some("192.0.2.3".parse().unwrap()));
        let tentative = [InterfaceAddress { unusable: true, ..on("fe80::3", 64) }];
        assert_eq!(advert_source(&tentative, Family::V6, &[]), None);
    }
}

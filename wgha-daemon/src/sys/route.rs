//! Routes: where packets leave the segment.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    AddressFamily,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use rtnetlink::Handle;
use wgha_common::{Family, IfIndex};

use super::netlink::NetlinkError;

/// Each is asked with each announcement.
const MAX_GATEWAYS: usize = 8;

/// The gateways of this family behind an interface: the next hops of its routes.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn gateways(handle: &Handle, index: IfIndex, family: Family) -> Result<Vec<IpAddr>, NetlinkError> {
    let mut query = RouteMessage::default();
    query.header.address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    query.attributes.push(RouteAttribute::Oif(index.0));
    let routes: Vec<_> = handle
        .route()
        .get(query)
        .execute()
        .try_collect()
        .await
        .map_err(NetlinkError::refused("reading routes"))?;
    let mut gateways: Vec<_> = routes.iter().filter_map(|route| gateway(route, index)).collect();
    gateways.sort_unstable();
    gateways.dedup();
    gateways.truncate(MAX_GATEWAYS);
    Ok(gateways)
}

fn gateway(route: &RouteMessage, index: IfIndex) -> Option<IpAddr> {
    let through = route.attributes.contains(&RouteAttribute::Oif(index.0));
    route.attributes.iter().filter(|_| through).find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Gateway(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })
}

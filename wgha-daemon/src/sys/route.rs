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

/// The routers behind an interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways {
    /// The next hops of all routes.
    pub all: Vec<IpAddr>,
    /// Those of the default routes.
    pub default: Vec<IpAddr>,
}

/// The gateways of this family behind an interface.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn gateways(handle: &Handle, index: IfIndex, family: Family) -> Result<Gateways, NetlinkError> {
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
    let of = |wanted: fn(&RouteMessage) -> bool| {
        let routes = routes.iter().filter(|route| wanted(route));
        let mut gateways: Vec<_> = routes.flat_map(|route| next_hops(route, index)).collect();
        gateways.sort_unstable();
        gateways.dedup();
        gateways.truncate(MAX_GATEWAYS);
        gateways
    };
    Ok(Gateways { all: of(|_| true), default: of(|route| route.header.destination_prefix_length == 0) })
}

/// Of a route with one next hop, or of one with several.
fn next_hops(route: &RouteMessage, index: IfIndex) -> Vec<IpAddr> {
    let several = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let Some(hops) = several else { return gateway(route, index).into_iter().collect() };
    let through = hops.iter().filter(|hop| hop.interface_index == index.0);
    through.filter_map(|hop| hop.attributes.iter().find_map(address)).collect()
}

fn gateway(route: &RouteMessage, index: IfIndex) -> Option<IpAddr> {
    let through = route.attributes.contains(&RouteAttribute::Oif(index.0));
    route.attributes.iter().filter(|_| through).find_map(address)
}

fn address(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        RouteAttribute::Gateway(RouteAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    }
}

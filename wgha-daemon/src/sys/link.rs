//! Network interfaces: reading them, setting them up and down.

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use nix::{
    errno::Errno,
    net::if_::{if_indextoname, if_nametoindex},
};
use rtnetlink::{Handle, LinkUnspec};
use wgha_common::{IfIndex, wire::ethernet::Mac};

use super::{
    netlink::{NetlinkError, is_errno},
    requests::Requests,
};

/// An interface, as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: IfIndex,
    /// It is set up (IFF_UP).
    pub up: bool,
    /// It is set up and has carrier (IFF_LOWER_UP).
    pub running: bool,
    /// Its Ethernet address; all zero when it has none (a tunnel).
    pub mac: Mac,
    /// One end of a pair of virtual cables. Native XDP sends from it only if the other end has a program, too.
    pub veth: bool,
}

/// Reads the interface of this name; `None` when there is none.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses for another reason.
pub async fn read(handle: &Handle, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut links = handle.link().get().match_name(name).execute();
    match links.try_next().await {
        Ok(link) => Ok(link.as_ref().map(parse)),
        Err(e) if is_errno(&e, libc::ENODEV) => Ok(None),
        Err(e) => Err(NetlinkError::refused(format!("reading {name}"))(e)),
    }
}

fn parse(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mac = message.attributes.iter().find_map(|a| match a {
        LinkAttribute::Address(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    Link {
        index: IfIndex(message.header.index),
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mac: mac.unwrap_or_default(),
        veth: is_veth(message),
    }
}

fn is_veth(message: &LinkMessage) -> bool {
    let veth = LinkInfo::Kind(InfoKind::Veth);
    message.attributes.iter().any(|a| matches!(a, LinkAttribute::LinkInfo(info) if info.contains(&veth)))
}

/// The index of the interface of this name; `None` when there is none. The cheapest that can be asked.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses for another reason.
pub fn index(name: &str) -> Result<Option<IfIndex>, NetlinkError> {
    match if_nametoindex(name) {
        Ok(index) => Ok(Some(IfIndex(index))),
        Err(Errno::ENODEV | Errno::ENXIO) => Ok(None),
        Err(e) => Err(NetlinkError::failed(format!("looking for {name}"))(e.into())),
    }
}

/// What the interface of this index is called; `None` when there is none.
#[must_use]
pub fn name(index: IfIndex) -> Option<String> {
    if_indextoname(index.0).ok()?.into_string().ok()
}

/// Sets the interface up, without a runtime.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub fn set_up_now(requests: &mut Requests, name: &str, index: IfIndex) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_index(index.0).up().build();
    let answers = requests.ask(vec![(RouteNetlinkMessage::SetLink(message), 0)]);
    let refused = answers.map_err(NetlinkError::Broken)?.into_iter().find_map(Result::err);
    refused.map_or(Ok(()), |e| Err(NetlinkError::failed(format!("setting {name} up"))(e)))
}

/// Sets the interface up or down. Down takes about 35 ms for WireGuard: the kernel waits for readers.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses.
pub async fn set_up(handle: &Handle, name: &str, index: IfIndex, up: bool) -> Result<(), NetlinkError> {
    let message = LinkUnspec::new_with_index(index.0);
    let message = if up { message.up() } else { message.down() };
    let what = if up { "up" } else { "down" };
    let refused = NetlinkError::refused(format!("setting {name} {what}"));
    handle.link().set(message.build()).execute().await.map_err(refused)
}

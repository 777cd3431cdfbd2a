//! The connection to rtnetlink: requests, and notifications that something has changed.

use std::io;

use futures_util::StreamExt as _;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags},
};
use netlink_sys::{AsyncSocket as _, SocketAddr};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::mpsc;

/// A netlink request that the kernel, or the way to it, refused.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel's answer.
    #[error("{what}: {}", refusal(.source))]
    Refused {
        /// What was asked for.
        what: String,
        /// Its answer.
        source: rtnetlink::Error,
    },
    /// The same of several that were sent at once.
    #[error("{what}: {source}")]
    Failed {
        /// What was asked for.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel cannot be asked.
    #[error("rtnetlink: {0}")]
    Broken(#[source] io::Error),
    /// Nothing to ask about.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// A VIP was added, but the kernel did not make it local in time.
    #[error("the local route of {0} has not appeared")]
    NoLocalRoute(std::net::IpAddr),
}

/// "Operation not permitted" instead of a dump of the message.
fn refusal(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    }
}

impl NetlinkError {
    /// `what` was refused with `source`.
    pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let what = what.into();
        move |source| Self::Refused { what, source }
    }

    /// `what` has failed with `source`.
    pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Failed { what, source }
    }
}

/// Whether the kernel answered with this errno.
pub(crate) fn is_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

/// A link or an address has changed; which one must be read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// A link.
    Link {
        /// Its index.
        index: u32,
        /// Its name.
        name: Option<String>,
        /// It was up when the kernel said so.
        up: bool,
    },
    /// An address.
    Address {
        /// Of the link of this index.
        index: u32,
        /// It was removed.
        gone: bool,
    },
    /// Notifications were lost: everything must be read anew.
    Everything,
}

/// A connection for requests, with the kernel's strict checking: it filters dumps by interface itself.
///
/// One for each task: a second dump on a socket while one is under way is refused (EBUSY).
///
/// # Errors
/// When no netlink socket can be made.
pub fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Notifications of links and addresses, over a connection of their own: a dump in progress does not delay them.
///
/// # Errors
/// When no netlink socket can be made.
pub fn watch() -> io::Result<mpsc::UnboundedReceiver<Changed>> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (mut connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    // A burst on a busy router must not overrun the socket; what is lost all the same is seen as ENOBUFS.
    connection.socket_mut().socket_mut().set_rx_buf_sz(1 << 20)?;
    tokio::spawn(connection);
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let _keep = _handle;
        while let Some(message) = messages.next().await {
            if let Some(changed) = changed(&message)
                && tx.send(changed).is_err()
            {
                return;
            }
        }
    });
    Ok(rx)
}

fn changed((message, _): &(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)) -> Option<Changed> {
    match &message.payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link),
        ) => {
            let name = link.attributes.iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            let (index, up) = (link.header.index, link.header.flags.contains(LinkFlags::Up));
            Some(Changed::Link { index, name, up })
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(a)) => {
            Some(Changed::Address { index: a.header.index, gone: false })
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(a)) => {
            Some(Changed::Address { index: a.header.index, gone: true })
        }
        NetlinkPayload::Overrun(_) | NetlinkPayload::Error(_) => Some(Changed::Everything),
        _ => None,
    }
}

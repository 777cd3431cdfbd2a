//! The WireGuard link, and what it loses when it is set down: its IPv6 addresses and all its routes.
//!
//! They are remembered while the link is up, put back when it is raised, and kept in a file on
//! `/run` so that a restart of the daemon does not lose them either. The file holds addresses and
//! routes as the netlink messages that put them back; no keys.

use std::{fs, io, path::PathBuf};

use futures_util::TryStreamExt as _;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol},
};
use rtnetlink::Handle;
use wgha_common::{IfIndex, Timestamp};

use super::{
    address, clock,
    link::{self, Link},
    netlink::{NetlinkError, is_errno},
    requests::{Answer, Request, Requests},
};

/// The routing table that the kernel fills itself.
const LOCAL_TABLE: u8 = 255;

/// Is told when the link was raised, as soon as it is up: before its addresses and routes are back.
pub type Raised = Box<dyn Fn(Timestamp) + Send>;

/// The WireGuard link.
pub struct Tunnel {
    handle: Handle,
    name: String,
    file: PathBuf,
    remembered: Option<Remembered>,
    /// The link has not been down since it had all that is remembered.
    intact: bool,
    raised: Raised,
}

/// What an interface had while it was up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    /// Another index is another interface: nothing is put back there.
    index: IfIndex,
    addresses: Vec<AddressMessage>,
    routes: Vec<RouteMessage>,
}

impl Tunnel {
    /// The link `name`, with what an earlier daemon has left in `file`.
    #[must_use]
    pub fn new(handle: Handle, name: &str, file: PathBuf, raised: Raised) -> Self {
        let remembered = fs::read_to_string(&file).ok().as_deref().and_then(Remembered::from_text);
        Self { handle, name: name.to_owned(), file, remembered, intact: true, raised }
    }

    /// Keeps up with what others do to the link: remembers what it has, and puts back what it has lost
    /// when somebody set it down and up again. `went_down`: the kernel has said that it was down.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel refuses.
    pub async fn tend(&mut self, went_down: bool) -> Result<(), NetlinkError> {
        let link = link::read(&self.handle, &self.name).await?;
        self.intact &= !went_down && link.is_some_and(|l| l.up);
        match link {
            Some(Link { index, up: true, .. }) => self.put_back_and_remember(index).await,
            _ => Ok(()),
        }
    }

    /// Sets the link down, after remembering what it has.
    ///
    /// # Errors
    /// [`NetlinkError`] when the kernel refuses. A link that is gone is no error.
    pub async fn lower(&mut self) -> Result<(), NetlinkError> {
        let tended = self.tend(false).await;
        if let Some(Link { index, up: true, .. }) = link::read(&self.handle, &self.name).await? {
            link::set_up(&self.handle, &self.name, index, false).await?;
        }
        self.intact = false;
        tended
    }

    /// Sets the link up and puts back what it has lost. A link that was known to be down has lost everything: nothing
    /// is looked for, and [`Self::tend`] sees later to what the kernel or others have made of it.
    ///
    /// # Errors
    /// [`NetlinkError`] when the link is gone or the kernel refuses.
    pub async fn raise(&mut self, requests: &mut Requests) -> Result<(), NetlinkError> {
        let index = link::index(&self.name)?.ok_or_else(|| NetlinkError::NoInterface(self.name.clone()))?;
        if self.intact {
            self.intact = link::read(&self.handle, &self.name).await?.is_some_and(|link| link.up);
        }
        link::set_up_now(requests, &self.name, index)?;
        (self.raised)(clock::now());
        let lost = self.remembered.as_ref().filter(|r| r.index == index && !self.intact);
        let put_back = lost.map(|r| requests.ask(r.requests())).transpose().map_err(NetlinkError::Broken)?;
        match put_back {
            Some(answers) if answers.iter().all(is_there) => Ok(()),
            _ => self.put_back_and_remember(index).await,
        }
    }

    async fn put_back_and_remember(&mut self, index: IfIndex) -> Result<(), NetlinkError> {
        if !self.intact {
            self.put_back(index).await?;
        }
        let addresses = address::messages(&self.handle, index).await?;
        let routes = self.routes(index).await?;
        // A link that has gone down meanwhile has lost some of them already.
        self.intact = link::read(&self.handle, &self.name).await?.is_some_and(|l| l.up && l.index == index);
        if self.intact {
            self.remember(Remembered { index, addresses, routes });
        }
        Ok(())
    }

    fn remember(&mut self, now: Remembered) {
        if self.remembered.as_ref() == Some(&now) {
            return;
        }
        if let Err(e) = fs::write(&self.file, now.to_text(&self.name)) {
            let file = self.file.display();
            tracing::warn!(%file, "addresses and routes of {} will be lost with this daemon: {e}", self.name);
        }
        self.remembered = Some(now);
    }

    async fn put_back(&self, index: IfIndex) -> Result<(), NetlinkError> {
        let Some(r) = self.remembered.as_ref().filter(|r| r.index == index) else { return Ok(()) };
        let there = address::messages(&self.handle, index).await?;
        for lost in r.addresses.iter().filter(|a| !there.iter().any(|t| same_address(t, a))) {
            self.put_back_address(lost).await?;
        }
        self.put_back_routes(r, index).await
    }

    /// In passes, as one route may lead through another. One that cannot be put back is no reason not to
    /// serve the others.
    async fn put_back_routes(&self, r: &Remembered, index: IfIndex) -> Result<(), NetlinkError> {
        let there = self.routes(index).await?;
        let mut lost: Vec<_> = r.routes.iter().filter(|route| !there.contains(route)).collect();
        loop {
            let mut refused = Vec::new();
            for route in &lost {
                match self.handle.route().add((*route).clone()).replace().execute().await {
                    Err(e) if !is_errno(&e, libc::EEXIST) => refused.push((*route, e)),
                    _ => {}
                }
            }
            if refused.is_empty() || refused.len() == lost.len() {
                for (_, e) in refused {
                    let e = NetlinkError::refused(format!("putting a route of {} back", self.name))(e);
                    tracing::warn!("{e}");
                }
                return Ok(());
            }
            lost = refused.into_iter().map(|(route, _)| route).collect();
        }
    }

    async fn put_back_address(&self, lost: &AddressMessage) -> Result<(), NetlinkError> {
        let any = std::net::Ipv6Addr::UNSPECIFIED.into();
        let mut request = self.handle.address().add(lost.header.index, any, lost.header.prefix_len).replace();
        *request.message_mut() = lost.clone();
        let refused = NetlinkError::refused(format!("putting an address of {} back", self.name));
        request.execute().await.map_err(refused)
    }

    /// The routes through the link that somebody has configured; the kernel makes its own again.
    async fn routes(&self, index: IfIndex) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            query.attributes.push(RouteAttribute::Oif(index.0));
            let dump = self.handle.route().get(query).execute();
            let all: Vec<RouteMessage> =
                dump.try_collect().await.map_err(NetlinkError::refused("reading routes"))?;
            routes.extend(all.into_iter().filter(|r| is_configured(r, index)).map(without_state));
        }
        Ok(routes)
    }
}

/// Whether what was to be put back is there now.
fn is_there(answer: &Answer) -> bool {
    answer.as_ref().map_or_else(|e| e.raw_os_error() == Some(libc::EEXIST), |_| true)
}

fn is_configured(route: &RouteMessage, index: IfIndex) -> bool {
    let RouteHeader { protocol, table, .. } = route.header;
    protocol != RouteProtocol::Kernel
        && protocol != RouteProtocol::IcmpRedirect
        && table != LOCAL_TABLE
        && route.attributes.contains(&RouteAttribute::Oif(index.0))
}

/// Without what the kernel reports but does not take: ages and counters, and flags such as "link down".
fn without_state(mut route: RouteMessage) -> RouteMessage {
    route.attributes.retain(|a| !matches!(a, RouteAttribute::CacheInfo(_)));
    route.header.flags = netlink_packet_route::route::RouteFlags::empty();
    route
}

fn same_address(a: &AddressMessage, b: &AddressMessage) -> bool {
    let of = |m: &AddressMessage| {
        m.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    };
    a.header.prefix_len == b.header.prefix_len && of(a) == of(b)
}

impl Remembered {
    const FIRST_LINE: &'static str = "wgha-tunnel 1";

    /// What puts it back, as far as it is not there.
    fn requests(&self) -> Vec<Request> {
        let addresses = self.addresses.iter().cloned().map(RouteNetlinkMessage::NewAddress);
        let routes = self.routes.iter().cloned().map(RouteNetlinkMessage::NewRoute);
        addresses.chain(routes).map(|message| (message, NLM_F_CREATE | NLM_F_EXCL)).collect()
    }

    fn to_text(&self, name: &str) -> String {
        let addresses = self.addresses.iter().cloned().map(RouteNetlinkMessage::NewAddress);
        let routes = self.routes.iter().cloned().map(RouteNetlinkMessage::NewRoute);
        let mut text = format!("{} {} {name}\n", Self::FIRST_LINE, self.index);
        for message in addresses.chain(routes) {
            let mut message = NetlinkMessage::from(message);
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            text.extend(bytes.iter().map(|b| format!("{b:02x}")));
            text.push('\n');
        }
        text
    }

    /// `None` when the text is not of this version or not whole: better nothing than half of it.
    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let index = lines.next()?.strip_prefix(Self::FIRST_LINE)?.split_whitespace().next()?.parse().ok()?;
        let mut remembered = Self { index: IfIndex(index), addresses: Vec::new(), routes: Vec::new() };
        for line in lines {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes_of(line).ok()?).ok()?;
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(a)) => {
                    remembered.addresses.push(a)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(r)) => remembered.routes.push(r),
                _ => return None,
            }
        }
        Some(remembered)
    }
}

fn bytes_of(hex: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0).ok_or(io::ErrorKind::InvalidData)?;
    Ok(digits.chunks_exact(2).map(|d| (d[0] * 16 + d[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_survives_the_file() {
        let mut address = AddressMessage::default();
        address.header.family = AddressFamily::Inet6;
        (address.header.index, address.header.prefix_len) = (7, 64);
        let a: std::net::IpAddr = "2001:db8:2::1".parse().unwrap();
        address.attributes.push(AddressAttribute::Address(a));
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet6;
        route.attributes.push(RouteAttribute::Oif(7));
        let before = Remembered { index: IfIndex(7), addresses: vec![address], routes: vec![route] };
        let text = before.to_text("wg1");
        assert_eq!(Remembered::from_text(&text), Some(before));
        assert_eq!(Remembered::from_text(&text[..text.len() - 8]), None, "cut short");
        assert_eq!(Remembered::from_text(""), None);
        assert_eq!(Remembered::from_text("wgha-tunnel 2 7 wg1\n"), None);
    }
}

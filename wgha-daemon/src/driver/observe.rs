//! Looks at the uplink and at the WireGuard interface whenever the kernel says that something has changed.
//!
//! Notifications only say *that*; the state is read anew each time. So a lost or late one cannot
//! leave a wrong picture behind.

use std::time::Duration;

use rtnetlink::Handle;
use tokio::sync::{broadcast, mpsc};
use wgha_common::{Family, Timestamp};

use crate::sys::{
    address::{self, InterfaceAddress},
    clock,
    link::{self, Link},
    netlink::{Changed, NetlinkError},
    route::{self, Gateways},
    wireguard::{self, Facts, WireguardError},
};

/// What nobody tells is looked at this often: kernel WireGuard's listen port that was changed, what could
/// not be looked at, or not be settled, the last time.
const AUDIT: Duration = Duration::from_secs(10);

/// What is not urgent is looked at after this time. It is our own doing for the most part, in the middle of a take-over, when
/// the CPU and WireGuard have more to do than to be looked at.
const SETTLING: Duration = Duration::from_millis(20);

/// An interface, as it was found.
#[derive(Debug)]
pub enum Seen {
    /// The uplink.
    Uplink(UplinkSeen),
    /// The WireGuard interface.
    Tunnel(TunnelSeen),
}

/// The uplink, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UplinkSeen {
    /// When looking began: what happened later may be missing.
    pub at: Timestamp,
    /// The interface, if it exists.
    pub link: Option<Link>,
    /// Its addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// The routers that lead out of the segment.
    pub gateways: Gateways,
}

/// The WireGuard interface, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TunnelSeen {
    /// When looking began: what happened later may be missing.
    pub at: Timestamp,
    /// The interface, if it exists.
    pub link: Option<Link>,
    /// The kernel has said that it was down, although it may be up again.
    pub went_down: bool,
    /// What WireGuard says, or why it says nothing.
    pub facts: Option<Result<Facts, String>>,
    /// It does not answer, which says nothing about how it is.
    pub silent: bool,
}

/// Why to look.
#[derive(Debug, Clone)]
pub enum Look {
    /// The kernel has notified us.
    Changed(Changed),
    /// The UDP socket of WireGuard's port was closed.
    UdpClosed,
    /// The driver wants to know.
    Now,
}

/// Looks at the uplink now.
///
/// # Errors
/// [`NetlinkError`].
pub async fn uplink(handle: &Handle, name: &str, family: Family) -> Result<UplinkSeen, NetlinkError> {
    let at = clock::now();
    let link = link::read(handle, name).await?;
    let (addresses, gateways) = match &link {
        Some(link) => {
            let addresses = address::list(handle, link.index).await?;
            (addresses, route::gateways(handle, link.index, family).await?)
        }
        None => (Vec::new(), Gateways::default()),
    };
    Ok(UplinkSeen { at, link, addresses, gateways })
}

/// Looks at the WireGuard interface now.
///
/// # Errors
/// [`NetlinkError`].
pub async fn tunnel(handle: &Handle, name: &str) -> Result<TunnelSeen, NetlinkError> {
    let at = clock::now();
    let link = link::read(handle, name).await?;
    let facts = match link {
        Some(_) => Some(wireguard::facts(name).await),
        None => None,
    };
    let silent = matches!(facts, Some(Err(WireguardError::Silent(_))));
    let facts = facts.map(|facts| facts.map_err(|e| e.to_string()));
    Ok(TunnelSeen { at, link, went_down: false, facts, silent })
}

/// Watches the uplink until the driver has gone.
pub async fn watch_uplink(
    handle: Handle,
    name: String,
    family: Family,
    mut looks: broadcast::Receiver<Look>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    let mut known = Known { name, index: None, port: None, closed: None, has_carrier: true };
    loop {
        match uplink(&handle, &known.name, family).await {
            Ok(found) => {
                known.index = found.link.map(|l| l.index.0);
                if seen.send(Seen::Uplink(found)).is_err() {
                    return;
                }
            }
            Err(e) => tracing::warn!(interface = known.name, "cannot be looked at: {e}"),
        }
        if known.reason_to_look(&mut looks).await.is_none() {
            return;
        }
    }
}

/// Watches the WireGuard interface until the driver has gone. `closed`: the ports of all UDP sockets that are closed.
pub async fn watch_tunnel(
    handle: Handle,
    name: String,
    mut looks: broadcast::Receiver<Look>,
    closed: Option<mpsc::UnboundedReceiver<Option<u16>>>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    let mut known = Known { name, index: None, port: None, closed, has_carrier: false };
    let mut went_down = false;
    loop {
        match tunnel(&handle, &known.name).await {
            Ok(mut found) => {
                found.went_down = std::mem::take(&mut went_down);
                known.index = found.link.map(|l| l.index.0);
                known.port = found.facts.as_ref().and_then(|f| f.as_ref().ok()).and_then(|f| f.listen_port);
                if seen.send(Seen::Tunnel(found)).is_err() {
                    return;
                }
            }
            Err(e) => tracing::warn!(interface = known.name, "cannot be looked at: {e}"),
        }
        match known.reason_to_look(&mut looks).await {
            Some(Look::Changed(Changed::Link { up, .. })) => went_down |= !up,
            // What was lost may have said so. What somebody has removed since the last look comes back then.
            Some(Look::Changed(Changed::Everything)) => went_down = true,
            Some(_) => {}
            None => return,
        }
    }
}

/// What tells whether a notification is about an interface.
struct Known {
    name: String,
    index: Option<u32>,
    port: Option<u16>,
    /// There may be thousands a second that are not about it.
    closed: Option<mpsc::UnboundedReceiver<Option<u16>>>,
    /// It can lose its carrier while it is up.
    has_carrier: bool,
}

/// What comes next, if anything ever does.
async fn next(closed: &mut Option<mpsc::UnboundedReceiver<Option<u16>>>) -> Option<Option<u16>> {
    match closed {
        Some(closed) => closed.recv().await,
        None => std::future::pending().await,
    }
}

impl Known {
    /// Waits for a reason to look again, until the next audit at the latest. `None`: the driver has gone.
    async fn reason_to_look(&mut self, looks: &mut broadcast::Receiver<Look>) -> Option<Look> {
        let audit = tokio::time::sleep(AUDIT);
        tokio::pin!(audit);
        let mut settling = false;
        loop {
            let look = tokio::select! {
                () = &mut audit => return Some(Look::Now),
                look = looks.recv() => look,
                Some(port) = next(&mut self.closed) => match port.is_none() || port == self.port {
                    true => return Some(Look::UdpClosed),
                    false => continue,
                },
            };
            match look {
                Ok(look) if !self.concerns(&look) => {}
                Ok(look) if self.is_urgent(&look) => return Some(look),
                Ok(_) if settling => {}
                Ok(_) => {
                    settling = true;
                    let soon = audit.deadline().min(tokio::time::Instant::now() + SETTLING);
                    audit.as_mut().reset(soon);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(Look::Changed(Changed::Everything));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    fn concerns(&self, look: &Look) -> bool {
        match look {
            Look::Changed(Changed::Everything) | Look::Now => true,
            Look::Changed(Changed::Link { index, name, .. }) => {
                Some(*index) == self.index || name.as_ref() == Some(&self.name)
            }
            Look::Changed(Changed::Address { index, .. }) => Some(*index) == self.index,
            Look::UdpClosed => true,
        }
    }

    /// Whether something may have been lost (invariant I14).
    fn is_urgent(&self, look: &Look) -> bool {
        match look {
            Look::Changed(Changed::Link { up, .. }) => self.has_carrier || !up,
            Look::Changed(Changed::Address { gone, .. }) => *gone,
            Look::Changed(Changed::Everything) | Look::UdpClosed => true,
            Look::Now => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(port: u16, closed: Option<mpsc::UnboundedReceiver<Option<u16>>>) -> Known {
        Known { name: "wg1".to_owned(), index: Some(7), port: Some(port), closed, has_carrier: false }
    }

    #[tokio::test]
    async fn what_was_not_heard_may_have_been_anything() {
        let (tell, mut looks) = broadcast::channel(2);
        let other = Changed::Link { index: 8, name: None, up: true };
        (0..5).for_each(|_| drop(tell.send(Look::Changed(other.clone()))));
        let look = known(1, None).reason_to_look(&mut looks).await;
        assert!(matches!(look, Some(Look::Changed(Changed::Everything))), "{look:?}");
    }

    #[tokio::test]
    async fn of_all_sockets_only_that_of_wireguards_port_is_a_reason() {
        let (_tell, mut looks) = broadcast::channel(2);
        let (closed, ports) = mpsc::unbounded_channel();
        let mut known = known(51800, Some(ports));
        (0..1000).for_each(|_| closed.send(Some(53)).unwrap());
        let waits = Duration::from_millis(20);
        assert!(tokio::time::timeout(waits, known.reason_to_look(&mut looks)).await.is_err(), "a resolver's");
        closed.send(Some(51800)).unwrap();
        closed.send(None).unwrap();
        for _ in 0..2 {
            let look = known.reason_to_look(&mut looks).await;
            assert!(matches!(look, Some(Look::UdpClosed)), "{look:?}");
        }
    }
}

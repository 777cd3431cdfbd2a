//! What the loop tells the main thread.

use std::{net::IpAddr, time::Duration};

use wgha_common::{IfIndex, Timestamp};

/// What the loop tells the main thread. Only the latest counts, so a main thread that is slow misses nothing and
/// nothing piles up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Since when this node is Active; `None`: it is not.
    pub serving: Option<Timestamp>,
    /// Where its adverts come from.
    pub source: Option<IpAddr>,
    /// The uplink.
    pub link: Option<IfIndex>,
    /// How often the kernel half has rung for a new source of WireGuard's packets.
    pub sources: u64,
    /// How often the WireGuard interface has changed.
    pub tunnels: u64,
    /// How often it was another one, or none.
    pub devices: u64,
    /// How long our lease may last after its last renewal, unless as usual.
    pub lease: Option<Duration>,
    /// Whether this node reaches the gateway and could serve, if it can tell.
    pub reaches: Option<bool>,
    /// Our priority, and whether we are fit to serve.
    pub health: (u8, bool),
    /// Handshakes are to be started; `None`: no more.
    pub handshakes: Option<Order>,
}

/// [`crate::proto::Action::StartHandshakes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// When it was given.
    pub at: Timestamp,
    /// The link has been up all the time, and sessions may stand.
    pub again: bool,
}

impl Told {
    /// This node is Active.
    #[must_use]
    pub const fn is_serving(&self) -> bool {
        self.serving.is_some()
    }
}

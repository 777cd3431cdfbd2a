//! WireGuard itself, the kernel's or a program's.
//!
//! | file | holds |
//! |---|---|
//! | [`facts`](facts()) | what it says of the interface |
//! | [`device`] | reads and changes its peers, starts handshakes |
//! | `configuration` | what is read and what is changed, with its keys |
//! | `uapi` | both as the text of a UAPI socket |
//! | `netlink` | both for the kernel |
//!
//! # Architecture invariant
//! Private and preshared keys never leave this folder (I12): no type that holds one has a Debug, and what is handed
//! out ([`crate::proto::peers::WireguardPeer`], [`Facts`]) has none.
//!
//! # Why wireguard-control neither reads nor writes
//! It cannot say "only if the peer exists" (`update_only`), which every change here must: a peer that somebody has
//! just removed must not come back. It also creates a missing interface, starts `wireguard-go` when the
//! socket does not answer, prints to stdout, waits without bound, and opens a socket for each reading.

mod configuration;
pub mod device;
mod facts;
mod netlink;
mod uapi;

pub use device::Device;
pub use facts::{Facts, Implementation, WireguardError, facts};

use std::time::Duration;

/// How long an implementation may take to answer. A stopped wireguard-go never does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

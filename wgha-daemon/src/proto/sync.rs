//! What the other servers must know, so that one of them can take over: where each peer of WireGuard is.
//!
//! ```text
//! Active:  device ─▶ Publisher ─▶ Records that changed ─▶ peer channel ─▶ Replica ─▶ endpoints to set  :Backup
//!                                                                            └────▶ who is greeted first, once it serves
//! ```

mod fingerprint;
mod publisher;
mod replica;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::peers::PeerKey;

pub use fingerprint::{Fingerprint, Fingerprints, fingerprint};
pub use publisher::{Changes, Publisher};
pub use replica::{Replica, Taken};

/// What a server tells of one peer of WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which peer.
    pub key: PeerKey,
    /// Where it is. The scope of a link-local address does not travel: it means nothing elsewhere.
    pub endpoint: Option<SocketAddr>,
    /// When its last handshake was completed: time since the Unix epoch, by the sender's clock.
    pub last_handshake: Option<Duration>,
    /// The persistent keepalive in seconds.
    pub keepalive: Option<u16>,
    /// How long it had been silent when this was sent.
    pub recency: Recency,
}

/// Seconds since data last went to or came from a peer, rounded down to one of a few steps.
///
/// Keepalives and handshakes are not data. It is told anew when it reaches the next step, so what was
/// told last is true until the teller falls silent itself: it does not grow on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Recency(pub u32);

impl Recency {
    /// It talks right now.
    pub const NOW: Self = Self(0);
    /// Never, or so long ago that it does not matter.
    pub const LONG_AGO: Self = Self(u32::MAX);
    /// The steps between. The first is longer than a pause within a conversation.
    const STEPS: [u32; 5] = [15, 60, 180, 600, 3600];

    /// The step that a silence of this length has reached.
    #[must_use]
    pub fn of(silence: Duration) -> Self {
        let seconds = silence.as_secs();
        if seconds >= 24 * 3600 {
            return Self::LONG_AGO;
        }
        let reached = Self::STEPS.iter().rev().find(|step| seconds >= u64::from(**step));
        Self(reached.copied().unwrap_or(0))
    }
}

/// Who a server is, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Where its adverts come from.
    pub source: IpAddr,
    /// Its priority.
    pub priority: u8,
    /// It is Active.
    pub serving: bool,
    /// What its reflector answers to (S-BFD's discriminator); 0: it does not answer.
    pub discriminator: u32,
    /// How long its lease may last after its last renewal (I6).
    pub lease: Duration,
    /// How often it can be probed.
    pub required_min_rx: Duration,
    /// Whether it reaches the gateway and could serve; [`None`]: it cannot tell, or is of a version that does not. On the
    /// wire it comes last of all that is said with an introduction.
    #[serde(skip)]
    pub reaches: Option<bool>,
    /// It can serve, and nothing speaks against it. One that does not say so yet is not known to be. It travels behind all the
    /// rest of the message: older servers know nothing of it.
    #[serde(skip)]
    pub fit: bool,
}

impl Introduction {
    /// Whether nothing but what it reaches is different from the other one.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        *self == Self { reaches: self.reaches, ..*other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_in_steps() {
        for (seconds, step) in [(0, 0), (14, 0), (15, 15), (59, 15), (60, 60), (4000, 3600)] {
            assert_eq!(Recency::of(Duration::from_secs(seconds)), Recency(step), "{seconds} s");
        }
        assert_eq!(Recency::of(Duration::from_secs(86_400)), Recency::LONG_AGO);
        assert_eq!(Recency::of(Duration::MAX), Recency::LONG_AGO);
    }
}

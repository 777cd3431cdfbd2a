//! The peer channel: one authenticated, encrypted connection between each two servers (TCP, Noise).
//!
//! ```text
//! Channel::introduce, publish ─▶ Table ◀─ cursor ─ link's writer ─▶ frames ─▶ peer
//! mpsc::Receiver<News>  ◀──────────────────────── link's reader ◀─ frames ◀─ peer
//! ```
//!
//! | file | concept |
//! |---|---|
//! | `key`, `hello`, `session` | who may talk: the key, its fingerprint in clear, the handshake and frames |
//! | `message` | what is said |
//! | `table` | what is due: a snapshot first, then what changed, and no queue |
//! | `link`, `budget`, `clock` | one connection: read no faster than a peer may cost us, measure its clock |
//! | `peer`, `retry`, `side`, `listen`, `socket` | how it comes to be, and comes back |
//!
//! A peer that reads nothing, says nothing, sends too much or sends garbage costs a bounded amount of
//! memory, of time and of descriptors, and keeps nobody else waiting.

mod budget;
mod clock;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod hello;
mod key;
mod link;
mod listen;
mod message;
mod peer;
mod retry;
mod session;
mod shared;
mod side;
mod socket;
mod stats;
mod table;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{listen::Expected, peer::Peer, shared::Shared, side::Pair};
use crate::proto::{
    PeerId,
    peers::PeerKey,
    sync::{Fingerprints, Introduction, Record},
};

pub use budget::RATE;
pub use clock::{Offset, WallClock, wall_clock};
pub use error::LinkError;
pub use key::{ChannelKey, KeyFingerprint};
pub use message::MessageError;
pub use stats::{PeerStats, Stats};

/// How much news may wait for the driver. Then its senders wait, each peer with one more.
const NEWS_MAX: usize = 8;
/// Connections of one peer that were accepted and not looked at yet.
const ACCEPTED_MAX: usize = 2;

/// What a channel is opened with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The other servers, in the order of the configuration: a [`PeerId`] is a place in it.
    pub peers: Vec<SocketAddr>,
    /// Our port.
    pub port: u16,
    /// Our address; `None`: the one that the kernel would talk to each peer from.
    pub own: Option<IpAddr>,
    /// The clock whose offset is measured.
    pub wall_clock: WallClock,
    /// How many bytes a second a peer may have us read: [`RATE`].
    pub rate: u32,
}

/// What has happened on the channel to one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Which peer.
    pub peer: PeerId,
    /// What.
    pub what: What,
}

/// What has happened. In this order: `Connected`, what the peer tells, `Lost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It has the same key, and tells all that it knows now.
    Connected,
    /// Who it is, or is now.
    Introduced(Introduction, Fingerprints),
    /// It goes by what we have told of our lease: it waits so long for our answers.
    Waits(Duration),
    /// Records that are new or have changed; at most 256.
    Records(Vec<Record>),
    /// Those were all that it knows, until something changes.
    Whole,
    /// Its wall clock minus ours: measured for the first time, changed, or still the same after 10 s.
    Clock {
        /// Positive: the peer is ahead.
        offset_ns: i64,
        /// By how much that may be wrong.
        uncertainty_ns: u64,
    },
    /// It was connected and is no longer; why, as a sentence.
    Lost(String),
    /// It cannot be connected to until somebody mends what this sentence says. Told once.
    Refused(String),
}

/// The owner's end. All of it ends with it.
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// Opens the channel to all peers; on a tokio runtime, which it needs as long as it lives.
///
/// Nobody is talked to while there is no key. Another key ends what the old one had authenticated.
#[must_use]
pub fn open(
    settings: Settings,
    key: watch::Receiver<Option<Arc<ChannelKey>>>,
) -> (Channel, mpsc::Receiver<News>) {
    let shared = Arc::new(Shared::new(&settings));
    let (news, receiver) = mpsc::channel(NEWS_MAX);
    let mut tasks = JoinSet::new();
    let mut expected = Vec::new();
    for (id, peer) in (0..=u8::MAX).map(PeerId).zip(&settings.peers) {
        let pair = Pair { peer: *peer, own: settings.own };
        let (sender, accepted) = mpsc::channel::<TcpStream>(ACCEPTED_MAX);
        expected.push(Expected { id, pair, accepted: sender });
        let (key, shared, news) = (key.clone(), Arc::clone(&shared), news.clone());
        tasks.spawn(peer::run(Peer { id, pair, port: settings.port, key, accepted, shared, news }));
    }
    tasks.spawn(listen::run(expected, settings.port, Arc::clone(&shared)));
    (Channel { shared, _tasks: tasks }, receiver)
}

impl Channel {
    /// Tells all peers who we are, now and when they connect, if that is news.
    pub fn introduce(&self, introduction: Introduction, fingerprints: Fingerprints) {
        if self.shared.table().introduce(introduction, fingerprints) {
            self.shared.ring();
        }
    }

    /// Tells all peers these records, as far as they are news, and keeps them for those that connect later.
    pub fn publish(&self, records: Vec<Record>) {
        if self.shared.table().publish(records) {
            self.shared.ring();
        }
    }

    /// Tells all peers that those were all. It is told anew to whoever connects later or asks again, behind the records.
    pub fn that_is_all(&self) {
        if self.shared.table().complete() {
            self.shared.ring();
        }
    }

    /// Tells no longer of these peers of WireGuard: the device has them no more.
    pub fn withdraw(&self, keys: &[PeerKey]) {
        self.shared.table().withdraw(keys);
    }

    /// Tells no more records: we are no longer Active. What others know they keep.
    pub fn forget_records(&self) {
        self.shared.table().forget_records();
    }

    /// Has `peer` tell all of its records again. (It does when it connects.)
    pub fn ask_again(&self, peer: PeerId) {
        self.shared.ask_again(peer);
    }

    /// A way to answer introductions, for whoever has taken them.
    #[must_use]
    pub fn answer(&self) -> Answer {
        Answer(Arc::clone(&self.shared))
    }

    /// For status.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

/// Answers introductions.
#[derive(Debug)]
pub struct Answer(Arc<Shared>);

impl Answer {
    /// Tells `peer` that we wait so long for its answers.
    pub fn wait_for(&self, peer: PeerId, lease: Duration) {
        self.0.wait_for(peer, lease);
    }
}

#[cfg(test)]
mod tests;

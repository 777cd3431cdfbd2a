use std::net::IpAddr;

use wgha_common::Timestamp;

use super::clock::Offset;

/// What status shows of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Of each peer, in the order of the configuration.
    pub peers: Vec<PeerStats>,
    /// Connections from addresses that are no peer's, closed at once.
    pub strangers: u64,
    /// The last such address: perhaps a peer's other one.
    pub last_stranger: Option<IpAddr>,
    /// How many records are published now.
    pub published: usize,
}

/// What status shows of the channel to one peer. Counters are since the start of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStats {
    /// Its configured address.
    pub address: IpAddr,
    /// Since when it is connected; `None`: it is not.
    pub connected_since: Option<Timestamp>,
    /// How often it has connected.
    pub connections: u64,
    /// Connections of its address that were closed at once: too many, or it is not on that side.
    pub turned_away: u64,
    /// Bytes received in frames.
    pub bytes_in: u64,
    /// Bytes sent in frames.
    pub bytes_out: u64,
    /// Records received.
    pub records_in: u64,
    /// Records sent.
    pub records_out: u64,
    /// Messages of a kind that we do not know: a later version's.
    pub skipped: u64,
    /// Its clock minus ours, while connected.
    pub clock: Option<Offset>,
    /// Why it is not connected.
    pub trouble: Option<String>,
}

impl PeerStats {
    pub(super) fn of(address: IpAddr) -> Self {
        Self {
            address,
            connected_since: None,
            connections: 0,
            turned_away: 0,
            bytes_in: 0,
            bytes_out: 0,
            records_in: 0,
            records_out: 0,
            skipped: 0,
            clock: None,
            trouble: None,
        }
    }
}

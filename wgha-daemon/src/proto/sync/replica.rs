use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use wgha_common::IfIndex;

use super::Record;
use crate::proto::peers::{PeerKey, WireguardPeer};

/// What the Active has told of the peers that our own device has, too.
///
/// Holds nothing of others: its size is that of the device, whatever is received.
#[derive(Debug, Default)]
pub struct Replica {
    known: BTreeSet<PeerKey>,
    records: BTreeMap<PeerKey, Record>,
    ignored: u64,
    /// Something was ignored, or forgotten, that a later device might want.
    missing: bool,
    /// Whoever serves has told of all.
    whole: bool,
    /// The device has been given all of it.
    applied: bool,
}

/// What became of the records that were received together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many were of peers that the device has.
    pub taken: usize,
    /// How many were of others.
    pub ignored: usize,
}

impl Replica {
    /// Which peers the own device has now. Records of others are forgotten.
    ///
    /// Returns whether a snapshot should be asked for: a peer is new here that the others may have told of before.
    #[must_use]
    pub fn set_known(&mut self, keys: impl IntoIterator<Item = PeerKey>) -> bool {
        let known: BTreeSet<PeerKey> = keys.into_iter().collect();
        let new = !known.is_subset(&self.known);
        let before = self.records.len();
        self.records.retain(|key, _| known.contains(key));
        self.known = known;
        let ask = new && self.missing;
        self.whole &= !ask;
        self.missing = (self.missing && !ask) || self.records.len() < before;
        ask
    }

    /// Whoever told this no longer knows better than our own device.
    pub fn forget(&mut self) {
        self.records.clear();
        (self.whole, self.applied) = (false, false);
    }

    /// Takes records that were received; the latest of each peer counts.
    pub fn take(&mut self, records: impl IntoIterator<Item = Record>) -> Taken {
        let mut taken = Taken::default();
        for record in records {
            if self.known.contains(&record.key) {
                taken.taken += 1;
                self.records.insert(record.key, record);
            } else {
                taken.ignored += 1;
            }
        }
        self.ignored = self.ignored.saturating_add(taken.ignored as u64);
        self.missing |= taken.ignored > 0;
        taken
    }

    /// Which endpoints the device does not have as they were told. Link-local ones are on our `uplink`.
    #[must_use]
    pub fn endpoints_to_set(&self, device: &[WireguardPeer], uplink: IfIndex) -> Vec<(PeerKey, SocketAddr)> {
        let told = |peer: &WireguardPeer| {
            let endpoint = self.records.get(&peer.key)?.endpoint?;
            let differs = peer.endpoint.is_none_or(|has| !same(has, endpoint));
            (differs && is_usable(endpoint)).then(|| (peer.key, on_uplink(endpoint, uplink)))
        };
        device.iter().filter_map(told).collect()
    }

    /// Whoever serves has told of all that it knows.
    pub fn told_all(&mut self) {
        self.whole = true;
    }

    /// The device was read: one that was made anew has lost what it was given.
    pub fn device_read(&mut self, device: &[WireguardPeer], uplink: IfIndex) {
        let differ: BTreeSet<_> =
            self.endpoints_to_set(device, uplink).into_iter().map(|(key, _)| key).collect();
        let lost = |peer: &WireguardPeer| peer.endpoint.is_none() && differ.contains(&peer.key);
        self.applied &= !device.iter().any(lost);
        self.applied |= differ.is_empty();
    }

    /// The device has been given endpoints. Who moves, or comes, later does not matter: it is given them as they come.
    pub fn device_set(&mut self, device: &[WireguardPeer], uplink: IfIndex) {
        self.applied |= self.endpoints_to_set(device, uplink).is_empty();
    }

    /// Whether the device knows where the clients are. One without peers is about to get them, if others have any.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.whole && self.applied && !(self.known.is_empty() && self.missing)
    }

    /// The record of one peer.
    #[must_use]
    pub fn record(&self, key: &PeerKey) -> Option<&Record> {
        self.records.get(key)
    }

    /// Of how many peers something is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records were of peers that the own device does not have.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}

/// Scope and flow label aside; an IPv4 endpoint may be told in IPv6's clothes.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// What a packet could be sent to.
fn is_usable(endpoint: SocketAddr) -> bool {
    let ip = endpoint.ip().to_canonical();
    let broadcast = ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    endpoint.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

fn on_uplink(endpoint: SocketAddr, uplink: IfIndex) -> SocketAddr {
    match endpoint {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, uplink.0).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {

    use super::{super::Recency, *};

    const UPLINK: IfIndex = IfIndex(3);

    fn record(n: u8, endpoint: &str) -> Record {
        Record {
            key: PeerKey([n; 32]),
            endpoint: Some(endpoint.parse().unwrap()),
            last_handshake: None,
            keepalive: None,
            recency: Recency::NOW,
        }
    }

    fn device(peers: &[(u8, Option<&str>)]) -> Vec<WireguardPeer> {
        let peer = |(n, endpoint): &(u8, Option<&str>)| WireguardPeer {
            key: PeerKey([*n; 32]),
            endpoint: endpoint.map(|e| e.parse().unwrap()),
            last_handshake: None,
            keepalive: None,
            rx_bytes: 0,
            tx_bytes: 0,
        };
        peers.iter().map(peer).collect()
    }

    fn replica(known: &[u8]) -> Replica {
        let mut replica = Replica::default();
        assert!(!replica.set_known(known.iter().map(|n| PeerKey([*n; 32]))));
        replica
    }

    #[test]
    fn records_of_unknown_peers_take_no_memory() {
        let mut replica = replica(&[1]);
        let taken = replica.take((0..=255).map(|n| record(n, "192.0.2.1:1")));
        assert_eq!(taken, Taken { taken: 1, ignored: 255 });
        assert_eq!((replica.len(), replica.ignored()), (1, 255));
    }

    #[test]
    fn a_peer_that_is_configured_later_is_asked_for_once() {
        let mut replica = replica(&[1]);
        replica.take([record(1, "192.0.2.1:1"), record(2, "192.0.2.1:2")]);
        assert!(!replica.set_known([PeerKey([1; 32])]));
        assert!(replica.set_known([PeerKey([1; 32]), PeerKey([2; 32])]));
        assert!(!replica.set_known([1, 2, 3].map(|n| PeerKey([n; 32]))));
        // The device goes and comes back (wg-quick down, up): what was known of it is gone.
        assert!(!replica.set_known([]));
        assert!(replica.is_empty());
        assert!(replica.set_known([PeerKey([1; 32])]));
    }

    #[test]
    fn the_latest_endpoint_is_set_where_the_device_has_another() {
        let mut replica = replica(&[1, 2, 3]);
        replica.take([record(1, "192.0.2.1:1"), record(2, "192.0.2.2:2"), record(1, "192.0.2.9:9")]);
        let device = device(&[(1, Some("192.0.2.1:1")), (2, Some("[::ffff:192.0.2.2]:2")), (3, None)]);
        assert_eq!(
            replica.endpoints_to_set(&device, UPLINK),
            [(PeerKey([1; 32]), "192.0.2.9:9".parse().unwrap())]
        );
    }

    #[test]
    fn it_is_complete_when_the_device_has_all_that_was_told() {
        let (empty, set) = (device(&[(1, None)]), device(&[(1, Some("192.0.2.1:1"))]));
        let mut replica = replica(&[1]);
        replica.device_read(&empty, UPLINK);
        assert!(!replica.is_complete(), "nothing was told");
        replica.take([record(1, "192.0.2.1:1")]);
        replica.told_all();
        replica.device_read(&empty, UPLINK);
        assert!(!replica.is_complete(), "it was not set");
        replica.device_set(&set, UPLINK);
        assert!(replica.is_complete());
        // A client that has moved is no loss.
        replica.take([record(1, "192.0.2.9:9")]);
        replica.device_read(&set, UPLINK);
        assert!(replica.is_complete());
        replica.device_read(&empty, UPLINK);
        assert!(!replica.is_complete(), "it was made anew");
        replica.device_set(&device(&[(1, Some("192.0.2.9:9"))]), UPLINK);
        assert!(replica.is_complete());
        replica.forget();
        replica.device_read(&empty, UPLINK);
        assert!(!replica.is_complete(), "nobody has told since we have served");
    }

    #[test]
    fn one_without_peers_is_complete_if_there_are_none() {
        let mut replica = replica(&[]);
        replica.device_read(&[], UPLINK);
        replica.told_all();
        assert!(replica.is_complete());
        replica.take([record(1, "192.0.2.1:1")]);
        assert!(!replica.is_complete(), "the device is not set up yet");
        // It is: what was ignored is asked for.
        assert!(replica.set_known([PeerKey([1; 32])]));
        replica.device_read(&device(&[(1, None)]), UPLINK);
        assert!(!replica.is_complete());
        replica.take([record(1, "192.0.2.1:1")]);
        replica.told_all();
        replica.device_set(&device(&[(1, Some("192.0.2.1:1"))]), UPLINK);
        assert!(replica.is_complete());
    }

    #[test]
    fn an_endpoint_that_is_none_is_never_set() {
        for endpoint in ["0.0.0.0:1", "192.0.2.1:0", "[ff02::1]:1", "255.255.255.255:1", "[::]:1"] {
            let mut replica = replica(&[1]);
            replica.take([record(1, endpoint)]);
            assert_eq!(replica.endpoints_to_set(&device(&[(1, None)]), UPLINK), [], "{endpoint}");
        }
    }

    #[test]
    fn a_link_local_endpoint_is_on_the_uplink() {
        let mut replica = replica(&[1]);
        replica.take([record(1, "[fe80::1]:1")]);
        let set = replica.endpoints_to_set(&device(&[(1, None)]), UPLINK);
        assert_eq!(set, [(PeerKey([1; 32]), SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 3).into())]);
    }
}

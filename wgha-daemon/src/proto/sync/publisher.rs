use std::{
    collections::BTreeMap,
    net::{SocketAddr, SocketAddrV6},
    time::Duration,
};

use wgha_common::Timestamp;

use super::{Recency, Record};
use crate::proto::peers::{PeerKey, WireguardPeer};

/// Finds out, from one reading of the device to the next, what is worth telling.
///
/// An endpoint, a keepalive and a handshake are told when they change; of traffic only the coarse
/// [`Recency`], or 10,000 talking peers would be 10,000 records with each reading.
#[derive(Debug, Default)]
pub struct Publisher {
    peers: BTreeMap<PeerKey, Known>,
}

/// So many clients that fall silent at once are not just one that has left.
const SEVERAL: usize = 2;
/// Clients that were heard within so long of each other have fallen silent at once: nearly all say something more often.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What has changed since the last reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Peers that are new or of which something changed.
    pub records: Vec<Record>,
    /// Peers that the device has no more.
    pub gone: Vec<PeerKey>,
}

#[derive(Debug)]
struct Known {
    record: Record,
    rx_bytes: u64,
    tx_bytes: u64,
    last_data: Option<Timestamp>,
    /// When something authentic last came from it.
    heard: Option<Timestamp>,
    /// Data goes to it since then, and it has not been heard since.
    spoken_to: Option<Timestamp>,
}

impl Publisher {
    /// Takes a reading of the whole device. `now` and `wall` are its moment, by both clocks: `wall` is
    /// the time since the Unix epoch, in which the device tells handshakes.
    pub fn read(&mut self, device: &[WireguardPeer], now: Timestamp, wall: Duration) -> Changes {
        let mut changes = Changes::default();
        let mut present = BTreeMap::new();
        for peer in device {
            let before = self.peers.remove(&peer.key);
            let last_data = match &before {
                None => first_guess(peer, now, wall),
                Some(before) if before.data_has_passed(peer) => Some(now),
                Some(before) => before.last_data,
            };
            let (heard, spoken_to) = before.as_ref().map_or((None, None), |before| before.heard(peer, now));
            let record = record(peer, last_data, now);
            if before.is_none_or(|before| before.record != record) {
                changes.records.push(record);
            }
            let (rx_bytes, tx_bytes) = (peer.rx_bytes, peer.tx_bytes);
            present.insert(peer.key, Known { record, rx_bytes, tx_bytes, last_data, heard, spoken_to });
        }
        let before = std::mem::replace(&mut self.peers, present);
        changes.gone = before.into_keys().collect();
        changes
    }

    /// Since when several clients, which had been heard until then, are spoken to and do not answer.
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Timestamp> {
        let newest = self.peers.values().filter_map(|known| known.heard).max()?;
        let at_once = |known: &&Known| known.heard.is_some_and(|at| newest.since(at) <= AT_ONCE);
        let silent = self.peers.values().filter(at_once).filter_map(|known| known.spoken_to);
        let mut silent: Vec<_> = silent.collect();
        silent.sort_unstable();
        silent.get(SEVERAL - 1).copied()
    }
}

impl Known {
    /// When it was heard, and since when it is spoken to without an answer, after another reading.
    fn heard(&self, peer: &WireguardPeer, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
        let asked = is_data(self.tx_bytes, peer.tx_bytes).then_some(now);
        if peer.rx_bytes == self.rx_bytes {
            (self.heard, self.spoken_to.or(asked))
        } else {
            (Some(now), None)
        }
    }

    fn data_has_passed(&self, peer: &WireguardPeer) -> bool {
        is_data(self.rx_bytes, peer.rx_bytes) || is_data(self.tx_bytes, peer.tx_bytes)
    }
}

fn record(peer: &WireguardPeer, last_data: Option<Timestamp>, now: Timestamp) -> Record {
    Record {
        key: peer.key,
        endpoint: peer.endpoint.map(without_scope),
        last_handshake: peer.last_handshake,
        keepalive: peer.keepalive,
        recency: last_data.map_or(Recency::LONG_AGO, |at| Recency::of(now.since(at))),
    }
}

/// Of a peer that is seen for the first time nobody knows when it talked. Where there is a session
/// somebody did, not long before the handshake or after.
fn first_guess(peer: &WireguardPeer, now: Timestamp, wall: Duration) -> Option<Timestamp> {
    let since = wall.saturating_sub(peer.last_handshake?);
    let nanos = u64::try_from(since.as_nanos()).ok()?;
    now.as_nanos().checked_sub(nanos).map(Timestamp::from_nanos)
}

/// Whether a counter has grown by more than what WireGuard says by itself. A keepalive counts 32
/// bytes, an initiation 148, a response 92; data counts 32 and its length padded to 16. So data is a
/// multiple of 16, which no handshake is, and more than one keepalive.
fn is_data(before: u64, after: u64) -> bool {
    const KEEPALIVE: u64 = 32;
    const HANDSHAKES: [u64; 3] = [0, 148, 92];
    // A counter that is smaller than before belongs to a peer that was removed and added again.
    let grown = after.checked_sub(before).unwrap_or(after);
    !HANDSHAKES.iter().any(|handshake| grown == *handshake || grown == handshake + KEEPALIVE)
}

/// The kernel gives the index of an interface with link-local addresses; another node has other indices.
fn without_scope(endpoint: SocketAddr) -> SocketAddr {
    match endpoint {
        SocketAddr::V4(_) => endpoint,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, 0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_700_000_000);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + seconds * 1_000_000_000)
    }

    fn peer(n: u8) -> WireguardPeer {
        WireguardPeer {
            key: PeerKey([n; 32]),
            endpoint: Some("192.0.2.1:1000".parse().unwrap()),
            last_handshake: None,
            keepalive: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    fn records(publisher: &mut Publisher, peer: &WireguardPeer, seconds: u64) -> Vec<Record> {
        let wall = WALL + Duration::from_secs(seconds);
        publisher.read(std::slice::from_ref(peer), at(seconds), wall).records
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut publisher = Publisher::default();
        let (mut one, two) = (peer(1), peer(2));
        let first = publisher.read(&[one.clone(), two.clone()], at(0), WALL);
        assert_eq!(first.records.len(), 2);
        assert_eq!(publisher.read(&[one.clone(), two.clone()], at(1), WALL), Changes::default());

        one.endpoint = Some("192.0.2.1:1001".parse().unwrap());
        let changed = publisher.read(&[one.clone(), two.clone()], at(2), WALL).records;
        assert_eq!(changed.iter().map(|r| r.endpoint).collect::<Vec<_>>(), [one.endpoint]);
        one.keepalive = Some(25);
        assert_eq!(publisher.read(&[one.clone(), two.clone()], at(3), WALL).records[0].keepalive, Some(25));
        one.last_handshake = Some(WALL);
        assert_eq!(publisher.read(&[one.clone(), two], at(4), WALL).records[0].last_handshake, Some(WALL));

        let gone = publisher.read(std::slice::from_ref(&one), at(5), WALL);
        assert_eq!(gone, Changes { records: vec![], gone: vec![PeerKey([2; 32])] });
    }

    #[test]
    fn traffic_is_told_by_steps_and_not_by_bytes() {
        let (mut publisher, mut peer) = (Publisher::default(), peer(1));
        assert_eq!(records(&mut publisher, &peer, 0)[0].recency, Recency::LONG_AGO);
        peer.rx_bytes += 128; // one ping
        assert_eq!(records(&mut publisher, &peer, 1)[0].recency, Recency::NOW);
        for second in 2..10 {
            peer.tx_bytes += 1_000_000;
            assert_eq!(records(&mut publisher, &peer, second), []);
        }
        assert_eq!(records(&mut publisher, &peer, 23), []);
        assert_eq!(records(&mut publisher, &peer, 24)[0].recency, Recency(15));
        assert_eq!(records(&mut publisher, &peer, 25), []);
        peer.rx_bytes += 48; // the smallest data
        assert_eq!(records(&mut publisher, &peer, 26)[0].recency, Recency::NOW);
    }

    /// Readings of clients that have been heard and spoken to, five seconds apart; each says which are heard, and which spoken to.
    fn unanswered(clients: u8, readings: &[(&[u8], &[u8])]) -> Option<u64> {
        let mut publisher = Publisher::default();
        let mut peers: Vec<_> = (0..clients).map(peer).collect();
        publisher.read(&peers, at(0), WALL);
        for (second, (heard, spoken_to)) in (5..).step_by(5).zip(readings) {
            heard.iter().for_each(|n| peers[usize::from(*n)].rx_bytes += 32);
            spoken_to.iter().for_each(|n| peers[usize::from(*n)].tx_bytes += 1_000);
            publisher.read(&peers, at(second), WALL);
        }
        let since = publisher.unanswered_since()?;
        Some(since.since(at(0)).as_secs())
    }

    #[test]
    fn one_client_that_leaves_is_not_several() {
        assert_eq!(unanswered(1, &[(&[0], &[0]), (&[], &[0]), (&[], &[0])]), None);
        assert_eq!(unanswered(2, &[(&[0, 1], &[0, 1]), (&[], &[0]), (&[], &[0])]), None);
        assert_eq!(unanswered(2, &[(&[0, 1], &[0, 1]), (&[1], &[0, 1]), (&[1], &[0, 1])]), None);
    }

    #[test]
    fn several_that_fall_silent_at_once_are_told_from_when_the_second_was_spoken_to() {
        assert_eq!(unanswered(3, &[(&[0, 1], &[]), (&[], &[0]), (&[], &[1]), (&[], &[0, 1])]), Some(15));
        // One that answers, if only by a keepalive, has done so in time.
        assert_eq!(unanswered(2, &[(&[0, 1], &[]), (&[], &[0, 1]), (&[1], &[])]), None);
    }

    #[test]
    fn those_that_were_never_heard_or_have_left_before_do_not_count() {
        assert_eq!(unanswered(3, &[(&[0], &[]), (&[], &[0, 1, 2]), (&[], &[0, 1, 2])]), None);
        let left_before: [(&[u8], &[u8]); 14] = [(&[1], &[0]); 14];
        let readings = [&[(&[0, 1][..], &[][..])], &left_before[..], &[(&[], &[0, 1])]].concat();
        assert_eq!(unanswered(2, &readings), None);
    }

    #[test]
    fn keepalives_and_handshakes_are_no_traffic() {
        let (mut publisher, mut peer) = (Publisher::default(), peer(1));
        records(&mut publisher, &peer, 0);
        for grown in [32, 148, 148 + 32, 92, 92 + 32] {
            peer.rx_bytes += grown;
            assert_eq!(records(&mut publisher, &peer, 1), [], "{grown} bytes");
        }
        peer.rx_bytes = 32; // added anew
        assert_eq!(records(&mut publisher, &peer, 1), []);
        peer.rx_bytes = 31; // added anew, and not a keepalive
        assert_eq!(records(&mut publisher, &peer, 1)[0].recency, Recency::NOW);
    }

    #[test]
    fn a_session_of_before_the_first_reading_was_for_somebody() {
        let mut peer = peer(1);
        peer.last_handshake = Some(WALL - Duration::from_secs(100));
        assert_eq!(records(&mut Publisher::default(), &peer, 0)[0].recency, Recency(60));
        // Longer ago than this machine has been running, or in the future: neither may upset it.
        peer.last_handshake = Some(Duration::ZERO);
        assert_eq!(records(&mut Publisher::default(), &peer, 0)[0].recency, Recency::LONG_AGO);
        peer.last_handshake = Some(Duration::MAX);
        assert_eq!(records(&mut Publisher::default(), &peer, 0)[0].recency, Recency::NOW);
    }

    #[test]
    fn the_scope_of_an_address_stays_here() {
        let mut peer = peer(1);
        peer.endpoint = Some(SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, 7).into());
        let told = records(&mut Publisher::default(), &peer, 0)[0].endpoint.unwrap();
        assert_eq!(told, "[fe80::1]:1".parse().unwrap());
    }
}

//! What status shows of the other servers.

use std::net::IpAddr;

use wgha_common::Timestamp;

use crate::{
    proto::{
        PeerId,
        sync::{Fingerprints, Introduction},
    },
    sys::{channel::What, clock},
};

/// WireGuard dates initiations to 2^24 ns: less than that makes no difference.
const CLOCK_TOLERANCE: i64 = 1 << 24;

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order of the configuration.
    pub peers: Vec<Peer>,
    /// Of how many of WireGuard's peers the Active has told us.
    pub records: usize,
    /// What must be alike.
    pub own: Fingerprints,
    /// We are Active.
    pub serving: bool,
    /// Since when several clients that had been heard are spoken to and do not answer.
    pub unanswered_since: Option<Timestamp>,
    /// Who has connected last without being configured.
    pub stranger: Option<IpAddr>,
}

/// One other server.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address in the configuration.
    pub address: IpAddr,
    /// Since when the channel to it is open; or why it is not.
    pub connected: Result<Timestamp, String>,
    /// Why there cannot be a channel: it will not mend itself.
    pub refused: bool,
    /// Who it is, as it has last said.
    pub introduction: Option<Introduction>,
    /// What must be alike, as it has last said.
    pub fingerprints: Option<Fingerprints>,
    /// Its clock minus ours, and how wrong that may be; nanoseconds.
    pub clock: Option<(i64, u64)>,
}

impl Report {
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        let peer = |address: &IpAddr| Peer {
            address: *address,
            connected: Err("no connection yet".to_owned()),
            refused: false,
            introduction: None,
            fingerprints: None,
            clock: None,
        };
        Self { peers: addresses.iter().map(peer).collect(), ..Self::default() }
    }

    /// What somebody should look at, a sentence each.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let lonely = self.peers.iter().any(|peer| peer.connected.is_err());
        let stranger = self.stranger.filter(|_| lonely).map(|stranger| {
            format!("{stranger} has connected, which is no [[peer]]: if it is one of the servers, configure this address of it")
        });
        self.peers.iter().flat_map(|peer| self.problems_with(peer)).chain(stranger).collect()
    }

    fn problems_with(&self, peer: &Peer) -> Vec<String> {
        let address = peer.address;
        let mut problems = Vec::new();
        match &peer.connected {
            Err(why) if peer.refused => {
                problems.push(format!("the peer channel to {address} is refused: {why}"))
            }
            Err(why) => problems.push(format!("{address} is not connected: {why}")),
            Ok(_) => {}
        }
        if let Some(theirs) = peer.fingerprints {
            if theirs.vrrp != self.own.vrrp {
                problems.push(format!("VRID, virtual addresses or advert interval are not as on {address}"));
            }
            if theirs.wireguard != self.own.wireguard {
                problems.push(format!("WireGuard's port, peers or allowed IPs are not as on {address}"));
            }
        }
        problems.extend(self.clock_problem(peer));
        problems
    }

    /// WireGuard refuses an initiation that is dated before the last one of the same key.
    fn clock_problem(&self, peer: &Peer) -> Option<String> {
        let serves = peer.introduction.is_some_and(|introduction| introduction.serving);
        let (ahead, uncertain) = peer.clock.filter(|_| serves && !self.serving)?;
        (ahead > CLOCK_TOLERANCE + uncertain as i64).then(|| {
            let ms = ahead as f64 / 1e6;
            format!("our clock is {ms:.0} ms behind that of {}: clients would refuse our handshakes; is NTP running?", peer.address)
        })
    }

    /// Whether this peer is Active, as it has last said.
    pub(super) fn says_it_serves(&self, peer: PeerId) -> bool {
        let peer = self.peers.get(usize::from(peer.0));
        peer.and_then(|peer| peer.introduction).is_some_and(|introduction| introduction.serving)
    }

    pub(super) fn address(&self, peer: PeerId) -> String {
        let peer = self.peers.get(usize::from(peer.0));
        peer.map_or_else(|| "unknown".to_owned(), |peer| peer.address.to_string())
    }

    pub(super) fn take(&mut self, peer: PeerId, what: &What) {
        let Some(peer) = self.peers.get_mut(usize::from(peer.0)) else { return };
        match what {
            What::Connected => (peer.connected, peer.refused) = (Ok(clock::now()), false),
            What::Lost(why) => (peer.connected, peer.refused) = (Err(why.clone()), false),
            What::Refused(why) => (peer.connected, peer.refused) = (Err(why.clone()), true),
            What::Introduced(introduction, fingerprints) => {
                peer.introduction = Some(*introduction);
                peer.fingerprints = Some(*fingerprints);
            }
            What::Clock { offset_ns, uncertainty_ns } => peer.clock = Some((*offset_ns, *uncertainty_ns)),
            What::Records(_) | What::Whole | What::Waits(_) => {}
        }
    }
}

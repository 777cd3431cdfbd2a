//! What is read of a device, with its keys, and what is changed of it. No Debug here, ever (invariant I12).

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::proto::{
    handshakes::{How, Start},
    peers::{PeerKey, WireguardPeer},
};

/// The persistent keepalive of a peer that has none, while it is kicked; never in force for longer than one set.
const KICK: u16 = 25;

/// How many allowed IPs one section of a set may hold: as an attribute of netlink they must stay below 64 KiB.
const ALLOWED_IPS_AT_ONCE: usize = 500;

/// A device.
pub(super) struct Configuration {
    /// Its private key, if it has one.
    pub private_key: Option<[u8; 32]>,
    /// Its UDP port, while it has one.
    pub listen_port: Option<u16>,
    /// Its peers, in the order of their keys.
    pub peers: Vec<Peer>,
}

/// A peer of it.
pub(super) struct Peer {
    /// Its public key.
    pub key: PeerKey,
    /// All zeros: none.
    pub preshared_key: [u8; 32],
    /// Where it is.
    pub endpoint: Option<SocketAddr>,
    /// Since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// In seconds; 0: off.
    pub keepalive: u16,
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// What it may send from.
    pub allowed_ips: Vec<AllowedIp>,
}

/// A prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AllowedIp {
    /// Its address.
    pub address: IpAddr,
    /// Its length.
    pub length: u8,
}

/// Part of a set: one peer, and what becomes of it.
pub(super) struct Section<'a> {
    /// Which peer.
    pub key: PeerKey,
    /// What becomes of it.
    pub change: Change<'a>,
}

/// What becomes of a peer.
pub(super) enum Change<'a> {
    /// It is removed.
    Remove,
    /// It is added.
    Add {
        /// All zeros: none.
        preshared_key: &'a [u8; 32],
        /// Where it is.
        endpoint: Option<SocketAddr>,
        /// In seconds; 0: off.
        keepalive: u16,
        /// What it may send from.
        allowed_ips: &'a [AllowedIp],
    },
    /// If it exists, it is changed.
    Update {
        /// Where it is.
        endpoint: Option<SocketAddr>,
        /// In seconds; 0: off.
        keepalive: Option<u16>,
        /// What else it may send from.
        allowed_ips: &'a [AllowedIp],
    },
}

impl Section<'_> {
    /// How many bytes it takes at most, in either form.
    pub const fn size(&self) -> usize {
        match &self.change {
            Change::Remove => 100,
            Change::Add { allowed_ips, .. } => 260 + 60 * allowed_ips.len(),
            Change::Update { allowed_ips, .. } => 200 + 60 * allowed_ips.len(),
        }
    }
}

impl Configuration {
    /// Without peers.
    pub const fn new() -> Self {
        Self { private_key: None, listen_port: None, peers: Vec::new() }
    }

    /// A peer.
    pub fn peer(&self, key: PeerKey) -> Option<&Peer> {
        self.peers.binary_search_by_key(&key, |peer| peer.key).ok().map(|at| &self.peers[at])
    }

    /// Brings the peers into order. Neighbours with the same key are one peer: a kernel whose answer does not fit
    /// into a message goes on in the next one, with nothing but allowed IPs.
    pub fn settle(&mut self) {
        self.peers.dedup_by(|next, peer| {
            let same = next.key == peer.key;
            if same {
                peer.allowed_ips.append(&mut next.allowed_ips);
            }
            same
        });
        self.peers.sort_unstable_by_key(|peer| peer.key);
    }

    /// What two devices must agree on to serve the same clients: port, keys of the peers, allowed IPs.
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut bytes = self.listen_port.unwrap_or(0).to_be_bytes().to_vec();
        for peer in &self.peers {
            bytes.extend(peer.key.0);
            let mut allowed = peer.allowed_ips.clone();
            allowed.sort_unstable();
            bytes.extend(u32::try_from(allowed.len()).unwrap_or(u32::MAX).to_be_bytes());
            for prefix in allowed {
                match prefix.address {
                    IpAddr::V4(a) => bytes.extend([&[4, prefix.length], &a.octets()[..]].concat()),
                    IpAddr::V6(a) => bytes.extend([&[6, prefix.length], &a.octets()[..]].concat()),
                }
            }
        }
        bytes
    }
}

impl Peer {
    /// One of which nothing but its key is known.
    pub const fn new(key: PeerKey) -> Self {
        Self {
            key,
            preshared_key: [0; 32],
            endpoint: None,
            last_handshake: None,
            keepalive: 0,
            rx_bytes: 0,
            tx_bytes: 0,
            allowed_ips: Vec::new(),
        }
    }

    /// What others may know of it.
    pub fn shown(&self) -> WireguardPeer {
        WireguardPeer {
            key: self.key,
            endpoint: self.endpoint,
            last_handshake: self.last_handshake,
            keepalive: Some(self.keepalive).filter(|seconds| *seconds != 0),
            rx_bytes: self.rx_bytes,
            tx_bytes: self.tx_bytes,
        }
    }

    /// Has a handshake started with it, to `start.endpoint`; what else is set ends as it is here.
    ///
    /// A keepalive that is raised from 0 starts one (kernel: `set_peer`; wireguard-go: `handlePostConfig`). For a
    /// peer that has just been added there is neither a session in the way nor the memory of an earlier
    /// initiation (REKEY_TIMEOUT).
    pub fn kick(&self, start: &Start) -> Vec<Section<'_>> {
        let off = self.keepalive == 0;
        let endpoint = Some(start.endpoint);
        match start.how {
            How::Toggle if off => vec![self.update(endpoint, KICK), self.update(None, 0)],
            How::Toggle => vec![self.update(endpoint, 0), self.update(None, self.keepalive)],
            How::Anew if off => {
                let mut sections = self.anew(endpoint, KICK);
                sections.push(self.update(None, 0));
                sections
            }
            How::Anew => self.anew(endpoint, self.keepalive),
        }
    }

    /// Is put back if it has got lost, without a handshake if it has no keepalive.
    pub fn put_back(&self) -> Vec<Section<'_>> {
        self.anew(self.endpoint, self.keepalive)
    }

    /// Removed and added again.
    fn anew(&self, endpoint: Option<SocketAddr>, keepalive: u16) -> Vec<Section<'_>> {
        let mut allowed_ips = self.allowed_ips.chunks(ALLOWED_IPS_AT_ONCE);
        let add = Change::Add {
            preshared_key: &self.preshared_key,
            endpoint,
            keepalive,
            allowed_ips: allowed_ips.next().unwrap_or_default(),
        };
        let mut sections = vec![Section { key: self.key, change: Change::Remove }];
        sections.push(Section { key: self.key, change: add });
        sections.extend(allowed_ips.map(|allowed_ips| {
            let change = Change::Update { endpoint: None, keepalive: None, allowed_ips };
            Section { key: self.key, change }
        }));
        sections
    }

    const fn update(&self, endpoint: Option<SocketAddr>, keepalive: u16) -> Section<'static> {
        let change = Change::Update { endpoint, keepalive: Some(keepalive), allowed_ips: &[] };
        Section { key: self.key, change }
    }
}

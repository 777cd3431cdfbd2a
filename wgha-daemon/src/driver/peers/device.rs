//! The device, as it was last read.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    proto::{
        peers::{PeerKey, WireguardPeer},
        sync::Fingerprint,
    },
    sys::wireguard::Implementation,
};

#[derive(Default)]
pub(super) struct Device {
    pub peers: Vec<WireguardPeer>,
    pub implementation: Option<Implementation>,
    pub fingerprint: Option<Fingerprint>,
}

impl Device {
    /// It has been given these.
    pub fn set(&mut self, endpoints: &[(PeerKey, SocketAddr)]) {
        let told: BTreeMap<_, _> = endpoints.iter().copied().collect();
        for peer in &mut self.peers {
            if let Some(endpoint) = told.get(&peer.key) {
                peer.endpoint = Some(*endpoint);
            }
        }
    }
}

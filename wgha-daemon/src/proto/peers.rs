//! The peers of a WireGuard device: its clients, not the other servers.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// The public key that names a peer of WireGuard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerKey(pub [u8; 32]);

/// What a WireGuard device says of one of its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireguardPeer {
    /// Which peer.
    pub key: PeerKey,
    /// Where its last authentic packet came from, or what was configured.
    pub endpoint: Option<SocketAddr>,
    /// When the last handshake was completed: time since the Unix epoch, by this node's clock.
    pub last_handshake: Option<Duration>,
    /// The persistent keepalive in seconds; `None`: off.
    pub keepalive: Option<u16>,
    /// Bytes received from it since the device, or the peer, came to be.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
}

impl PeerKey {
    /// The whole key as `wg` prints it.
    #[must_use]
    pub fn base64(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(44);
        for three in self.0.chunks(3) {
            let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for i in 0..=three.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
            }
        }
        text.push('='); // 32 bytes leave two, always
        text
    }
}

/// Abbreviated, as wireguard-go does in its log: enough to find it in the output of `wg`.
impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.base64();
        write!(f, "{}…{}", &all[..4], &all[40..])
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_wg_prints_it() {
        // RFC 7748 §6.1, Alice's public key.
        let key = PeerKey([
            0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7, 0x5a,
            0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b, 0x4e, 0x6a,
        ]);
        assert_eq!(key.base64(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
        assert_eq!(key.to_string(), "hSDw…Tmo=");
        assert_eq!(format!("{key:?}"), "hSDw…Tmo=");
    }
}

use std::fmt;

use blake2::{
    Blake2sMac256,
    digest::{KeyInit, Mac},
};

const PSK_DOMAIN: &[u8] = b"wgha peer channel: pre-shared key";
const FINGERPRINT_DOMAIN: &[u8] = b"wgha peer channel: fingerprint of the pre-shared key";

/// What two servers authenticate each other with: derived from the WireGuard private key that both
/// hold, which cannot be found from it (I12).
pub struct ChannelKey {
    psk: [u8; 32],
}

/// Names a [`ChannelKey`] without telling anything of it: sent in clear, shown to people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyFingerprint(pub(super) [u8; 8]);

impl ChannelKey {
    /// The key for servers that share this WireGuard private key.
    #[must_use]
    pub fn derive(private_key: &[u8; 32]) -> Self {
        Self { psk: mac(private_key, PSK_DOMAIN) }
    }

    /// What tells whether another has the same.
    #[must_use]
    pub fn fingerprint(&self) -> KeyFingerprint {
        let [a, b, c, d, e, f, g, h, ..] = mac(&self.psk, FINGERPRINT_DOMAIN);
        KeyFingerprint([a, b, c, d, e, f, g, h])
    }

    pub(super) fn psk(&self) -> &[u8; 32] {
        &self.psk
    }
}

impl Drop for ChannelKey {
    fn drop(&mut self) {
        self.psk.fill(0);
        std::hint::black_box(&self.psk); // or the compiler would leave the write out
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelKey({})", self.fingerprint())
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn mac(key: &[u8; 32], domain: &[u8]) -> [u8; 32] {
    let mac = <Blake2sMac256 as KeyInit>::new(&(*key).into());
    mac.chain_update(domain).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_its_fingerprint_only() {
        let key = ChannelKey::derive(&[7; 32]);
        assert_ne!(key.psk, [7; 32]);
        assert_ne!(key.psk[..8], key.fingerprint().0);
        assert_eq!(format!("{key:?}"), format!("ChannelKey({})", key.fingerprint()));
        assert_eq!(key.fingerprint(), ChannelKey::derive(&[7; 32]).fingerprint());
        assert_ne!(key.fingerprint(), ChannelKey::derive(&[8; 32]).fingerprint());
    }
}

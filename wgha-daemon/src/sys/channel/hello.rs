//! What each side says in clear before the handshake, so that a mismatch has a name.
//!
//! ```text
//! 0       4         6                    14
//! | "wgha" | version | fingerprint of PSK |     the same length in every version
//! ```
//! It is bound into the handshake: if somebody changes it on the way, the handshake fails.

use super::{error::LinkError, key::KeyFingerprint};

/// Version of all that follows the hello. Messages that an older one does not know do not need a new one.
pub(super) const VERSION: u16 = 1;
pub(super) const LEN: usize = 14;
const MAGIC: [u8; 4] = *b"wgha";

/// Ours, or theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) key: KeyFingerprint,
}

impl Hello {
    pub(super) fn emit(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..6].copy_from_slice(&self.version.to_be_bytes());
        bytes[6..].copy_from_slice(&self.key.0);
        bytes
    }

    pub(super) fn parse(bytes: [u8; LEN]) -> Result<Self, LinkError> {
        let [m0, m1, m2, m3, v0, v1, key @ ..] = bytes;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(LinkError::NotWgha);
        }
        Ok(Self { version: u16::from_be_bytes([v0, v1]), key: KeyFingerprint(key) })
    }

    /// Whether we can talk to who said this.
    pub(super) fn meets(self, ours: Self) -> Result<(), LinkError> {
        if self.version != ours.version {
            return Err(LinkError::OtherVersion { theirs: self.version, ours: ours.version });
        }
        if self.key != ours.key {
            return Err(LinkError::OtherKey { theirs: self.key, ours: ours.key });
        }
        Ok(())
    }
}

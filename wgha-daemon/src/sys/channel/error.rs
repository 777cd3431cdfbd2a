use std::{io, time::Duration};

use super::{key::KeyFingerprint, message::MessageError};

/// Why a connection did not come to be, or ended. The peer is the subject of each sentence.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing listens there, or nothing is there.
    #[error("cannot be connected to: {0}")]
    Connect(io::Error),
    /// TCP has given up, or was reset.
    #[error("is cut off: {0}")]
    Io(#[from] io::Error),
    /// An orderly end.
    #[error("has closed the connection")]
    Closed,
    /// No whole message, in a time in which several were due.
    #[error("has said nothing for {0:?}")]
    Silent(Duration),
    /// It lets our messages pile up.
    #[error("has not read for {0:?}")]
    NotReading(Duration),
    /// Something else answers.
    #[error("does not speak wgha's peer channel; does another program use its port?")]
    NotWgha,
    /// An older or a newer one.
    #[error(
        "speaks version {theirs} of the peer channel, this server version {ours}: run the same wgha on both"
    )]
    OtherVersion {
        /// Its version.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// Another private key.
    #[error(
        "has another WireGuard private key (fingerprint {theirs}, here {ours}): both servers must have the same; compare the public keys that `wg show` prints"
    )]
    OtherKey {
        /// Its key's.
        theirs: KeyFingerprint,
        /// Ours.
        ours: KeyFingerprint,
    },
    /// Not from who holds the key, not in order, or not whole.
    #[error("sent what cannot be authenticated: damaged, replayed or forged ({0})")]
    Noise(#[from] snow::Error),
    /// Authentic, and against the rules.
    #[error("sent a message that is not valid: {0}")]
    Message(#[from] MessageError),
    /// It has connected again, so this connection is dead.
    #[error("has connected anew")]
    Replaced,
    /// What it was authenticated with is no longer ours.
    #[error("is to authenticate itself anew: this server's private key has changed")]
    OurKeyChanged,
    /// The driver has ended.
    #[error("is no longer listened to")]
    Unheard,
}

impl LinkError {
    /// Whether somebody must configure something before it can work: trying again soon is of no use.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        matches!(self, Self::OtherVersion { .. } | Self::OtherKey { .. })
    }
}

//! Handshakes that a new Active starts.

use std::net::SocketAddr;

use super::peers::PeerKey;

/// A handshake that is to be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// With which peer.
    pub key: PeerKey,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// In which way.
    pub how: How,
}

/// How WireGuard is made to start a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its persistent keepalive is raised from 0. Works if there is no session, and no initiation was sent within
    /// REKEY_TIMEOUT, 5 s.
    Toggle,
    /// It is removed and added again, which forgets both.
    Anew,
}

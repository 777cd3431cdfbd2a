use std::{cmp::Reverse, net::SocketAddr, time::Duration};

use crate::proto::peers::PeerKey;

/// REJECT_AFTER_TIME: no session is older.
const SESSION: Duration = Duration::from_secs(180);

/// A peer that may have had a session with the old Active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which peer.
    pub key: PeerKey,
    /// Where it is.
    pub endpoint: SocketAddr,
    /// Its last handshake with whatever server: time since the Unix epoch.
    pub last_handshake: Option<Duration>,
    /// Its persistent keepalive here, in seconds; `None`: off.
    pub keepalive: Option<u16>,
    /// How long it has said nothing; `None`: not known.
    pub idle: Option<Duration>,
    /// Our device has neither a session with it nor sent it an initiation within REKEY_TIMEOUT: a kernel's link that
    /// was set up a moment ago (`wg_stop` forgets both). A program that ignores its link tries peers with a
    /// persistent keepalive all the time; they are not clean.
    pub clean: bool,
}

impl Candidate {
    /// Whether its client may still believe in a session. A clock that is behind does not say that it does not.
    pub(super) fn may_have_a_session(&self, wall: Duration) -> bool {
        let young = |at: Duration| wall.saturating_sub(at) < SESSION;
        self.idle.is_some_and(|idle| idle < SESSION) || self.last_handshake.is_some_and(young)
    }

    /// Smaller comes first: who has talked last; then, of those of whom that is not known, the youngest session.
    pub(super) fn rank(&self) -> (Duration, Reverse<Duration>) {
        (self.idle.unwrap_or(Duration::MAX), Reverse(self.last_handshake.unwrap_or_default()))
    }

    /// Whether the link-up that has made it clean has also started its handshake (`wg_open`).
    pub(super) const fn starts_by_itself(&self) -> bool {
        self.clean && self.keepalive.is_some()
    }
}

//! Who is there when the Active vanishes.

use std::{fmt, time::Duration};

use wgha_tests::{
    Topology,
    swarm::{Swarm, SwarmSettings},
};

/// All talkers together send no more often than this: more, and the traffic itself is all that the machine does.
const BETWEEN_REQUESTS: Duration = Duration::from_millis(1);
/// How often a talker sends when there are few.
const TALK_EVERY: Duration = Duration::from_millis(100);
/// WireGuard starts no second handshake within 5 s: without this pause, that would be measured.
const SETTLE: Duration = Duration::from_secs(6);
/// Who has not talked for so long does not talk: wgha's 15 s, and what it may need to notice.
const SILENCE: Duration = Duration::from_secs(25);

/// Some clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// How many there are.
    pub peers: u32,
    /// How many of them talk, evenly spread over the configuration.
    pub talkers: u32,
    /// A NAT has given all of them one address.
    pub behind_one_address: bool,
}

impl Case {
    /// Every client talks.
    pub const fn all_talk(peers: u32) -> Self {
        Self { peers, talkers: peers, behind_one_address: false }
    }

    /// Every client talks, from one address.
    pub const fn behind_one_address(peers: u32) -> Self {
        Self { behind_one_address: true, ..Self::all_talk(peers) }
    }

    /// Some talk, and the others have been silent for a while.
    pub const fn some_talk(talkers: u32, peers: u32) -> Self {
        Self { talkers, ..Self::all_talk(peers) }
    }

    /// Whether somebody is silent.
    pub const fn some_are_silent(&self) -> bool {
        self.talkers < self.peers
    }

    /// Its clients.
    pub fn settings(&self, topology: &Topology) -> SwarmSettings {
        if self.behind_one_address {
            return SwarmSettings::behind_one_address(&topology.plan, self.peers);
        }
        SwarmSettings::spread(&topology.plan, self.peers)
    }

    /// Has those talk who do. Returns for how long, before anything may happen.
    pub fn talk(&self, swarm: &Swarm) -> Duration {
        let every = TALK_EVERY.max(BETWEEN_REQUESTS * self.talkers);
        swarm.talk(self.talkers, every);
        if self.some_are_silent() { SILENCE } else { SETTLE.max(every) }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.some_are_silent() {
            write!(f, "{} talkers among ", self.talkers)?;
        }
        write!(f, "{} peers{}", self.peers, if self.behind_one_address { " behind one address" } else { "" })
    }
}

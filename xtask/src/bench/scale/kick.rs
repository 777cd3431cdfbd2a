//! B1 with a script that starts all handshakes at once.

use std::time::Duration;

use anyhow::Result;
use wgha_tests::{
    Keepalived, KeepalivedSettings, Topology, Which,
    contestant::{Contestant, Daemon, REAL_TIME, Recipe, WithKeepalived},
    swarm::servers::{self, Directory, Peer},
    topology::TUNNEL,
};

/// What keepalived runs on its way to MASTER, and the tunnel's configuration that this finds.
const SCRIPT: &str = "/run/kick";
const PREPARED: &str = "/run/prepared.conf";
/// The keepalive that has wireguard-go start a handshake with a peer that is made anew.
const KEEPALIVE: u16 = 25;

/// How fast it could go if nothing were paced, and nobody came first.
pub struct Kick {
    /// How many clients there are.
    pub peers: u32,
}

impl Kick {
    /// What it is called.
    pub const NAME: &str = "K";
}

impl Contestant for Kick {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn about(&self) -> &'static str {
        "as B1, its script makes all peers anew in one set, with the endpoints that A knew at the crash"
    }

    fn detection_budget(&self) -> Duration {
        WithKeepalived(Recipe::RealTime).detection_budget()
    }

    fn advert_interval(&self) -> Duration {
        WithKeepalived(Recipe::RealTime).advert_interval()
    }

    fn prepare(&self, topology: &Topology) -> Result<()> {
        let script = format!(
            "#!/bin/sh\nip link set {TUNNEL} up\nif [ -f {PREPARED} ]; then exec wg setconf {TUNNEL} {PREPARED}; fi\n"
        );
        for which in Which::BOTH {
            let namespace = &topology.server(which).namespace;
            namespace.write(SCRIPT, &script)?;
            namespace.run("chmod", &["755", SCRIPT])?;
        }
        Ok(())
    }

    fn start(&self, topology: &Topology, which: Which, preempt: bool) -> Result<Box<dyn Daemon>> {
        let mut settings = KeepalivedSettings::seed(&topology.plan, which);
        settings.advert_interval = "0.01";
        settings.more_globals += REAL_TIME;
        settings.notify(SCRIPT, &format!("/sbin/ip link set {TUNNEL} down"));
        if !preempt {
            settings.more += "    nopreempt\n";
        }
        Ok(Box::new(Keepalived::start(topology, which, &settings)?))
    }

    /// Only somebody who sees both servers can tell it.
    fn before_fault(&self, topology: &Topology, active: Which) -> Result<()> {
        let endpoints = Directory::of(self.peers).endpoints(topology.server(active))?.into_iter();
        let peers = endpoints.map(|(number, endpoint)| Peer {
            number,
            endpoint: Some(endpoint),
            keepalive: KEEPALIVE,
        });
        let backup = &topology.server(active.other()).namespace;
        backup.write(PREPARED, &servers::configuration(peers))
    }

    fn forget(&self, topology: &Topology, which: Which) -> Result<()> {
        WithKeepalived(Recipe::RealTime).forget(topology, which)
    }
}

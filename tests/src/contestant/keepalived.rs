//! What can be built today: keepalived, and scripts that set the tunnel up and down.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Contestant, Daemon};
use crate::{
    Keepalived, KeepalivedSettings, Plan, Topology, Which,
    clock::patience,
    topology::{TUNNEL, UPLINK},
};

/// How far the recipe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// As [`Recipe::Seed`], and what the kernel takes from wg1 with its link stays lost.
    Letter,
    /// As everybody writes it: adverts every second, `ip link set wg1 up` and `down`.
    Seed,
    /// Adverts every 10 ms, by a process that nothing else delays.
    RealTime,
    /// And a script that knows the client's endpoint and starts the handshake.
    Pushed,
}

/// keepalived with one of the recipes.
#[derive(Debug, Clone, Copy)]
pub struct WithKeepalived(pub Recipe);

/// Where the client's endpoint is found by the scripts: whatever replicates it has written it there beforehand.
const ENDPOINT: &str = "/run/endpoint";
/// The scripts' places. keepalived runs no script that others may write to; /run is root's.
const ACTIVE: &str = "/run/wg-active";
const INACTIVE: &str = "/run/wg-inactive";

/// For `global_defs`. keepalived's limit is 10 ms of computing without a pause, after which the kernel kills it: a slow machine needs more.
pub const REAL_TIME: &str = "    vrrp_rt_priority 50\n    vrrp_rlimit_rttime 500000\n    vrrp_no_swap\n";

impl Contestant for WithKeepalived {
    fn name(&self) -> &'static str {
        match self.0 {
            Recipe::Letter => "B",
            Recipe::Seed => "B0",
            Recipe::RealTime => "B1",
            Recipe::Pushed => "B2",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Recipe::Letter => {
                "keepalived, adverts every 1 s, notify script; wg1 may lose its addresses with its link"
            }
            Recipe::Seed => "keepalived, adverts every 1 s, notify script sets wg1 up and down",
            Recipe::RealTime => "keepalived, adverts every 10 ms, real-time priority, the same script",
            Recipe::Pushed => "as B1, endpoints known beforehand, script sets them and starts handshakes",
        }
    }

    /// Active_Down_Interval of RFC 9568: three intervals and a skew of 157/256 of one.
    fn detection_budget(&self) -> Duration {
        self.advert_interval() * 3 + self.advert_interval() * (256 - u32::from(Which::B.priority())) / 256
    }

    fn advert_interval(&self) -> Duration {
        if self.is_slow() { Duration::from_secs(1) } else { patience(Duration::from_millis(10)) }
    }

    fn prepare(&self, topology: &Topology) -> Result<()> {
        for which in Which::BOTH {
            let server = topology.server(which);
            // To the letter, the recipe loses wg1's IPv6 address with the link and never recovers.
            let keep = if self.0 == Recipe::Letter { "0" } else { "1" };
            server.namespace.set_net(&format!("ipv6/conf/{TUNNEL}/keep_addr_on_down"), keep)?;
            if self.0 == Recipe::Pushed {
                server.namespace.write(ACTIVE, &active_script())?;
                server.namespace.write(INACTIVE, &inactive_script(&topology.plan))?;
                server.namespace.run("chmod", &["755", ACTIVE, INACTIVE])?;
            }
        }
        Ok(())
    }

    fn start(&self, topology: &Topology, which: Which, preempt: bool) -> Result<Box<dyn Daemon>> {
        Ok(Box::new(Keepalived::start(topology, which, &self.settings(&topology.plan, which, preempt))?))
    }

    /// To the letter, the script has set wg1 down when keepalived began as a Backup, and its address is gone since.
    fn serving(&self, topology: &Topology, active: Which) -> Result<()> {
        if self.0 == Recipe::Letter { topology.server(active).tunnel.add_address() } else { Ok(()) }
    }

    fn before_fault(&self, topology: &Topology, active: Which) -> Result<()> {
        if self.0 != Recipe::Pushed {
            return Ok(());
        }
        let shown = topology.server(active).tunnel.wg_show("endpoints")?;
        let endpoint = shown.split_whitespace().nth(1).context("the Active knows no endpoint")?;
        topology.server(active.other()).namespace.write(ENDPOINT, &format!("{endpoint}\n"))
    }

    fn forget(&self, topology: &Topology, which: Which) -> Result<()> {
        let server = topology.server(which);
        if server.has_address(topology.plan.vip) {
            let vip = topology.plan.with_prefix(topology.plan.vip);
            server.namespace.ip(&format!("address delete {vip} dev {UPLINK}"))?;
        }
        // Or the next one takes the dead one for a living one.
        server
            .namespace
            .run("sh", &["-c", "rm -f /run/keepalived*.pid /run/keepalived/*.pid /run/vrrp*.pid"])?;
        self.prepare(topology)
    }
}

impl WithKeepalived {
    fn is_slow(&self) -> bool {
        matches!(self.0, Recipe::Letter | Recipe::Seed)
    }

    fn settings(&self, plan: &Plan, which: Which, preempt: bool) -> KeepalivedSettings {
        let mut settings = KeepalivedSettings::seed(plan, which);
        settings.advert_interval = seconds(self.advert_interval());
        if !preempt {
            settings.more += "    nopreempt\n";
        }
        if !self.is_slow() {
            settings.more_globals += REAL_TIME;
        }
        if self.0 == Recipe::Pushed {
            settings.notify(ACTIVE, INACTIVE);
            return settings;
        }
        settings.with_notify_script(TUNNEL)
    }
}

/// As keepalived reads it.
fn seconds(interval: Duration) -> &'static str {
    match interval.as_millis() {
        1000 => "1",
        10 => "0.01",
        // Once for each run of a bench on a slow machine.
        other => format!("{}.{:03}", other / 1000, other % 1000).leak(),
    }
}

/// The endpoint first: traffic that finds the link up and no endpoint counts as an attempt, and holds back the next one
/// for 5 s. The kernel's WireGuard starts the handshake when the link goes up, wireguard-go when the keepalive is set.
fn active_script() -> String {
    let peer = Plan::CLIENT_PUBLIC;
    format!(
        "#!/bin/sh\nread -r endpoint <{ENDPOINT} &&\n\
         wg set {TUNNEL} peer {peer} endpoint \"$endpoint\" persistent-keepalive 25\n\
         exec ip link set {TUNNEL} up\n"
    )
}

/// A peer that is made anew has no session and no recent attempt, which would hold back the next one for 5 s.
fn inactive_script(plan: &Plan) -> String {
    let (peer, allowed) = (Plan::CLIENT_PUBLIC, Plan::alone(plan.tunnel_client));
    format!(
        "#!/bin/sh\nip link set {TUNNEL} down\n\
         exec wg set {TUNNEL} peer {peer} remove peer {peer} allowed-ips {allowed} persistent-keepalive 0\n"
    )
}

impl Daemon for Keepalived {
    fn term(&mut self) -> Result<()> {
        Self::term(self)
    }

    fn kill9(&mut self) -> Result<()> {
        Self::kill9(self)
    }

    fn hang(&mut self) -> Result<()> {
        self.stop()
    }

    fn processes(&self) -> Vec<u32> {
        Self::processes(self)
    }

    fn log(&self) -> Vec<String> {
        Self::log(self)
    }
}

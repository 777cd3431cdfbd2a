//! Who moves the VIP, and what is done for the clients then.

use std::{fmt, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use wgha_tests::{
    Node, Plan, Process, SOON, Server, Settings, Topology,
    Which::{self, B},
    clock,
    swarm::servers::{self, Directory, Peer},
    topology::{TUNNEL, UPLINK},
};

const KEEPALIVED_CONFIG: &str = "/run/keepalived.conf";
/// What keepalived runs on its way to MASTER, and the tunnel's configuration that this finds or not.
const SCRIPT: &str = "/run/master.sh";
const PREPARED: &str = "/run/prepared.conf";
/// The keepalive that has a prepared tunnel start all its handshakes at once.
const KEEPALIVE: u16 = 25;

/// A way to fail over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contestant {
    /// keepalived at 10 ms with real-time priority and the recipe's script: clients find out for themselves
    B1,
    /// The same, and its script re-creates all peers in one set, with the endpoints that A knew at the crash
    Unpaced,
    /// wgha
    Wgha,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::B1 => "B1",
            Self::Unpaced => "unpaced kick",
            Self::Wgha => "wgha",
        })
    }
}

/// It, running on a server.
pub enum Running {
    /// keepalived
    Keepalived(#[expect(dead_code, reason = "lives as long as it runs")] Process),
    /// wgha's daemon
    Wgha(Box<Node>),
}

impl Running {
    /// wgha's process id.
    pub fn daemon(&self) -> Option<u32> {
        match self {
            Self::Wgha(node) => Some(node.id()),
            Self::Keepalived(_) => None,
        }
    }
}

impl Contestant {
    /// Whether idle clients, too, are fetched by the new Active.
    pub const fn fetches_idle_clients(self) -> bool {
        matches!(self, Self::Unpaced | Self::Wgha)
    }

    /// Starts it on both servers, A first, and waits until A serves.
    pub fn start(self, topology: &Topology) -> Result<[Running; 2]> {
        let a = self.start_on(topology, Which::A)?;
        let plan = &topology.plan;
        clock::wait_until("A to serve", SOON, || {
            Ok(topology.a.has_address(plan.vip) && topology.a.tunnel.is_up())
        })?;
        let b = self.start_on(topology, B)?;
        // Until it has heard A, it might serve itself.
        clock::observe_for(Duration::from_secs(1))?;
        Ok([a, b])
    }

    /// What the unpaced kick must know at the crash, and how could only be told by somebody who sees both servers.
    pub fn prepare(self, topology: &Topology, directory: &Directory) -> Result<()> {
        if self != Self::Unpaced {
            return Ok(());
        }
        let endpoints = directory.endpoints(&topology.a)?.into_iter();
        let peers = endpoints.map(|(number, endpoint)| Peer {
            number,
            endpoint: Some(endpoint),
            keepalive: KEEPALIVE,
        });
        topology.b.namespace.write(PREPARED, &servers::configuration(peers))
    }

    fn start_on(self, topology: &Topology, which: Which) -> Result<Running> {
        match self {
            Self::B1 | Self::Unpaced => start_keepalived(&topology.plan, topology.server(which)),
            Self::Wgha => {
                let settings =
                    Settings { advert_interval: "10ms".into(), ..Settings::seed(&topology.plan, which) };
                Ok(Running::Wgha(Box::new(Node::start(topology, which, &settings)?)))
            }
        }
    }
}

fn start_keepalived(plan: &Plan, server: &Server) -> Result<Running> {
    let namespace = &server.namespace;
    let script =
        format!("ip link set {TUNNEL} up\nif [ -f {PREPARED} ]; then wg setconf {TUNNEL} {PREPARED}; fi\n");
    namespace.write(SCRIPT, &script)?;
    namespace.write(KEEPALIVED_CONFIG, &keepalived_config(plan, server.which))?;
    let words = ["--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", KEEPALIVED_CONFIG];
    let process = namespace.spawn("keepalived", &words)?;
    clock::wait_until("keepalived's first state", SOON, || Ok(process.has_said("STATE")))?;
    Ok(Running::Keepalived(process))
}

fn keepalived_config(plan: &Plan, which: Which) -> String {
    let (vrid, priority, vip) = (Plan::VRID, which.priority(), plan.with_prefix(plan.vip));
    let no_dad = if plan.is_ipv6() { "no_dad" } else { "" };
    let down = |when: &str| format!("    notify_{when} \"/sbin/ip link set {TUNNEL} down\"\n");
    format!(
        "global_defs {{\n    vrrp_version 3\n    vrrp_rt_priority 50\n    enable_script_security\n    script_user root\n}}\n\
         vrrp_instance wg {{\n    state BACKUP\n    interface {UPLINK}\n    virtual_router_id {vrid}\n    \
         priority {priority}\n    advert_int 0.01\n    \
         virtual_ipaddress {{\n        {vip} dev {UPLINK} {no_dad}\n    }}\n    \
         notify_master \"/bin/sh {SCRIPT}\"\n{}{}{}}}\n",
        down("backup"),
        down("fault"),
        down("stop"),
    )
}

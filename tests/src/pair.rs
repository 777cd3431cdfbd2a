//! The usual beginning of a test: wgha on both servers, A serving, B ready.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    Node, Pinger, Plan, Settings, Topology, Which,
    Which::{A, B},
    clock, pinger,
};

/// More than any change of role takes, even on a machine that is busy with something else.
pub const SOON: Duration = Duration::from_secs(20);
/// More than WireGuard needs to find a server that has never heard of the client: 15 s, and its retries. 36 s were seen.
pub const AFTER_WIREGUARD: Duration = Duration::from_secs(90);

/// Two servers under wgha.
#[derive(Debug)]
pub struct Pair {
    /// The daemon on A.
    pub a: Node,
    /// The daemon on B.
    pub b: Node,
    /// Where they run; dropped last.
    pub topology: Topology,
}

impl Pair {
    /// The seed's.
    ///
    /// # Errors
    /// That something does not start, or does not find its role.
    pub fn ipv6() -> Result<Self> {
        Self::start(Topology::ipv6()?, Settings::seed)
    }

    /// Its IPv4-only twin.
    ///
    /// # Errors
    /// That something does not start, or does not find its role.
    pub fn ipv4() -> Result<Self> {
        Self::start(Topology::ipv4()?, Settings::seed)
    }

    /// With other settings.
    ///
    /// # Errors
    /// That something does not start, or does not find its role.
    pub fn start(topology: Topology, settings: impl Fn(&Plan, Which) -> Settings) -> Result<Self> {
        let a = Node::start(&topology, A, &settings(&topology.plan, A))?;
        a.wait_role("active", SOON)?;
        let b = Node::start(&topology, B, &settings(&topology.plan, B))?;
        let pair = Self { a, b, topology };
        pair.expect_hook(settings(&pair.topology.plan, B).attach)?;
        pair.wait_serving(A)?;
        clock::wait_until("B to hear A", SOON, || Ok(pair.b.status()?["vrrp"]["active_router"].is_string()))?;
        Ok(pair)
    }

    /// A test that asks for a hook is not to pass on another one.
    fn expect_hook(&self, attach: &str) -> Result<()> {
        let shown = match attach {
            "native" => "xdp native",
            "generic" => "xdp generic",
            "tc" => "tc (",
            _ => "",
        };
        let status = self.b.status()?;
        let ingress = status["uplink"]["ingress"].as_str().unwrap_or_default();
        ensure!(ingress.starts_with(shown), "{attach} was asked for: {ingress}");
        Ok(())
    }

    /// A daemon.
    #[must_use]
    pub const fn node(&self, which: Which) -> &Node {
        match which {
            A => &self.a,
            B => &self.b,
        }
    }

    /// A daemon, to be replaced or sent signals.
    pub const fn node_mut(&mut self, which: Which) -> &mut Node {
        match which {
            A => &mut self.a,
            B => &mut self.b,
        }
    }

    /// Waits until `which` serves and the other one is its Backup: roles, VIP and tunnel.
    ///
    /// # Errors
    /// What is not so.
    pub fn wait_serving(&self, which: Which) -> Result<()> {
        self.node(which).wait_role("active", SOON)?;
        self.node(which.other()).wait_role("backup", SOON)?;
        self.wait_moved(which)
    }

    /// Waits until the VIP and a raised tunnel are on `which` and, if its daemon can see to that, not on the other one.
    ///
    /// # Errors
    /// What is not so.
    pub fn wait_moved(&self, which: Which) -> Result<()> {
        let (here, there) = (self.topology.server(which), self.topology.server(which.other()));
        let vip = self.topology.plan.vip;
        let moved = || here.has_address(vip) && here.tunnel.is_up() && !there.has_address(vip);
        clock::wait_until(&format!("VIP and tunnel on {which} alone"), SOON, || Ok(moved()))
    }

    /// Waits until B goes by probes: it has been introduced to A, and is answered.
    ///
    /// # Errors
    /// What it goes by.
    pub fn wait_probing(&self) -> Result<()> {
        let by = || Ok(self.b.status()?["detection"]["by"] == "probes");
        clock::wait_until("B to go by probes", SOON, by).with_context(|| match self.b.status() {
            Ok(status) => format!("{:#}", status["detection"]),
            Err(e) => e.to_string(),
        })
    }

    /// Why B has the role that it has.
    ///
    /// # Errors
    /// That it does not answer.
    pub fn reason_of_b(&self) -> Result<String> {
        Ok(self.b.status()?["reason"].as_str().unwrap_or_default().to_owned())
    }

    /// Starts to ping through the tunnel, and waits for the first answer from A.
    ///
    /// # Errors
    /// That there is none.
    pub fn ping(&self) -> Result<Pinger> {
        let ping = Pinger::start(&self.topology.client, self.topology.plan.tunnel_server, pinger::INTERVAL)?;
        let answer = ping.wait_answer(0, None, AFTER_WIREGUARD)?;
        ensure!(answer.from() == Some(A), "answered with hop limit {}", answer.hop_limit);
        Ok(ping)
    }
}

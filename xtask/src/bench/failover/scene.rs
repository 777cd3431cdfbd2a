//! One network with one contestant in it, brought to where the fault is to happen.

use std::{net::IpAddr, ops::Range, time::Duration};

use anyhow::{Context, Result, bail};
use wgha_tests::{
    Capture, Plan, Server, Topology,
    Which::{self, A, B},
    capture::Watch,
    clock::observe_for,
    contestant::{self, Contestant, Daemon},
    echo::Echo,
    fault::BlackHole,
    monotonic_ns,
    prober::{self, Asks, Echoed, Prober},
    topology::TUNNEL,
};

use super::case::{Case, Condition, Fault};

/// WireGuard starts no two handshakes within 5 s, and waits 5 s for an answer: sooner, and that is what is measured.
const AFTER_HANDSHAKE: Duration = Duration::from_millis(6300);
/// Between a client's change of address and the fault: enough for a packet each way, and for whoever replicates it.
const AFTER_ROAMING: Duration = Duration::from_millis(150);
/// A client that is restarted shakes hands with its next probe.
const SHAKEN: Duration = Duration::from_secs(2);
/// The longest that the way to a condition may take: WireGuard's 15 s, and some.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that runs. Dropped in this order.
pub struct Scene<'a> {
    /// Who tells how long nothing was answered.
    pub probers: Vec<Prober>,
    watches: Vec<(Which, Capture)>,
    /// By [`Which`]: A, B.
    daemons: [Option<Box<dyn Daemon>>; 2],
    _echoes: Vec<Echo>,
    /// The network.
    pub topology: Topology,
    /// Who is measured.
    pub contestant: &'a dyn Contestant,
    /// What is measured.
    pub case: Case,
    began_ns: u64,
}

impl<'a> Scene<'a> {
    /// Sets it up, until the fault can happen.
    pub fn set(contestant: &'a dyn Contestant, case: Case) -> Result<Self> {
        let topology = Topology::ipv6()?;
        contestant.prepare(&topology)?;
        if case.condition == Condition::Nat {
            topology.hide_client()?;
        }
        let began_ns = monotonic_ns();
        let watches = watches(&topology, case)?;
        let echoes = echoes(&topology)?;
        let (probers, daemons) = (Vec::new(), [None, None]);
        let mut scene =
            Self { probers, watches, daemons, _echoes: echoes, topology, contestant, case, began_ns };
        scene.start(A)?;
        scene.start(B)?;
        scene.wait_serving(A)?;
        scene.greet_gateway()?;
        scene.begin_probing()?;
        scene.precede()?;
        observe_for(AFTER_HANDSHAKE)?;
        scene.roam()?;
        contestant.before_fault(&scene.topology, case.active())?;
        Ok(scene)
    }

    /// Starts the contestant on a server.
    pub fn start(&mut self, which: Which) -> Result<()> {
        let daemon = self.contestant.start(&self.topology, which, self.case.preempts())?;
        self.daemons[index(which)] = Some(daemon);
        if which == A {
            // B must find it serving, or serves itself for a moment.
            let a = &self.topology.a;
            let vip = self.topology.plan.vip;
            wgha_tests::wait_until("A to hold the VIP", PATIENCE, || Ok(a.has_address(vip)))?;
        }
        Ok(())
    }

    /// The contestant on a server.
    pub fn daemon(&mut self, which: Which) -> Result<&mut Box<dyn Daemon>> {
        self.daemons[index(which)].as_mut().with_context(|| format!("nothing runs on {which}"))
    }

    /// What the contestant says on both servers.
    pub fn logs(&self) -> Vec<String> {
        let logs = Which::BOTH.into_iter().zip(&self.daemons);
        logs.flat_map(|(which, daemon)| {
            let lines = daemon.as_ref().map(|d| d.log()).unwrap_or_default();
            lines.into_iter().map(move |line| format!("{which}: {line}"))
        })
        .collect()
    }

    /// The first probe since then that was answered by way of that server.
    pub fn echo_by(&self, which: Which, since_ns: u64) -> Option<Echoed> {
        self.probers.iter().filter_map(|p| p.first_echo(since_ns, Some(which))).min_by_key(|e| e.sent_ns)
    }

    /// Frames of WireGuard's port from another address than the VIP, ever.
    pub fn strays(&self) -> usize {
        let vip = self.topology.plan.vip;
        self.sent_by_wireguard().filter(|(_, _, source)| *source != vip).count()
    }

    /// Frames of WireGuard's port that the Backup has sent before the fault; those do not count that it has sent while it
    /// was Active.
    pub fn sent_by_backup(&self, fault_ns: u64) -> Result<usize> {
        let backup = self.case.active().other();
        // In these it has served before.
        if matches!(self.case.condition, Condition::Warm | Condition::Double)
            || self.case.fault == Fault::Return
        {
            return Ok(0);
        }
        let terms = self.terms(backup)?;
        let sent = self.sent_by_wireguard().filter(|(which, at_ns, _)| {
            *which == backup && *at_ns < fault_ns && !terms.iter().any(|term| term.contains(at_ns))
        });
        Ok(sent.count())
    }

    /// How often nobody had failed and the Backup took over all the same.
    pub fn false_failovers(&self, fault_ns: u64) -> Result<usize> {
        let terms = match (self.case.condition, self.case.fault) {
            (Condition::Warm | Condition::Double, _) | (_, Fault::Return) => Vec::new(),
            _ => self.terms(self.case.active().other())?,
        };
        Ok(terms.iter().filter(|term| term.start < fault_ns).count())
    }

    fn terms(&self, which: Which) -> Result<Vec<Range<u64>>> {
        self.daemons[index(which)].as_ref().map_or(Ok(Vec::new()), |daemon| daemon.terms())
    }

    /// When the new Active has sent its first initiation since then.
    pub fn initiation_ns(&self, since_ns: u64) -> Option<u64> {
        let next = self.case.expected();
        let (_, watch) = self.watches.iter().find(|(which, _)| *which == next)?;
        let first = watch.received(since_ns).into_iter().find(|packet| {
            let udp = packet.frame().udp();
            udp.is_some_and(|u| u.source_port == Plan::PORT && u.payload.first() == Some(&1))
        });
        first.map(|packet| packet.at_ns)
    }

    fn sent_by_wireguard(&self) -> impl Iterator<Item = (Which, u64, IpAddr)> {
        let began = self.began_ns;
        self.watches.iter().flat_map(move |(which, watch)| {
            watch.received(began).into_iter().filter_map(move |packet| {
                let from = packet.frame().udp().is_some_and(|u| u.source_port == Plan::PORT);
                Some((*which, packet.at_ns, packet.frame().ip().filter(|_| from)?.source))
            })
        })
    }

    /// A server that is monitored, or asks for the time, knows its gateway and is known to it.
    fn greet_gateway(&self) -> Result<()> {
        let gateway = self.topology.plan.gateway.to_string();
        for which in Which::BOTH {
            self.topology.server(which).namespace.run("ping", &["-c1", "-W2", &gateway])?;
        }
        Ok(())
    }

    fn begin_probing(&mut self) -> Result<()> {
        let (client, plan) = (&self.topology.client, self.topology.plan.clone());
        let prober = Prober::start(client, Asks::Client, plan.tunnel_server, prober::pace())?;
        self.probers = vec![prober];
        self.shake(A)?;
        if self.case.condition == Condition::Idle {
            self.probers = Which::BOTH
                .map(|which| {
                    let server = &self.topology.server(which).namespace;
                    Prober::start(server, Asks::Server(which, TUNNEL), plan.tunnel_client, prober::pace())
                })
                .into_iter()
                .collect::<Result<_>>()?;
            self.wait_echo(A, monotonic_ns(), SHAKEN)?;
        }
        Ok(())
    }

    /// Until the tunnel answers from `which`, if need be by a client that is started again.
    fn shake(&self, which: Which) -> Result<()> {
        for _ in 0..8 {
            if self.wait_echo(which, monotonic_ns(), SHAKEN).is_ok() {
                return Ok(());
            }
            wgha_tests::interrupt::check()?;
            contestant::restart_client(&self.topology)?;
        }
        bail!("the tunnel does not answer from {which}")
    }

    fn wait_echo(&self, which: Which, since_ns: u64, timeout: Duration) -> Result<Echoed> {
        let what = format!("an echo by way of {which}");
        wgha_tests::wait_for(&what, timeout, || Ok(self.echo_by(which, since_ns)))
    }

    /// What happens before the fault is measured.
    fn precede(&mut self) -> Result<()> {
        if self.case.fault == Fault::Return {
            observe_for(AFTER_HANDSHAKE)?;
            self.contestant.before_fault(&self.topology, A)?;
            let stopped = monotonic_ns();
            self.daemon(A)?.term()?;
            self.daemons[index(A)] = None;
            return self.wait_echo(B, stopped, PATIENCE).map(drop);
        }
        match self.case.condition {
            Condition::Warm => self.serve_elsewhere_for_a_while(),
            Condition::Double => self.reboot_a(),
            _ => Ok(()),
        }
    }

    fn serve_elsewhere_for_a_while(&mut self) -> Result<()> {
        observe_for(AFTER_HANDSHAKE)?;
        self.contestant.before_fault(&self.topology, A)?;
        let mut hole = BlackHole::at(&self.topology, A)?;
        let cut = monotonic_ns();
        hole.open()?;
        self.wait_echo(B, cut, PATIENCE)?;
        observe_for(Duration::from_secs(1))?;
        hole.close()?;
        self.wait_serving(A)?;
        self.shake(A)
    }

    /// A crashes, B takes over, and A comes back as a machine that has just been switched on.
    fn reboot_a(&mut self) -> Result<()> {
        observe_for(AFTER_HANDSHAKE)?;
        self.contestant.before_fault(&self.topology, A)?;
        let mut hole = BlackHole::at(&self.topology, A)?;
        let cut = monotonic_ns();
        hole.open()?;
        self.daemon(A)?.kill9()?;
        self.daemons[index(A)] = None;
        self.wait_echo(B, cut, PATIENCE)?;
        self.topology.a.tunnel.delete()?;
        self.topology.a.tunnel.create()?;
        self.contestant.forget(&self.topology, A)?;
        hole.close()?;
        self.daemons[index(A)] = Some(self.contestant.start(&self.topology, A, self.case.preempts())?);
        self.wait_serving(B)
    }

    fn wait_serving(&self, which: Which) -> Result<()> {
        contestant::wait_serving(&self.topology, which)?;
        self.contestant.serving(&self.topology, which)
    }

    fn roam(&self) -> Result<()> {
        let plan = &self.topology.plan;
        match self.case.condition {
            Condition::Address => {
                let (old, new) = (plan.with_prefix(plan.client), plan.with_prefix(neighbour_of(plan.client)));
                self.topology
                    .client
                    .ip_batch(&format!("address add {new} dev eth0\naddress delete {old} dev eth0"))?;
            }
            Condition::Port => self.topology.client_tunnel.wg_set("listen-port 40404")?,
            _ => return Ok(()),
        }
        self.wait_echo(A, monotonic_ns(), SHAKEN).context("after roaming")?;
        observe_for(AFTER_ROAMING)
    }
}

const fn index(which: Which) -> usize {
    match which {
        A => 0,
        B => 1,
    }
}

/// The next address of the same prefix.
fn neighbour_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) + 1).into()),
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) + 1).into()),
    }
}

fn watches(topology: &Topology, case: Case) -> Result<Vec<(Which, Capture)>> {
    let IpAddr::V6(vip) = topology.plan.vip else { bail!("the benches are in IPv6") };
    let watch = |which: Which| {
        let backup = which == case.active().other();
        let watch = Watch { port: Plan::PORT, vip, all_sent: backup };
        Ok((which, Capture::of_wireguard(&topology.switch, Server::port(which), &watch)?))
    };
    Which::BOTH.into_iter().map(watch).collect()
}

fn echoes(topology: &Topology) -> Result<Vec<Echo>> {
    let mut echoes = vec![Echo::start(&topology.client, b'C')?];
    for which in Which::BOTH {
        echoes.push(Echo::start(&topology.server(which).namespace, which.hop_limit())?);
    }
    Ok(echoes)
}

//! The network, the daemons and the pings of the demo.

use std::time::Duration;

use anyhow::{Context, Result};
use wgha_tests::{
    AFTER_WIREGUARD, Namespace, Node, Outage, Pinger, Process, SOON, Settings, Topology,
    Which::{self, A, B},
    clock::observe_for,
    monotonic_ns, pinger,
};

use super::{
    recording::{Event, Recording},
    words,
};

/// Everything that runs. Dropping it removes all of it.
pub struct Stage {
    events: Vec<Event>,
    interval: String,
    setting: String,
    names: Vec<(String, Which)>,
    start_ns: u64,
    seed_ping: Process,
    ping: Pinger,
    a: Option<Node>,
    b: Node,
    topology: Topology,
}

impl Stage {
    /// Sets it up until the tunnel answers from A and B is ready.
    pub fn set(ipv4: bool, interval: &str) -> Result<Self> {
        words::step("making the network: switch, gateway, client, servers A and B");
        let topology = if ipv4 { Topology::ipv4()? } else { Topology::ipv6()? };
        words::step("starting wgha on A (priority 100) and B (priority 99)");
        let a = start(&topology, A, interval)?;
        a.wait_role("active", SOON)?;
        let b = start(&topology, B, interval)?;
        b.wait_role("backup", SOON)?;
        let setting = setting(&topology, &a, interval)?;
        words::step(&setting);
        let target = topology.plan.tunnel_server;
        words::step(&format!("pinging {target} from the client, through the tunnel"));
        let seed_ping = topology.client.spawn("ping", &["-i0.2", &target.to_string()])?;
        let ping = Pinger::start(&topology.client, target, pinger::INTERVAL)?;
        ping.wait_answer(0, Some(A), AFTER_WIREGUARD).context("before anything was done to it")?;
        let (events, interval, start_ns) = (Vec::new(), interval.to_owned(), monotonic_ns());
        let names = names(&topology)?;
        Ok(Self { events, interval, setting, names, start_ns, seed_ping, ping, a: Some(a), b, topology })
    }

    /// Waits for an answer from this server to a ping sent after `since_ns`.
    pub fn answered(&self, by: Which, since_ns: u64, timeout: Duration) -> Result<()> {
        self.ping.wait_answer(since_ns, Some(by), timeout).map(drop)
    }

    /// Who answered last, of those pings that were sent after `since_ns`.
    pub fn last_answer(&self, since_ns: u64) -> Option<Which> {
        let probes = self.ping.probes();
        let since = probes.iter().rev().take_while(|p| p.sent_ns >= since_ns);
        since.filter_map(|p| p.answer).next().and_then(|a| a.from())
    }

    /// The longest time without answers since then.
    pub fn outage(&self, since_ns: u64) -> Option<Outage> {
        self.ping.longest_outage(since_ns)
    }

    /// Sets wg1 up or down on A, as somebody might.
    pub fn set_tunnel_of_a(&mut self, up: bool) -> Result<u64> {
        let at_ns = monotonic_ns();
        self.topology.a.tunnel.set(up)?;
        Ok(at_ns)
    }

    /// Makes A vanish from the network, without a word and without its noticing.
    pub fn cut_a(&mut self) -> Result<u64> {
        let at_ns = monotonic_ns();
        self.topology.cut(A)?;
        self.events.push(process(A, "cut off", "nothing gets in or out".into()));
        Ok(at_ns)
    }

    /// Undoes [`Stage::cut_a`]. A has gone on all the time.
    pub fn mend_a(&mut self) -> Result<u64> {
        let role = self.a.as_ref().map(Node::role).transpose()?.flatten().unwrap_or_else(|| "off".into());
        let at_ns = monotonic_ns();
        self.topology.mend(A)?;
        self.events.push(process(A, &role, "its link works again; alone it has gone on".into()));
        Ok(at_ns)
    }

    /// SIGTERM for the daemon on A.
    pub fn stop_a(&mut self) -> Result<u64> {
        let mut a = self.a.take().context("wgha on A is not running")?;
        let at_ns = monotonic_ns();
        let status = a.term()?;
        let detail = format!("wgha has ended: {status}");
        let told = self.read(A, &a)?;
        self.events.extend(told);
        self.events.push(process(A, "off", detail));
        Ok(at_ns)
    }

    /// Starts the daemon on A again.
    pub fn start_a(&mut self) -> Result<u64> {
        let at_ns = monotonic_ns();
        self.a = Some(start(&self.topology, A, &self.interval)?);
        Ok(at_ns)
    }

    /// The events of both daemons so far, in order.
    pub fn events(&self) -> Result<Vec<Event>> {
        let mut events = self.events.clone();
        events.extend(self.read(B, &self.b)?);
        if let Some(a) = &self.a {
            events.extend(self.read(A, a)?);
        }
        events.sort_by_key(|e| e.at_ns);
        Ok(events)
    }

    fn read(&self, which: Which, node: &Node) -> Result<Vec<Event>> {
        Ok(node.events()?.iter().filter_map(|line| Event::read(which, line, &self.names)).collect())
    }

    /// Ends everything and keeps what was seen.
    pub fn clear(mut self) -> Recording {
        // ping says on SIGINT how many were answered.
        let told = self.seed_ping.interrupt().and_then(|()| self.seed_ping.wait(SOON));
        let seed_ping = if told.is_ok() { summary(&self.seed_ping) } else { Vec::new() };
        // Without its events the recording still shows the pings.
        let events = self.events().unwrap_or_default();
        let (start_ns, end_ns, probes) = (self.start_ns, monotonic_ns(), self.ping.probes());
        let setting = self.setting;
        let probes = probes.into_iter().filter(|p| p.sent_ns >= start_ns).collect();
        Recording { start_ns, end_ns, probes, events, faults: Vec::new(), setting, seed_ping }
    }
}

/// Whether `ip link add type wireguard` works here.
pub fn kernel_has_wireguard() -> bool {
    let tried = Namespace::new("a trial").and_then(|n| n.ip("link add wg0 type wireguard"));
    tried.is_ok()
}

/// Lets the picture have a piece of quiet before the next thing.
pub fn rest(time: Duration) -> Result<()> {
    observe_for(time)
}

fn start(topology: &Topology, which: Which, interval: &str) -> Result<Node> {
    let mut settings = Settings::seed(&topology.plan, which);
    interval.clone_into(&mut settings.advert_interval);
    Node::start(topology, which, &settings)
}

fn process(node: Which, what: &str, detail: String) -> Event {
    Event { at_ns: monotonic_ns(), node, kind: "process".into(), what: what.into(), detail }
}

/// The addresses that adverts come from, of both families, longest first: one may begin with another.
fn names(topology: &Topology) -> Result<Vec<(String, Which)>> {
    let mut names = Vec::new();
    for which in Which::BOTH {
        let shown = topology.server(which).namespace.ip("-brief address show dev eno1")?;
        let addresses = shown.split_whitespace().skip(2).filter_map(|word| word.split('/').next());
        let own = addresses.filter(|a| *a != topology.plan.vip.to_string());
        names.extend(own.map(|address| (address.to_owned(), which)));
    }
    names.sort_by_key(|(address, _)| std::cmp::Reverse(address.len()));
    Ok(names)
}

/// What this run's figures depend on.
fn setting(topology: &Topology, node: &Node, interval: &str) -> Result<String> {
    let status = node.status()?;
    let word = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let wireguard = match word(&status["wireguard"]["implementation"]).as_str() {
        "userspace" => "wireguard-go".to_owned(),
        other => format!("{other} WireGuard"),
    };
    let family = if topology.plan.is_ipv6() { "IPv6" } else { "IPv4" };
    let (ingress, egress) = (word(&status["uplink"]["ingress"]), word(&status["uplink"]["egress"]));
    Ok(format!("{family}, {wireguard}, adverts every {interval}, {ingress} in, {egress} out"))
}

fn summary(ping: &Process) -> Vec<String> {
    ping.log()
        .into_iter()
        .skip_while(|line| !line.starts_with("---"))
        .skip(1)
        .filter(|l| !l.is_empty())
        .collect()
}

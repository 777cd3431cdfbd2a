//! The network of the seed: switch, gateway, client, and the servers A and B.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Xdp, XdpMode},
};

use crate::{
    Namespace, Plan, Tunnel, Which,
    cards::{self, Cable},
    node,
    turn::Turn,
    wireguard::{TunnelSettings, has_address},
};

/// The interface of the servers that wgha guards.
pub const UPLINK: &str = "eno1";
/// WireGuard on the servers.
pub const TUNNEL: &str = "wg1";
/// WireGuard on the client.
pub const CLIENT_TUNNEL: &str = "wg0";
/// The bridge of the switch.
pub(crate) const BRIDGE: &str = "br0";
/// Its port that the gateway is plugged into.
pub(crate) const GATEWAY_PORT: &str = "port-gw";

/// The whole network. Dropping it removes all of it.
#[derive(Debug)]
pub struct Topology {
    /// Who has which address.
    pub plan: Plan,
    /// The client.
    pub client: Namespace,
    /// The client's WireGuard.
    pub client_tunnel: Tunnel,
    /// Server A.
    pub a: Server,
    /// Server B.
    pub b: Server,
    /// The router between the client and the servers.
    pub gateway: Namespace,
    /// The segment of gateway, A and B: one bridge, whose ports are called as what is behind them.
    pub switch: Namespace,
    /// What native XDP needs to be at the other end of a veth.
    far_ends: Vec<Ebpf>,
    _turn: Turn,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// Which one.
    pub which: Which,
    /// Where it runs.
    pub namespace: Namespace,
    /// Its `wg1`.
    pub tunnel: Tunnel,
}

impl Server {
    /// The Ethernet address of its uplink.
    ///
    /// # Errors
    /// The system's.
    pub fn mac(&self) -> Result<[u8; 6]> {
        self.namespace.mac(UPLINK)
    }

    /// The port of the switch that it is plugged into.
    #[must_use]
    pub const fn port(which: Which) -> &'static str {
        match which {
            Which::A => "port-a",
            Which::B => "port-b",
        }
    }

    /// Whether its uplink has an address, as the kernel says.
    #[must_use]
    pub fn has_address(&self, address: std::net::IpAddr) -> bool {
        has_address(&self.namespace, UPLINK, address)
    }
}

impl Topology {
    /// The seed's network.
    ///
    /// # Errors
    /// When the kernel refuses, or a program is missing.
    pub fn ipv6() -> Result<Self> {
        Self::build(Plan::ipv6())
    }

    /// The same in IPv4 only.
    ///
    /// # Errors
    /// When the kernel refuses, or a program is missing.
    pub fn ipv4() -> Result<Self> {
        Self::build(Plan::ipv4())
    }

    fn build(plan: Plan) -> Result<Self> {
        let turn = Turn::wait();
        let switch = make_switch()?;
        let gateway = make_gateway(&plan, &switch)?;
        let client = make_client(&plan, &gateway)?;
        let client_tunnel = Tunnel::start(&client, client_settings(&plan))?;
        let a = make_server(&plan, &switch, Which::A)?;
        let b = make_server(&plan, &switch, Which::B)?;
        let far_ends = Vec::new();
        let mut topology = Self { plan, client, client_tunnel, a, b, gateway, switch, far_ends, _turn: turn };
        if node::usual_attach() == "native" && !cards::are_there() {
            topology.pass_at_far_ends()?;
        }
        Ok(topology)
    }

    /// A server.
    #[must_use]
    pub const fn server(&self, which: Which) -> &Server {
        match which {
            Which::A => &self.a,
            Which::B => &self.b,
        }
    }

    /// A server, to be changed.
    pub const fn server_mut(&mut self, which: Which) -> &mut Server {
        match which {
            Which::A => &mut self.a,
            Which::B => &mut self.b,
        }
    }

    /// Makes a server vanish from the network without noticing it: its carrier stays, its frames go nowhere.
    ///
    /// # Errors
    /// The system's.
    pub fn cut(&self, which: Which) -> Result<()> {
        self.switch.ip(&format!("link set {} nomaster", Server::port(which))).map(drop)
    }

    /// Undoes [`Topology::cut`] and [`Topology::unplug`].
    ///
    /// # Errors
    /// The system's.
    pub fn mend(&self, which: Which) -> Result<()> {
        self.switch.ip(&format!("link set {} master {BRIDGE} up", Server::port(which))).map(drop)
    }

    /// Has XDP at the switch's ends of the servers' cables, which only passes: without it a veth keeps back what native XDP
    /// on the server's end answers. Where it is there already, it stays.
    ///
    /// # Errors
    /// The kernel half has not been built, or the kernel refuses it.
    pub fn pass_at_far_ends(&mut self) -> Result<()> {
        if self.far_ends.is_empty() {
            self.far_ends =
                Which::BOTH.map(|which| self.pass_at_far_end(which)).into_iter().collect::<Result<_>>()?;
        }
        Ok(())
    }

    fn pass_at_far_end(&self, which: Which) -> Result<Ebpf> {
        // Nothing is configured: it passes everything.
        let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/wgha-ebpf");
        let object = std::env::var("WGHA_EBPF_OBJECT").unwrap_or_else(|_| usual.to_owned());
        self.switch.inside(|| {
            let mut ebpf = EbpfLoader::new().load_file(&object).with_context(|| object.clone())?;
            let program: &mut Xdp = ebpf.program_mut("wgha_xdp").context("no wgha_xdp")?.try_into()?;
            program.load()?;
            program.attach(Server::port(which), XdpMode::Driver)?;
            Ok(ebpf)
        })
    }

    /// Somebody else's machine on the servers' segment: its interface is `eth0`, with the address of [`Plan::stranger`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug_stranger(&self) -> Result<Namespace> {
        let stranger = machine("a stranger")?;
        plug(&self.switch, "port-x", &stranger, "eth0", None)?;
        stranger.ip(&format!("address add {} dev eth0", self.plan.with_prefix(self.plan.stranger())))?;
        Ok(stranger)
    }

    /// One more machine at the switch, without an address of its own: it can say what it likes, and hears what is said to
    /// it. Its interface is called as the servers'.
    ///
    /// # Errors
    /// The system's.
    pub fn observer(&self) -> Result<Namespace> {
        let observer = machine("the observer")?;
        observer.set_net("ipv6/conf/default/disable_ipv6", "1")?;
        plug(&self.switch, "port-o", &observer, UPLINK, None)?;
        Ok(observer)
    }

    /// Deletes a server's uplink, as a driver does that fails.
    ///
    /// # Errors
    /// The system's.
    pub fn delete_uplink(&self, which: Which) -> Result<()> {
        self.server(which).namespace.ip(&format!("link delete {UPLINK}")).map(drop)
    }

    /// Makes it anew: another interface of the same name, with the same addresses.
    ///
    /// # Errors
    /// The system's.
    pub fn make_uplink(&self, which: Which) -> Result<()> {
        plug(&self.switch, Server::port(which), &self.server(which).namespace, UPLINK, None)?;
        self.restore_uplink(which)
    }

    /// Pulls a server's cable: it loses its carrier, where there is [`crate::Property::Carrier`].
    ///
    /// # Errors
    /// The system's.
    pub fn unplug(&self, which: Which) -> Result<()> {
        ensure!(!cards::are_there(), "a network card does not lose its carrier");
        self.switch.ip(&format!("link set {} down", Server::port(which))).map(drop)
    }
}

/// Addresses are usable at once, and appear only where the plan says.
fn machine(name: &str) -> Result<Namespace> {
    let namespace = Namespace::new(name)?;
    for scope in ["all", "default"] {
        namespace.set_net(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        namespace.set_net(&format!("ipv6/conf/{scope}/accept_ra"), "0")?;
    }
    namespace.set_net("ipv6/conf/default/dad_transmits", "0")?;
    Ok(namespace)
}

fn make_switch() -> Result<Namespace> {
    let switch = machine("the switch")?;
    // A switch says nothing itself; and without snooping it forwards VRRP's groups to everyone.
    switch.set_net("ipv6/conf/default/disable_ipv6", "1")?;
    switch.ip_batch(&format!(
        "link add {BRIDGE} type bridge mcast_snooping 0 stp_state 0\nlink set {BRIDGE} up"
    ))?;
    Ok(switch)
}

/// Connects `machine` by its `interface` to a port of the switch: by a cable of network cards, or a veth.
fn plug(
    switch: &Namespace,
    port: &str,
    machine: &Namespace,
    interface: &str,
    cable: Option<Cable>,
) -> Result<()> {
    match cable {
        Some(cable) => cable.plug(switch, port, machine, interface)?,
        None => switch
            .ip(&format!("link add {port} type veth peer name {interface} netns {}", machine.id()))
            .map(drop)?,
    }
    switch.ip(&format!("link set {port} master {BRIDGE} up"))?;
    machine.ip(&format!("link set {interface} up")).map(drop)
}

fn make_gateway(plan: &Plan, switch: &Namespace) -> Result<Namespace> {
    let gateway = machine("the gateway")?;
    gateway.set_net("ipv6/conf/all/forwarding", "1")?;
    gateway.set_net("ipv4/ip_forward", "1")?;
    plug(switch, GATEWAY_PORT, &gateway, "lan", cards::cable(2))?;
    gateway.ip(&format!("address add {} dev lan", plan.with_prefix(plan.gateway)))?;
    Ok(gateway)
}

fn make_client(plan: &Plan, gateway: &Namespace) -> Result<Namespace> {
    let client = machine("the client")?;
    gateway.ip_batch(&format!(
        "link add wan type veth peer name eth0 netns {}\nlink set wan up\naddress add {} dev wan",
        client.id(),
        plan.with_prefix(plan.client_gateway)
    ))?;
    client.ip_batch(&format!(
        "link set eth0 up\naddress add {} dev eth0\nroute add default via {}",
        plan.with_prefix(plan.client),
        plan.client_gateway
    ))?;
    Ok(client)
}

fn make_server(plan: &Plan, switch: &Namespace, which: Which) -> Result<Server> {
    let namespace = machine(&which.to_string())?;
    let hop_limit = which.hop_limit().to_string();
    namespace.set_net("ipv6/conf/all/hop_limit", &hop_limit)?;
    namespace.set_net("ipv6/conf/default/hop_limit", &hop_limit)?;
    namespace.set_net("ipv4/ip_default_ttl", &hop_limit)?;
    let cable = cards::cable(if which == Which::A { 0 } else { 1 });
    plug(switch, Server::port(which), &namespace, UPLINK, cable)?;
    namespace.ip_batch(&format!(
        "address add {} dev {UPLINK}\nroute add default via {}",
        plan.with_prefix(plan.server(which)),
        plan.gateway
    ))?;
    let tunnel = Tunnel::start(&namespace, server_settings(plan))?;
    Ok(Server { which, namespace, tunnel })
}

fn server_settings(plan: &Plan) -> TunnelSettings {
    let port = Plan::PORT;
    let allowed = Plan::alone(plan.tunnel_client);
    let (key, peer) = (Plan::SERVER_KEY, Plan::CLIENT_PUBLIC);
    TunnelSettings {
        interface: TUNNEL,
        wireguard: format!(
            "[Interface]\nPrivateKey = {key}\nListenPort = {port}\n\
             [Peer]\nPublicKey = {peer}\nAllowedIPs = {allowed}\nPersistentKeepalive = 25\n"
        ),
        address: plan.with_prefix(plan.tunnel_server),
    }
}

fn client_settings(plan: &Plan) -> TunnelSettings {
    let endpoint = std::net::SocketAddr::new(plan.vip, Plan::PORT);
    let allowed = Plan::alone(plan.tunnel_server);
    let (key, peer) = (Plan::CLIENT_KEY, Plan::SERVER_PUBLIC);
    TunnelSettings {
        interface: CLIENT_TUNNEL,
        wireguard: format!(
            "[Interface]\nPrivateKey = {key}\n\
             [Peer]\nPublicKey = {peer}\nAllowedIPs = {allowed}\nEndpoint = {endpoint}\n"
        ),
        address: plan.with_prefix(plan.tunnel_client),
    }
}

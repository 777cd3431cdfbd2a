//! Faults that no interface shows: WireGuard that is there and does nothing, and a way that is broken for its packets alone.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Node, Pair, Pinger, Plan, SOON, Settings, Topology, Tunnel,
    Which::{self, A, B},
    clock::observe_for,
    may_run, monotonic_ns, packets, wait_until,
    wireguard::TunnelSettings,
};

/// More than is needed to find anything out: 15 s of silence, and what others say every 10 s.
const FOUND: Duration = Duration::from_secs(90);
/// Clients are told apart from those that try once.
const FLOOD: Duration = Duration::from_secs(25);

/// What is done about a fault stands for a short time.
fn settings(plan: &Plan, which: Which) -> Settings {
    Settings { health: "hold_off = \"10s\"\n".to_owned(), ..Settings::seed(plan, which) }
}

fn pair() -> Pair {
    let pair = Pair::start(Topology::ipv6().unwrap(), settings).unwrap();
    wait_fit(&pair.a, true);
    wait_fit(&pair.b, true);
    pair
}

/// Waits until a node knows that the other server is fit to take over, or that it is not.
fn wait_fit(node: &Node, fit: bool) {
    let what = format!("the other server to be known to {} as fit: {fit}", node.which);
    wait_until(&what, FOUND, || Ok(node.status()?["peers"][0]["fit"] == fit)).unwrap();
}

/// Stops WireGuard, or says that this cannot be done to the kernel's.
fn freeze(pair: &mut Pair, which: Which) -> bool {
    let frozen = pair.topology.server_mut(which).tunnel.freeze(true).unwrap();
    if !frozen {
        eprintln!("not tested: the kernel's WireGuard cannot be stopped");
    }
    frozen
}

fn thaw(pair: &mut Pair, which: Which) {
    pair.topology.server_mut(which).tunnel.freeze(false).unwrap();
}

fn detail(event: &Value) -> &str {
    event["detail"].as_str().unwrap()
}

/// How often a node has changed its role since then.
fn changes(node: &Node, since: u64) -> usize {
    let events = node.events().unwrap().into_iter();
    events.filter(|e| e["kind"] == "role" && e["at_ns"].as_u64() >= Some(since)).count()
}

#[test]
fn wireguard_that_is_there_and_does_nothing() {
    if !may_run() {
        return;
    }
    let mut pair = pair();
    let ping = pair.ping().unwrap();
    let frozen = monotonic_ns();
    if !freeze(&mut pair, A) {
        return;
    }
    let found = pair.a.wait_event("input", "wireguard_stuck", frozen, FOUND).unwrap();
    assert!(detail(&found).contains("the priority goes from 100 to 80"), "{found}");
    pair.wait_serving(B).unwrap();
    ping.wait_answer(frozen, Some(B), AFTER_WIREGUARD).unwrap();
    // It does not come back before it is mended, however long that takes.
    wait_fit(&pair.b, false);
    observe_for(Duration::from_secs(12)).unwrap();
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("active"));
    let status = pair.a.status().unwrap();
    assert_eq!(status["vrrp"]["priority"], 80, "{status}");
    let problems = status["problems"].to_string();
    assert!(problems.contains("WireGuard is stuck"), "{problems}");

    let thawed = monotonic_ns();
    thaw(&mut pair, A);
    pair.a.wait_event("input", "suspicion_over", thawed, FOUND).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(thawed, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn as_a_fault_it_makes_the_node_resign() {
    if !may_run() {
        return;
    }
    let fault = |plan: &Plan, which| Settings {
        health: "wireguard_stuck = \"fault\"\n".to_owned(),
        preempt: false,
        ..Settings::seed(plan, which)
    };
    let mut pair = Pair::start(Topology::ipv6().unwrap(), fault).unwrap();
    wait_fit(&pair.a, true);
    let ping = pair.ping().unwrap();
    let frozen = monotonic_ns();
    if !freeze(&mut pair, A) {
        return;
    }
    let fault = pair.a.wait_event("role", "fault", frozen, FOUND).unwrap();
    assert!(detail(&fault).contains("WireGuard is stuck"), "{fault}");
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(frozen, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn two_that_do_nothing_leave_the_role_where_it_is() {
    if !may_run() {
        return;
    }
    let mut pair = pair();
    let ping = pair.ping().unwrap();
    let frozen = monotonic_ns();
    if !freeze(&mut pair, B) {
        return;
    }
    wait_fit(&pair.a, false);
    freeze(&mut pair, A);
    let found = pair.a.wait_event("input", "wireguard_stuck", frozen, FOUND).unwrap();
    assert!(detail(&found).contains("no other server is fit"), "{found}");
    observe_for(Duration::from_secs(12)).unwrap();
    assert_eq!((changes(&pair.a, frozen), changes(&pair.b, frozen)), (0, 0));
    // The first that is mended serves.
    thaw(&mut pair, B);
    pair.wait_serving(B).unwrap();
    ping.wait_answer(frozen, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn forged_initiations_after_the_only_client_has_left_change_nothing() {
    if !may_run() {
        return;
    }
    let pair = pair();
    drop(pair.ping().unwrap());
    for which in Which::BOTH {
        let line = format!("peer {} persistent-keepalive 0", Plan::CLIENT_PUBLIC);
        pair.topology.server(which).tunnel.wg_set(&line).unwrap();
    }
    pair.topology.client_tunnel.set(false).unwrap();
    let begun = monotonic_ns();
    flood(&pair.topology, FLOOD);
    let status = pair.a.status().unwrap();
    let counted = &status["wireguard"]["traffic"]["ingress"]["initiation"]["packets"];
    assert!(counted.as_u64() > Some(1000), "{status}");
    let events = pair.a.events().unwrap();
    assert!(events.iter().all(|e| e["what"] != "wireguard_stuck"), "{events:#?}");
    assert_eq!((changes(&pair.a, begun), changes(&pair.b, begun)), (0, 0));
}

/// Initiations with a wrong mac1, which WireGuard drops in silence.
fn flood(topology: &Topology, time: Duration) {
    let vip = SocketAddr::new(topology.plan.vip, Plan::PORT);
    let socket = topology.client.inside(|| Ok(UdpSocket::bind("[::]:0")?)).unwrap();
    let forged = packets::wireguard(1, 148);
    let end = monotonic_ns() + time.as_nanos() as u64;
    while monotonic_ns() < end {
        (0..20).for_each(|_| drop(socket.send_to(&forged, vip)));
        observe_for(Duration::from_millis(100)).unwrap();
    }
}

#[test]
fn a_way_that_is_broken_for_wireguard_alone() {
    if !may_run() {
        return;
    }
    let pair = pair();
    let ping = pair.ping().unwrap();
    let (_second, address) = second_client(&pair.topology);
    // It is the servers that must have something to say.
    let speak = |to| Pinger::start(&pair.topology.a.namespace, to, Duration::from_millis(500)).unwrap();
    let spoken_to = [pair.topology.plan.tunnel_client, address].map(speak);
    for ping in &spoken_to {
        ping.wait_answer(0, None, AFTER_WIREGUARD).unwrap();
    }
    observe_for(Duration::from_secs(11)).unwrap(); // until the device was read with both talking
    let broken = monotonic_ns();
    lose_wireguard_to_a(&pair.topology);
    let found = pair.a.wait_event("input", "path_broken", broken, FOUND).unwrap();
    assert!(detail(&found).contains("the priority goes from 100 to 80"), "{found}");
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(broken, Some(B), AFTER_WIREGUARD).unwrap();
}

/// Another WireGuard beside the client's, and its address in the tunnel.
fn second_client(topology: &Topology) -> (Tunnel, IpAddr) {
    let client = &topology.client;
    let key = client.run("wg", &["genkey"]).unwrap();
    let public = client.run_with_input("wg", &["pubkey"], &key).unwrap();
    let address: IpAddr = "2001:db8:2::3".parse().unwrap();
    for which in Which::BOTH {
        let line = format!("peer {} allowed-ips {}", public.trim(), Plan::alone(address));
        topology.server(which).tunnel.wg_set(&line).unwrap();
    }
    let endpoint = SocketAddr::new(topology.plan.vip, Plan::PORT);
    let wireguard = format!(
        "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nAllowedIPs = {}\nEndpoint = {endpoint}\n\
         PersistentKeepalive = 1\n",
        key.trim(),
        Plan::SERVER_PUBLIC,
        Plan::alone(topology.plan.tunnel_server),
    );
    let settings = TunnelSettings { interface: "wg9", wireguard, address: Plan::alone(address) };
    let tunnel = Tunnel::start(client, settings).unwrap();
    // The first one's prefix has the server's address, too.
    for line in
        [format!("-6 rule add from {address} lookup 99"), "-6 route add default dev wg9 table 99".to_owned()]
    {
        client.ip(&line).unwrap();
    }
    (tunnel, address)
}

fn lose_wireguard_to_a(topology: &Topology) {
    let rules = format!(
        "table netdev broken {{\n chain to_a {{\n  type filter hook egress device \"port-a\" priority -500\n  \
         meta protocol ip6 udp dport {} drop\n }}\n}}\n",
        Plan::PORT
    );
    topology.switch.run_with_input("nft", &["-f", "-"], &rules).unwrap();
}

//! What the Backup knows of the clients before it is needed, and what it makes of it.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Frame, Packet, Pair, Plan, SOON, Topology,
    Which::{self, A, B},
    clock::{patience, wait_at_most},
    may_run, monotonic_ns,
};

/// Less than the 5 s after which the Active reads its device although nobody rings.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Where a server believes the client to be.
fn endpoint(topology: &Topology, which: Which) -> Option<SocketAddr> {
    let shown = topology.server(which).tunnel.wg_show("endpoints").unwrap();
    shown.split_whitespace().nth(1)?.parse().ok()
}

/// Has both servers never say anything to the client of themselves.
fn without_keepalive(topology: &Topology) {
    for which in Which::BOTH {
        let line = format!("peer {} persistent-keepalive 0", Plan::CLIENT_PUBLIC);
        topology.server(which).tunnel.wg_set(&line).unwrap();
    }
}

/// The client's WireGuard sends from another port.
fn move_to_port(topology: &Topology, port: u16) {
    topology.client_tunnel.wg_set(&format!("listen-port {port}")).unwrap();
}

/// The client has another address, and not the old one.
fn move_to_address(topology: &Topology, old: IpAddr, new: IpAddr) {
    let (old, new) = (topology.plan.with_prefix(old), topology.plan.with_prefix(new));
    let client = &topology.client;
    client.ip_batch(&format!("address add {new} dev eth0\naddress delete {old} dev eth0")).unwrap();
}

fn wait_known(topology: &Topology, client: SocketAddr, timeout: Duration) {
    let know = || endpoint(topology, A) == Some(client) && endpoint(topology, B) == Some(client);
    let known = wait_at_most(&format!("B to know {client}"), timeout, || Ok(know().then_some(())));
    assert!(known.is_ok(), "A: {:?}, B: {:?}", endpoint(topology, A), endpoint(topology, B));
}

#[test]
fn the_backup_knows_at_once_where_a_client_has_moved() {
    if !may_run() {
        return;
    }
    for keepalive in [true, false] {
        let pair = Pair::ipv6().unwrap();
        let (topology, home) = (&pair.topology, pair.topology.plan.client);
        if !keepalive {
            without_keepalive(topology);
        }
        let _ping = pair.ping().unwrap();
        let port = topology.client_tunnel.wg_show("listen-port").unwrap().trim().parse().unwrap();
        wait_known(topology, SocketAddr::new(home, port), patience(SOON));
        // One by one: each falls right behind the reading that has found the last one.
        for port in [40_001, 40_002, 40_003] {
            move_to_port(topology, port);
            wait_known(topology, SocketAddr::new(home, port), AT_ONCE);
        }
        let away = "2001:db8:9::77".parse().unwrap();
        for (old, new) in [(home, away), (away, home)] {
            move_to_address(topology, old, new);
            wait_known(topology, SocketAddr::new(new, 40_003), AT_ONCE);
        }
    }
}

/// A packet of WireGuard that begins a handshake.
fn is_initiation(frame: Frame<'_>) -> bool {
    let to_or_from_server = frame.is_udp_port(Plan::PORT);
    to_or_from_server && frame.udp().is_some_and(|udp| udp.payload.first() == Some(&1))
}

/// When the client sent its first initiation at or after `since_ns`.
fn first_of_client(at_client: &Capture, since_ns: u64) -> Option<u64> {
    let sent = at_client.packets().into_iter().filter(|p: &Packet| p.sent && p.at_ns >= since_ns);
    sent.filter(|p| is_initiation(p.frame())).map(|p| p.at_ns).min()
}

#[test]
fn after_a_crash_the_backup_begins_the_handshake_and_from_the_vip() {
    if !may_run() {
        return;
    }
    for keepalive in [true, false] {
        let pair = Pair::ipv6().unwrap();
        let topology = &pair.topology;
        if !keepalive {
            without_keepalive(topology);
        }
        let ping = pair.ping().unwrap();
        move_to_port(topology, 40_001);
        let client = SocketAddr::new(topology.plan.client, 40_001);
        wait_known(topology, client, patience(SOON));
        let (at_b, at_client) =
            (Capture::at_port(topology, B).unwrap(), Capture::start(&topology.client, "eth0").unwrap());

        let crash = monotonic_ns();
        topology.cut(A).unwrap();
        let back = ping.wait_answer(crash, Some(B), AFTER_WIREGUARD).unwrap();
        let first = at_b.wait_received("an initiation from B", crash, SOON, is_initiation).unwrap();
        let (ip, udp) = (first.frame().ip().unwrap(), first.frame().udp().unwrap());
        assert_eq!((ip.source, udp.source_port), (topology.plan.vip, Plan::PORT));
        assert_eq!(SocketAddr::new(ip.destination, udp.destination_port), client);
        // WireGuard's timers would have had the client begin, after 15 s.
        let by_itself = first_of_client(&at_client, crash);
        assert_eq!(by_itself, None, "B's: {}, answer: {back:?}", first.at_ns);
        let strays = at_b.received(crash).into_iter().filter(|p| {
            let frame = p.frame();
            frame.udp().is_some_and(|u| u.source_port == Plan::PORT)
                && frame.ip().is_some_and(|ip| ip.source != topology.plan.vip)
        });
        assert_eq!(strays.count(), 0);
    }
}

//! wgha gives back what it takes: the tunnel's addresses and routes, and after a stop the machine as it was.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Namespace, Node, Pair, Plan, SOON, Server, Settings,
    Which::{self, A, B},
    clock::observe_for,
    leftovers::{has_programs, pins},
    may_run, monotonic_ns,
    node::{CONFIG, run_wgha},
    wait_until,
};

/// An address and a route that no configuration of WireGuard or wgha mentions.
const ADDRESS: &str = "2001:db8:2::53";
const ROUTE: &str = "2001:db8:77::/64";

#[test]
fn addresses_and_routes_of_the_tunnel_survive_failover_and_failback() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let a = &pair.topology.a;
    a.namespace.ip(&format!("address add {ADDRESS}/128 dev wg1 nodad")).unwrap();
    a.namespace.ip(&format!("route add {ROUTE} dev wg1 metric 77")).unwrap();
    for _ in 0..2 {
        pair.topology.unplug(A).unwrap();
        pair.b.wait_role("active", SOON).unwrap();
        wait_until("A's tunnel to be lowered", SOON, || Ok(!a.tunnel.is_up())).unwrap();
        pair.topology.mend(A).unwrap();
        pair.wait_serving(A).unwrap();
        wait_until("address and route to be back", SOON, || Ok(has_extras(a))).unwrap();
        assert!(a.tunnel.has_address(pair.topology.plan.tunnel_server));
    }
}

/// wg-quick sets the link up, and then adds routes.
#[test]
fn whoever_sets_wg1_up_on_a_backup_can_finish() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let b = &pair.topology.b;
    wait_until("B's tunnel to be lowered", SOON, || Ok(!b.tunnel.is_up())).unwrap();
    b.tunnel.set(true).unwrap();
    observe_for(Duration::from_secs(1)).unwrap();
    b.namespace.ip(&format!("address add {ADDRESS}/128 dev wg1 nodad")).unwrap();
    b.namespace.ip(&format!("route add {ROUTE} dev wg1 metric 77")).unwrap();
    wait_until("B's tunnel to be lowered again", SOON, || Ok(!b.tunnel.is_up())).unwrap();
    pair.topology.unplug(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    wait_until("address and route to be back", SOON, || Ok(has_extras(b))).unwrap();
}

fn has_extras(server: &Server) -> bool {
    let routes = server.namespace.ip("-6 route show dev wg1").unwrap();
    let route = routes.lines().any(|line| line.starts_with(ROUTE) && line.contains("metric 77"));
    route && server.tunnel.has_address(ADDRESS.parse().unwrap())
}

#[test]
fn nothing_is_left_after_sigterm() {
    if !may_run() {
        return;
    }
    // B knows no endpoint: nothing has to be kept silent.
    let mut pair = Pair::ipv6().unwrap();
    assert!(has_programs(&pair.topology.b.namespace).unwrap(), "nothing to be left");
    assert!(pair.b.term().unwrap().success());
    assert_undone(&pair, B);
    assert_no_programs(&pair.topology.b.namespace);
}

#[test]
fn a_stopped_active_stays_silent_and_detach_leaves_nothing() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let wire = Capture::at_port(&pair.topology, A).unwrap();
    assert!(pair.a.term().unwrap().success());
    let stopped = monotonic_ns();
    assert_undone(&pair, A);
    // Some implementations of WireGuard go on talking while their link is down, and would take the
    // client's session from B.
    ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();
    let spoke = wire.received(stopped).into_iter().filter(|p| p.frame().is_udp_port(Plan::PORT));
    assert_eq!(spoke.count(), 0, "A has gone on talking");

    let detached = run_wgha(&pair.topology.a.namespace, &["detach", "--config", CONFIG]).unwrap();
    assert!(detached.status.success(), "{detached:?}");
    assert_undone(&pair, A);
    assert_no_programs(&pair.topology.a.namespace);
}

/// The last resort, as the README has it: by hand, on one server, and back.
#[test]
fn one_server_serves_by_hand_and_wgha_takes_over_from_that() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    assert!(pair.b.term().unwrap().success() && pair.a.term().unwrap().success());
    let namespace = pair.topology.a.namespace.clone();
    let detached = run_wgha(&namespace, &["detach", "--config", CONFIG]).unwrap();
    assert!(detached.status.success(), "{detached:?}");
    let by_hand = monotonic_ns();
    let plan = &pair.topology.plan;
    namespace.ip(&format!("address add {} dev eno1", plan.with_prefix(plan.vip))).unwrap();
    pair.topology.a.tunnel.set(true).unwrap();
    let seed = Settings::seed(plan, A);
    let address = format!("{}/{}", plan.tunnel_server, if plan.is_ipv6() { 64 } else { 24 });
    // What wg-quick does, if wgha has not put it back.
    let _ = namespace.ip(&format!("address add {address} dev wg1 nodad"));
    let _ = namespace.ip(&format!("route add {} dev wg1", Plan::alone(plan.tunnel_client)));
    ping.wait_answer(by_hand, Some(A), AFTER_WIREGUARD).unwrap();

    let back = monotonic_ns();
    pair.a = Node::start(&pair.topology, A, &seed).unwrap();
    pair.a.wait_role("active", SOON).unwrap();
    ping.wait_answer(back, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn detach_refuses_while_a_daemon_runs() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let refused = run_wgha(&pair.topology.a.namespace, &["detach", "--config", CONFIG]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another daemon answers"), "{refused:?}");
    assert!(has_programs(&pair.topology.a.namespace).unwrap());
    assert!(pair.topology.a.has_address(pair.topology.plan.vip));
}

fn assert_undone(pair: &Pair, which: Which) {
    let server = pair.topology.server(which);
    assert!(!server.has_address(pair.topology.plan.vip), "the VIP");
    assert!(!server.tunnel.is_up(), "wg1 is up");
    assert!(!server.namespace.path("/run/wgha/wgha.sock").exists(), "the control socket");
}

fn assert_no_programs(namespace: &Namespace) {
    assert!(!has_programs(namespace).unwrap(), "programs");
    assert_eq!(pins(namespace), [""; 0]);
}

#[test]
fn a_stopped_node_starts_again_with_its_tunnel_as_it_was() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    for _ in 0..2 {
        assert!(pair.a.term().unwrap().success());
        pair.b.wait_role("active", SOON).unwrap();
        pair.a = Node::start(&pair.topology, A, &Settings::seed(&pair.topology.plan, A)).unwrap();
        pair.wait_serving(A).unwrap();
        let address = pair.topology.plan.tunnel_server;
        wait_until("the tunnel's address", SOON, || Ok(pair.topology.a.tunnel.has_address(address))).unwrap();
    }
}

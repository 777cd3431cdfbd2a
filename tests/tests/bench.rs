//! What `cargo xtask bench` measures with: the prober sees what is lost, and faults are what they are called.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    Capture, Pair, SOON, Topology,
    Which::{A, B},
    echo::Echo,
    fault::{BlackHole, OneWay, Resignation},
    may_run, monotonic_ns,
    prober::{self, Asks, Prober, outages},
    wait_until,
};

fn prober(topology: &Topology) -> (Echo, Prober) {
    let echo = Echo::start(&topology.a.namespace, A.hop_limit()).unwrap();
    let prober = Prober::start(&topology.client, Asks::Client, topology.plan.a, prober::pace()).unwrap();
    assert_eq!(prober.wait_echo(0, None, SOON).unwrap().by, A);
    (echo, prober)
}

#[test]
fn a_black_hole_is_as_long_as_it_is_open() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let (_echo, prober) = prober(&topology);
    let mut hole = BlackHole::at(&topology, A).unwrap();
    let from = monotonic_ns();
    hole.open().unwrap();
    let opened = monotonic_ns();
    std::thread::sleep(Duration::from_millis(300));
    let closing = monotonic_ns();
    hole.close().unwrap();
    prober.wait_echo(closing, Some(A), SOON).unwrap();
    let seen = outages(&[&prober], from - 100_000_000, monotonic_ns());
    assert!(seen.longest >= Duration::from_nanos(closing - opened), "{seen:?}");
    assert!(seen.lost > 0, "{seen:?}");
    // A has not noticed: its carrier stayed.
    let link = topology.a.namespace.ip("-brief link show dev eno1").unwrap();
    assert!(link.contains("LOWER_UP"), "{link}");
}

#[test]
fn one_way_is_lost_and_the_other_is_not() {
    if !may_run() {
        return;
    }
    for (way, arrives) in [(OneWay::Sent, true), (OneWay::Received, false)] {
        let topology = Topology::ipv6().unwrap();
        let (_echo, prober) = prober(&topology);
        topology.lose(A, way).unwrap();
        let lost = monotonic_ns();
        let at_a = Capture::start(&topology.a.namespace, "eno1").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let echo = prober.first_echo(lost, None);
        assert_eq!(echo, None, "{way:?}");
        let heard = at_a.received(lost).iter().any(|p| p.frame().is_udp_port(wgha_tests::echo::PORT));
        assert_eq!(heard, arrives, "{way:?}");
    }
}

#[test]
fn a_forged_resignation_is_believed() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let mut hole = BlackHole::at(&pair.topology, A).unwrap();
    let mut resignation = Resignation::forged(&pair.topology, A).unwrap();
    hole.open().unwrap();
    let told = monotonic_ns();
    resignation.send().unwrap();
    let active = pair.b.wait_event("role", "active", told, SOON).unwrap();
    // A Backup that had to wait for silence would wait for three adverts and a skew: 361 ms less what has passed.
    let reason = active["detail"].as_str().unwrap_or_default().to_owned();
    wait_until("B to hold the VIP", SOON, || Ok(pair.topology.server(B).has_address(pair.topology.plan.vip)))
        .unwrap();
    assert!(reason.contains("resign"), "{B} took over because: {reason}");
}

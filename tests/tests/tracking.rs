//! What a node can see of itself it acts on at once, and undoes when it is mended.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    Capture, Pair, Property, SOON,
    Which::{A, B},
    may_run, monotonic_ns, wait_until,
};

#[test]
fn wg1_deleted_and_created_again() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let deleted = monotonic_ns();
    pair.topology.a.tunnel.delete().unwrap();
    expect_fault_of_a(&pair, deleted);
    assert_eq!(pair.a.status().unwrap()["wireguard"]["present"], false);
    pair.topology.a.tunnel.create().unwrap();
    pair.wait_serving(A).unwrap();
    assert!(pair.topology.a.tunnel.has_address(pair.topology.plan.tunnel_server));
}

#[test]
fn fault_is_announced_before_silence_tells() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let wire = Capture::at_port(&pair.topology, A).unwrap();
    let down = monotonic_ns();
    pair.topology.a.tunnel.set(false).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let resigned =
        wire.wait_received("priority 0 from A", down, SOON, |f| f.advert().is_some_and(|a| a.priority == 0));
    let role = pair.b.wait_event("role", "active", down, SOON).unwrap();
    assert!(resigned.unwrap().at_ns < role["at_ns"].as_u64().unwrap(), "B did not wait for A's word");
    // I14: B was told; it has not counted silence.
    assert!(role["detail"].as_str().unwrap().contains("resigned"), "{role}");
}

#[test]
fn a_backup_without_its_tunnel_is_no_backup() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.topology.b.tunnel.delete().unwrap();
    pair.b.wait_role("fault", SOON).unwrap();
    assert_eq!(pair.a.role().unwrap().as_deref(), Some("active"));
    let status = pair.b.status().unwrap();
    let problems = status["problems"].as_array().unwrap();
    assert!(problems.iter().any(|p| p.as_str().unwrap().contains("WireGuard")), "{status}");
    pair.topology.b.tunnel.create().unwrap();
    pair.wait_serving(A).unwrap();
}

#[test]
fn eno1_without_carrier() {
    if !may_run() || !Property::Carrier.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let unplugged = monotonic_ns();
    pair.topology.unplug(A).unwrap();
    expect_fault_of_a(&pair, unplugged);
    assert_eq!(pair.a.status().unwrap()["uplink"]["running"], false);
    pair.topology.mend(A).unwrap();
    pair.wait_serving(A).unwrap();
}

#[test]
fn vip_removed_by_somebody_else() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let plan = &pair.topology.plan;
    let removed = monotonic_ns();
    pair.topology.a.namespace.ip(&format!("address delete {} dev eno1", plan.with_prefix(plan.vip))).unwrap();
    pair.a.wait_event("input", "vip_lost", removed, SOON).unwrap();
    // Nobody else has a better claim: A holds it again, and says so to the neighbours.
    pair.a.wait_event("effect", "vip_held", removed, SOON).unwrap();
    pair.wait_serving(A).unwrap();
    wait_until("a serving lease", SOON, || Ok(pair.a.status()?["lease"]["serving"] == true)).unwrap();
}

#[test]
fn listen_port_is_followed() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.topology.b.tunnel.wg_set("listen-port 51900").unwrap();
    wait_until("the new port in the status of B", SOON, || {
        Ok(pair.b.status()?["wireguard"]["listen_port"] == 51900)
    })
    .unwrap();
    pair.topology.b.tunnel.wg_set("listen-port 51800").unwrap();
    wait_until("the old port in the status of B", SOON, || {
        Ok(pair.b.status()?["wireguard"]["listen_port"] == 51800)
    })
    .unwrap();
}

/// A says that it cannot serve, and why; B serves.
fn expect_fault_of_a(pair: &Pair, since: u64) {
    let fault = pair.a.wait_event("role", "fault", since, SOON).unwrap();
    assert!(!fault["detail"].as_str().unwrap().is_empty());
    pair.b.wait_role("active", SOON).unwrap();
    pair.wait_moved(B).unwrap();
}

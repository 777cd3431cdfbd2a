//! Whatever happens to A, the tunnel answers from B; and from A again when A is back.

use std::time::Duration;

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Packet, Pair, Plan, Property, SOON, Settings,
    Which::{A, B},
    clock::observe_for,
    may_run, monotonic_ns,
};

#[test]
fn wg1_set_down_and_up_again() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();

    let down = monotonic_ns();
    pair.topology.a.tunnel.set(false).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    pair.a.wait_role("fault", SOON).unwrap();
    pair.wait_moved(B).unwrap();
    ping.wait_answer(down, Some(B), AFTER_WIREGUARD).unwrap();

    let up = monotonic_ns();
    pair.topology.a.tunnel.set(true).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(up, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn link_cut_without_carrier_loss() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();

    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();

    // A has been Active all the time. It must say again where the VIP is, or the gateway stays with B.
    let wire = Capture::at_port(&pair.topology, A).unwrap();
    let mended = monotonic_ns();
    pair.topology.mend(A).unwrap();
    pair.wait_serving(A).unwrap();
    let vip = pair.topology.plan.vip;
    wire.wait_received("the VIP announced by A", mended, SOON, |frame| {
        frame.neighbour().is_some_and(|n| n.target == vip && n.overrides)
    })
    .unwrap();
    ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn carrier_lost() {
    if !may_run() || !Property::Carrier.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();

    let unplugged = monotonic_ns();
    pair.topology.unplug(A).unwrap();
    pair.a.wait_role("fault", SOON).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(unplugged, Some(B), AFTER_WIREGUARD).unwrap();

    let mended = monotonic_ns();
    pair.topology.mend(A).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn planned_stop_resigns_before_b_takes_over() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let (from_a, from_b) =
        (Capture::at_port(&pair.topology, A).unwrap(), Capture::at_port(&pair.topology, B).unwrap());

    let stopped = monotonic_ns();
    let status = pair.a.term().unwrap();
    assert!(status.success(), "{status}");
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();

    let resigned = first(&from_a.received(stopped), |p| p.frame().advert().is_some_and(|a| a.priority == 0));
    let claimed = first(&from_b.received(stopped), |p| p.frame().advert().is_some());
    assert!(resigned.unwrap() < claimed.unwrap(), "B has claimed before A resigned");
    let late = from_a
        .received(resigned.unwrap())
        .into_iter()
        .filter(|p| p.frame().advert().is_some_and(|a| a.priority > 0));
    assert_eq!(late.count(), 0, "A has gone on after it resigned");

    let again = monotonic_ns();
    pair.a = Node::start(&pair.topology, A, &Settings::seed(&pair.topology.plan, A)).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(again, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn killed_daemon_goes_silent() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let from_a = Capture::at_port(&pair.topology, A).unwrap();

    let killed = monotonic_ns();
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    let moved = monotonic_ns();
    // Nobody has cleaned up: A still has the VIP, and a WireGuard that is up. The data plane alone keeps it silent.
    assert!(pair.topology.a.has_address(pair.topology.plan.vip));
    assert!(pair.topology.a.tunnel.is_up());
    ping.wait_answer(killed, Some(B), AFTER_WIREGUARD).unwrap();
    observe_for(Duration::from_secs(2)).unwrap();
    assert_silent(&from_a.received(moved), &pair.topology.plan);

    let again = monotonic_ns();
    pair.a = Node::start(&pair.topology, A, &Settings::seed(&pair.topology.plan, A)).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(again, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn stalled_daemon_goes_silent_and_is_elected_anew() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let from_a = Capture::at_port(&pair.topology, A).unwrap();

    let stalled = monotonic_ns();
    pair.a.stop().unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let moved = monotonic_ns();
    ping.wait_answer(stalled, Some(B), AFTER_WIREGUARD).unwrap();
    observe_for(Duration::from_secs(1)).unwrap();
    assert_silent(&from_a.received(moved), &pair.topology.plan);

    let epoch = |pair: &Pair| pair.a.status().unwrap()["lease"]["epoch"].as_u64().unwrap();
    let woken = monotonic_ns();
    pair.a.cont().unwrap();
    // I5: the lapsed lease is not renewed. A steps down first, says so, and holds a newer one in the end.
    pair.a.wait_event("role", "backup", woken, SOON).unwrap();
    pair.wait_serving(A).unwrap();
    assert!(epoch(&pair) > 1, "the lease is still the first one");
    ping.wait_answer(woken, Some(A), AFTER_WIREGUARD).unwrap();
}

fn first(packets: &[Packet], wanted: impl Fn(&Packet) -> bool) -> Option<u64> {
    packets.iter().find(|p| wanted(p)).map(|p| p.at_ns)
}

/// Nothing that belongs to the VIP: no advert, no WireGuard, no word about where the VIP is.
fn assert_silent(sent: &[Packet], plan: &Plan) {
    for packet in sent {
        let frame = packet.frame();
        let about_vip = frame.neighbour().is_some_and(|n| n.answers && n.target == plan.vip);
        let spoken = frame.advert().is_some() || frame.is_udp_port(Plan::PORT) || about_vip;
        assert!(!spoken, "A has sent: {}", frame.describe());
    }
}

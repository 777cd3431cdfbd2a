//! The IPv4-only twin: the same failover, with ARP in the place of neighbour discovery.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Pair, SOON,
    Which::{A, B},
    may_run, monotonic_ns,
};

#[test]
fn link_cut_moves_the_tunnel_with_gratuitous_arp() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv4().unwrap();
    let ping = pair.ping().unwrap();
    let wires = [A, B].map(|which| Capture::at_port(&pair.topology, which).unwrap());

    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    expect_gratuitous_arp(&pair, &wires[1], cut);
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();

    let mended = monotonic_ns();
    pair.topology.mend(A).unwrap();
    pair.wait_serving(A).unwrap();
    expect_gratuitous_arp(&pair, &wires[0], mended);
    ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
}

#[test]
fn wg1_set_down_and_planned_stop() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv4().unwrap();
    let ping = pair.ping().unwrap();

    pair.topology.a.tunnel.set(false).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    pair.wait_moved(B).unwrap();
    pair.topology.a.tunnel.set(true).unwrap();
    pair.wait_serving(A).unwrap();

    let stopped = monotonic_ns();
    assert!(pair.a.term().unwrap().success());
    pair.b.wait_role("active", SOON).unwrap();
    pair.wait_moved(B).unwrap();
    ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();
}

fn expect_gratuitous_arp(pair: &Pair, wire: &Capture, since: u64) {
    let vip = pair.topology.plan.vip;
    wire.wait_received("gratuitous ARP for the VIP", since, SOON, |frame| {
        frame.ethertype() == Some(0x0806) && frame.neighbour().is_some_and(|n| n.target == vip && n.overrides)
    })
    .unwrap();
}

//! What `cargo xtask bench hogs` and `datapath` measure with: datagrams and streams arrive, and are counted.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    Capture, Property, SOON, Topology, Which,
    cost::Hook,
    hogs::Flood,
    may_run, monotonic_ns,
    throughput::{OnHook, Stream, Veth, hold_vip},
    wait_until,
};

/// The kernel half that `cargo xtask build-ebpf` has built.
fn object() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/wgha-ebpf");
    std::fs::read(std::env::var("WGHA_EBPF_OBJECT").unwrap_or_else(|_| path.to_owned())).unwrap()
}

#[test]
fn datagrams_pass_each_hook() {
    if !may_run() {
        return;
    }
    for hook in [Hook::Xdp, Hook::Egress] {
        if hook == Hook::Egress && !Property::Tcx.is_there() {
            continue;
        }
        let veth = Veth::prepare(&object(), hook).unwrap();
        for on_hook in [OnHook::Passing, OnHook::Wgha] {
            // The first ones wait for the neighbour, and fill the buffer behind which they are counted.
            let fast = || veth.packets_per_second(on_hook, Duration::from_millis(100)).ok();
            wait_until("datagrams", SOON, || Ok(fast().is_some_and(|rate| rate > 1000.0))).unwrap();
        }
    }
}

#[test]
fn a_stream_goes_through_the_tunnel() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    hold_vip(&topology).unwrap();
    let stream = Stream::start(&topology).unwrap();
    wait_until("a megabyte", SOON, || Ok(stream.received() > 1 << 20)).unwrap();
}

#[test]
fn a_flood_comes_to_both_servers_at_its_rate() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let began = monotonic_ns();
    let captures = Which::BOTH.map(|which| {
        Capture::start(&topology.server(which).namespace, wgha_tests::topology::UPLINK).unwrap()
    });
    let flood = Flood::start(&topology, 2000).unwrap();
    for capture in &captures {
        capture.wait_received("the flood", began, SOON, |frame| frame.is_udp_port(9)).unwrap();
    }
    wait_until("a thousand packets", SOON, || Ok(flood.sent() > 1000)).unwrap();
    let seconds = Duration::from_nanos(monotonic_ns() - began).as_secs_f64();
    assert!(flood.sent() as f64 <= 2000.0 * seconds + 2.0, "{} in {seconds} s", flood.sent());
}

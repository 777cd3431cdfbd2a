//! What tells the daemon whether it hears anything: that something comes in, and that the gateway answers.

use std::net::IpAddr;

use wgha_common::abi::{Arrivals, Counter, Role};
use wgha_tests::{
    may_run,
    packets::{ICMPV6, Ip, TCP, arp, bytes, checksum, pseudo_header},
};

use crate::{
    kernel::{Hook, Kernel, now},
    net::Net,
    row::Held,
};

/// An advertisement, or an ARP packet, of `neighbour` to `to`. `answers`: it was asked for.
fn neighbour(net: &Net, neighbour: IpAddr, to: IpAddr, answers: bool) -> Vec<u8> {
    if net.is_v4() {
        return arp(if answers { 2 } else { 1 }, neighbour, to);
    }
    let ip = Ip::new(neighbour, to, ICMPV6);
    let flags = if answers { 0x40 } else { 0 };
    let mut message = [vec![136, 0, 0, 0, flags, 0, 0, 0], bytes(neighbour)].concat();
    let sum = checksum(&[&pseudo_header(ip.source, ip.destination, ICMPV6, message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip.frame(&message)
}

#[test]
fn only_the_answer_of_a_gateway_to_us_is_one() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        let gateway = net.high;
        for (what, frame, answers) in [
            ("to us", neighbour(&net, gateway, net.own, true), true),
            ("to the VIP", neighbour(&net, gateway, net.vip, true), false),
            ("to somebody else", neighbour(&net, gateway, net.peer2, true), false),
            ("to nobody who has asked", neighbour(&net, gateway, net.own, false), false),
            ("another one, to us", neighbour(&net, net.low, net.own, true), false),
            ("an advert of it", net.heard(gateway, 90), false),
        ] {
            // Whether or not this node serves.
            for held in [Held::Nothing, Held::Backup, Held::Active] {
                for hook in [Hook::Xdp, Hook::Ingress] {
                    kernel.reset(net.uplink(), &net.vips(), net.stamp());
                    held.set(&mut kernel);
                    kernel.set_gateways(&[gateway.into()]);
                    kernel.arrivals();
                    let started = now();
                    kernel.run(hook, &frame);
                    let seen = kernel.arrivals();
                    let at = format!("{}, {hook:?}, {what}: {seen:?}", net.family);
                    assert!(seen.any != 0, "{at}");
                    assert_eq!(seen.gateway != 0, answers, "{at}");
                    assert!(!answers || (started..=now()).contains(&seen.gateway), "{at}");
                }
            }
        }
    }
}

#[test]
fn whatever_comes_in_is_noted_or_counted() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        let data = net.wireguard_in(4, 64).frame(&net.inbound());
        let stream = Ip::new(net.client, net.host, TCP).frame(&[0; 20]);
        for hook in [Hook::Xdp, Hook::Ingress] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            kernel.arrivals();
            for frame in [&stream, &net.heard(net.low, 80), &vec![0xff; 60]] {
                kernel.run(hook, frame);
                let any = kernel.arrivals().any;
                // By a clock that stands still for a tick.
                assert!((now() - 20_000_000..=now()).contains(&any), "{hook:?}: {any}");
            }
            kernel.run(hook, &data);
            assert_eq!(kernel.arrivals(), Arrivals::default(), "{hook:?}: data is counted, not noted");
            assert_eq!(kernel.counters().last(), Some(&(Counter::WireguardInFenced, 1)), "{hook:?}");
            Held::Active.set(&mut kernel);
            assert_eq!(kernel.lease().role, Role::Active as u32);
            kernel.run(hook, &data);
            assert_eq!(kernel.traffic().len(), 1, "{hook:?}");
        }
    }
}

/// All CPUs share it: it is not written for each frame.
#[test]
fn frames_of_one_moment_are_noted_once() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    let net = Net::both()[0];
    kernel.reset(net.uplink(), &net.vips(), net.stamp());
    let stream = Ip::new(net.client, net.host, TCP).frame(&[0; 20]);
    let mut noted = std::collections::BTreeSet::new();
    let began = now();
    while now() - began < 50_000_000 {
        kernel.run(Hook::Ingress, &stream);
        noted.insert(kernel.peek_arrivals().any);
    }
    assert!((2..=51).contains(&noted.len()), "{} times in 50 ms", noted.len());
}

#[test]
fn nothing_that_goes_out_is_an_arrival() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        kernel.reset(net.uplink(), &net.vips(), net.stamp());
        kernel.set_gateways(&[net.high.into()]);
        kernel.arrivals();
        kernel.run(Hook::Egress, &neighbour(&net, net.high, net.own, true));
        kernel.run(Hook::Egress, &net.heard(net.own, 100));
        assert_eq!(kernel.arrivals(), Arrivals::default());
    }
}

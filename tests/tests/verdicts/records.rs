//! What is told of an advert: the record of its router, and the event. And of traffic: when its first packet came.

use std::time::Duration;

use wgha_common::{
    Address,
    abi::{AdvertSeen, ChecksumStyle, Counter, Event, EventKind, Lease, Role, Traffic},
};
use wgha_tests::{
    may_run,
    packets::{Advert, Sum},
};

use crate::{
    kernel::{Hook, Kernel, Then, now},
    net::Net,
    row::{EPOCH, Held},
};

#[test]
fn a_router_is_remembered_by_its_last_advert() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        for hook in [Hook::Xdp, Hook::Ingress] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            kernel.run(hook, &net.heard(net.low, 80));
            kernel.run(hook, &net.heard(net.high, 90));
            kernel.forget();
            // The pseudo-header is another style in IPv4 only.
            let (sum, style) = match net.is_v4() {
                true => (Sum::Other, ChecksumStyle::PseudoHeader),
                false => (Sum::Right, ChecksumStyle::Rfc9568),
            };
            let addresses = vec![net.vip, net.vip2];
            let advert = Advert { interval: 0x0123, addresses, sum, ..net.advert(91) };
            let started = now();
            kernel.run(hook, &advert.frame(&net.vrrp(net.high)));
            check(&mut kernel, &net, style, started);
        }
    }
}

fn check(kernel: &mut Kernel, net: &Net, style: ChecksumStyle, started: u64) {
    let (high, low): (Address, Address) = (net.high.into(), net.low.into());
    let routers = kernel.routers();
    let got = routers[&high];
    assert!((started..=now()).contains(&got.at), "{}: its time", net.family);
    let (interval, priority, checksum) = (0x0123, 91, style as u8);
    let seen =
        AdvertSeen { at: got.at, adverts: 2, interval, priority, checksum, addresses: 2, reserved: [0; 3] };
    assert_eq!(got, seen);
    assert_eq!(
        (routers.len(), routers[&low].priority, routers[&low].adverts),
        (2, 80, 1),
        "the other router"
    );
    let (kind, counter) = (EventKind::ChangedRouter as u32, Counter::AdvertValid as u32);
    let told =
        Event { at: got.at, kind, counter, source: high, interval, priority, checksum, ..Event::default() };
    assert_eq!(kernel.events(), [told]);
}

#[test]
fn the_first_packet_under_each_lease_is_stamped() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        let (data, keepalive) = (net.wireguard_in(4, 64), net.wireguard_in(4, 32));
        for (hook, frames) in [
            (Hook::Xdp, [&data, &keepalive].map(|message| message.frame(&net.inbound()))),
            (Hook::Ingress, [&data, &keepalive].map(|message| message.frame(&net.inbound()))),
            (Hook::Egress, [64, 32].map(|len| net.wireguard_out(4, len).frame(&net.outbound(net.vip)))),
        ] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            Held::Active.set(&mut kernel);
            let first = only_traffic(&mut kernel, hook, &frames[0]);
            assert_eq!((first.packets, first.epoch), (1, EPOCH), "{hook:?}");
            let again = only_traffic(&mut kernel, hook, &frames[1]);
            assert_eq!(again.first, first.first, "{hook:?}: the second is not the first");
            Held::NextEpoch.set(&mut kernel);
            let started = now();
            let next = only_traffic(&mut kernel, hook, &frames[1]);
            assert_eq!(next.epoch, EPOCH + 1, "{hook:?}");
            assert!((started..=now()).contains(&next.first), "{hook:?}: the first of the next lease");
        }
    }
}

/// Runs on one CPU: each has its own counts.
fn only_traffic(kernel: &mut Kernel, hook: Hook, frame: &[u8]) -> Traffic {
    kernel.run(hook, frame);
    let seen = kernel.traffic();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen[0].2
}

/// Data is checked against a clock that is read once in a tick: it must be read again in the next.
#[test]
fn a_lease_ends_while_data_flows() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    for net in Net::both() {
        let comes = net.wireguard_in(4, 64).frame(&net.inbound());
        let goes = net.wireguard_out(4, 64).frame(&net.outbound(net.vip));
        for (hook, frame) in [(Hook::Xdp, &comes), (Hook::Ingress, &comes), (Hook::Egress, &goes)] {
            kernel.reset(net.uplink(), &net.vips(), net.stamp());
            let until = now() + 300_000_000;
            kernel.set_lease(Lease { until, epoch: EPOCH, role: Role::Active as u32, reserved: 0 });
            assert_eq!(kernel.run(hook, frame).then, Then::Passes, "{hook:?}");
            // A tick is 10 ms at most.
            while now() < until + 30_000_000 {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(kernel.run(hook, frame).then, Then::Drops, "{hook:?}");
        }
    }
}

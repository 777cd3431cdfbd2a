//! Frames that are cut short at every length: never misread, never dropped for what they do not hold.

use wgha_common::abi::{Answer, Counter as C, Direction, EventKind};
use wgha_tests::{
    may_run,
    packets::{DESTINATION_OPTIONS, HOP_BY_HOP, ICMPV6, Ip, VLAN, arp, extension, icmpv6, tagged},
};

use crate::{
    agree::shortest,
    kernel::{Hook, Kernel, Then},
    net::{Net, PROBE},
    row::Held,
    sbfd::{self, Control, UP},
};

/// A frame, and how much of it must be there before it may be dropped.
struct Whole {
    what: &'static str,
    frame: Vec<u8>,
    known_from: usize,
    hook: Hook,
}

fn wholes(net: &Net) -> Vec<Whole> {
    let ip_len = if net.is_v4() { 20 } else { 40 };
    let ip = net.inbound();
    let message = net.wireguard_in(4, 64);
    let options = Ip {
        options: if net.is_v4() { vec![1; 8] } else { Vec::new() },
        extensions: if net.is_v4() {
            Vec::new()
        } else {
            vec![extension(HOP_BY_HOP, 8), extension(DESTINATION_OPTIONS, 16)]
        },
        ..ip.clone()
    };
    let skipped = if net.is_v4() { 8 } else { 24 };
    let nd = Ip::new(net.high, net.vip, ICMPV6);
    let mut wholes = Vec::new();
    let mut add =
        |what, hook, frame: Vec<u8>, known_from| wholes.push(Whole { what, frame, known_from, hook });
    for hook in [Hook::Xdp, Hook::Ingress] {
        add("advert", hook, net.heard(net.high, 255), usize::MAX);
        add("tagged advert", hook, tagged(&net.heard(net.high, 255), VLAN, 0), usize::MAX);
        add("WireGuard", hook, message.frame(&ip), 14 + ip_len + 8);
        add("tagged WireGuard", hook, tagged(&message.frame(&ip), VLAN, 0), 18 + ip_len + 8);
        add("WireGuard behind options", hook, message.frame(&options), 14 + ip_len + skipped + 8);
        if net.is_v4() {
            add("ARP", hook, arp(1, net.high, net.vip), 14 + 28);
        } else {
            add("NS", hook, nd.frame(&icmpv6(135, 0, net.vip, &nd)), 14 + 40 + 24);
        }
        add("question", hook, sbfd::asked(net, &Control::question()), 14 + ip_len + 8);
        add("answer", hook, sbfd::told(net, &Control::told(PROBE, UP)), 14 + ip_len + 8);
        let later = ip.clone().fragmented(9, true);
        let fragment_header = if net.is_v4() { 0 } else { 8 };
        add("later fragment", hook, later.frame(&[0; 64]), 14 + ip_len + fragment_header);
    }
    let out = net.wireguard_out(4, 64).frame(&net.outbound(net.host));
    add("tagged WireGuard out", Hook::Egress, tagged(&out, VLAN, 0), 18 + ip_len + 8);
    add("WireGuard out", Hook::Egress, out, 14 + ip_len + 8);
    // Ours is known by its first two bytes, and what is not known to be right does not leave.
    add("advert out", Hook::Egress, net.heard(net.own, 255), 14 + ip_len + 2);
    wholes
}

#[test]
fn frames_cut_short_are_never_misread() {
    if !may_run() {
        return;
    }
    let mut kernel = Kernel::load();
    let mut cuts = 0;
    for net in Net::both() {
        for whole in wholes(&net) {
            for len in shortest(&whole.frame, whole.hook)..whole.frame.len() {
                for held in [Held::Backup, Held::Active] {
                    check(&mut kernel, &net, &whole, len, held);
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} frames cut short");
}

fn check(kernel: &mut Kernel, net: &Net, whole: &Whole, len: usize, held: Held) {
    let at = format!(
        "{} ({}, {}) cut to {len} of {}, {held:?}",
        whole.what,
        whole.hook.program(),
        net.family,
        whole.frame.len()
    );
    kernel.reset(net.uplink(), &net.vips(), net.stamp());
    kernel.set_sbfd(net.sbfd(), &net.peers());
    held.set(kernel);
    let before = kernel.revoked();
    let ran = kernel.run(whole.hook, &whole.frame[..len]);
    let counters: Vec<_> = kernel.counters().into_iter().map(|(counter, _)| counter).collect();
    assert_ne!(ran.then, Then::Returns, "{at}");
    if ran.then == Then::Drops {
        assert!(len >= whole.known_from, "{at}: dropped");
        assert_eq!(counters.len(), 1, "{at}: {counters:?}");
    } else if len < whole.known_from {
        assert!(counters.iter().all(|c| matches!(c, C::Unparsed | C::AdvertTruncated)), "{at}: {counters:?}");
    }
    assert!(!counters.iter().any(|c| matches!(c, C::AdvertValid | C::AdvertSent)), "{at}: {counters:?}");
    assert!(kernel.events().iter().all(|event| event.kind == EventKind::Malformed as u32), "{at}: events");
    assert!(kernel.routers().is_empty(), "{at}: routers");
    assert!(kernel.answers().iter().all(|answer| *answer == Answer::default()), "{at}: answers");
    assert_eq!(kernel.revoked(), before, "{at}: the lease");
    for (direction, message, traffic) in kernel.traffic() {
        assert_eq!(message.name(), "malformed", "{at}: {direction:?}");
        assert_eq!(traffic.packets, 1, "{at}: {direction:?}");
        assert_eq!(direction == Direction::Egress, whole.hook == Hook::Egress, "{at}");
    }
}

//! The uplink is a network card: a driver's own XDP, its filter for multicast, and no other end that would help.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{fs, io::Write as _};

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Pair, Plan, Property, SOON, Server, Settings, Topology,
    Which::{A, B},
    fault::at_port_of,
    may_run, monotonic_ns,
    node::{CONFIG, run_wgha},
    packets::ethernet,
    wait_until,
};

/// Of local experiments (RFC 9542 §3.1): nobody but a capture minds it.
const EXPERIMENTAL: u16 = 0x88b5;
/// Where VRRP's group is on Ethernet, and where nobody is.
const VRRP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 0x12];
const NOBODY: [u8; 6] = [0x33, 0x33, 0, 0, 0xbe, 0xef];

#[test]
fn its_driver_runs_the_programs() {
    if !may_run() || !Property::Cards.is_there() {
        return;
    }
    for attach in ["auto", "native"] {
        let settings = |plan: &Plan, which| Settings { attach, ..Settings::seed(plan, which) };
        let pair = Pair::start(Topology::ipv6().unwrap(), settings).unwrap();
        pair.wait_probing().unwrap();
        for server in [&pair.topology.a, &pair.topology.b] {
            assert_eq!(driver(server), "virtio_net");
            let node = pair.node(server.which);
            assert_eq!(node.status().unwrap()["uplink"]["ingress"], "xdp native", "{attach}");
            // The kernel's word for it; what is generic is called so.
            let shown = server.namespace.ip("link show dev eno1").unwrap();
            assert!(shown.split_whitespace().any(|word| word == "xdp"), "{shown}");
            let check = run_wgha(&server.namespace, &["check", "--config", CONFIG]).unwrap();
            let said = String::from_utf8(check.stdout).unwrap();
            assert!(said.contains("virtio_net"), "{said}");
        }
        let ping = pair.ping().unwrap();
        let cut = monotonic_ns();
        pair.topology.cut(A).unwrap();
        ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
        let taken = pair.b.wait_event("role", "active", cut, SOON).unwrap();
        assert!(taken["detail"].as_str().unwrap().contains("probes unanswered"), "{taken}");
    }
}

/// The card lets in what it has been told of: VRRP's group, as long as a socket is a member. wgha is; and it does not make
/// the card take in everything instead.
#[test]
fn it_lets_in_the_groups_that_somebody_is_a_member_of() {
    if !may_run() || !Property::Cards.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let b = &pair.topology.b;
    let shown = b.namespace.ip("-details link show dev eno1").unwrap();
    assert!(shown.contains("promiscuity 0"), "{shown}");
    let wire = Capture::start(&b.namespace, "eno1").unwrap();
    let send = |group: [u8; 6], word: u8| {
        let mut frame = ethernet(EXPERIMENTAL, &[word; 50]);
        frame[..6].copy_from_slice(&group);
        at_port_of(&pair.topology, B).unwrap().write_all(&frame).unwrap();
    };
    let arrived = |word: u8| {
        wire.received(0).iter().any(|p| p.frame().ethertype() == Some(EXPERIMENTAL) && p.bytes[14] == word)
    };
    // In this order: when the second one is there, the first one would be.
    send(NOBODY, 1);
    send(VRRP, 2);
    wait_until("a frame to VRRP's group", SOON, || Ok(arrived(2))).unwrap();
    assert!(!arrived(1), "the card takes in everything");
    wire.wait_received("an advert", 0, SOON, |f| f.advert().is_some()).unwrap();
}

fn driver(server: &Server) -> String {
    let link = fs::read_link(server.namespace.path("/sys/class/net/eno1/device/driver")).unwrap();
    link.file_name().unwrap().to_string_lossy().into_owned()
}

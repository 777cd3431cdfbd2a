//! What others see of wgha: read from the wire, by other people's dissectors where there are any.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{net::IpAddr, time::Duration};

use serde_json::Value;
use wgha_tests::{
    Capture, Frame, Packet, Pair, Plan, SOON,
    Which::{A, B},
    capture::write_pcap,
    clock::observe_for,
    frame::SBFD_PORT,
    may_run, monotonic_ns, node, wait_until,
};

const SAMPLE: usize = 10;
/// How often a machine that is busy may cost A its role.
const TRIES: usize = 5;

#[test]
fn adverts_are_vrrp_version_3_to_scapy() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let adverts = adverts_of_a(&pair);
    let dissected = dissect(&pair, &adverts);
    assert_eq!(dissected.len(), adverts.len());
    let mac = link_local(&pair);
    for advert in dissected {
        let expected = serde_json::json!({
            "src": mac, "dst": "ff02::12", "hlim": 255, "version": 3, "type": 1, "vrid": Plan::VRID, "priority": 100,
            "ipcount": 1, "adv": centiseconds(), "addrlist": [pair.topology.plan.vip.to_string()], "checksum_right": true, "more": 0,
        });
        assert_eq!(advert, expected);
    }
}

/// Between adverts.
fn centiseconds() -> u8 {
    u8::try_from(node::advert_interval().as_millis() / 10).unwrap()
}

#[test]
fn adverts_of_ipv4_have_the_checksum_of_rfc_9568() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv4().unwrap();
    for packet in adverts_of_a(&pair) {
        let ip = packet.frame().ip().unwrap();
        let group: IpAddr = "224.0.0.18".parse().unwrap();
        assert_eq!((ip.source, ip.destination, ip.hop_limit), (pair.topology.plan.a, group, 255));
        // Version and type, VRID, priority, count, interval; two bytes of checksum; the address.
        assert_eq!(ip.payload[..6], [0x31, Plan::VRID, 100, 1, 0, centiseconds()]);
        assert_eq!(ip.payload[8..], [192, 0, 2, 2]);
        let words = ip.payload.chunks_exact(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "without the pseudo-header");
    }
}

#[test]
fn the_backup_says_nothing_but_what_neighbours_and_its_peer_need() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let _ping = pair.ping().unwrap();
    let wire = Capture::at_port(&pair.topology, B).unwrap();
    for _ in 0..TRIES {
        let since = monotonic_ns();
        observe_for(Duration::from_secs(4)).unwrap();
        // A machine that stands still for 40 ms costs A its lease: then B is no Backup.
        if !node::roles(&pair.b, since).unwrap().is_empty() {
            pair.wait_serving(A).unwrap();
            continue;
        }
        for packet in wire.received(since) {
            let frame = packet.frame();
            assert!(is_allowed_of_a_backup(frame, &pair.topology.plan), "B has sent: {}", frame.describe());
        }
        return;
    }
    panic!("A never keeps the role for four seconds");
}

#[test]
fn a_new_active_announces_the_vip_once_it_holds_it() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let wire = Capture::at_port(&pair.topology, B).unwrap();
    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let vip = pair.topology.plan.vip;
    let announced = |f: Frame<'_>| f.neighbour().is_some_and(|n| n.target == vip && n.answers && n.overrides);
    wait_until("repeated announcements", SOON, || {
        Ok(wire.received(cut).iter().filter(|p| announced(p.frame())).count() >= 2)
    })
    .unwrap();

    let sent = wire.received(cut);
    let first_announcement = sent.iter().find(|p| announced(p.frame())).unwrap();
    let ip = first_announcement.frame().ip().unwrap();
    assert_eq!((ip.destination.to_string().as_str(), ip.hop_limit), ("ff02::1", 255));
    let first_advert = sent.iter().find(|p| p.frame().advert().is_some()).unwrap();
    assert_eq!(first_advert.frame().advert().unwrap().priority, 99);
    let held = pair.b.wait_event("effect", "vip_held", cut, SOON).unwrap();
    assert!(held["at_ns"].as_u64().unwrap() > cut);
    let spoke = sent.iter().find(|p| p.frame().is_udp_port(Plan::PORT)).map(|p| p.at_ns);
    assert!(
        spoke.is_none_or(|at| at > first_advert.at_ns),
        "WireGuard has spoken before the role was claimed"
    );
}

/// Some adverts of A, as they come out of its uplink.
fn adverts_of_a(pair: &Pair) -> Vec<Packet> {
    let wire = Capture::at_port(&pair.topology, A).unwrap();
    let adverts = || wire.received(0).into_iter().filter(|p| p.frame().advert().is_some());
    wait_until("adverts", SOON, || Ok(adverts().count() >= SAMPLE)).unwrap();
    adverts().collect()
}

fn is_allowed_of_a_backup(frame: Frame<'_>, plan: &Plan) -> bool {
    let is_listener_report =
        frame.ip().is_some_and(|ip| ip.protocol == 58 && ip.payload.first() == Some(&143));
    let is_neighbour_of_its_own = frame.neighbour().is_some_and(|n| n.target != plan.vip)
        && frame.ip().is_some_and(|ip| ip.source != plan.vip);
    let to_the_peer = frame.ip().is_some_and(|ip| (ip.source, ip.destination) == (plan.b, plan.a));
    let is_question = frame.bfd().is_some_and(|bfd| bfd.asks)
        && frame.udp().is_some_and(|udp| udp.source_port >= 49152 && udp.destination_port == SBFD_PORT)
        && frame.ip().is_some_and(|ip| ip.hop_limit == 255);
    let is_peer_channel = frame.tcp().is_some_and(|(from, to, _)| from == SBFD_PORT || to == SBFD_PORT);
    is_listener_report || is_neighbour_of_its_own || to_the_peer && (is_question || is_peer_channel)
}

/// A's own address for adverts (RFC 9568 §5.1.2.1).
fn link_local(pair: &Pair) -> String {
    let shown = pair.topology.a.namespace.ip("-brief -6 address show dev eno1 scope link").unwrap();
    shown.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap().to_owned()
}

/// One JSON object per packet. The checksum is right when building the packet anew without it gives the same.
const SCAPY: &str = r#"
import json, sys
from scapy.all import rdpcap, Ether, IPv6
from scapy.layers.vrrp import VRRPv3
for packet in rdpcap(sys.argv[1]):
    ip, advert = packet[IPv6], packet[VRRPv3]
    again = ip.copy()
    del again[VRRPv3].chksum
    again = IPv6(bytes(again))[VRRPv3]
    print(json.dumps({
        "src": ip.src, "dst": ip.dst, "hlim": ip.hlim, "version": advert.version, "type": advert.type,
        "vrid": advert.vrid, "priority": advert.priority, "ipcount": advert.ipcount, "adv": advert.adv,
        "addrlist": advert.addrlist, "checksum_right": advert.chksum == again.chksum, "more": len(advert.payload),
    }))
"#;

fn dissect(pair: &Pair, packets: &[Packet]) -> Vec<Value> {
    let namespace = &pair.topology.switch;
    write_pcap(&namespace.path("/run/adverts.pcap"), packets).unwrap();
    let lines = namespace.run("/usr/bin/python3", &["-c", SCAPY, "/run/adverts.pcap"]).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

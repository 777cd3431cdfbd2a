//! Snapshots for tests: server A of the seed serves, server B stands by.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    DetectionStatus, LeaseStatus, PeerStatus, RouterStatus, Snapshot, TrafficStatus, UplinkStatus,
    VrrpStatus, Wakeups, WireguardStatus, WitnessStatus,
};

/// A, which has taken over two hours ago.
pub(crate) fn active() -> Snapshot {
    Snapshot {
        version: "0.1.0".into(),
        config: "/etc/wgha/wgha.toml".into(),
        uptime_s: 200_000.0,
        role: "active".into(),
        role_since_s: 7385.0,
        reason: "preempted fe80::4, which has a lower priority".into(),
        problems: vec![],
        vrrp: VrrpStatus {
            id: 52,
            priority: 100,
            advert_interval_ms: 100,
            preempt: true,
            held_back: None,
            virtual_addresses: vec!["2001:db8:1::2/64".into()],
            held: true,
            active_router: Some("self".into()),
        },
        detection: DetectionStatus {
            by: "adverts".into(),
            why: Some("it serves itself".into()),
            peer: None,
            interval_ms: Some(10.0),
            probes: None,
            unanswered: 0,
            rtt_us: None,
            stalls: 0,
            not_real_time: None,
        },
        witness: WitnessStatus {
            finding: "reached".into(),
            why_none: None,
            gateways: vec![address("2001:db8:1::1")],
            answered_ms_ago: Some(412.3),
        },
        peers: vec![PeerStatus {
            address: address("2001:db8:1::4"),
            connected_s: Some(7_384.0),
            why_not: None,
            source: Some(address("fe80::4")),
            priority: Some(99),
            serving: Some(false),
            reaches_gateway: Some(true),
            fit: Some(true),
            clock_offset_ms: Some(-0.31),
        }],
        uplink: UplinkStatus {
            interface: "eno1".into(),
            running: true,
            source: Some(address("fe80::3")),
            ingress: "xdp native".into(),
            egress: "tcx".into(),
            pinned: true,
        },
        wireguard: WireguardStatus {
            interface: "wg1".into(),
            present: true,
            up: true,
            listen_port: Some(51800),
            implementation: Some("kernel".into()),
            peers: 1,
            traffic: BTreeMap::from([
                ("ingress".into(), traffic(&[("initiation", 2, 380), ("transport", 12_345, 17_283_000)])),
                ("egress".into(), traffic(&[("response", 2, 268), ("transport", 12_001, 1_440_120)])),
            ]),
        },
        lease: LeaseStatus { epoch: 3, serving: true, remaining_ms: Some(33.2) },
        routers: vec![heard("fe80::4", 7_385_120.0, 0, 36_000)],
        counters: counters(&[("advert_sent", 73_850), ("advert_valid", 36_000)]),
        wakeups: Wakeups { timer: 73_850, ring: 3, netlink: 12, effects: 10, control: 4 },
    }
}

/// B, which served until A came back.
#[cfg(test)]
pub(crate) fn backup() -> Snapshot {
    let mut s = active();
    s.role = "backup".into();
    s.role_since_s = 12.34;
    s.reason = "fe80::3 claims the role with priority 100".into();
    s.vrrp.priority = 99;
    s.vrrp.held = false;
    s.vrrp.active_router = Some("fe80::3".into());
    let probed = Some(address("2001:db8:1::3"));
    s.detection = DetectionStatus {
        by: "probes".into(),
        why: None,
        peer: probed,
        probes: Some(5),
        rtt_us: Some(87.4),
        stalls: 2,
        ..s.detection
    };
    (s.peers[0].address, s.peers[0].source) = (address("2001:db8:1::3"), Some(address("fe80::3")));
    (s.peers[0].priority, s.peers[0].serving) = (Some(100), Some(true));
    s.uplink.source = Some(address("fe80::4"));
    s.uplink.ingress = "tc (clsact)".into();
    s.uplink.egress = "clsact".into();
    s.wireguard.up = false;
    s.lease = LeaseStatus { epoch: 2, serving: false, remaining_ms: None };
    s.routers = vec![heard("fe80::3", 43.2, 100, 124)];
    s.counters =
        counters(&[("advert_valid", 124), ("wireguard_out_fenced", 7), ("neighbour_in_fenced", 1200)]);
    s
}

/// B, whose uplink was set down, and then its WireGuard interface deleted.
#[cfg(test)]
pub(crate) fn fault() -> Snapshot {
    let mut s = backup();
    s.role = "fault".into();
    s.role_since_s = 0.512;
    let faults = ["the uplink is down or has no carrier", "the WireGuard interface does not exist"];
    s.reason = faults.join("; ");
    let silent = "it has said nothing for 3s";
    let alone = format!("2001:db8:1::3 is not connected: {silent}");
    s.problems = faults.map(String::from).into_iter().chain([alone]).collect();
    s.detection.by = "adverts".into();
    s.witness = WitnessStatus {
        finding: "none".into(),
        why_none: Some("there is no default route over the uplink".into()),
        gateways: vec![],
        answered_ms_ago: None,
    };
    s.detection.why = Some("it takes no part".into());
    s.detection.not_real_time = Some("not permitted: CAP_SYS_NICE is missing, or the control group has no real-time runtime (CONFIG_RT_GROUP_SCHED)".into());
    s.peers[0].connected_s = None;
    s.peers[0].why_not = Some(silent.into());
    s.uplink.running = false;
    s.uplink.source = None;
    s.wireguard.present = false;
    s.routers = vec![heard("fe80::3", 3_240.0, 100, 92)];
    s.counters = counters(&[
        ("advert_valid", 92),
        ("answer_heard", 123_456),
        ("advert_bad_checksum", 4),
        ("ring_full", 1),
    ]);
    s
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn heard(source: &str, ms_ago: f64, priority: u8, adverts: u64) -> RouterStatus {
    RouterStatus {
        address: address(source),
        heard_ms_ago: ms_ago,
        priority,
        advert_interval_ms: 100,
        adverts,
        checksum: "rfc9568".into(),
    }
}

fn traffic(types: &[(&str, u64, u64)]) -> BTreeMap<String, TrafficStatus> {
    types.iter().map(|&(name, packets, bytes)| (name.to_owned(), TrafficStatus { packets, bytes })).collect()
}

fn counters(named: &[(&str, u64)]) -> BTreeMap<String, u64> {
    named.iter().map(|&(name, n)| (name.to_owned(), n)).collect()
}

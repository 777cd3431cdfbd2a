//! The node, told.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use wgha_common::{
    abi::{ChecksumStyle, Direction, Role},
    wire::wireguard::MessageType,
};

use super::{
    node::{Node, tunnel_state},
    peers::PeerReport,
};
use crate::{
    config,
    proto::{Detection, Finding, Machine, PeerId, State, WhyAdverts},
    status::{
        DetectionStatus, LeaseStatus, PeerStatus, RouterStatus, Snapshot, TrafficStatus, UplinkStatus,
        VrrpStatus, WireguardStatus, WitnessStatus,
    },
    sys::{check, clock},
};

/// Why a node that preempts may not do so yet.
const UNTOLD: &str = "it has not been told where the clients are";

/// Everything that `wgha status` shows, as it is now.
#[must_use]
pub fn of(node: &Node) -> Snapshot {
    let now = clock::now();
    let machine = &node.carrier.machine;
    Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: node.config.file.display().to_string(),
        uptime_s: now.since(node.started).as_secs_f64(),
        role: machine.role_name().to_owned(),
        role_since_s: now.since(machine.since()).as_secs_f64(),
        reason: machine.reason().to_string(),
        problems: problems(node),
        vrrp: vrrp(node, machine),
        detection: detection(node),
        witness: witness(node),
        peers: peers(node),
        uplink: uplink(node),
        wireguard: wireguard(node),
        lease: lease(node),
        routers: routers(node),
        counters: node.carrier.datapath.maps.counters().unwrap_or_default(),
        wakeups: node.wakeups,
    }
}

fn problems(node: &Node) -> Vec<String> {
    let mut problems = node.carrier.machine.problems();
    if node.attachment.as_ref().is_some_and(|a| !a.is_pinned()) {
        let bpffs = node.config.paths.bpffs.display();
        problems.push(format!("the fence ends with the daemon's process: {bpffs} is not a writable bpffs"));
    }
    if node.tunnel.silent {
        problems.push(format!("{} does not answer: is its process stopped?", node.config.wireguard));
    } else if let Some(Err(e)) = &node.tunnel.facts {
        problems.push(e.clone());
    }
    problems.extend(other_port(node));
    problems.extend(node.report.problems());
    problems
}

fn other_port(node: &Node) -> Option<String> {
    let port = tunnel_state(&node.tunnel).listen_port?;
    let written = node.config.listen_port.filter(|written| *written != port)?;
    Some(check::other_port(&node.config.wireguard, port, written))
}

fn vrrp(node: &Node, machine: &Machine) -> VrrpStatus {
    let vrrp = &node.config.vrrp;
    VrrpStatus {
        id: vrrp.id.number(),
        priority: machine.priority(),
        advert_interval_ms: u32::from(vrrp.advert_interval.number()) * 10,
        preempt: vrrp.preempt,
        held_back: machine.is_held_back().then(|| UNTOLD.to_owned()),
        virtual_addresses: vrrp
            .virtual_addresses
            .iter()
            .map(|v| format!("{}/{}", v.address, v.prefix_len))
            .collect(),
        held: machine.holds_vip(),
        active_router: active_router(machine),
    }
}

fn active_router(machine: &Machine) -> Option<String> {
    match machine.state() {
        State::Active => Some("self".to_owned()),
        _ => machine.active_router().map(|a| a.to_string()),
    }
}

fn detection(node: &Node) -> DetectionStatus {
    let machine = &node.carrier.machine;
    let address = |peer: PeerId| node.config.peers.get(usize::from(peer.0)).copied();
    let interval = (!node.config.peers.is_empty())
        .then(|| node.config.detect_or_default(node.conduct.not_scheduled.is_none()).interval);
    let mut status = DetectionStatus {
        by: "adverts".to_owned(),
        why: None,
        peer: None,
        interval_ms: interval.map(milliseconds),
        probes: None,
        unanswered: 0,
        rtt_us: None,
        stalls: machine.suppressed_stalls(),
        not_real_time: node.conduct.not_scheduled.clone(),
    };
    match machine.detection() {
        Detection::Adverts(why) => status.why = why_adverts(why, machine.state(), address),
        Detection::Probes { peer, interval, probes, unanswered, last_rtt } => {
            status.by = "probes".to_owned();
            status.peer = address(peer);
            status.interval_ms = Some(milliseconds(interval));
            status.probes = Some(probes);
            status.unanswered = unanswered;
            status.rtt_us = last_rtt.map(|rtt| rtt.as_secs_f64() * 1e6);
        }
    }
    status
}

fn witness(node: &Node) -> WitnessStatus {
    let machine = &node.carrier.machine;
    let answered = machine.gateway_answered_at();
    let finding = machine.finding();
    WitnessStatus {
        finding: match finding {
            Finding::NoWitness => "none",
            Finding::NeverAnswered => "never_answered",
            Finding::Reached => "reached",
            Finding::GatewaySilent => "gateway_silent",
            Finding::Deaf => "deaf",
        }
        .to_owned(),
        why_none: (finding == Finding::NoWitness).then(|| why_no_witness(node).to_owned()),
        gateways: machine.gateways().to_vec(),
        answered_ms_ago: answered.map(|at| milliseconds(clock::now().since(at))),
    }
}

fn why_no_witness(node: &Node) -> &'static str {
    if node.config.witness == config::Witness::None {
        "witness = \"none\" is configured"
    } else if node.config.peers.is_empty() {
        "no [[peer]] is configured"
    } else {
        "there is no default route over the uplink"
    }
}

fn why_adverts(why: WhyAdverts, state: State, address: impl Fn(PeerId) -> Option<IpAddr>) -> Option<String> {
    match why {
        WhyAdverts::NoPeers => Some("no [[peer]] is configured".to_owned()),
        WhyAdverts::NobodyObeyed => match state {
            State::Backup => None,
            State::Claiming | State::Active => Some("it serves itself".to_owned()),
            State::Fault | State::Stopping => Some("it takes no part".to_owned()),
        },
        WhyAdverts::NotIntroduced(source) => {
            Some(format!("{source} is no [[peer]] that has introduced itself"))
        }
        WhyAdverts::NotAnswered(peer) => {
            address(peer).map(|address| format!("{address} has not answered a probe yet"))
        }
    }
}

fn peers(node: &Node) -> Vec<PeerStatus> {
    let status = |peer: &PeerReport| PeerStatus {
        address: peer.address,
        connected_s: peer.connected.as_ref().ok().map(|since| clock::now().since(*since).as_secs_f64()),
        why_not: peer.connected.as_ref().err().cloned(),
        source: peer.introduction.map(|i| i.source),
        priority: peer.introduction.map(|i| i.priority),
        serving: peer.introduction.map(|i| i.serving),
        reaches_gateway: peer.introduction.and_then(|i| i.reaches),
        fit: peer.introduction.map(|i| i.fit),
        clock_offset_ms: peer.clock.map(|(offset, _)| offset as f64 / 1e6),
    };
    node.report.peers.iter().map(status).collect()
}

fn milliseconds(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn uplink(node: &Node) -> UplinkStatus {
    let source = node.carrier.datapath.source();
    let attachment = node.attachment.as_ref();
    UplinkStatus {
        interface: node.config.uplink.interface.clone(),
        running: node.uplink.link.is_some_and(|l| l.running),
        source,
        ingress: attachment.map_or("nothing", |a| a.ingress.name()).to_owned(),
        egress: attachment.map_or("nothing", |a| a.egress.name()).to_owned(),
        pinned: attachment.is_some_and(crate::sys::bpf::Attachment::is_pinned),
    }
}

fn wireguard(node: &Node) -> WireguardStatus {
    let facts = node.tunnel.facts.as_ref().and_then(|f| f.as_ref().ok());
    WireguardStatus {
        interface: node.config.wireguard.clone(),
        present: facts.is_some(),
        up: node.tunnel.link.is_some_and(|l| l.up),
        listen_port: facts.and_then(|f| f.listen_port),
        implementation: facts.map(|f| f.implementation.name().to_owned()),
        peers: facts.map_or(0, |f| f.peers),
        traffic: Direction::ALL.iter().map(|d| (d.name().to_owned(), traffic(node, *d))).collect(),
    }
}

fn traffic(node: &Node, direction: Direction) -> BTreeMap<String, TrafficStatus> {
    let of = |message: &MessageType| {
        let seen = node.carrier.datapath.maps.traffic(direction, *message).unwrap_or_default();
        let status = TrafficStatus { packets: seen.packets, bytes: seen.bytes };
        (seen.packets > 0).then(|| (message.name().to_owned(), status))
    };
    MessageType::ALL.iter().filter_map(of).collect()
}

fn lease(node: &Node) -> LeaseStatus {
    let maps = &node.carrier.datapath.maps;
    let lease = maps.lease().unwrap_or_default();
    // Without REVOKED it is not known to stand, so it does not.
    let revoked = maps.revoked_epoch().unwrap_or(u64::MAX);
    let now = clock::now().as_nanos();
    let stands = lease.gives(Role::Claiming, revoked, now);
    LeaseStatus {
        epoch: lease.epoch,
        serving: lease.serves(revoked, now),
        remaining_ms: stands.then(|| (lease.until - now) as f64 / 1e6),
    }
}

fn routers(node: &Node) -> Vec<RouterStatus> {
    let now = clock::now();
    let mut routers: Vec<_> = node.carrier.datapath.maps.routers().unwrap_or_default();
    routers.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.at));
    let of = |(address, seen): (IpAddr, wgha_common::abi::AdvertSeen)| RouterStatus {
        address,
        heard_ms_ago: now.since(wgha_common::Timestamp::from_nanos(seen.at)).as_secs_f64() * 1e3,
        priority: seen.priority,
        advert_interval_ms: u32::from(seen.interval) * 10,
        adverts: seen.adverts,
        checksum: match ChecksumStyle::from_number(seen.checksum) {
            ChecksumStyle::Rfc9568 => "rfc9568",
            ChecksumStyle::PseudoHeader => "pseudo-header",
        }
        .to_owned(),
    };
    routers.into_iter().map(of).collect()
}

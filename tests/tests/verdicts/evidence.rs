//! What rings because a failover waits for it: where WireGuard packets come from, and neighbours that answer the VIP.

use std::net::IpAddr;

use wgha_common::{
    abi::{Counter as C, EventKind, SOURCE_SETS},
    wire::wireguard::MessageType as M,
};
use wgha_tests::packets::{
    Datagram, ICMPV6, Ip, UDP, VLAN, arp, bytes, checksum, padded, pseudo_header, tagged, wireguard,
};

use crate::{
    kernel::SESSION,
    net::{CLIENT_PORT, Net, PORT},
    row::{Before, Ended, Held, Row, row},
};

/// Transport data of a session, from a source.
fn data(net: &Net, session: u32, source: IpAddr, port: u16) -> Vec<u8> {
    let mut message = wireguard(4, 64);
    message[4..8].copy_from_slice(&session.to_le_bytes());
    Datagram::new(port, PORT, message).frame(&Ip::new(source, net.vip, UDP))
}

fn active(what: &str, packet: Vec<u8>) -> Row {
    row(what, packet).held(Held::Active)
}

/// A packet that passed before, and long enough before to ring again.
fn earlier(row: Row, packet: &[u8]) -> Row {
    row.after(Before::Packet(packet.to_vec())).after(Before::Pause)
}

/// From the client, from elsewhere, and to and fro.
pub fn sources(net: &Net) -> Vec<Row> {
    let here = data(net, SESSION, net.client, CLIENT_PORT);
    let there = data(net, SESSION, net.high, CLIENT_PORT);
    let other_port = data(net, SESSION, net.client, CLIENT_PORT + 1);
    let other_session = data(net, SESSION ^ 0x8000_0000, net.client, CLIENT_PORT);
    let known = |what: &str, packet: &[u8]| active(what, packet.to_vec()).traffic(M::Transport);
    let looks_like_data = net.inbound().fragmented(9, false);
    let looks_like_data = looks_like_data.frame(&net.wireguard_in(4, 64).bytes(&net.inbound()));
    let new = |what: &str, packet: &[u8]| active(what, packet.to_vec()).arrives(M::Transport);
    let initiation = net.wireguard_in(1, 148).frame(&net.inbound());
    let response = net.wireguard_in(2, 92).frame(&net.inbound());
    let mut rows = vec![
        new("data, from a new source", &here),
        earlier(known("data, from the same source", &here), &here),
        earlier(new("data, from another address", &there), &here),
        earlier(new("data, from another port", &other_port), &here).with_port(CLIENT_PORT + 1),
        earlier(new("data, of another session", &other_session), &here),
        earlier(earlier(new("data, from where it was before", &here), &here), &there),
        earlier(earlier(known("data, from the same source twice", &there), &here), &there),
        earlier(earlier(known("data, of either session", &here), &here), &other_session),
        earlier(active("initiation, from a known source", initiation.clone()).arrives(M::Initiation), &here),
        earlier(active("response, from a known source", response).arrives(M::Response), &here),
        earlier(active("initiation, twice", initiation.clone()).arrives(M::Initiation), &initiation),
    ];
    rows.extend([
        known("data, from another address, at once", &there)
            .after(Before::Packet(here.clone()))
            .after(Before::NoPause)
            .suppressed(),
        // What could not ring is not known either.
        new("data, from another address, after the pause", &there)
            .after(Before::Packet(here.clone()))
            .after(Before::NoPause)
            .after(Before::Packet(there.clone()))
            .after(Before::Pause),
        active("initiation, at once", initiation)
            .after(Before::Packet(here.clone()))
            .after(Before::NoPause)
            .traffic(M::Initiation)
            .suppressed(),
        row("data, from a new source", here.clone()).drops(C::WireguardInFenced),
        active("later fragment that looks like data", looks_like_data).counts(C::FragmentPassed),
        earlier(new("data, after one that was fenced", &here), &there)
            .after(Before::Lease(Held::Backup))
            .after(Before::Packet(here.clone()))
            .after(Before::Lease(Held::Active)),
    ]);
    rows
}

/// Sessions that share a set of four.
pub fn forgotten(net: &Net) -> Vec<Row> {
    let of = |n: u32| data(net, SESSION.wrapping_add(n * SOURCE_SETS), net.client, CLIENT_PORT);
    let after = |row: Row, sessions: &[u32]| sessions.iter().fold(row, |row, n| earlier(row, &of(*n)));
    vec![
        after(active("data, three sessions later", of(0)).traffic(M::Transport), &[0, 1, 2, 3]),
        after(active("data, four sessions later", of(0)).arrives(M::Transport), &[0, 1, 2, 3, 4]),
        after(active("data, the last but three", of(1)).traffic(M::Transport), &[0, 1, 2, 3, 4]),
    ]
}

const SOLICITED: u8 = 0x40;

/// An advertisement of `target` by itself.
fn advertisement(net: &Net, target: IpAddr, to: IpAddr, flags: u8, change: impl Fn(Ip) -> Ip) -> Vec<u8> {
    let ip = change(Ip::new(net.high, to, ICMPV6));
    let mut message = [vec![136, 0, 0, 0, flags, 0, 0, 0], bytes(target)].concat();
    let sum = checksum(&[&pseudo_header(ip.source, ip.destination, ICMPV6, message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip.frame(&message)
}

/// Advertisements to the VIP; IPv6 only.
pub fn advertisements(net: &Net) -> Vec<Row> {
    let answer = |flags| advertisement(net, net.high, net.vip, flags, |ip| ip);
    let solicited = answer(SOLICITED);
    let near = Ip { hop_limit: 254, ..Ip::new(net.high, net.vip, ICMPV6) };
    let rings = |what: &str, packet: &[u8]| active(what, packet.to_vec()).rings(EventKind::NeighbourAnswered);
    let mut rows = vec![
        rings("NA to the VIP", &solicited),
        rings("NA to the VIP, router", &answer(SOLICITED | 0x80)),
        rings("NA to the other VIP", &advertisement(net, net.high, net.vip2, SOLICITED, |ip| ip)),
        rings("NA to the VIP, priority tag", &tagged(&solicited, VLAN, 0)),
        earlier(rings("NA to the VIP, again", &solicited), &solicited),
        active("NA to the VIP, again, at once", solicited.clone())
            .after(Before::Packet(solicited.clone()))
            .after(Before::NoPause)
            .suppressed(),
        active("NA to the VIP, not solicited", answer(0x20)),
        active("NA to another address", advertisement(net, net.high, net.host, SOLICITED, |ip| ip)),
        active("NA to all", advertisement(net, net.high, "ff02::1".parse().unwrap(), SOLICITED, |ip| ip)),
        active("NA of a VIP to the VIP", advertisement(net, net.vip2, net.vip, SOLICITED, |ip| ip)),
        active(
            "NA to the VIP, hop limit 254",
            advertisement(net, net.high, net.vip, SOLICITED, |_| near.clone()),
        ),
        active(
            "NA to the VIP, fragmented",
            advertisement(net, net.high, net.vip, SOLICITED, |ip| ip.fragmented(0, true)),
        ),
        row("NA to the VIP, lapsed", solicited.clone())
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
    ];
    for held in [Held::Nothing, Held::Backup, Held::Claiming, Held::Revoked] {
        rows.push(row("NA to the VIP", solicited.clone()).held(held));
    }
    rows
}

/// ARP replies to the VIP; IPv4 only.
pub fn replies(net: &Net) -> Vec<Row> {
    let reply = arp(2, net.high, net.vip);
    let rings = |what: &str, packet: &[u8]| active(what, packet.to_vec()).rings(EventKind::NeighbourAnswered);
    let fenced = |what: &str| row(what, reply.clone()).drops(C::NeighbourInFenced);
    vec![
        rings("ARP reply to the VIP", &reply),
        rings("ARP reply to the VIP, padded", &padded(&reply, 60)),
        rings("ARP reply to the other VIP", &arp(2, net.high, net.vip2)),
        active("ARP reply to the VIP, again, at once", reply.clone())
            .after(Before::Packet(reply.clone()))
            .after(Before::NoPause)
            .suppressed(),
        active("ARP request for the VIP", arp(1, net.high, net.vip)),
        active("ARP reply to another address", arp(2, net.high, net.host)),
        active("ARP reply of a VIP to the VIP", arp(2, net.vip2, net.vip)),
        fenced("ARP reply to the VIP"),
        fenced("ARP reply to the VIP").held(Held::Claiming),
        fenced("ARP reply to the VIP, lapsed").held(Held::Lapsed).counts(C::LeaseLapsed).ends(Ended::Lapsed),
    ]
}

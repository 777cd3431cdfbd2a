//! Adverts that come in.

use wgha_common::abi::{Counter as C, EventKind as E};
use wgha_tests::packets::{
    Advert, DESTINATION_OPTIONS, HOP_BY_HOP, Ip, SERVICE_VLAN, Sum, VLAN, VRRP, extension, padded, tagged,
};

use crate::{
    net::{Net, PRIORITY, VRID},
    row::{Before, Ended, Held, Row, row},
};

/// Right by RFC 9568 §7.1, heard by a Backup.
pub fn right(net: &Net) -> Vec<Row> {
    let heard = |priority| net.heard(net.high, priority);
    let slower = Advert { interval: 100, ..net.advert(90) }.frame(&net.vrrp(net.high));
    let reserved = Advert { interval: 0xf00a, ..net.advert(90) }.frame(&net.vrrp(net.high));
    let many = Advert { addresses: vec![net.vip; max_addresses(net)], ..net.advert(90) };
    let valid = |what: &str, packet| row(what, packet).counts(C::AdvertValid);
    vec![
        valid("advert, first of its router", heard(90)).rings(E::NewRouter),
        valid("advert, unchanged", heard(90)).after(Before::Packet(heard(90))),
        valid("advert, of another router", heard(90))
            .after(Before::Packet(net.heard(net.low, 90)))
            .rings(E::NewRouter),
        valid("advert, priority changed", heard(91)).after(Before::Packet(heard(90))).rings(E::ChangedRouter),
        valid("advert, interval changed", slower).after(Before::Packet(heard(90))).rings(E::ChangedRouter),
        valid("advert, priority 0", heard(0)).after(Before::Packet(heard(90))).rings(E::Resigned),
        valid("advert, priority 0 from nobody known", heard(0)).rings(E::Resigned),
        valid("advert, priority 0 once more", heard(0)).after(Before::Packet(heard(0))),
        valid("advert, back after priority 0", heard(90)).after(Before::Packet(heard(0))).rings(E::NewRouter),
        valid("advert, of the owner (255)", heard(255)).rings(E::NewRouter),
        valid("advert, reserved bits set", reserved).rings(E::NewRouter),
        valid("advert, as many addresses as fit", many.frame(&net.vrrp(net.high))).rings(E::NewRouter),
        valid("advert, unicast", net.advert(90).frame(&Ip::new(net.high, net.own, VRRP))).rings(E::NewRouter),
        valid("advert, frame padded", padded(&heard(90), 120)).rings(E::NewRouter),
        valid("advert, padded to the shortest frame", padded(&heard(90), 60)).rings(E::NewRouter),
        valid("advert, priority tag", tagged(&heard(90), VLAN, 0)).rings(E::NewRouter),
        valid("advert, two priority tags", tagged(&tagged(&heard(90), VLAN, 0), SERVICE_VLAN, 0))
            .rings(E::NewRouter),
        valid("advert, behind options", net.advert(90).frame(&behind_options(net))).rings(E::NewRouter),
    ]
}

/// IPv6's most fit into an MTU of 1500, IPv4's into the count.
fn max_addresses(net: &Net) -> usize {
    if net.is_v4() { 255 } else { 90 }
}

fn behind_options(net: &Net) -> Ip {
    let options = if net.is_v4() { vec![0x94, 4, 0, 0, 1, 1, 1, 0] } else { Vec::new() };
    let extensions = vec![extension(HOP_BY_HOP, 8), extension(DESTINATION_OPTIONS, 24)];
    Ip { options, extensions: if net.is_v4() { Vec::new() } else { extensions }, ..net.vrrp(net.high) }
}

/// Wrong by RFC 9568 §7.1, in its order.
pub fn wrong(net: &Net) -> Vec<Row> {
    let ip = net.vrrp(net.high);
    let advert = net.advert(90);
    let bytes = advert.bytes(&ip);
    let full = advert.frame(&ip);
    let bad = |what: &str, counter, packet| row(what, packet).counts(counter).rings(E::Malformed);
    let with = |change: &dyn Fn(&mut Advert)| {
        let mut changed = advert.clone();
        change(&mut changed);
        changed.frame(&ip)
    };
    vec![
        bad(
            "advert, hop limit 254",
            C::AdvertBadHopLimit,
            advert.frame(&Ip { hop_limit: 254, ..ip.clone() }),
        ),
        bad("advert, from a group", C::AdvertBadSource, advert.frame(&net.vrrp(net.group))),
        bad("advert, from nowhere", C::AdvertBadSource, advert.frame(&net.vrrp(unspecified(net)))),
        bad("advert, version 2", C::AdvertBadVersion, with(&|a| a.version_type = 0x21)),
        bad("advert, version 4", C::AdvertBadVersion, with(&|a| a.version_type = 0x41)),
        bad("advert, type 2", C::AdvertBadType, with(&|a| a.version_type = 0x32)),
        bad("advert, no address", C::AdvertNoAddress, with(&|a| a.addresses.clear())),
        bad("advert, interval 0", C::AdvertBadInterval, with(&|a| a.interval = 0)),
        bad("advert, interval 0 with reserved bits", C::AdvertBadInterval, with(&|a| a.interval = 0xf000)),
        bad("advert, header cut short", C::AdvertTruncated, ip.frame(&bytes[..7])),
        row("advert, cut before its VRID", ip.frame(&bytes[..1])).counts(C::AdvertTruncated),
        row("advert, nothing in it", ip.frame(&[])).counts(C::AdvertTruncated),
        bad("advert, header only", C::AdvertTruncated, ip.frame(&bytes[..8])),
        bad("advert, lists more than it has", C::AdvertTruncated, with(&|a| a.count = Some(2))),
        bad(
            "advert, lists more, in the padding",
            C::AdvertTruncated,
            padded(&with(&|a| a.count = Some(2)), 120),
        ),
        bad("advert, frame cut short", C::AdvertTruncated, full[..full.len() - 1].to_vec()),
        bad(
            "advert, lists less than it has",
            C::AdvertBadLength,
            with(&|a| {
                a.addresses.push(net.vip2);
                a.count = Some(1);
            }),
        ),
        bad("advert, checksum off by one", C::AdvertBadChecksum, with(&|a| a.sum = Sum::Wrong)),
    ]
}

fn unspecified(net: &Net) -> std::net::IpAddr {
    if net.is_v4() { [0; 4].into() } else { [0; 16].into() }
}

/// Where the families differ, or the address space ends.
pub fn of_family(net: &Net) -> Vec<Row> {
    let other_sum = Advert { sum: Sum::Other, ..net.advert(90) }.frame(&net.vrrp(net.high));
    if net.is_v4() {
        return vec![
            row("IPv4 advert, checksum with pseudo-header", other_sum)
                .counts(C::AdvertValid)
                .rings(E::NewRouter),
        ];
    }
    let many = Advert { addresses: vec![net.vip; 91], ..net.advert(90) }.frame(&net.vrrp(net.high));
    let mapped = "::ffff:192.0.2.4".parse().unwrap();
    let mapped = Advert { sum: Sum::Other, ..net.advert(90) }.frame(&net.vrrp(mapped));
    vec![
        row("IPv6 advert, checksum without pseudo-header", other_sum)
            .counts(C::AdvertBadChecksum)
            .rings(E::Malformed),
        row("IPv6 advert, more addresses than fit", many).counts(C::AdvertBadLength).rings(E::Malformed),
        // Its checksum is right by IPv4's rule, which is not to be asked.
        row("IPv6 advert, from an IPv4 address", mapped).counts(C::AdvertBadSource).rings(E::Malformed),
    ]
}

/// None of our business, although it is VRRP.
pub fn foreign(net: &Net) -> Vec<Row> {
    let ip = net.vrrp(net.high);
    let advert = net.advert(255);
    let full = advert.frame(&ip);
    let later = ip.clone().fragmented(2, true).frame(&advert.bytes(&ip));
    let of = |vrid| Advert { vrid, ..advert.clone() };
    vec![
        row("advert, other VRID", of(VRID + 1).frame(&ip)).counts(C::AdvertOtherVrid),
        row("advert, VRID 0", of(0).frame(&ip)).counts(C::AdvertOtherVrid),
        row("advert, other VRID, bad checksum", Advert { sum: Sum::Wrong, ..of(VRID + 1) }.frame(&ip))
            .counts(C::AdvertBadChecksum),
        row("advert, our own", net.heard(net.own, PRIORITY)).counts(C::AdvertOwn),
        row("advert, other family", net.other().heard(net.other().high, 255)).counts(C::AdvertOtherFamily),
        row("advert, first fragment", advert.frame(&ip.clone().fragmented(0, true)))
            .counts(C::AdvertFragment),
        row("advert, later fragment", later).counts(C::AdvertFragment),
        row("advert, VLAN 10", tagged(&full, VLAN, 10)).counts(C::VlanPassed),
        row("advert, service VLAN 10", tagged(&full, SERVICE_VLAN, 10)).counts(C::VlanPassed),
        row("advert, QinQ", tagged(&tagged(&full, VLAN, 20), SERVICE_VLAN, 10)).counts(C::VlanPassed),
        row("advert, VLAN 10 behind a priority tag", tagged(&tagged(&full, VLAN, 10), VLAN, 0))
            .counts(C::VlanPassed),
        row("advert, three priority tags", (0..3).fold(full.clone(), |f, _| tagged(&f, VLAN, 0)))
            .counts(C::VlanPassed),
        row("advert, before the daemon has configured", full).configured(|c| c.uplink.vrid = 0),
    ]
}

/// Heard while we claim the role ourselves.
pub fn contested(net: &Net) -> Vec<Row> {
    let mut rows = Vec::new();
    for held in [Held::Active, Held::Claiming] {
        let outranked = |what: &str, source, priority| {
            let row = row(what, net.heard(source, priority)).held(held).ends(Ended::By(source));
            row.counts(C::AdvertValid).counts(C::LeaseOutranked).rings(E::Outranked)
        };
        let rival = |what: &str, packet| row(what, packet).held(held).counts(C::AdvertValid);
        rows.extend([
            outranked("advert, higher priority, lower address", net.low, PRIORITY + 1),
            outranked("advert, same priority, higher address", net.high, PRIORITY),
            outranked("advert, of the owner (255)", net.low, 255),
            rival("advert, same priority, lower address", net.heard(net.low, PRIORITY)).rings(E::Rival),
            rival("advert, lower priority, higher address", net.heard(net.high, PRIORITY - 1))
                .rings(E::Rival),
            rival("advert, priority 0", net.heard(net.high, 0)).rings(E::Resigned),
        ]);
    }
    let [high, low] = [net.heard(net.high, 255), net.heard(net.low, 1)];
    let broken = Advert { sum: Sum::Wrong, ..net.advert(255) }.frame(&net.vrrp(net.high));
    let foreign = Advert { vrid: VRID + 1, ..net.advert(255) }.frame(&net.vrrp(net.high));
    rows.extend([
        row("advert, higher, bad checksum", broken)
            .held(Held::Active)
            .counts(C::AdvertBadChecksum)
            .rings(E::Malformed),
        row("advert, higher, other VRID", foreign).held(Held::Active).counts(C::AdvertOtherVrid),
        row("advert, higher, when we have yielded", high.clone())
            .held(Held::Active)
            .after(Before::Packet(high.clone()))
            .counts(C::AdvertValid),
        row("advert, higher, when our lease has lapsed", high.clone())
            .held(Held::Lapsed)
            .counts(C::AdvertValid)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed)
            .rings(E::NewRouter),
        row("advert, higher, lease revoked", high.clone())
            .held(Held::Revoked)
            .counts(C::AdvertValid)
            .rings(E::NewRouter),
        row("advert, higher, lease ended", high).held(Held::Ended).counts(C::AdvertValid).rings(E::NewRouter),
        row("advert, lower, lease ended", low).held(Held::Ended).counts(C::AdvertValid).rings(E::NewRouter),
    ]);
    rows
}

/// Where claims have to be proven, an advert ends no lease; and once all peers are known, those of others mean nothing.
pub fn authenticated(net: &Net) -> Vec<Row> {
    let valid = |what: &str, source, priority| row(what, net.heard(source, priority)).counts(C::AdvertValid);
    let strange = |what: &str, priority| {
        let row = row(what, net.heard(net.client, priority)).counts(C::AdvertStranger);
        row.configured(|c| c.uplink.flags = 3)
    };
    let mut rows = Vec::new();
    for held in [Held::Active, Held::Claiming] {
        let higher = |flags| {
            let row = valid("advert, higher, under authentication", net.high, 255).held(held).rings(E::Rival);
            row.configured(flags)
        };
        rows.extend([
            higher(|c| c.uplink.flags = 1),
            higher(|c| c.uplink.flags = 3),
            valid("advert, higher, of somebody, while not all are known", net.client, 255)
                .held(held)
                .configured(|c| c.uplink.flags = 1)
                .rings(E::Rival),
            strange("advert, higher, of a stranger", 255).held(held),
            strange("advert, priority 0, of a stranger", 0).held(held),
        ]);
    }
    rows.extend([
        strange("advert of a stranger", 255).held(Held::Backup),
        valid("advert, of a peer", net.high, 90).configured(|c| c.uplink.flags = 3).rings(E::NewRouter),
        valid("advert, where a peer that is not introduced may be", net.client, 90)
            .configured(|c| c.uplink.flags = 1)
            .rings(E::NewRouter),
        valid("advert, higher, all are known but nothing has to be proven", net.client, 255)
            .held(Held::Active)
            .configured(|c| c.uplink.flags = 2)
            .counts(C::LeaseOutranked)
            .rings(E::Outranked)
            .ends(Ended::By(net.client)),
    ]);
    rows
}

/// A flood wakes the daemon once in a while.
pub fn paused(net: &Net) -> Vec<Row> {
    let rival = net.heard(net.low, 1);
    let broken = Advert { sum: Sum::Wrong, ..net.advert(90) }.frame(&net.vrrp(net.high));
    let again = |what: &str, packet: &Vec<u8>, held, counter| {
        row(what, packet.clone()).held(held).after(Before::Packet(packet.clone())).counts(counter)
    };
    vec![
        again("lower advert, again at once", &rival, Held::Active, C::AdvertValid).suppressed(),
        again("lower advert, again after the pause", &rival, Held::Active, C::AdvertValid)
            .after(Before::Pause)
            .rings(E::Rival),
        again("bad advert, again at once", &broken, Held::Backup, C::AdvertBadChecksum).suppressed(),
        again("bad advert, again after the pause", &broken, Held::Backup, C::AdvertBadChecksum)
            .after(Before::Pause)
            .rings(E::Malformed),
        row("bad advert, at once after a lower one", broken.clone())
            .held(Held::Active)
            .after(Before::Packet(rival))
            .counts(C::AdvertBadChecksum)
            .rings(E::Malformed),
    ]
}

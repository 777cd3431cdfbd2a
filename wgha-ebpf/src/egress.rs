//! What goes out, through TC.

use wgha_common::{
    Family,
    abi::{Counter, Direction, UplinkConfig},
    wire::{ip::protocol, udp},
};

use crate::{
    advert,
    chain::{self, Carried, Content, Part},
    fence, maps, neighbour,
    packet::{Packet, Skb},
    reflect, report, transport,
    verdict::{self, Verdict},
    wireguard,
};

/// Where an IPv4 header has its checksum.
const IPV4_CHECKSUM: usize = 10;

/// What becomes of a packet that goes out, as TC wants it; counted.
#[inline(always)]
pub fn action(packet: &Skb<'_>) -> u32 {
    let Some(uplink) = maps::uplink() else {
        return Skb::action(Verdict::Pass);
    };
    match transport::goes_out(packet, uplink) {
        Some(verdict) => report::settle::<Skb<'_>>(verdict),
        None => long_way(packet, uplink),
    }
}

/// A function of its own: the packets that matter for speed do without its stack.
#[inline(never)]
fn long_way(packet: &Skb<'_>, uplink: &UplinkConfig) -> u32 {
    report::settle::<Skb<'_>>(match chain::content(packet) {
        Content::Ip(carried) => of_carried(packet, uplink, &carried),
        Content::Arp(at) => Verdict::drops(arp(packet, at)),
        Content::Settled(verdict) => verdict,
    })
}

#[inline(always)]
fn of_carried(packet: &Skb<'_>, uplink: &UplinkConfig, carried: &Carried) -> Verdict {
    if carried.part == Part::Later {
        return later_fragment(packet, carried);
    }
    match carried.protocol {
        protocol::UDP => udp(packet, uplink, carried),
        protocol::VRRP => advert(packet, uplink, carried).map_or(Verdict::Pass, verdict::of_our_advert),
        protocol::ICMPV6 => Verdict::drops(icmpv6(packet, carried)),
        _ => Verdict::Pass,
    }
}

#[inline(always)]
fn later_fragment(packet: &Skb<'_>, carried: &Carried) -> Verdict {
    let Some(source) = carried.source(packet) else {
        return Verdict::Count(Counter::Unparsed);
    };
    if maps::is_vip(&source) && !fence::serves() {
        return Verdict::Drop(Counter::FragmentFenced);
    }
    Verdict::Count(Counter::FragmentPassed)
}

/// Ours leave as the map says; those of another program on this host are its own affair, and not counted.
#[inline(never)]
fn advert(packet: &Skb<'_>, uplink: &UplinkConfig, carried: &Carried) -> Option<Counter> {
    if !is_ours(packet, uplink, carried) {
        return None;
    }
    let Some(stamp) = maps::advert_stamp() else {
        return Some(Counter::AdvertFenced);
    };
    if stamp.priority > 0 && !fence::claims() {
        return Some(Counter::AdvertFenced);
    }
    let stamped = advert::stamp(packet, uplink, carried, &stamp);
    Some(stamped.err().unwrap_or(Counter::AdvertSent))
}

/// A function of its own: [`advert()`] needs much stack for what comes after it.
#[inline(never)]
fn is_ours(packet: &Skb<'_>, uplink: &UplinkConfig, carried: &Carried) -> bool {
    uplink.is_family(carried.family)
        && carried.load::<_, 2>(packet).is_some_and(|[_, vrid]| vrid == uplink.vrid)
        && carried.source(packet).is_some_and(|source| source == uplink.source)
}

#[inline(always)]
fn udp(packet: &Skb<'_>, uplink: &UplinkConfig, carried: &Carried) -> Verdict {
    let Some(udp) = wireguard::header(packet, carried) else {
        return Verdict::Pass;
    };
    if uplink.wireguard_port == 0 || udp.source != uplink.wireguard_port {
        return if reflect::may_leave(packet, carried) {
            Verdict::Pass
        } else {
            Verdict::Drop(Counter::ProbeFenced)
        };
    }
    let Some(epoch) = fence::serves_wireguard() else {
        return Verdict::Drop(Counter::WireguardOutFenced);
    };
    let verdict = match pin_source(packet, uplink, carried) {
        Some(Source::Vip) => Verdict::Pass,
        Some(Source::Rewritten) => Verdict::Count(Counter::WireguardPinned),
        None => return Verdict::Drop(Counter::WireguardNoVip),
    };
    wireguard::count(packet, carried, &udp, Direction::Egress, epoch);
    verdict
}

/// Where a WireGuard packet comes from, after [`pin_source`].
enum Source {
    Vip,
    Rewritten,
}

/// I8: the WireGuard port speaks from the VIP or not at all.
#[inline(never)]
fn pin_source(packet: &Skb<'_>, uplink: &UplinkConfig, carried: &Carried) -> Option<Source> {
    let vip = uplink.vip_of(carried.family)?;
    let source = carried.source(packet)?;
    if source == *vip || maps::is_vip(&source) {
        return Some(Source::Vip);
    }
    // The other fragments have left with another source, or will.
    if carried.part != Part::Whole {
        return None;
    }
    let checksum_at = carried.at + udp::CHECKSUM_OFFSET;
    match carried.family {
        Family::V4 => {
            let (old, new) = (source.v4_bytes(), vip.v4_bytes());
            packet.mend_udp_checksum(checksum_at, &old, &new)?;
            packet.mend_ipv4_checksum(carried.ip_at() + IPV4_CHECKSUM, old, new)?;
            packet.store(carried.source_at(), &new)?;
        }
        Family::V6 => {
            packet.mend_udp_checksum(checksum_at, &source.0, &vip.0)?;
            packet.store(carried.source_at(), &vip.0)?;
        }
    }
    Some(Source::Rewritten)
}

/// Why a neighbour message about the VIP, or from it, is dropped, if it is.
#[inline(never)]
fn icmpv6(packet: &Skb<'_>, carried: &Carried) -> Option<Counter> {
    let target = neighbour::target(packet, carried)?;
    let of_vip = maps::is_vip(&target) || carried.source(packet).is_some_and(|source| maps::is_vip(&source));
    if of_vip { fenced() } else { None }
}

/// Why ARP is dropped, if it is.
#[inline(never)]
fn arp(packet: &Skb<'_>, at: usize) -> Option<Counter> {
    let (arp, _) = neighbour::arp(packet, at)?;
    if maps::is_vip(&arp.sender) { fenced() } else { None }
}

#[inline(always)]
fn fenced() -> Option<Counter> {
    if fence::serves() { None } else { Some(Counter::NeighbourOutFenced) }
}

//! What comes in, through XDP or TC.

use wgha_common::{
    abi::{Counter, Direction, UplinkConfig},
    wire::{bfd, ip::protocol, ndisc, udp},
};

use crate::{
    advert,
    chain::{self, Carried, Content, Part},
    fence, maps, neighbour,
    packet::Packet,
    reflect,
    verdict::{self, Verdict},
    wireguard,
};

/// What becomes of a packet that comes in.
#[inline(always)]
pub fn verdict<P: Packet>(packet: &P) -> Verdict {
    let Some(uplink) = maps::uplink() else {
        return Verdict::Pass;
    };
    match chain::content(packet) {
        Content::Ip(carried) => of_carried(packet, uplink, &carried),
        Content::Arp(at) => arp(packet, at),
        Content::Settled(verdict) => verdict,
    }
}

#[inline(always)]
fn of_carried<P: Packet>(packet: &P, uplink: &UplinkConfig, carried: &Carried) -> Verdict {
    if carried.part == Part::Later {
        return later_fragment(packet, carried);
    }
    match carried.protocol {
        protocol::UDP => udp(packet, uplink, carried),
        protocol::VRRP => Verdict::Count(advert::heard(packet, uplink, carried)),
        protocol::ICMPV6 => icmpv6(packet, carried),
        _ => Verdict::Pass,
    }
}

#[inline(always)]
fn later_fragment<P: Packet>(packet: &P, carried: &Carried) -> Verdict {
    let Some(destination) = carried.destination(packet) else {
        return Verdict::Count(Counter::Unparsed);
    };
    if maps::is_vip(&destination) && !fence::serves() {
        return Verdict::Drop(Counter::FragmentFenced);
    }
    match carried.protocol {
        protocol::VRRP => Verdict::Count(Counter::AdvertFragment),
        _ => Verdict::Count(Counter::FragmentPassed),
    }
}

#[inline(always)]
fn udp<P: Packet>(packet: &P, uplink: &UplinkConfig, carried: &Carried) -> Verdict {
    let Some(udp) = wireguard::header(packet, carried) else {
        return Verdict::Pass;
    };
    if uplink.wireguard_port != 0 && udp.destination == uplink.wireguard_port {
        return wireguard(packet, carried, &udp);
    }
    let probe = match (udp.destination, udp.source) {
        (bfd::PORT, _) => reflect::question(packet, carried),
        (port, bfd::PORT) => reflect::answered(packet, carried, port),
        _ => None,
    };
    probe.map_or(Verdict::Pass, verdict::of_probe)
}

#[inline(always)]
fn wireguard<P: Packet>(packet: &P, carried: &Carried, udp: &udp::Header) -> Verdict {
    let Some(epoch) = fence::serves_wireguard() else {
        return Verdict::Drop(Counter::WireguardInFenced);
    };
    let message = wireguard::count(packet, carried, udp, Direction::Ingress, epoch);
    wireguard::watch(packet, carried, udp, message);
    Verdict::Pass
}

#[inline(always)]
fn icmpv6<P: Packet>(packet: &P, carried: &Carried) -> Verdict {
    let Some(message) = neighbour::heard(packet, carried) else {
        return Verdict::Pass;
    };
    if ndisc::target(&message).is_some_and(|target| maps::is_vip(&target)) {
        return fenced();
    }
    if let (Some(neighbour), Some(asker)) = (ndisc::answered(&message), carried.destination(packet)) {
        neighbour::answered(&neighbour, &asker);
    }
    Verdict::Pass
}

#[inline(always)]
fn arp<P: Packet>(packet: &P, at: usize) -> Verdict {
    let Some((arp, is_reply)) = neighbour::arp(packet, at) else {
        return Verdict::Pass;
    };
    if is_reply {
        neighbour::answered(&arp.sender, &arp.target);
    }
    if maps::is_vip(&arp.target) || maps::is_vip(&arp.sender) { fenced() } else { Verdict::Pass }
}

#[inline(always)]
fn fenced() -> Verdict {
    if fence::serves() { Verdict::Pass } else { Verdict::Drop(Counter::NeighbourInFenced) }
}

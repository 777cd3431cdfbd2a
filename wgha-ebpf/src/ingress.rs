//! What comes in, through XDP or TC.

use wgha_common::{
    abi::{Counter, Direction, UplinkConfig},
    wire::{bfd, ip::protocol, ndisc, udp},
};

use crate::{
    advert,
    chain::{self, Carried, Content, Part},
    clock::Clock,
    fence, maps, neighbour,
    packet::Packet,
    reflect, report, transport,
    verdict::{self, Verdict},
    wireguard,
};

/// What becomes of a packet that comes in, as its hook wants it; counted.
#[inline(always)]
pub fn action<P: Packet>(packet: &P) -> u32 {
    let Some(uplink) = maps::uplink() else {
        return P::action(Verdict::Pass);
    };
    match transport::comes_in(packet, uplink) {
        Some(verdict) => report::settle::<P>(verdict),
        None => long_way(packet, uplink),
    }
}

/// A function of its own: the packets that matter for speed do without its stack.
#[inline(never)]
fn long_way<P: Packet>(packet: &P, uplink: &UplinkConfig) -> u32 {
    note_arrival();
    report::settle::<P>(match chain::content(packet) {
        Content::Ip(carried) => of_carried(packet, uplink, &carried),
        Content::Arp(at) => Verdict::drops(arp(packet, at)),
        Content::Settled(verdict) => verdict,
    })
}

/// Whatever it is, this node hears. Not asked of WireGuard's data, which is counted anyway.
#[inline(never)]
fn note_arrival() {
    maps::arrived(Clock::Coarse.now());
}

#[inline(always)]
fn of_carried<P: Packet>(packet: &P, uplink: &UplinkConfig, carried: &Carried) -> Verdict {
    if carried.part == Part::Later {
        return later_fragment(packet, carried);
    }
    match carried.protocol {
        protocol::UDP => udp(packet, uplink, carried),
        protocol::VRRP => Verdict::Count(advert::heard(packet, uplink, carried)),
        protocol::ICMPV6 => Verdict::drops(icmpv6(packet, carried)),
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
        (bfd::PORT, _) => reflect::asked(packet, carried),
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

/// Why a neighbour message is dropped, if it is. With [`arp`] a function of its own: they use the same stack one after the other.
#[inline(never)]
fn icmpv6<P: Packet>(packet: &P, carried: &Carried) -> Option<Counter> {
    let message = neighbour::heard(packet, carried)?;
    if ndisc::target(&message).is_some_and(|target| maps::is_vip(&target)) {
        return fenced();
    }
    let (neighbour, to) = (ndisc::answered(&message)?, carried.destination(packet)?);
    neighbour::answered(&neighbour, &to);
    neighbour::witnessed(&neighbour, &to);
    None
}

/// Why ARP is dropped, if it is.
#[inline(never)]
fn arp<P: Packet>(packet: &P, at: usize) -> Option<Counter> {
    let (arp, is_reply) = neighbour::arp(packet, at)?;
    if is_reply {
        neighbour::answered(&arp.sender, &arp.target);
        neighbour::witnessed(&arp.sender, &arp.target);
    }
    if maps::is_vip(&arp.target) || maps::is_vip(&arp.sender) { fenced() } else { None }
}

#[inline(always)]
fn fenced() -> Option<Counter> {
    if fence::serves() { None } else { Some(Counter::NeighbourInFenced) }
}

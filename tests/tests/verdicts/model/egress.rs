//! What goes out.

use wgha_common::{
    Address,
    abi::{Counter as C, Role},
};

use super::{
    Seen, Verdict,
    frame::{Inside, Ip, Part},
    ingress::length_fault,
    sum::{mended, mended_udp, pseudo, sum},
    wireguard::{self, Udp},
};

pub fn verdict(seen: &mut Seen<'_>) -> Verdict {
    match seen.frame.inside() {
        Inside::Nothing => Verdict::Pass,
        Inside::OfVlan => Verdict::Count(C::VlanPassed),
        Inside::Broken => Verdict::Count(C::Unparsed),
        Inside::Arp(at) => arp(seen, at),
        Inside::Ip(ip) if ip.part == Part::Later => later_fragment(seen, &ip),
        Inside::Ip(ip) => match ip.protocol {
            17 => udp(seen, &ip),
            58 if ip.v6 => icmpv6(seen, &ip),
            112 => advert(seen, &ip),
            _ => Verdict::Pass,
        },
    }
}

fn later_fragment(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    match seen.frame.source(ip) {
        None => Verdict::Count(C::Unparsed),
        Some(source) if seen.world.is_vip(source) && !seen.world.serves() => Verdict::Drop(C::FragmentFenced),
        Some(_) => Verdict::Count(C::FragmentPassed),
    }
}

fn udp(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let port = seen.world.uplink.wireguard_port;
    let Some(udp) = Udp::of(seen, ip) else {
        return Verdict::Pass;
    };
    if port == 0 || udp.source != port {
        return probe(seen, ip, &udp);
    }
    if !seen.world.serves() {
        return Verdict::Drop(C::WireguardOutFenced);
    }
    let vip = seen.world.uplink.vip;
    let Some(source) = seen.frame.source(ip).filter(|_| vip != Address::UNSPECIFIED && is_v6(vip) == ip.v6)
    else {
        return Verdict::Drop(C::WireguardNoVip);
    };
    let is_vip = source == vip || seen.world.is_vip(source);
    // The other fragments would have another source.
    if !is_vip && ip.part != Part::Whole {
        return Verdict::Drop(C::WireguardNoVip);
    }
    wireguard::passed(seen, ip, &udp);
    if is_vip {
        return Verdict::Pass;
    }
    speak_from(seen, ip, vip);
    Verdict::Count(C::WireguardPinned)
}

/// A probe of ours may not say that we serve, or claim to, unless we do.
fn probe(seen: &mut Seen<'_>, ip: &Ip, udp: &Udp) -> Verdict {
    let initiator = seen.world.sbfd.port;
    let ours = initiator != 0 && (udp.source, udp.destination) == (initiator, 7784);
    let says_up = ours && seen.frame.bytes(ip.at + 8, 2).is_some_and(|b| b[1] >> 6 == 3);
    if says_up && !seen.world.may(Role::Claiming) { Verdict::Drop(C::ProbeFenced) } else { Verdict::Pass }
}

fn is_v6(Address(b): Address) -> bool {
    !(b[..10] == [0; 10] && b[10..12] == [0xff; 2])
}

/// I8: the source becomes the VIP, and both checksums are as right as they were.
fn speak_from(seen: &mut Seen<'_>, ip: &Ip, vip: Address) {
    let len = ip.address_len();
    let (old, new) = (seen.frame.bytes(ip.source_at(), len).unwrap(), &vip.0[16 - len..]);
    seen.write(ip.source_at(), new);
    let was = seen.frame.word(ip.at + 6).unwrap();
    seen.write(ip.at + 6, &mended_udp(was, old, new).to_be_bytes());
    if !ip.v6 {
        let at = ip.header + 10;
        let was = seen.frame.word(at).unwrap();
        seen.write(at, &mended(was, old, new).to_be_bytes());
        seen.either_zero = Some(at);
    }
}

/// Our own leave only under a lease, and only right; those of another program on this host are its own affair.
fn advert(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let uplink = seen.world.uplink;
    let ours = uplink.family == if ip.v6 { 6 } else { 4 }
        && seen.frame.carried(ip, 2).is_some_and(|b| b[1] == uplink.vrid)
        && seen.frame.source(ip) == Some(uplink.source);
    if !ours {
        return Verdict::Pass;
    }
    if seen.world.stamp.priority > 0 && !seen.world.may(Role::Claiming) {
        return Verdict::Drop(C::AdvertFenced);
    }
    match fault_of(seen, ip) {
        Some(fault) => Verdict::Drop(fault),
        None => {
            stamp(seen, ip);
            Verdict::Count(C::AdvertSent)
        }
    }
}

fn fault_of(seen: &Seen<'_>, ip: &Ip) -> Option<C> {
    if ip.part != Part::Whole {
        return Some(C::AdvertFragment);
    }
    let Some(b) = seen.frame.carried(ip, 8) else {
        return Some(C::AdvertTruncated);
    };
    match b {
        _ if b[0] >> 4 != 3 => Some(C::AdvertBadVersion),
        _ if b[0] & 15 != 1 => Some(C::AdvertBadType),
        _ if b[3] == 0 => Some(C::AdvertNoAddress),
        _ if b[4] & 15 == 0 && b[5] == 0 => Some(C::AdvertBadInterval),
        _ => length_fault(seen, ip, b[3].into()),
    }
}

/// Priority, interval and checksum are the map's, whatever the daemon has handed to the socket.
fn stamp(seen: &mut Seen<'_>, ip: &Ip) {
    let stamp = seen.world.stamp;
    seen.write(ip.at + 2, &[stamp.priority]);
    seen.write(ip.at + 4, &(stamp.interval & 0xfff).to_be_bytes());
    seen.write(ip.at + 6, &[0, 0]);
    let addresses = seen.frame.bytes(ip.source_at(), 2 * ip.address_len()).unwrap();
    let with_pseudo_header = ip.v6 || stamp.checksum == 1;
    let pseudo = if with_pseudo_header { pseudo(addresses, ip.len, 112) } else { Vec::new() };
    let checksum = !sum(&[&pseudo, &seen.out[ip.at..ip.at + ip.len]]);
    seen.write(ip.at + 6, &checksum.to_be_bytes());
}

/// Neighbour discovery about a VIP or from one.
fn icmpv6(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let speaks_of = |seen: &Seen<'_>| {
        let b = seen.frame.carried(ip, 24).filter(|b| matches!(b[..2], [135 | 136, 0]))?;
        let target: [u8; 16] = b[8..24].try_into().unwrap();
        Some([Some(Address(target)), seen.frame.source(ip)])
    };
    let addresses = speaks_of(seen).into_iter().flatten().flatten();
    if addresses.into_iter().any(|address| seen.world.is_vip(address)) {
        return seen.fenced(C::NeighbourOutFenced);
    }
    Verdict::Pass
}

/// ARP that claims a VIP.
fn arp(seen: &mut Seen<'_>, at: usize) -> Verdict {
    let is_arp = seen.frame.bytes(at, 28).is_some_and(|b| b[..6] == [0, 1, 8, 0, 6, 4]);
    match seen.frame.address(false, at + 14).filter(|_| is_arp) {
        Some(sender) if seen.world.is_vip(sender) => seen.fenced(C::NeighbourOutFenced),
        _ => Verdict::Pass,
    }
}

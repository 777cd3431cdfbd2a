//! What comes in.

use wgha_common::{
    Address,
    abi::{AdvertSeen, Counter as C, Event, EventKind, Peer, Role},
};

use super::{
    Seen, Verdict,
    frame::{Inside, Ip, Part, is_one_host},
    sum::{mended_udp, pseudo, sum},
    wireguard::{self, Udp},
};
use crate::kernel::Hook;

/// UDP port of reflectors (RFC 7881 §3).
const REFLECTOR: u16 = 7784;
/// States of BFD (RFC 5880 §4.1).
const ADMIN_DOWN: u8 = 0;
const UP: u8 = 3;

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
            112 => Verdict::Count(advert(seen, &ip)),
            _ => Verdict::Pass,
        },
    }
}

fn later_fragment(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let Some(destination) = seen.frame.destination(ip) else {
        return Verdict::Count(C::Unparsed);
    };
    if seen.world.is_vip(destination) && !seen.world.serves() {
        return Verdict::Drop(C::FragmentFenced);
    }
    Verdict::Count(if ip.protocol == 112 { C::AdvertFragment } else { C::FragmentPassed })
}

fn udp(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let Some(udp) = Udp::of(seen, ip) else {
        return Verdict::Pass;
    };
    let port = seen.world.uplink.wireguard_port;
    if port != 0 && udp.destination == port {
        seen.world.arrived = None; // data is counted, and that is enough
        if !seen.world.serves() {
            return Verdict::Drop(C::WireguardInFenced);
        }
        wireguard::passed(seen, ip, &udp);
        return Verdict::Pass;
    }
    let sbfd = seen.world.sbfd;
    if udp.destination == REFLECTOR {
        if sbfd.discriminator == 0 { Verdict::Pass } else { question(seen, ip, &udp) }
    } else if udp.source == REFLECTOR && sbfd.port != 0 && sbfd.port == udp.destination {
        answer(seen, ip, &udp)
    } else {
        Verdict::Pass
    }
}

/// A peer asks whether we serve.
fn question(seen: &mut Seen<'_>, ip: &Ip, udp: &Udp) -> Verdict {
    let peer = match of_peer(seen, ip) {
        Ok((_, peer)) => peer,
        Err(verdict) => return verdict,
    };
    let b = match control(seen, ip, udp, true) {
        Ok(b) => b,
        Err(fault) => return Verdict::Drop(fault),
    };
    if b[8..12] != seen.world.sbfd.discriminator.to_be_bytes() {
        return Verdict::Drop(C::ProbeBadDiscriminator);
    }
    let yields = b[1] >> 6 == UP && contested(seen, &peer);
    let serves = seen.world.serves();
    let state = match (serves, yields) {
        (true, _) => (UP, 0),
        (false, false) => (ADMIN_DOWN, 7),
        (false, true) => (ADMIN_DOWN, 3),
    };
    turn_round(seen, ip, b, state);
    Verdict::Return(if serves { C::ProbeAnsweredUp } else { C::ProbeAnsweredAdminDown })
}

/// A peer serves, or claims to: of two that do, the one of higher priority, then of the higher address, goes on (I7).
/// Whether that ends our lease.
fn contested(seen: &mut Seen<'_>, peer: &Peer) -> bool {
    if peer.priority == 0 || !seen.world.may(Role::Claiming) {
        return false;
    }
    let world = &mut seen.world;
    let outranks = (peer.priority, peer.source.0) > (world.stamp.priority, world.uplink.source.0);
    let interval = world.stamp.interval;
    if outranks {
        world.revoked = (world.lease.epoch, peer.source);
        world.count(C::LeaseOutranked);
    }
    let kind = if outranks { EventKind::Outranked } else { EventKind::Contested };
    let (source, priority) = (peer.source, peer.priority);
    seen.ring(kind, Event { source, priority, interval, ..Event::default() });
    outranks
}

/// RFC 7880 §7.2.2: the question with all addresses turned round, and our state and diagnostic in it.
fn turn_round(seen: &mut Seen<'_>, ip: &Ip, question: &[u8], (state, diagnostic): (u8, u8)) {
    let (source, len) = (ip.source_at(), ip.address_len());
    for (a, b, len) in [(0, 6, 6), (source, source + len, len), (ip.at, ip.at + 2, 2)] {
        let (first, second) = (seen.out[a..a + len].to_vec(), seen.out[b..b + len].to_vec());
        seen.write(a, &second);
        seen.write(b, &first);
    }
    let final_if_polled = question[1] >> 1 & 0x10;
    let mut answer = vec![1 << 5 | diagnostic, state << 6 | final_if_polled, question[2], 24];
    answer.extend([&question[8..12], &question[4..8], &question[12..16]].concat());
    answer.extend(seen.world.sbfd.required_min_rx.to_be_bytes());
    answer.extend([0; 4]);
    seen.write(ip.at + 8, &answer);
    let addresses = seen.out[ip.source_at()..][..2 * ip.address_len()].to_vec();
    let was = seen.frame.word(ip.at + 6).unwrap();
    let checksum = match seen.hook {
        // XDP cannot know whether the sum that is there is one.
        Hook::Xdp => match !sum(&[&pseudo(&addresses, 32, 17), &seen.out[ip.at..ip.at + 6], &answer]) {
            0 => 0xffff,
            checksum => checksum,
        },
        Hook::Ingress | Hook::Egress => mended_udp(was, question, &answer),
    };
    seen.write(ip.at + 6, &checksum.to_be_bytes());
}

/// A peer has answered us.
fn answer(seen: &mut Seen<'_>, ip: &Ip, udp: &Udp) -> Verdict {
    let (source, peer) = match of_peer(seen, ip) {
        Ok((source, peer)) => (source, peer.number),
        Err(verdict) => return verdict,
    };
    let b = match control(seen, ip, udp, false) {
        Ok(b) => b,
        Err(fault) => return Verdict::Drop(fault),
    };
    let discriminator = u32::from_be_bytes([b[8], b[9], b[10], b[11]]);
    let under_way = seen.world.peers.iter().filter(|(_, known, _)| known.number == peer);
    if !under_way.into_iter().any(|(_, _, probes)| probes.discriminators.contains(&discriminator)) {
        return Verdict::Drop(C::AnswerUnknown);
    }
    let last = &mut seen.world.answers[peer as usize];
    let (state, served) = (b[1] >> 6, last.answers == 0 || last.state == UP);
    (last.answers, last.discriminator, last.state) = (last.answers + 1, discriminator, state);
    last.diagnostic = b[0] & 0x1f;
    if state != UP && served {
        let counter = C::AnswerHeard as u32;
        seen.ring(EventKind::AdminDown, Event { counter, source, ..Event::default() });
    }
    Verdict::Drop(C::AnswerHeard)
}

/// The peer that it comes from; or what becomes of what a stranger sends.
fn of_peer(seen: &Seen<'_>, ip: &Ip) -> Result<(Address, Peer), Verdict> {
    let source = seen.frame.source(ip).ok_or(Verdict::Count(C::Unparsed))?;
    let peer = seen.world.peers.iter().find(|(address, ..)| *address == source);
    peer.map(|(_, peer, _)| (source, *peer)).ok_or(Verdict::Count(C::ProbeBadPeer))
}

/// A control packet (RFC 5880 §4.1): sent from one hop away, alone in a plain frame, to an address of our own.
fn control<'a>(seen: &Seen<'a>, ip: &Ip, udp: &Udp, asks: bool) -> Result<&'a [u8], C> {
    if ip.hop_limit != 255 {
        return Err(C::ProbeBadHopLimit);
    }
    let frame = seen.frame;
    let to_us = frame.0[0] & 1 == 0
        && frame.destination(ip).is_some_and(|to| is_one_host(to, ip.v6) && !seen.world.is_vip(to));
    let alone =
        ip.part == Part::Whole && ip.is_plain() && frame.is_complete(ip) && ip.len == 32 && udp.len == 32;
    let b = frame.bytes(ip.at + 8, 24).filter(|_| to_us && alone).ok_or(C::ProbeMalformed)?;
    let version_1_of_24_bytes = b[0] >> 5 == 1 && b[3] == 24;
    let [authenticated, demand, multipoint] = [4, 2, 1].map(|bit| b[1] & bit != 0);
    let state_is_possible = match b[1] >> 6 {
        ADMIN_DOWN | UP => true,
        1 => asks,
        _ => false,
    };
    let numbered = b[4..8] != [0; 4] && b[8..12] != [0; 4] && b[2] != 0;
    let flags_are_right = !authenticated && !multipoint && demand == asks;
    let right = version_1_of_24_bytes && flags_are_right && state_is_possible && numbered;
    if right { Ok(b) } else { Err(C::ProbeMalformed) }
}

/// Another router speaks, or we hear ourselves.
fn advert(seen: &mut Seen<'_>, ip: &Ip) -> C {
    if seen.world.uplink.family != if ip.v6 { 6 } else { 4 } {
        return C::AdvertOtherFamily;
    }
    if ip.part != Part::Whole {
        return C::AdvertFragment;
    }
    let Some(source) = seen.frame.source(ip) else {
        return C::Unparsed;
    };
    let uplink = seen.world.uplink;
    match fault_of(seen, ip, source) {
        Ok((b, _)) if b[1] != uplink.vrid => C::AdvertOtherVrid,
        Ok(_) if source == uplink.source => C::AdvertOwn,
        Ok(_) if uplink.flags & 3 == 3 && !is_advertiser(seen, source) => C::AdvertStranger,
        Ok((b, pseudo_header)) => {
            heard(seen, source, b, pseudo_header);
            C::AdvertValid
        }
        Err(fault) => {
            if seen.frame.carried(ip, 2).is_some_and(|b| b[1] == uplink.vrid) {
                seen.ring(EventKind::Malformed, Event { counter: fault as u32, source, ..Event::default() });
            }
            fault
        }
    }
}

/// Whether a peer has said that its adverts come from there.
fn is_advertiser(seen: &Seen<'_>, source: Address) -> bool {
    seen.world.peers.iter().any(|(_, peer, _)| peer.priority != 0 && peer.source == source)
}

/// RFC 9568 §7.1: the header of an advert that is right, and whether its checksum is that of RFC 5798; or what is wrong.
fn fault_of<'a>(seen: &Seen<'a>, ip: &Ip, source: Address) -> Result<(&'a [u8], bool), C> {
    if ip.hop_limit != 255 {
        return Err(C::AdvertBadHopLimit);
    }
    if !is_one_host(source, ip.v6) {
        return Err(C::AdvertBadSource);
    }
    let b = seen.frame.carried(ip, 8).ok_or(C::AdvertTruncated)?;
    let interval = u16::from_be_bytes([b[4], b[5]]) & 0xfff;
    for (wrong, fault) in [
        (b[0] >> 4 != 3, C::AdvertBadVersion),
        (b[0] & 15 != 1, C::AdvertBadType),
        (b[1] == 0, C::AdvertOtherVrid),
        (b[3] == 0, C::AdvertNoAddress),
        (interval == 0, C::AdvertBadInterval),
    ] {
        if wrong {
            return Err(fault);
        }
    }
    length_fault(seen, ip, b[3].into()).map_or(Ok(()), Err)?;
    let advert = seen.frame.bytes(ip.at, ip.len).ok_or(C::AdvertTruncated)?;
    let addresses = seen.frame.bytes(ip.source_at(), 2 * ip.address_len()).ok_or(C::Unparsed)?;
    let with_pseudo_header = sum(&[&pseudo(addresses, ip.len, 112), advert]) == 0xffff;
    let without = sum(&[advert]) == 0xffff;
    match (ip.v6, without, with_pseudo_header) {
        (true, _, true) | (false, true, _) => Ok((b, false)),
        (false, false, true) => Ok((b, true)),
        _ => Err(C::AdvertBadChecksum),
    }
}

/// What is wrong with the length of an advert of so many addresses, as far as the frame has it.
pub fn length_fault(seen: &Seen<'_>, ip: &Ip, addresses: usize) -> Option<C> {
    let len = 8 + addresses * ip.address_len();
    let most = if ip.v6 { (1500 - 40 - 8) / 16 } else { 255 };
    match () {
        () if ip.len < len || !seen.frame.is_complete(ip) => Some(C::AdvertTruncated),
        () if ip.len > len || addresses > most => Some(C::AdvertBadLength),
        () => None,
    }
}

/// Another router of our VRID has said something that is right.
fn heard(seen: &mut Seen<'_>, source: Address, b: &[u8], pseudo_header: bool) {
    let (priority, interval) = (b[2], u16::from_be_bytes([b[4], b[5]]) & 0xfff);
    let (counter, checksum) = (C::AdvertValid as u32, u8::from(pseudo_header));
    let before = seen.world.routers.get(&source).copied();
    let adverts = before.map_or(0, |router| router.adverts) + 1;
    let router =
        AdvertSeen { at: 0, adverts, interval, priority, checksum, addresses: b[3], reserved: [0; 3] };
    seen.world.routers.insert(source, router);
    let news = claim(seen, source, priority).or(match before.filter(|router| router.priority != 0) {
        None if priority != 0 => Some(EventKind::NewRouter),
        None => before.is_none().then_some(EventKind::Resigned),
        Some(_) if priority == 0 => Some(EventKind::Resigned),
        Some(router) if (router.priority, router.interval) != (priority, interval) => {
            Some(EventKind::ChangedRouter)
        }
        Some(_) => None,
    });
    if let Some(kind) = news {
        seen.ring(kind, Event { counter, source, interval, priority, checksum, ..Event::default() });
    }
}

/// What another's claim is to ours, if both claim. The higher priority wins, then the higher address (I7).
fn claim(seen: &mut Seen<'_>, source: Address, priority: u8) -> Option<EventKind> {
    if priority == 0 || !seen.world.may(Role::Claiming) {
        return None;
    }
    let world = &mut seen.world;
    let (theirs, ours) = ((priority, source.0), (world.stamp.priority, world.uplink.source.0));
    if theirs <= ours || world.uplink.flags & 1 != 0 {
        return Some(EventKind::Rival);
    }
    world.revoked = (world.lease.epoch, source);
    world.count(C::LeaseOutranked);
    Some(EventKind::Outranked)
}

/// Neighbour discovery: about a VIP only while we serve; and an answer to a VIP tells that the neighbour knows us.
fn icmpv6(seen: &mut Seen<'_>, ip: &Ip) -> Verdict {
    let Some(b) = seen.frame.carried(ip, 24).filter(|_| ip.part == Part::Whole && ip.hop_limit == 255) else {
        return Verdict::Pass;
    };
    if !matches!(b[..2], [135 | 136, 0]) {
        return Verdict::Pass;
    }
    let target = seen.frame.address(true, ip.at + 8).unwrap();
    if seen.world.is_vip(target) {
        return seen.fenced(C::NeighbourInFenced);
    }
    if b[0] == 136 && b[4] & 0x40 != 0 {
        let destination = seen.frame.destination(ip).unwrap();
        neighbour_answers(seen, target, destination);
    }
    Verdict::Pass
}

/// ARP: the same.
fn arp(seen: &mut Seen<'_>, at: usize) -> Verdict {
    let Some(b) = seen.frame.bytes(at, 28).filter(|b| b[..6] == [0, 1, 8, 0, 6, 4]) else {
        return Verdict::Pass;
    };
    let sender = seen.frame.address(false, at + 14).unwrap();
    let target = seen.frame.address(false, at + 24).unwrap();
    if b[6..8] == [0, 2] {
        neighbour_answers(seen, sender, target);
    }
    if seen.world.is_vip(sender) || seen.world.is_vip(target) {
        return seen.fenced(C::NeighbourInFenced);
    }
    Verdict::Pass
}

fn neighbour_answers(seen: &mut Seen<'_>, neighbour: Address, to: Address) {
    let world = &mut *seen.world;
    world.witnessed = to == world.uplink.source && world.gateways.contains(&neighbour);
    if seen.world.is_vip(to) && !seen.world.is_vip(neighbour) && seen.world.serves() {
        seen.ring(EventKind::NeighbourAnswered, Event { source: neighbour, ..Event::default() });
    }
}

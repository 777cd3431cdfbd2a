//! The header chain of an IP packet, walked to what it carries.

use wgha_common::{
    Address, Family,
    abi::Counter,
    wire::{
        ethernet,
        ip::{self, EXTENSION_LEN, FRAGMENT_LEN, IPV4_START_LEN, IPV6_START_LEN, protocol},
    },
};

use crate::{
    frame::{self, Foreign},
    packet::Packet,
    verdict::Verdict,
};

/// Where nearly every packet has its IP header and what it carries: no tag, no option, no extension header.
const IP: usize = ethernet::HEADER_LEN;
const IPV4_PAYLOAD: usize = IP + ip::IPV4_LEN;
const IPV6_PAYLOAD: usize = IP + ip::IPV6_LEN;

/// How many extension headers are walked: more than any sender has a use for.
const MAX_EXTENSIONS: usize = 6;

/// Which part of a packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: the header of what it carries is here.
    First,
    /// A later one: it cannot be told what it belongs to.
    Later,
}

/// Where the chain ends.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// The IP version.
    pub family: Family,
    /// Where the IP header begins.
    ip_at: usize,
    /// What is carried.
    pub protocol: u8,
    /// Hop limit or TTL.
    pub hop_limit: u8,
    /// Where it begins. Of a later fragment: no header is there.
    pub at: usize,
    /// How many bytes it has by the IP header: the frame may be padded, or cut short.
    pub len: usize,
    /// Which part it is.
    pub part: Part,
}

/// The chain is cut short or contradicts itself, or it is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unparsed;

/// What a frame has for us, whichever way it goes.
pub enum Content {
    /// An IP packet, walked to what it carries.
    Ip(Carried),
    /// ARP, which begins there.
    Arp(usize),
    /// Nothing more to look at.
    Settled(Verdict),
}

/// Looks behind the Ethernet header.
#[inline(always)]
pub fn content<P: Packet>(packet: &P) -> Content {
    let payload = match frame::payload(packet) {
        Ok(payload) => payload,
        Err(Foreign::Vlan) => return Content::Settled(Verdict::Count(Counter::VlanPassed)),
        Err(Foreign::Short) => return Content::Settled(Verdict::Pass),
    };
    match walk(packet, payload) {
        Some(Ok(carried)) => Content::Ip(carried),
        Some(Err(Unparsed)) => Content::Settled(Verdict::Count(Counter::Unparsed)),
        None if payload.ethertype == ethernet::ARP => Content::Arp(payload.at),
        None => Content::Settled(Verdict::Pass),
    }
}

/// Walks the chain that begins behind the Ethernet header. `None`: it is not IP.
#[inline(always)]
fn walk<P: Packet>(packet: &P, payload: frame::Payload) -> Option<Result<Carried, Unparsed>> {
    match payload.ethertype {
        ethernet::IPV4 => Some(ipv4(packet, payload.at).ok_or(Unparsed)),
        ethernet::IPV6 => Some(ipv6(packet, payload.at).ok_or(Unparsed)),
        _ => None,
    }
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, at: usize) -> Option<Carried> {
    let start = ip::Start::ipv4(&ip_start::<P, IPV4_START_LEN>(packet, at)?)?;
    let part = match (start.later_fragment, start.more_fragments) {
        (true, _) => Part::Later,
        (false, true) => Part::First,
        (false, false) => Part::Whole,
    };
    Some(Carried::behind(at, Family::V4, &start, part))
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, at: usize) -> Option<Carried> {
    let start = ip::Start::ipv6(&ip_start::<P, IPV6_START_LEN>(packet, at)?)?;
    let mut carried = Carried::behind(at, Family::V6, &start, Part::Whole);
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(carried.protocol) {
            return Some(carried);
        }
        carried.skip_extension(packet)?;
        if carried.part == Part::Later {
            return Some(carried);
        }
    }
    (!is_extension(carried.protocol)).then_some(carried)
}

#[inline(always)]
fn ip_start<P: Packet, const N: usize>(packet: &P, at: usize) -> Option<[u8; N]> {
    if at == IP { packet.fixed::<IP, N>() } else { packet.load(at) }
}

#[inline(always)]
const fn is_extension(p: u8) -> bool {
    matches!(p, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS | protocol::FRAGMENT)
}

impl Carried {
    #[inline(always)]
    fn behind(ip_at: usize, family: Family, start: &ip::Start, part: Part) -> Self {
        Self {
            family,
            ip_at,
            protocol: start.protocol,
            hop_limit: start.hop_limit,
            at: ip_at + start.header_len as usize,
            len: start.payload_len as usize,
            part,
        }
    }

    #[inline(always)]
    fn skip_extension<P: Packet>(&mut self, packet: &P) -> Option<()> {
        let len = if self.protocol == protocol::FRAGMENT {
            let fragment = ip::Fragment::parse(&packet.load::<FRAGMENT_LEN>(self.at)?);
            self.protocol = fragment.protocol;
            // Neither later nor with more to come: an atomic fragment is a whole packet (RFC 6946).
            match (fragment.later, fragment.more) {
                (true, _) => self.part = Part::Later,
                (false, true) => self.part = Part::First,
                (false, false) => {}
            }
            FRAGMENT_LEN
        } else {
            let (next, len) = ip::extension(&packet.load::<EXTENSION_LEN>(self.at)?);
            self.protocol = next;
            len
        };
        self.len = self.len.checked_sub(len)?;
        self.at += len;
        Some(())
    }

    /// Whether all is where nearly every packet has it.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        match self.family {
            Family::V4 => self.ip_at == IP && self.at == IPV4_PAYLOAD,
            Family::V6 => self.ip_at == IP && self.at == IPV6_PAYLOAD,
        }
    }

    /// Where the IP header begins.
    #[inline(always)]
    pub const fn ip_at(&self) -> usize {
        self.ip_at
    }

    /// Where the source address stands.
    #[inline(always)]
    pub const fn source_at(&self) -> usize {
        match self.family {
            Family::V4 => self.ip_at + IPV4_START_LEN,
            Family::V6 => self.ip_at + IPV6_START_LEN,
        }
    }

    /// Where the destination address stands.
    #[inline(always)]
    pub const fn destination_at(&self) -> usize {
        self.source_at() + self.family.address_len()
    }

    /// From whom.
    #[inline(always)]
    pub fn source<P: Packet>(&self, packet: &P) -> Option<Address> {
        let mut address = Address::UNSPECIFIED;
        read_address(packet, self, self.source_at(), &mut address).then_some(address)
    }

    /// To whom.
    #[inline(always)]
    pub fn destination<P: Packet>(&self, packet: &P) -> Option<Address> {
        let mut address = Address::UNSPECIFIED;
        read_address(packet, self, self.destination_at(), &mut address).then_some(address)
    }

    /// The first `N` bytes of what is carried: they must be there by the IP header and in the frame.
    #[inline(always)]
    pub fn load<P: Packet, const N: usize>(&self, packet: &P) -> Option<[u8; N]> {
        if self.len < N {
            return None;
        }
        match self.at {
            IPV4_PAYLOAD => packet.fixed::<IPV4_PAYLOAD, N>(),
            IPV6_PAYLOAD => packet.fixed::<IPV6_PAYLOAD, N>(),
            at => packet.load(at),
        }
    }

    /// Bytes of the frame, without padding.
    #[inline(always)]
    pub const fn frame_len(&self) -> usize {
        self.at + self.len
    }

    /// Whether the frame holds all that the IP header promises.
    #[inline(always)]
    pub fn is_complete<P: Packet>(&self, packet: &P) -> bool {
        packet.holds(self.frame_len())
    }
}

/// Reads an address at `at`. A function of its own: it is wanted in many places, each of which would need stack for it.
#[inline(never)]
fn read_address<P: Packet>(packet: &P, carried: &Carried, at: usize, to: &mut Address) -> bool {
    let address = match carried.family {
        Family::V4 => packet.load(at).map(Address::v4),
        Family::V6 => packet.load(at).map(Address::v6),
    };
    let Some(address) = address else {
        return false;
    };
    *to = address;
    true
}

//! Frames for tests, put together layer by layer. Every field can be wrong.
//!
//! The offsets and checksums are written out once more here, so that the tests do not share wgha's own codecs.

use std::net::IpAddr;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Protocol number of VRRP.
pub const VRRP: u8 = 112;

/// Protocol number of hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// Protocol number of a routing header.
pub const ROUTING: u8 = 43;
/// Protocol number of a fragment header.
pub const FRAGMENT: u8 = 44;
/// Protocol number of destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// An Ethernet frame.
#[must_use]
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `frame` with a tag behind its MAC addresses.
#[must_use]
pub fn tagged(frame: &[u8], ethertype: u16, id: u16) -> Vec<u8> {
    let (macs, rest) = frame.split_at(12);
    [macs, &ethertype.to_be_bytes(), &(0xe000 | id).to_be_bytes(), rest].concat()
}

/// `frame` filled up to `len` bytes with what must not be read.
#[must_use]
pub fn padded(frame: &[u8], len: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.resize(len.max(frame.len()), 0x5a);
    frame
}

/// The bytes of an address.
#[must_use]
pub fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum of `parts`, each of an even length but the last (RFC 1071).
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The pseudo-header of an upper layer (RFC 8200 §8.1, RFC 768).
#[must_use]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let (len, mut pseudo) = ((len as u32).to_be_bytes(), [bytes(source), bytes(destination)].concat());
    if source.is_ipv4() {
        pseudo.extend([0, protocol, len[2], len[3]]);
    } else {
        pseudo.extend([len[0], len[1], len[2], len[3], 0, 0, 0, protocol]);
    }
    pseudo
}

/// An extension header of IPv6: its protocol number, and its bytes; the first is replaced by what follows.
pub type Extension = (u8, Vec<u8>);

/// Options or routing of `len` bytes, a multiple of eight; filled with one PadN option.
#[must_use]
pub fn extension(protocol: u8, len: usize) -> Extension {
    let mut bytes = vec![0; len];
    bytes[1] = (len / 8 - 1) as u8;
    if protocol != ROUTING {
        bytes[2] = 1;
        bytes[3] = (len - 4) as u8;
    }
    (protocol, bytes)
}

/// A fragment header; the offset counts units of eight bytes.
#[must_use]
pub fn fragment(offset: u16, more: bool) -> Extension {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    (FRAGMENT, vec![0, 0, high, low, 0, 0, 0, 7])
}

/// An IP header with what comes before its payload.
#[derive(Debug, Clone)]
pub struct Ip {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: u8,
    /// Hop limit or TTL.
    pub hop_limit: u8,
    /// IPv4: the version and the header length, if they are to be wrong.
    pub version_ihl: Option<u8>,
    /// The total length (IPv4) or payload length (IPv6), if it is to be wrong.
    pub len: Option<u16>,
    /// IPv4: options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// IPv4: flags and fragment offset.
    pub fragment: u16,
    /// IPv6: extension headers.
    pub extensions: Vec<Extension>,
}

impl Ip {
    /// A plain one with a hop limit of 255.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self {
            source,
            destination,
            protocol,
            hop_limit: 255,
            version_ihl: None,
            len: None,
            options: Vec::new(),
            fragment: 0,
            extensions: Vec::new(),
        }
    }

    /// As a fragment: the offset counts units of eight bytes.
    #[must_use]
    pub fn fragmented(mut self, offset: u16, more: bool) -> Self {
        if self.source.is_ipv4() {
            self.fragment = offset | u16::from(more) << 13;
        } else {
            self.extensions.push(fragment(offset, more));
        }
        self
    }

    /// The frame that carries `payload`.
    #[must_use]
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        if self.source.is_ipv4() {
            ethernet(IPV4, &[self.ipv4_header(payload.len()), payload.to_vec()].concat())
        } else {
            let chain = self.chain();
            let header = self.ipv6_header(chain.len() + payload.len());
            ethernet(IPV6, &[header, chain, payload.to_vec()].concat())
        }
    }

    fn ipv4_header(&self, payload_len: usize) -> Vec<u8> {
        let len = 20 + self.options.len();
        let version_ihl = self.version_ihl.unwrap_or(0x40 | (len / 4) as u8);
        let total = self.len.unwrap_or((len + payload_len) as u16).to_be_bytes();
        let fragment = self.fragment.to_be_bytes();
        let mut header = vec![version_ihl, 0xc0, total[0], total[1], 0, 7, fragment[0], fragment[1]];
        header.extend([self.hop_limit, self.protocol, 0, 0]);
        header.extend([bytes(self.source), bytes(self.destination), self.options.clone()].concat());
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn ipv6_header(&self, payload_len: usize) -> Vec<u8> {
        let next = self.extensions.first().map_or(self.protocol, |(protocol, _)| *protocol);
        let len = self.len.unwrap_or(payload_len as u16).to_be_bytes();
        let version = self.version_ihl.unwrap_or(0x6c);
        let header = vec![version, 0, 0, 0, len[0], len[1], next, self.hop_limit];
        [header, bytes(self.source), bytes(self.destination)].concat()
    }

    fn chain(&self) -> Vec<u8> {
        let next = self.extensions.iter().skip(1).map(|(protocol, _)| *protocol).chain([self.protocol]);
        let mut chain = Vec::new();
        for ((_, bytes), next) in self.extensions.iter().zip(next) {
            chain.push(next);
            chain.extend(&bytes[1..]);
        }
        chain
    }
}

/// How the checksum of an advert is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// As RFC 9568 says: with the pseudo-header in IPv6, without it in IPv4.
    Right,
    /// With the pseudo-header in IPv4, without it in IPv6.
    Other,
    /// Off by one.
    Wrong,
}

/// A VRRP advert.
#[derive(Debug, Clone)]
pub struct Advert {
    /// Version and type.
    pub version_type: u8,
    /// Virtual Router Identifier.
    pub vrid: u8,
    /// Priority.
    pub priority: u8,
    /// The count of addresses, if it is to be wrong.
    pub count: Option<u8>,
    /// Reserved bits and Max Advertise Interval.
    pub interval: u16,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The checksum.
    pub sum: Sum,
}

impl Advert {
    /// A right one.
    #[must_use]
    pub fn new(vrid: u8, priority: u8, interval: u16, address: IpAddr) -> Self {
        let addresses = vec![address];
        Self { version_type: 0x31, vrid, priority, count: None, interval, addresses, sum: Sum::Right }
    }

    /// Its bytes, with the checksum that it has in `ip`.
    #[must_use]
    pub fn bytes(&self, ip: &Ip) -> Vec<u8> {
        let count = self.count.unwrap_or(self.addresses.len() as u8);
        let [high, low] = self.interval.to_be_bytes();
        let mut advert = vec![self.version_type, self.vrid, self.priority, count, high, low, 0, 0];
        advert.extend(self.addresses.iter().flat_map(|address| bytes(*address)));
        let pseudo = pseudo_header(ip.source, ip.destination, VRRP, advert.len());
        let with_pseudo = ip.source.is_ipv6() == (self.sum != Sum::Other);
        let sum = checksum(&[if with_pseudo { &pseudo } else { &[] }, &advert]);
        let sum = if self.sum == Sum::Wrong { sum.wrapping_add(1) } else { sum };
        advert[6..8].copy_from_slice(&sum.to_be_bytes());
        advert
    }

    /// The frame that carries it in `ip`.
    #[must_use]
    pub fn frame(&self, ip: &Ip) -> Vec<u8> {
        ip.frame(&self.bytes(ip))
    }
}

/// A UDP datagram.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Its length, if it is to be wrong.
    pub len: Option<u16>,
    /// Whether it has a checksum.
    pub summed: bool,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// A right one.
    #[must_use]
    pub const fn new(source: u16, destination: u16, payload: Vec<u8>) -> Self {
        Self { source, destination, len: None, summed: true, payload }
    }

    /// Its bytes, with the checksum that it has in `ip`.
    #[must_use]
    pub fn bytes(&self, ip: &Ip) -> Vec<u8> {
        let len = self.len.unwrap_or(8 + self.payload.len() as u16);
        let ports_and_len = [self.source, self.destination, len, 0].map(u16::to_be_bytes).concat();
        let mut datagram = [ports_and_len, self.payload.clone()].concat();
        if self.summed {
            let pseudo = pseudo_header(ip.source, ip.destination, UDP, datagram.len());
            let sum = match checksum(&[&pseudo, &datagram]) {
                0 => 0xffff, // 0 says that there is none (RFC 768)
                sum => sum,
            };
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        datagram
    }

    /// The frame that carries it in `ip`.
    #[must_use]
    pub fn frame(&self, ip: &Ip) -> Vec<u8> {
        ip.frame(&self.bytes(ip))
    }
}

/// A WireGuard message of `len` bytes.
#[must_use]
pub fn wireguard(message_type: u8, len: usize) -> Vec<u8> {
    let mut message = vec![0xa5; len];
    let head = len.min(4);
    message[..head].copy_from_slice(&[message_type, 0, 0, 0][..head]);
    message
}

/// What an initiator of S-BFD asks: state Down, the D bit, Detect Mult 3, every 10 ms.
#[must_use]
pub fn sbfd_question(my_discriminator: u32, your_discriminator: u32) -> Vec<u8> {
    let mut question = vec![0x20, 0x42, 3, 24];
    for word in [my_discriminator, your_discriminator, 10_000, 0, 0] {
        question.extend(word.to_be_bytes());
    }
    question
}

/// An ICMPv6 message: type, code, four bytes, an address. With its checksum in `ip`.
#[must_use]
pub fn icmpv6(message_type: u8, code: u8, target: IpAddr, ip: &Ip) -> Vec<u8> {
    let mut message = [vec![message_type, code, 0, 0, 0, 0, 0, 0], bytes(target)].concat();
    let sum = checksum(&[&pseudo_header(ip.source, ip.destination, ICMPV6, message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ARP frame: 1 asks, 2 answers.
#[must_use]
pub fn arp(operation: u8, sender: IpAddr, target: IpAddr) -> Vec<u8> {
    let head = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 2];
    ethernet(ARP, &[head, bytes(sender), vec![2, 0, 0, 0, 0, 1], bytes(target)].concat())
}

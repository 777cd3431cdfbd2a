//! What is in a frame, and where.

use wgha_common::Address;

/// The bytes of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a>(pub &'a [u8]);

/// What it carries.
#[derive(Debug, Clone, Copy)]
pub enum Inside {
    /// None of our business.
    Nothing,
    /// It belongs to a VLAN.
    OfVlan,
    /// An IP packet that cannot be followed to what it carries.
    Broken,
    /// ARP, which begins there.
    Arp(usize),
    /// An IP packet.
    Ip(Ip),
}

/// Which part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    First,
    Later,
}

/// An IP packet, up to what it carries.
#[derive(Debug, Clone, Copy)]
pub struct Ip {
    pub v6: bool,
    /// Where its header begins.
    pub header: usize,
    pub protocol: u8,
    pub hop_limit: u8,
    /// Where what it carries begins.
    pub at: usize,
    /// How long that is, by the header.
    pub len: usize,
    pub part: Part,
}

/// More extension headers in a row are not followed.
const EXTENSIONS: usize = 6;
/// More tags in a row are not looked behind.
const TAGS: usize = 2;

impl<'a> Frame<'a> {
    /// `len` bytes at `at`.
    pub fn bytes(&self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(at..at + len)
    }

    pub fn word(&self, at: usize) -> Option<u16> {
        self.bytes(at, 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// What is behind the Ethernet header, and behind tags that only give a priority.
    pub fn inside(&self) -> Inside {
        let mut at = 12;
        for _ in 0..=TAGS {
            match self.word(at) {
                Some(0x8100 | 0x88a8) if at == 12 + 4 * TAGS => return Inside::OfVlan,
                Some(0x8100 | 0x88a8) => match (self.word(at + 2), self.word(at + 4)) {
                    (Some(tag), Some(_)) if tag & 0xfff == 0 => at += 4,
                    (Some(_), Some(_)) => return Inside::OfVlan,
                    _ => return Inside::Nothing,
                },
                Some(0x0800) => return self.ipv4(at + 2).map_or(Inside::Broken, Inside::Ip),
                Some(0x86dd) => return self.ipv6(at + 2).map_or(Inside::Broken, Inside::Ip),
                Some(0x0806) => return Inside::Arp(at + 2),
                _ => return Inside::Nothing,
            }
        }
        Inside::OfVlan
    }

    fn ipv4(&self, header: usize) -> Option<Ip> {
        let b = self.bytes(header, 12)?;
        let (header_len, total) = (usize::from(b[0] & 15) * 4, usize::from(self.word(header + 2)?));
        let fragment = self.word(header + 6)?;
        let part = match (fragment & 0x1fff, fragment & 0x2000) {
            (0, 0) => Part::Whole,
            (0, _) => Part::First,
            _ => Part::Later,
        };
        let right = b[0] >> 4 == 4 && header_len >= 20 && total >= header_len;
        let (at, len) = (header + header_len, total.saturating_sub(header_len));
        right.then_some(Ip { v6: false, header, protocol: b[9], hop_limit: b[8], at, len, part })
    }

    fn ipv6(&self, header: usize) -> Option<Ip> {
        let b = self.bytes(header, 8)?;
        let len = usize::from(self.word(header + 4)?);
        let mut ip =
            Ip { v6: true, header, protocol: b[6], hop_limit: b[7], at: header + 40, len, part: Part::Whole };
        let mut followed = 0;
        while matches!(ip.protocol, 0 | 43 | 44 | 60) && ip.part != Part::Later {
            if b[0] >> 4 != 6 || followed == EXTENSIONS {
                return None;
            }
            self.follow(&mut ip)?;
            followed += 1;
        }
        (b[0] >> 4 == 6).then_some(ip)
    }

    /// Goes behind one extension header.
    fn follow(&self, ip: &mut Ip) -> Option<()> {
        let b = self.bytes(ip.at, 8)?;
        let mut len = 8;
        if ip.protocol == 44 {
            let offset_and_more = self.word(ip.at + 2)?;
            if offset_and_more >> 3 != 0 {
                ip.part = Part::Later;
            } else if offset_and_more & 1 != 0 {
                ip.part = Part::First;
            }
        } else {
            len += usize::from(b[1]) * 8;
        }
        ip.protocol = b[0];
        ip.len = ip.len.checked_sub(len)?;
        ip.at += len;
        Some(())
    }

    pub fn source(&self, ip: &Ip) -> Option<Address> {
        self.address(ip.v6, ip.source_at())
    }

    pub fn destination(&self, ip: &Ip) -> Option<Address> {
        self.address(ip.v6, ip.source_at() + ip.address_len())
    }

    pub fn address(&self, v6: bool, at: usize) -> Option<Address> {
        let mut address = [0; 16];
        if v6 {
            address.copy_from_slice(self.bytes(at, 16)?);
        } else {
            address[10..12].fill(0xff);
            address[12..].copy_from_slice(self.bytes(at, 4)?);
        }
        Some(Address(address))
    }

    /// The first bytes of what is carried, if the header promises them and the frame has them.
    pub fn carried(&self, ip: &Ip, len: usize) -> Option<&'a [u8]> {
        self.bytes(ip.at, len).filter(|_| len <= ip.len)
    }

    /// Whether it has all that the IP header promises.
    pub fn is_complete(&self, ip: &Ip) -> bool {
        self.0.len() >= ip.at + ip.len
    }
}

impl Ip {
    pub const fn source_at(&self) -> usize {
        self.header + if self.v6 { 8 } else { 12 }
    }

    pub const fn address_len(&self) -> usize {
        if self.v6 { 16 } else { 4 }
    }

    /// Without tags, options and extension headers.
    pub const fn is_plain(&self) -> bool {
        self.at == if self.v6 { 14 + 40 } else { 14 + 20 }
    }
}

/// Whether a host can have this address. IPv4 within IPv6 is nobody's on a wire.
pub fn is_one_host(address: Address, v6: bool) -> bool {
    let Address(b) = address;
    let mapped = b[..10] == [0; 10] && b[10..12] == [0xff; 2];
    match v6 {
        true => b[0] != 0xff && b != [0; 16] && !mapped,
        false => b[12] != 0 && b[12] < 224,
    }
}

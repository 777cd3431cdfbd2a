//! What a captured frame says: offsets written out once more, so that the tests do not share wgha's own parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// UDP port of S-BFD reflectors (RFC 7881 §3), and TCP port of the peer channel.
pub const SBFD_PORT: u16 = 7784;

/// An Ethernet frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a>(pub &'a [u8]);

/// An IP packet in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip<'a> {
    /// From whom.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What follows, after IPv6's hop-by-hop options.
    pub protocol: u8,
    /// Hop limit or TTL.
    pub hop_limit: u8,
    /// What is after the headers.
    pub payload: &'a [u8],
}

/// A VRRPv3 advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advert {
    /// Its Virtual Router Identifier.
    pub vrid: u8,
    /// Its priority.
    pub priority: u8,
    /// Its Max Advertise Interval in centiseconds.
    pub interval_cs: u16,
    /// The first address that it lists.
    pub address: Option<IpAddr>,
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// From which port.
    pub source_port: u16,
    /// To which port.
    pub destination_port: u16,
    /// What is in it.
    pub payload: &'a [u8],
}

/// A BFD control packet of S-BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// 0 AdminDown, 1 Down, 3 Up.
    pub state: u8,
    /// Why: 3 because of the question, 7 administratively.
    pub diagnostic: u8,
    /// The D bit: it asks; else it answers.
    pub asks: bool,
    /// My Discriminator.
    pub mine: u32,
    /// Your Discriminator.
    pub yours: u32,
}

/// A neighbour message, of IPv6 or ARP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Whether it says where an address is; else it asks.
    pub answers: bool,
    /// Which address it is about.
    pub target: IpAddr,
    /// Whether it replaces what others know: Override; for ARP, that it is gratuitous.
    pub overrides: bool,
}

impl<'a> Frame<'a> {
    /// The EtherType.
    #[must_use]
    pub fn ethertype(&self) -> Option<u16> {
        be16(self.0, 12)
    }

    /// The IP packet in it.
    #[must_use]
    pub fn ip(&self) -> Option<Ip<'a>> {
        let b = self.0.get(14..)?;
        match self.ethertype()? {
            0x0800 => ipv4(b),
            0x86dd => ipv6(b),
            _ => None,
        }
    }

    /// The advert in it.
    #[must_use]
    pub fn advert(&self) -> Option<Advert> {
        let ip = self.ip().filter(|ip| ip.protocol == 112)?;
        let b = ip.payload;
        let address = if ip.source.is_ipv6() { v6(b, 8) } else { v4(b, 8) };
        Some(Advert { vrid: *b.get(1)?, priority: *b.get(2)?, interval_cs: be16(b, 4)? & 0xfff, address })
    }

    /// The datagram in it.
    #[must_use]
    pub fn udp(&self) -> Option<Udp<'a>> {
        let b = self.ip().filter(|ip| ip.protocol == 17)?.payload;
        Some(Udp { source_port: be16(b, 0)?, destination_port: be16(b, 2)?, payload: b.get(8..)? })
    }

    /// The S-BFD packet in it: from or to the port of reflectors.
    #[must_use]
    pub fn bfd(&self) -> Option<Bfd> {
        let udp = self.udp().filter(|u| u.source_port == SBFD_PORT || u.destination_port == SBFD_PORT)?;
        let (diagnostic, flags) = (udp.payload.first()? & 0x1f, *udp.payload.get(1)?);
        let (mine, yours) = (be32(udp.payload, 4)?, be32(udp.payload, 8)?);
        Some(Bfd { state: flags >> 6, diagnostic, asks: flags & 2 != 0, mine, yours })
    }

    /// The ports of the TCP segment in it, from and to; and whether it opens a connection.
    #[must_use]
    pub fn tcp(&self) -> Option<(u16, u16, bool)> {
        const SYN_ACK: u8 = 0x12;
        const SYN: u8 = 0x02;
        let b = self.ip().filter(|ip| ip.protocol == 6)?.payload;
        Some((be16(b, 0)?, be16(b, 2)?, b.get(13)? & SYN_ACK == SYN))
    }

    /// The neighbour message in it: a solicitation, an advertisement, or ARP.
    #[must_use]
    pub fn neighbour(&self) -> Option<Neighbour> {
        if self.ethertype()? == 0x0806 {
            return arp(self.0.get(14..)?);
        }
        let b = self.ip().filter(|ip| ip.protocol == 58)?.payload;
        let answers = match b.first()? {
            135 => false,
            136 => true,
            _ => return None,
        };
        Some(Neighbour { answers, target: v6(b, 8)?, overrides: answers && b.get(4)? & 0x20 != 0 })
    }

    /// Whether it is from or to this UDP port.
    #[must_use]
    pub fn is_udp_port(&self, port: u16) -> bool {
        self.udp().is_some_and(|u| u.source_port == port || u.destination_port == port)
    }

    /// In a few words, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        if let Some(n) = self.neighbour() {
            let verb = if n.answers { "advertises" } else { "solicits" };
            return format!("{verb} {}", n.target);
        }
        let Some(ip) = self.ip() else { return format!("ethertype {:04x?}", self.ethertype()) };
        let inside = match (self.advert(), self.udp()) {
            (Some(a), _) => format!("VRRP advert, priority {}", a.priority),
            (_, Some(u)) => {
                format!("UDP {} to {}, {} bytes", u.source_port, u.destination_port, u.payload.len())
            }
            _ => format!("protocol {} type {:?}", ip.protocol, ip.payload.first()),
        };
        format!("{} to {}: {inside}", ip.source, ip.destination)
    }
}

fn ipv4(b: &[u8]) -> Option<Ip<'_>> {
    let header = usize::from(b.first()? & 0x0f) * 4;
    let total = usize::from(be16(b, 2)?);
    Some(Ip {
        source: v4(b, 12)?,
        destination: v4(b, 16)?,
        protocol: *b.get(9)?,
        hop_limit: *b.get(8)?,
        payload: b.get(header..total)?,
    })
}

fn ipv6(b: &[u8]) -> Option<Ip<'_>> {
    let (source, destination) = (v6(b, 8)?, v6(b, 24)?);
    let mut protocol = *b.get(6)?;
    let mut payload = b.get(40..40 + usize::from(be16(b, 4)?))?;
    while protocol == 0 {
        protocol = *payload.first()?;
        payload = payload.get((usize::from(*payload.get(1)?) + 1) * 8..)?;
    }
    Some(Ip { source, destination, protocol, hop_limit: *b.get(7)?, payload })
}

/// ```text
/// | hardware, protocol, lengths | operation | sender MAC | sender | target MAC | target |
/// 0                             6           8            14       18           24
/// ```
fn arp(b: &[u8]) -> Option<Neighbour> {
    let (reply, sender, target) = (be16(b, 6)? == 2, v4(b, 14)?, v4(b, 24)?);
    let gratuitous = sender == target;
    // A reply speaks of its sender, a request of its target.
    let about = if reply { sender } else { target };
    Some(Neighbour { answers: reply || gratuitous, target: about, overrides: gratuitous })
}

fn be16(b: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(b.get(at..at + 2)?.try_into().ok()?))
}

fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

fn v4(b: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = b.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

fn v6(b: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = b.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arp_frame(operation: u8, sender: u8, target: u8) -> Vec<u8> {
        let mut b = vec![0; 14 + 28];
        b[12..14].copy_from_slice(&[0x08, 0x06]);
        b[14 + 7] = operation;
        b[14 + 14..14 + 18].copy_from_slice(&[192, 0, 2, sender]);
        b[14 + 24..14 + 28].copy_from_slice(&[192, 0, 2, target]);
        b
    }

    #[test]
    fn arp_is_about_the_address_whose_place_it_asks_or_tells() {
        for (operation, sender, target, about, answers, overrides) in [
            (1, 1, 2, 2, false, false),
            (2, 2, 1, 2, true, false),
            (1, 2, 2, 2, true, true),
            (2, 2, 2, 2, true, true),
        ] {
            let want = Neighbour { answers, target: Ipv4Addr::new(192, 0, 2, about).into(), overrides };
            assert_eq!(Frame(&arp_frame(operation, sender, target)).neighbour(), Some(want));
        }
    }

    #[test]
    fn hop_by_hop_options_are_passed_over() {
        let mut b = vec![0; 14 + 40 + 8 + 8];
        b[12..14].copy_from_slice(&[0x86, 0xdd]);
        b[14 + 5] = 16;
        b[14 + 40] = 58;
        b[14 + 48] = 143;
        let ip = Frame(&b).ip().unwrap();
        assert_eq!((ip.protocol, ip.payload.first()), (58, Some(&143)));
    }

    #[test]
    fn a_question_and_an_answer_of_sbfd() {
        let ends = crate::packets::Ip::new(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), 17);
        let question = crate::packets::sbfd_question(7, 9);
        let frame = crate::packets::Datagram::new(50000, SBFD_PORT, question).frame(&ends);
        assert_eq!(Frame(&frame).bfd(), Some(Bfd { state: 1, diagnostic: 0, asks: true, mine: 7, yours: 9 }));
        let other = crate::packets::Datagram::new(50000, 3784, vec![0; 24]).frame(&ends);
        assert_eq!(Frame(&other).bfd(), None);
    }

    #[test]
    fn cut_frames_say_nothing() {
        let whole = arp_frame(1, 1, 2);
        for len in 0..whole.len() {
            assert_eq!(Frame(&whole[..len]).neighbour(), None, "{len} bytes");
        }
    }
}

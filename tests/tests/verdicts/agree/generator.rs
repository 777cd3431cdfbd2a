//! Frames to put through: well-formed ones of every protocol, with fields out of the few values that mean something; some
//! behind tags, options and extension headers, some in fragments; many of them spoilt.

use std::net::IpAddr;

use wgha_tests::packets::{
    Advert, DESTINATION_OPTIONS, Datagram, HOP_BY_HOP, ICMPV6, IPV6, Ip, ROUTING, SERVICE_VLAN, Sum, TCP,
    UDP, VLAN, VRRP, arp, ethernet, extension, icmpv6, padded, tagged, wireguard,
};

use super::random::Random;
use crate::{
    kernel::{Hook, SESSION},
    model::Segments,
    net::{CLIENT_PORT, INTERVAL, Net, PORT, PRIORITY, PROBE, PROBE_PORT, PROBE2, REFLECTOR, VRID},
};

/// A test can put no more into one buffer.
const LONGEST: usize = 3300;
/// The reflectors' port.
const SBFD: u16 = 7784;

/// What is put through, and where.
#[derive(Debug, Clone)]
pub struct Input {
    pub hook: Hook,
    pub frame: Vec<u8>,
    pub segments: Segments,
}

/// Draws frames.
pub struct Generator {
    random: Random,
    net: Net,
    /// What was drawn last: it comes again, as it was or changed.
    last: Vec<u8>,
}

impl Generator {
    pub fn new(random: Random, net: Net) -> Self {
        Self { random, net, last: net.heard(net.high, PRIORITY) }
    }

    pub fn input(&mut self) -> Input {
        let hook = self.random.pick(&[Hook::Xdp, Hook::Xdp, Hook::Ingress, Hook::Egress]);
        let mut frame = match self.random.below(8) {
            0 => self.last.clone(),
            _ => self.fresh(hook),
        };
        self.last.clone_from(&frame);
        for _ in 0..self.random.pick(&[0, 0, 0, 0, 1, 1, 2, 4]) {
            self.spoil(&mut frame);
        }
        frame.resize(frame.len().max(14), 0);
        frame.resize(frame.len().clamp(shortest(&frame, hook), LONGEST), 0);
        let segmented = hook != Hook::Xdp && self.random.one_in(32);
        let segments = Segments {
            count: if segmented { self.random.below(4) as u32 } else { 0 },
            size: if segmented { self.random.pick(&[0, 1, 31, 32, 64, 92, 148, 1452]) } else { 0 },
        };
        Input { hook, frame, segments }
    }

    fn fresh(&mut self, hook: Hook) -> Vec<u8> {
        let frame = match self.random.below(16) {
            0..=3 => self.advert(hook),
            4..=6 => self.wireguard(hook),
            7 | 8 => self.question(hook),
            9 | 10 => self.answer(),
            11..=13 if self.net.is_v4() => self.arp(),
            11..=13 => self.neighbour(),
            14 => self.other(),
            _ => return self.other_family(hook),
        };
        let tags = self.random.pick(&[0, 0, 0, 0, 0, 0, 1, 2, 3]);
        let mut frame = (0..tags).fold(frame, |frame, _| {
            let (kind, id) = (self.random.pick(&[VLAN, SERVICE_VLAN]), self.random.mostly(0, &[1, 4095]));
            tagged(&frame, kind, id)
        });
        if self.random.one_in(8) {
            frame = padded(&frame, self.random.below(200));
        }
        frame
    }

    fn other_family(&mut self, hook: Hook) -> Vec<u8> {
        let net = self.net;
        self.net = net.other();
        let frame = match self.random.below(4) {
            0 => self.advert(hook),
            1 => self.wireguard(hook),
            2 if net.is_v4() => self.neighbour(),
            2 => self.arp(),
            _ => self.question(hook),
        };
        self.net = net;
        frame
    }

    fn somebody(&mut self) -> IpAddr {
        let net = self.net;
        let odd = if net.is_v4() {
            ["0.0.0.0", "255.255.255.255", "127.0.0.1", "0.1.2.3", "240.0.0.1", "223.255.255.255"]
        } else {
            ["::", "::1", "ff02::1", "::ffff:192.0.2.4", "::ffff:192.0.2.2", "fec0::1"]
        };
        let odd = self.random.pick(&odd).parse().unwrap();
        let known = [
            net.own, net.low, net.high, net.group, net.vip, net.vip2, net.host, net.peer, net.peer2,
            net.client,
        ];
        let known = self.random.pick(&known);
        self.random.mostly(known, &[odd])
    }

    /// An IP header; options, extension headers and fragments now and then.
    fn ip(&mut self, source: IpAddr, destination: IpAddr, protocol: u8) -> Ip {
        let (source, destination) = match self.random.below(24) {
            0 => (self.somebody(), destination),
            1 => (source, self.somebody()),
            2 => (self.somebody(), self.somebody()),
            _ => (source, destination),
        };
        let mut ip = Ip::new(source, destination, protocol);
        ip.hop_limit = self.random.mostly(255, &[254, 64, 1, 0]);
        if self.random.one_in(8) {
            self.complicate(&mut ip);
        }
        if self.random.one_in(24) {
            ip.len = Some(self.random.pick(&[0, 7, 8, 19, 20, 28, 32, 40, 52, 64, 1400, 0xffff]));
        }
        if self.random.one_in(48) {
            ip.version_ihl = Some(self.random.pick(&[0x44, 0x45, 0x46, 0x4f, 0x60, 0x05, 0xf5]));
        }
        ip
    }

    fn complicate(&mut self, ip: &mut Ip) {
        if ip.source.is_ipv4() {
            ip.options = vec![1; 4 * self.random.below(11)];
        } else {
            for _ in 0..self.random.below(8) {
                let kind = self.random.pick(&[HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS]);
                let len = self.random.pick(&[8, 8, 8, 16, 24, 256, 2048]);
                ip.extensions.push(extension(kind, len));
            }
        }
        for _ in 0..self.random.pick(&[0, 1, 1, 2]) {
            let (offset, more) = (self.random.mostly(0, &[1, 9, 0x1fff]), self.random.one_in(2));
            *ip = ip.clone().fragmented(offset, more);
        }
    }

    fn advert(&mut self, hook: Hook) -> Vec<u8> {
        let net = self.net;
        let source = match hook {
            Hook::Egress => self.random.mostly(net.own, &[net.low, net.host]),
            _ => self.random.pick(&[net.low, net.high, net.high, net.own]),
        };
        let ip = self.ip(source, net.group, VRRP);
        let most = if net.is_v4() { 255 } else { 90 };
        let count = self.random.pick(&[1, 1, 1, 1, 2, 3, 0, most, most + 1]);
        let random = &mut self.random;
        let advert = Advert {
            version_type: random.mostly(0x31, &[0x21, 0x32, 0x41, 0x30]),
            vrid: random.mostly(VRID, &[0, 1, VRID + 1, 255]),
            priority: random.pick(&[0, 1, 90, PRIORITY, PRIORITY, PRIORITY + 1, 254, 255]),
            count: random.mostly(None, &[Some(0), Some(1), Some(2), Some(255)]),
            interval: random.mostly(INTERVAL, &[0, 1, 100, 4095, 0xf000, 0xf00a]),
            addresses: vec![random.mostly(net.vip, &[net.vip2]); count],
            sum: random.mostly(Sum::Right, &[Sum::Other, Sum::Wrong]),
        };
        let mut bytes = advert.bytes(&ip);
        if self.random.one_in(12) {
            bytes.truncate(self.random.below(12));
        }
        ip.frame(&bytes)
    }

    fn wireguard(&mut self, hook: Hook) -> Vec<u8> {
        let net = self.net;
        let ip = match hook {
            Hook::Egress => {
                let source = self.random.pick(&[net.vip, net.vip, net.vip2, net.host]);
                self.ip(source, net.client, UDP)
            }
            _ => {
                let source = self.random.pick(&[net.client, net.client, net.high]);
                self.ip(source, net.vip, UDP)
            }
        };
        let shape =
            [(1, 148), (2, 92), (3, 64), (4, 32), (4, 64), (4, 64), (4, 1452), (4, 31), (5, 64), (0, 0)];
        let (message_type, len) = self.random.pick(&shape);
        let len = len + self.random.mostly(0, &[1, 2, 7]);
        let mut message = wireguard(message_type, len);
        if let Some(receiver) = message.get_mut(4..8) {
            receiver.copy_from_slice(&self.session().to_le_bytes());
        }
        let client = self.random.mostly(CLIENT_PORT, &[CLIENT_PORT + 1, 0, PORT, SBFD]);
        let ours = self.random.mostly(PORT, &[0, PORT + 1, SBFD]);
        let (from, to) = if hook == Hook::Egress { (ours, client) } else { (client, ours) };
        let mut frame = self.datagram(&ip, from, to, message);
        if self.random.one_in(8) {
            frame.truncate(50 + self.random.below(frame.len().saturating_sub(50)));
        }
        frame
    }

    /// Some share a set.
    fn session(&mut self) -> u32 {
        let in_the_set = self.random.below(6) as u32 * 0x4000;
        self.random.pick(&[SESSION, SESSION, SESSION, SESSION ^ 0x8000_0000, in_the_set, 1, u32::MAX])
    }

    fn datagram(&mut self, ip: &Ip, source: u16, destination: u16, payload: Vec<u8>) -> Vec<u8> {
        let right = 8 + payload.len() as u16;
        let mut datagram = Datagram::new(source, destination, payload);
        datagram.summed = !self.random.one_in(8);
        if self.random.one_in(16) {
            let lies = [0, 7, 8, 11, 12, 40, right.wrapping_sub(1), right + 1, 0xffff];
            datagram.len = Some(self.random.pick(&lies));
        }
        let mut bytes = datagram.bytes(ip);
        if self.random.one_in(24) {
            let sum = self.random.pick(&[0, 1, 0xffff, 0xfffe]);
            bytes[6..8].copy_from_slice(&u16::to_be_bytes(sum));
        }
        ip.frame(&bytes)
    }

    fn question(&mut self, hook: Hook) -> Vec<u8> {
        let net = self.net;
        let peer = self.random.mostly(net.peer, &[net.peer2, net.client]);
        let ours = hook == Hook::Egress;
        let (from, to) = if ours { (net.host, peer) } else { (peer, net.host) };
        let ip = self.ip(from, to, UDP);
        let reflector = self.random.mostly(REFLECTOR, &[0, REFLECTOR ^ 1]);
        let mine = self.random.mostly(0x0102_0304, &[0, 1, u32::MAX]);
        let control = self.control(2, mine, reflector);
        let usual = if ours { PROBE_PORT } else { 50_123 };
        let port = self.random.mostly(usual, &[SBFD, 0, PROBE_PORT]);
        self.datagram(&ip, port, SBFD, control)
    }

    fn answer(&mut self) -> Vec<u8> {
        let net = self.net;
        let (peer, probe) = self.random.pick(&[(net.peer, PROBE), (net.peer, PROBE), (net.peer2, PROBE2)]);
        let ip = self.ip(peer, net.host, UDP);
        let probe = self.random.mostly(probe, &[0x11, 0x12, 0, PROBE ^ PROBE2, PROBE2]);
        let control = self.control(0, 0xbeef, probe);
        let port = self.random.mostly(PROBE_PORT, &[PROBE_PORT + 1, SBFD, 0]);
        self.datagram(&ip, SBFD, port, control)
    }

    fn control(&mut self, flags: u8, mine: u32, yours: u32) -> Vec<u8> {
        let random = &mut self.random;
        let state = random.pick(&[3, 3, 0, 0, 1, 2]) << 6;
        let flags =
            random.mostly(flags, &[flags ^ 2, flags | 0x20, flags | 0x10, flags | 8, flags | 4, flags | 1]);
        let mut control = vec![
            random.mostly(0x20, &[0x27, 0x00, 0x40, 0xff]),
            state | flags,
            random.mostly(3, &[0, 1, 255]),
            random.mostly(24, &[0, 23, 25]),
        ];
        let min_tx = random.mostly(10_000, &[0, u32::MAX]);
        for word in [mine, yours, min_tx, 0, 0] {
            control.extend(u32::to_be_bytes(word));
        }
        control.resize(random.mostly(24, &[0, 4, 23, 25, 60]), 0);
        control
    }

    fn neighbour(&mut self) -> Vec<u8> {
        let net = self.net;
        let (source, destination) =
            (self.somebody(), self.random.pick(&[net.vip, net.vip2, net.host, net.own, net.group]));
        let ip = self.ip(source, destination, ICMPV6);
        let kind = self.random.mostly(135 + self.random.clone().byte() % 2, &[133, 134, 137, 128]);
        let code = self.random.mostly(0, &[1]);
        let target = self.somebody();
        let mut message = icmpv6(kind, code, target, &ip);
        if let Some(flags) = message.get_mut(4) {
            *flags = self.random.pick(&[0, 0x40, 0x40, 0x60, 0xa0, 0xbf]);
        }
        message.extend([2, 1, 2, 0, 0, 0, 0, 9]);
        message.truncate(self.random.mostly(32, &[24, 23, 8, 0]));
        ip.frame(&message)
    }

    fn arp(&mut self) -> Vec<u8> {
        let (sender, target) = (self.somebody(), self.somebody());
        let mut frame = arp(self.random.pick(&[1, 2, 2, 3]), sender, target);
        if self.random.one_in(8) {
            let at = 14 + self.random.below(8);
            frame[at] = self.random.byte() % 9;
        }
        frame
    }

    /// What is none of wgha's business.
    fn other(&mut self) -> Vec<u8> {
        let (source, destination) = (self.somebody(), self.somebody());
        let protocol = self.random.pick(&[TCP, UDP, VRRP, ICMPV6, 1, 50, 59, 0, 43, 44, 60, 255]);
        let ip = self.ip(source, destination, protocol);
        let len = self.random.below(100);
        let payload: Vec<u8> = (0..len).map(|_| self.random.byte()).collect();
        match self.random.below(4) {
            0 => ethernet(self.random.pick(&[0x88cc, 0x0806, 0x0800, IPV6, 0x8847, 60, 0, 0x9100]), &payload),
            _ => ip.frame(&payload),
        }
    }

    /// Changes a frame in one place.
    fn spoil(&mut self, frame: &mut Vec<u8>) {
        let random = &mut self.random;
        // Headers are short, payloads are long: most hits are wanted where something is read.
        let reach = if random.one_in(4) { frame.len() } else { frame.len().min(90) };
        let at = random.below(reach);
        match random.below(9) {
            0..=2 => frame[at] ^= 1 << random.below(8),
            3 | 4 => {
                frame[at] = random.pick(&[0, 1, 4, 6, 8, 17, 24, 44, 45, 52, 58, 60, 112, 127, 128, 254, 255])
            }
            5 => frame[at] = random.byte(),
            6 => frame.truncate(at),
            7 => {
                let bytes = [random.byte(), 0, 0, 0, 0, 0, 0, 0];
                let len = random.pick(&[1, 2, 4, 8]);
                frame.splice(at..at, bytes[..len].iter().copied());
            }
            _ => {
                let end = (at + random.pick(&[1, 2, 4, 8])).min(frame.len());
                frame.drain(at..end);
            }
        }
        if frame.is_empty() {
            frame.push(0);
        }
    }
}

/// The shortest frame that the kernel runs: for TC the IP header that its EtherType promises must be whole.
pub fn shortest(frame: &[u8], hook: Hook) -> usize {
    match (hook, frame.get(12..14)) {
        (Hook::Ingress | Hook::Egress, Some([0x08, 0x00])) => 14 + 20,
        (Hook::Ingress | Hook::Egress, Some([0x86, 0xdd])) => 14 + 40,
        _ => 14,
    }
}

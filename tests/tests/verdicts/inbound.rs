//! WireGuard and neighbour messages that come in, and header chains.

use wgha_common::{abi::Counter as C, wire::wireguard::MessageType as M};
use wgha_tests::packets::{
    DESTINATION_OPTIONS, Datagram, FRAGMENT, HOP_BY_HOP, ICMPV6, IPV4, IPV6, Ip, ROUTING, SERVICE_VLAN, TCP,
    UDP, VLAN, arp, ethernet, extension, fragment, icmpv6, padded, tagged, wireguard,
};

use crate::{
    net::{CLIENT_PORT, Net, PORT},
    row::{Before, Ended, Held, Row, row},
};

/// Types and lengths of messages.
pub const MESSAGES: [(&str, u8, usize, M); 11] = [
    ("initiation", 1, 148, M::Initiation),
    ("response", 2, 92, M::Response),
    ("cookie reply", 3, 64, M::Cookie),
    ("transport", 4, 1452, M::Transport),
    ("keepalive", 4, 32, M::Transport),
    ("initiation, short", 1, 147, M::Malformed),
    ("response, long", 2, 93, M::Malformed),
    ("transport, too short", 4, 31, M::Malformed),
    ("type 5", 5, 148, M::Malformed),
    ("three bytes", 4, 3, M::Malformed),
    ("empty datagram", 4, 0, M::Malformed),
];

/// To the WireGuard port.
pub fn wireguard_rows(net: &Net) -> Vec<Row> {
    let message = net.wireguard_in(4, 64).frame(&net.inbound());
    let mut rows: Vec<_> = MESSAGES
        .iter()
        .map(|(what, message_type, len, counted)| {
            let packet = net.wireguard_in(*message_type, *len).frame(&net.inbound());
            row(format!("WireGuard, {what}"), packet).held(Held::Active).arrives(*counted)
        })
        .collect();
    for held in [Held::Nothing, Held::Backup, Held::Claiming, Held::Revoked, Held::Ended] {
        rows.push(row("WireGuard", message.clone()).held(held).drops(C::WireguardInFenced));
    }
    rows.extend(lapsing(net, &message));
    rows.extend(odd_datagrams(net, &message));
    rows
}

/// I5 and I7: what is over stays over.
fn lapsing(net: &Net, message: &[u8]) -> Vec<Row> {
    let fenced = |what: &str| row(what, message.to_vec()).drops(C::WireguardInFenced);
    let message = || Before::Packet(message.to_vec());
    vec![
        fenced("WireGuard, first after the lease lapsed")
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        fenced("WireGuard, second after the lease lapsed").held(Held::Lapsed).after(message()),
        fenced("WireGuard, lapsed, then renewed late")
            .held(Held::Lapsed)
            .after(message())
            .after(Before::Lease(Held::Active)),
        row("WireGuard, lapsed, then elected again", net.wireguard_in(4, 64).frame(&net.inbound()))
            .held(Held::Lapsed)
            .after(message())
            .after(Before::Lease(Held::NextEpoch))
            .arrives(M::Transport),
        fenced("WireGuard, next after a higher advert")
            .held(Held::Active)
            .after(Before::Packet(net.heard(net.low, 255))),
        fenced("WireGuard, higher advert, then renewed")
            .held(Held::Active)
            .after(Before::Packet(net.heard(net.low, 255)))
            .after(Before::Lease(Held::Active)),
        row("WireGuard, higher advert, then elected again", net.wireguard_in(4, 64).frame(&net.inbound()))
            .held(Held::Active)
            .after(Before::Packet(net.heard(net.low, 255)))
            .after(Before::Lease(Held::NextEpoch))
            .arrives(M::Transport),
        row("WireGuard, after a lower advert", net.wireguard_in(4, 64).frame(&net.inbound()))
            .held(Held::Active)
            .after(Before::Packet(net.heard(net.high, 1)))
            .arrives(M::Transport),
    ]
}

fn odd_datagrams(net: &Net, message: &[u8]) -> Vec<Row> {
    let ip = net.inbound();
    let datagram = net.wireguard_in(4, 64);
    let active = |what: &str, packet| row(what, packet).held(Held::Active);
    let fenced = |what: &str, packet| row(what, packet).drops(C::WireguardInFenced);
    // Half of the datagram: its UDP length is that of the whole.
    let first = ip.clone().fragmented(0, true).frame(&datagram.bytes(&ip)[..40]);
    let lies = |len| Datagram { len: Some(len), ..datagram.clone() }.frame(&ip);
    vec![
        active("WireGuard, UDP length too large", lies(73)).arrives(M::Malformed),
        active("WireGuard, UDP length below its header", lies(7)).arrives(M::Malformed),
        active("WireGuard, frame cut short", message[..message.len() - 1].to_vec()).arrives(M::Malformed),
        active("WireGuard, padded", padded(&net.wireguard_in(4, 32).frame(&ip), 120)).arrives(M::Transport),
        active("WireGuard, no UDP checksum", Datagram { summed: false, ..datagram.clone() }.frame(&ip))
            .arrives(M::Transport),
        active("WireGuard, first fragment", first.clone()).arrives(M::Transport),
        fenced("WireGuard, first fragment", first),
        active("WireGuard, priority tag", tagged(message, VLAN, 0)).arrives(M::Transport),
        fenced("WireGuard, priority tag", tagged(message, VLAN, 0)),
        fenced("WireGuard, two priority tags", tagged(&tagged(message, VLAN, 0), VLAN, 0)),
        fenced(
            "WireGuard, to an address that is no VIP",
            datagram.frame(&Ip::new(net.client, net.host, UDP)),
        ),
        row("WireGuard, VLAN 10", tagged(message, VLAN, 10)).counts(C::VlanPassed),
        row("WireGuard, QinQ", tagged(&tagged(message, VLAN, 0), SERVICE_VLAN, 10)).counts(C::VlanPassed),
        row("WireGuard, before the daemon has configured", message.to_vec())
            .configured(|c| c.uplink.vrid = 0),
        row("UDP, another port", Datagram::new(PORT, CLIENT_PORT, wireguard(4, 64)).frame(&ip)),
        row("UDP, port 0, no WireGuard", Datagram::new(1, 0, wireguard(4, 64)).frame(&ip))
            .configured(|c| c.uplink.wireguard_port = 0),
        row("UDP, header cut short", ip.frame(&datagram.bytes(&ip)[..7])),
        row("UDP, header in the padding", padded(&ip.frame(&[]), 120)),
        row("TCP, WireGuard's port number", Ip { protocol: TCP, ..ip.clone() }.frame(&datagram.bytes(&ip))),
    ]
}

/// Neighbour discovery; IPv6 only.
pub fn discovery(net: &Net) -> Vec<Row> {
    let about = |message_type, target| net.neighbour(message_type, net.high, target);
    let ip = Ip::new(net.high, net.vip, ICMPV6);
    let ns = icmpv6(135, 0, net.vip, &ip);
    let fenced = |what: &str, packet| row(what, packet).drops(C::NeighbourInFenced);
    vec![
        fenced("NS for the VIP", about(135, net.vip)),
        fenced("NS for the other VIP", about(135, net.vip2)),
        fenced("NA of the VIP", about(136, net.vip)),
        fenced("NS for the VIP", about(135, net.vip)).held(Held::Claiming),
        fenced("NS for the VIP, lapsed", about(135, net.vip))
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        fenced("NS for the VIP, revoked", about(135, net.vip)).held(Held::Revoked),
        row("NS for the VIP", about(135, net.vip)).held(Held::Active),
        row("NA of the VIP", about(136, net.vip)).held(Held::Active),
        row("NS for another address", about(135, net.host)),
        row("NA of another address", about(136, net.host)),
        row("NS for the VIP, hop limit 254", Ip { hop_limit: 254, ..ip.clone() }.frame(&ns)),
        row("NS for the VIP, code 1", ip.frame(&icmpv6(135, 1, net.vip, &ip))),
        row("NS for the VIP, fragmented", ip.clone().fragmented(0, true).frame(&ns)),
        fenced("NS for the VIP, atomic fragment", ip.clone().fragmented(0, false).frame(&ns)),
        fenced("NS for the VIP, behind options", with_extensions(&ip, 1).frame(&ns)),
        fenced("NS for the VIP, priority tag", tagged(&about(135, net.vip), VLAN, 0)),
        row("NS for the VIP, VLAN 10", tagged(&about(135, net.vip), VLAN, 10)).counts(C::VlanPassed),
        row("NS for the VIP, cut short", ip.frame(&ns[..23])),
        row("NS for the VIP, target in the padding", padded(&ip.frame(&ns[..8]), 120)),
        row("echo request to the VIP", ip.frame(&icmpv6(128, 0, net.vip, &ip))),
        row("router solicitation", ip.frame(&icmpv6(133, 0, net.vip, &ip))),
        row("ICMPv6 in IPv4", Ip::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), ICMPV6).frame(&ns)),
    ]
}

/// ARP; IPv4 only.
pub fn address_resolution(net: &Net) -> Vec<Row> {
    let fenced = |what: &str, packet| row(what, packet).drops(C::NeighbourInFenced);
    let asks = arp(1, net.high, net.vip);
    let changed = |at: usize, byte| {
        let mut packet = asks.clone();
        packet[at] = byte;
        packet
    };
    vec![
        fenced("ARP request for the VIP", asks.clone()),
        fenced("ARP request for the other VIP", arp(1, net.high, net.vip2)),
        fenced("ARP reply of the VIP", arp(2, net.vip, net.high)),
        fenced("gratuitous ARP of the VIP", arp(1, net.vip, net.vip)),
        fenced("ARP request for the VIP", asks.clone()).held(Held::Claiming),
        fenced("ARP request for the VIP, lapsed", asks.clone())
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        fenced("ARP request for the VIP, padded", padded(&asks, 60)),
        fenced("ARP request for the VIP, priority tag", tagged(&asks, VLAN, 0)),
        row("ARP request for the VIP", asks.clone()).held(Held::Active),
        row("gratuitous ARP of the VIP", arp(1, net.vip, net.vip)).held(Held::Active),
        row("ARP request for another address", arp(1, net.high, net.host)),
        row("ARP request for the VIP, VLAN 10", tagged(&asks, VLAN, 10)).counts(C::VlanPassed),
        row("ARP, not of Ethernet", changed(15, 6)),
        row("ARP, not of IPv4", changed(16, 0x86)),
        row("ARP, addresses of other lengths", changed(18, 8)),
        row("ARP request for the VIP, cut short", asks[..asks.len() - 1].to_vec()),
    ]
}

fn with_extensions(ip: &Ip, count: usize) -> Ip {
    let kinds = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING].into_iter().cycle();
    let extensions = kinds.take(count).enumerate().map(|(i, kind)| extension(kind, 8 + 8 * i)).collect();
    Ip { extensions, ..ip.clone() }
}

/// Header chains of IPv6, told by the WireGuard message at their end.
pub fn ipv6_chains(net: &Net) -> Vec<Row> {
    let (ip, datagram) = (net.inbound(), net.wireguard_in(4, 64));
    let bytes = datagram.bytes(&ip);
    let fenced = |what: &str, ip: Ip| row(what, ip.frame(&bytes)).drops(C::WireguardInFenced);
    let chain = |extensions: Vec<_>| Ip { extensions, ..ip.clone() };
    let behind = |protocol| Ip { protocol, ..ip.clone() };
    let too_long = |len: u8| chain(vec![(DESTINATION_OPTIONS, vec![0, len, 1, 4, 0, 0, 0, 0])]);
    vec![
        fenced("WireGuard, behind hop-by-hop options", chain(vec![extension(HOP_BY_HOP, 8)])),
        fenced("WireGuard, behind a routing header", chain(vec![extension(ROUTING, 24)])),
        fenced("WireGuard, behind destination options", chain(vec![extension(DESTINATION_OPTIONS, 16)])),
        fenced("WireGuard, atomic fragment", chain(vec![fragment(0, false)])),
        fenced(
            "WireGuard, behind options, then first fragment",
            chain(vec![extension(HOP_BY_HOP, 8), fragment(0, true)]),
        ),
        fenced(
            "WireGuard, behind the largest option header",
            chain(vec![extension(DESTINATION_OPTIONS, 2048)]),
        ),
        fenced("WireGuard, behind six extension headers", with_extensions(&ip, 6)),
        row("WireGuard, behind six extension headers", with_extensions(&ip, 6).frame(&bytes))
            .held(Held::Active)
            .arrives(M::Transport),
        row("seven extension headers", with_extensions(&ip, 7).frame(&bytes)).counts(C::Unparsed),
        row("extension header longer than the packet", too_long(200).frame(&bytes)).counts(C::Unparsed),
        row("extension header cut short", padded(&behind(HOP_BY_HOP).frame(&[17, 0, 1]), 120))
            .counts(C::Unparsed),
        row("extension header, no frame left", behind(HOP_BY_HOP).frame(&[])).counts(C::Unparsed),
        row("fragment header cut short", padded(&behind(FRAGMENT).frame(&[17, 0, 0, 0]), 120))
            .counts(C::Unparsed),
        row("authentication header", behind(51).frame(&bytes)),
        row("no next header", behind(59).frame(&bytes)),
        row("version 4 in an IPv6 frame", Ip { version_ihl: Some(0x45), ..ip.clone() }.frame(&bytes))
            .counts(C::Unparsed),
        row("IPv6 header cut short", ip.frame(&bytes)[..21].to_vec()).counts(C::Unparsed).only_xdp(),
        row("IPv6 header cut short, priority tag", tagged(&ip.frame(&bytes)[..21], VLAN, 0))
            .counts(C::Unparsed),
        row("payload length 0", Ip { len: Some(0), ..ip.clone() }.frame(&bytes)),
        row("IPv6 EtherType, nothing behind", ethernet(IPV6, &[])).counts(C::Unparsed).only_xdp(),
        row("IPv6 EtherType, nothing behind, priority tag", tagged(&ethernet(IPV6, &[]), VLAN, 0))
            .counts(C::Unparsed),
    ]
}

/// Header chains of IPv4.
pub fn ipv4_chains(net: &Net) -> Vec<Row> {
    let (ip, datagram) = (net.inbound(), net.wireguard_in(4, 64));
    let bytes = datagram.bytes(&ip);
    let options = |len| Ip { options: vec![1; len], ..ip.clone() };
    let fenced = |what: &str, ip: Ip| row(what, ip.frame(&bytes)).drops(C::WireguardInFenced);
    let version_ihl = |byte| Ip { version_ihl: Some(byte), ..ip.clone() }.frame(&bytes);
    let wrapped = Datagram { len: Some(0xffff), ..datagram.clone() };
    let wrapped = wrapped.frame(&Ip { len: Some(19), ..ip.clone() });
    vec![
        fenced("WireGuard, behind options", options(4)),
        fenced("WireGuard, behind the most options", options(40)),
        row("WireGuard, behind the most options", options(40).frame(&bytes))
            .held(Held::Active)
            .arrives(M::Transport),
        row("header length below 20", version_ihl(0x44)).counts(C::Unparsed),
        row("version 6 in an IPv4 frame", version_ihl(0x65)).counts(C::Unparsed),
        row("total length below the header's", Ip { len: Some(19), ..ip.clone() }.frame(&bytes))
            .counts(C::Unparsed),
        row("total length below the header's, UDP length as if it had wrapped", wrapped).counts(C::Unparsed),
        row("total length without the UDP header", Ip { len: Some(27), ..ip.clone() }.frame(&bytes)),
        row("IPv4 header cut short", ip.frame(&bytes)[..25].to_vec()).counts(C::Unparsed).only_xdp(),
        row("IPv4 header cut short, priority tag", tagged(&ip.frame(&bytes)[..25], VLAN, 0))
            .counts(C::Unparsed),
        row("IPv4 EtherType, nothing behind", ethernet(IPV4, &[])).counts(C::Unparsed).only_xdp(),
        row("IPv4 EtherType, nothing behind, priority tag", tagged(&ethernet(IPV4, &[]), VLAN, 0))
            .counts(C::Unparsed),
        row("unknown EtherType", ethernet(0x88cc, &bytes)),
        row("length field instead of an EtherType", ethernet(46, &bytes)),
        row("tag cut short", ethernet(VLAN, &[0])),
    ]
}

/// Later fragments: what they belong to cannot be told.
pub fn fragments(net: &Net) -> Vec<Row> {
    let to = |destination, protocol| {
        let ip = Ip { protocol, ..Ip::new(net.client, destination, UDP) };
        ip.fragmented(100, true).frame(&wireguard(4, 64))
    };
    vec![
        row("later fragment, UDP, to the VIP", to(net.vip, UDP)).drops(C::FragmentFenced),
        row("later fragment, TCP, to the VIP", to(net.vip, TCP)).drops(C::FragmentFenced),
        row("later fragment, UDP, to the other VIP", to(net.vip2, UDP)).drops(C::FragmentFenced),
        row("later fragment, UDP, to the VIP, lapsed", to(net.vip, UDP))
            .held(Held::Lapsed)
            .drops(C::FragmentFenced)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        row("later fragment, UDP, to the VIP", to(net.vip, UDP)).held(Held::Active).counts(C::FragmentPassed),
        row("later fragment, UDP, to another address", to(net.host, UDP)).counts(C::FragmentPassed),
        row("later fragment, VRRP, to another address", to(net.host, 112)).counts(C::AdvertFragment),
        row("higher advert in a later fragment", to(net.host, 112))
            .held(Held::Active)
            .counts(C::AdvertFragment),
    ]
}

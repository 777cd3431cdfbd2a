//! What goes out.

use wgha_common::{abi::Counter as C, wire::wireguard::MessageType as M};
use wgha_tests::packets::{
    Advert, DESTINATION_OPTIONS, Datagram, ICMPV6, Ip, Sum, TCP, UDP, VLAN, arp, extension, icmpv6, padded,
    tagged, wireguard,
};

use crate::{
    inbound::MESSAGES,
    net::{CLIENT_PORT, INTERVAL, Net, PORT, PRIORITY, VRID},
    row::{Before, Ended, Held, Row, row},
};

/// What the daemon hands to the socket: the map says the rest.
fn unstamped(net: &Net) -> Advert {
    Advert { sum: Sum::Wrong, ..Advert::new(VRID, 1, 1, net.vip) }
}

/// Our adverts.
pub fn adverts(net: &Net) -> Vec<Row> {
    let ip = net.vrrp(net.own);
    let frame = unstamped(net).frame(&ip);
    let stamped = Advert::new(VRID, PRIORITY, INTERVAL, net.vip).frame(&ip);
    let two = |advert| Advert { addresses: vec![net.vip, net.vip2], ..advert };
    let sent =
        |what: &str, packet, out| row(what, packet).held(Held::Active).counts(C::AdvertSent).leaves_as(out);
    let mut rows = vec![
        sent("our advert", frame.clone(), stamped.clone()),
        sent("our advert", frame.clone(), stamped.clone()).held(Held::Claiming),
        sent("our advert, already as the map says", stamped.clone(), stamped.clone()),
        sent(
            "our advert, two addresses",
            two(unstamped(net)).frame(&ip),
            two(net.advert(PRIORITY)).frame(&ip),
        ),
        sent("our advert, padded", padded(&frame, 120), padded(&stamped, 120)),
        sent("our advert, priority tag", tagged(&frame, VLAN, 0), tagged(&stamped, VLAN, 0)),
        sent(
            "our advert, the longest interval",
            frame.clone(),
            Advert { interval: 4095, ..net.advert(PRIORITY) }.frame(&ip),
        )
        .configured(|c| c.stamp.interval = 4095),
        sent("our advert, revoked, then elected again", frame.clone(), stamped)
            .held(Held::Revoked)
            .after(Before::Lease(Held::NextEpoch)),
    ];
    for held in [Held::Nothing, Held::Backup, Held::Revoked, Held::Ended] {
        rows.push(row("our advert", frame.clone()).held(held).drops(C::AdvertFenced));
    }
    rows.push(
        row("our advert", frame.clone())
            .held(Held::Lapsed)
            .drops(C::AdvertFenced)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
    );
    for held in [Held::Backup, Held::Lapsed, Held::Revoked, Held::Active] {
        let resigns = net.advert(0).frame(&ip);
        rows.push(
            sent("our advert, priority 0", frame.clone(), resigns)
                .held(held)
                .configured(|c| c.stamp.priority = 0),
        );
    }
    rows.extend(odd_adverts(net, &ip));
    rows
}

fn odd_adverts(net: &Net, ip: &Ip) -> Vec<Row> {
    let frame = unstamped(net).frame(ip);
    let pseudo = |c: &mut crate::row::Configured| c.stamp.checksum = 1;
    // RFC 9568 has the pseudo-header in IPv6 whatever the style says.
    let sum = if net.is_v4() { Sum::Other } else { Sum::Right };
    let active = |what: &str, packet| row(what, packet).held(Held::Active);
    let other = net.other();
    vec![
        active("our advert, checksum with pseudo-header", frame.clone())
            .configured(pseudo)
            .counts(C::AdvertSent)
            .leaves_as(Advert { sum, ..net.advert(PRIORITY) }.frame(ip)),
        active("our advert, fragmented", unstamped(net).frame(&ip.clone().fragmented(0, true)))
            .drops(C::AdvertFragment),
        active("our advert, cut short", frame[..frame.len() - 1].to_vec()).drops(C::AdvertTruncated),
        active("our advert, lists more than it has", Advert { count: Some(2), ..unstamped(net) }.frame(ip))
            .drops(C::AdvertTruncated),
        active("our advert, version 2", Advert { version_type: 0x21, ..unstamped(net) }.frame(ip))
            .drops(C::AdvertBadVersion),
        row("our advert, VLAN 10", tagged(&frame, VLAN, 10)).counts(C::VlanPassed),
        row("advert of another program: other source", net.heard(net.low, 200)),
        row("advert of another program: other VRID", Advert { vrid: VRID + 1, ..net.advert(200) }.frame(ip)),
        row("advert of another program: other family", other.heard(other.own, 200)),
        row("our advert, before the daemon has configured", frame).configured(|c| c.uplink.vrid = 0),
    ]
}

/// From the WireGuard port.
pub fn wireguard_rows(net: &Net) -> Vec<Row> {
    let message = net.wireguard_out(4, 64).frame(&net.outbound(net.vip));
    let active = |what: &str, packet| row(what, packet).held(Held::Active);
    let mut rows: Vec<_> = MESSAGES
        .iter()
        .map(|(what, message_type, len, counted)| {
            let packet = net.wireguard_out(*message_type, *len).frame(&net.outbound(net.vip));
            active(&format!("WireGuard from the VIP, {what}"), packet).traffic(*counted)
        })
        .collect();
    for held in [Held::Nothing, Held::Backup, Held::Claiming, Held::Revoked, Held::Ended] {
        rows.push(row("WireGuard from the VIP", message.clone()).held(held).drops(C::WireguardOutFenced));
    }
    rows.extend([
        row("WireGuard from the VIP", message.clone())
            .held(Held::Lapsed)
            .drops(C::WireguardOutFenced)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        row("WireGuard from the VIP, lapsed, then renewed late", message.clone())
            .held(Held::Lapsed)
            .after(Before::Packet(message.clone()))
            .after(Before::Lease(Held::Active))
            .drops(C::WireguardOutFenced),
        active("WireGuard from the other VIP", net.wireguard_out(4, 64).frame(&net.outbound(net.vip2)))
            .traffic(M::Transport),
        active(
            "UDP from another port",
            Datagram::new(CLIENT_PORT, PORT, wireguard(4, 64)).frame(&net.outbound(net.host)),
        ),
        active(
            "TCP from WireGuard's port number",
            Ip { protocol: TCP, ..net.outbound(net.host) }
                .frame(&net.wireguard_out(4, 64).bytes(&net.outbound(net.host))),
        ),
        row("WireGuard, VLAN 10", tagged(&message, VLAN, 10)).counts(C::VlanPassed),
        row("WireGuard, before the daemon has configured", message.clone()).configured(|c| c.uplink.vrid = 0),
        row(
            "UDP from port 0, no WireGuard",
            Datagram::new(0, 1, wireguard(4, 64)).frame(&net.outbound(net.host)),
        )
        .configured(|c| c.uplink.wireguard_port = 0),
    ]);
    rows
}

/// I8: from an address that is no VIP.
pub fn pinned(net: &Net) -> Vec<Row> {
    let (from_host, from_vip) = (net.outbound(net.host), net.outbound(net.vip));
    let rewritten = |what: &str, datagram: &Datagram, change: &dyn Fn(&Ip) -> Ip| {
        row(what, datagram.frame(&change(&from_host)))
            .held(Held::Active)
            .counts(C::WireguardPinned)
            .traffic(M::Transport)
            .leaves_as(datagram.frame(&change(&from_vip)))
    };
    let plain = |ip: &Ip| ip.clone();
    let message = net.wireguard_out(4, 64);
    let odd = net.wireguard_out(4, 65);
    let options = |ip: &Ip| {
        let extensions = if net.is_v4() { Vec::new() } else { vec![extension(DESTINATION_OPTIONS, 16)] };
        Ip { options: vec![1; if net.is_v4() { 8 } else { 0 }], extensions, ..ip.clone() }
    };
    let dropped = |what: &str, packet| row(what, packet).held(Held::Active).drops(C::WireguardNoVip);
    let mut rows = vec![
        rewritten("WireGuard from our own address", &message, &plain),
        rewritten("WireGuard from our own address, odd length", &odd, &plain),
        rewritten("WireGuard from our own address, 1400 bytes", &net.wireguard_out(4, 1400), &plain),
        rewritten("WireGuard from our own address, behind options", &message, &options),
        rewritten("WireGuard from our own address, checksum becomes 0", &summing_to_zero(net), &plain),
        dropped("WireGuard from our own address, no VIP", message.frame(&from_host))
            .configured(|c| c.uplink.vip = wgha_common::Address::UNSPECIFIED),
        dropped(
            "WireGuard of the other family",
            net.other().wireguard_out(4, 64).frame(&net.other().outbound(net.other().vip)),
        ),
        dropped(
            "WireGuard from our own address, first fragment",
            message.frame(&from_host.clone().fragmented(0, true)),
        ),
        row("WireGuard from the VIP, first fragment", message.frame(&from_vip.clone().fragmented(0, true)))
            .held(Held::Active)
            .traffic(M::Transport),
        row("WireGuard from our own address", message.frame(&from_host)).drops(C::WireguardOutFenced),
    ];
    if net.is_v4() {
        let unsummed = Datagram { summed: false, ..message };
        rows.push(rewritten("WireGuard from our own address, no UDP checksum", &unsummed, &plain));
    }
    rows
}

/// A message whose checksum from the VIP is 0, which is written as 0xffff (RFC 768).
fn summing_to_zero(net: &Net) -> Datagram {
    let mut datagram = net.wireguard_out(4, 64);
    let sums_to = |datagram: &Datagram| {
        let bytes = datagram.bytes(&net.outbound(net.vip));
        u16::from_be_bytes([bytes[6], bytes[7]])
    };
    // Adding to a word of the payload takes as much from the checksum.
    datagram.payload[8..10].fill(0);
    let sum = sums_to(&datagram);
    datagram.payload[8..10].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(sums_to(&datagram), 0xffff);
    datagram
}

/// Neighbour discovery; IPv6 only.
pub fn discovery(net: &Net) -> Vec<Row> {
    let says = |message_type, source, target| net.neighbour(message_type, source, target);
    let fenced = |what: &str, packet| row(what, packet).drops(C::NeighbourOutFenced);
    let echo = Ip::new(net.vip, net.client, ICMPV6);
    vec![
        fenced("NA of the VIP", says(136, net.host, net.vip)),
        fenced("NA of the VIP", says(136, net.host, net.vip)).held(Held::Claiming),
        fenced("NA of the VIP, lapsed", says(136, net.host, net.vip))
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        fenced("NS from the VIP", says(135, net.vip, net.client)),
        fenced("NS from the other VIP", says(135, net.vip2, net.client)),
        fenced("NS for the VIP", says(135, net.own, net.vip)),
        fenced("NA of another address from the VIP", says(136, net.vip, net.host)),
        row("NA of the VIP", says(136, net.host, net.vip)).held(Held::Active),
        row("NS from the VIP", says(135, net.vip, net.client)).held(Held::Active),
        row("NA of another address", says(136, net.host, net.host)),
        row("NS for another address", says(135, net.own, net.client)),
        row("echo reply from the VIP", echo.frame(&icmpv6(129, 0, net.client, &echo))),
    ]
}

/// ARP; IPv4 only.
pub fn address_resolution(net: &Net) -> Vec<Row> {
    let fenced = |what: &str, packet| row(what, packet).drops(C::NeighbourOutFenced);
    vec![
        fenced("ARP reply of the VIP", arp(2, net.vip, net.high)),
        fenced("gratuitous ARP of the VIP", arp(1, net.vip, net.vip)),
        fenced("gratuitous ARP of the other VIP", arp(1, net.vip2, net.vip2)),
        fenced("ARP request from the VIP", arp(1, net.vip, net.high)).held(Held::Claiming),
        fenced("ARP reply of the VIP, lapsed", arp(2, net.vip, net.high))
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        row("ARP reply of the VIP", arp(2, net.vip, net.high)).held(Held::Active),
        row("ARP request for the VIP from our own address", arp(1, net.host, net.vip)),
        row("ARP reply of another address", arp(2, net.host, net.high)),
    ]
}

/// Later fragments.
pub fn fragments(net: &Net) -> Vec<Row> {
    let from = |source| Ip::new(source, net.client, UDP).fragmented(100, true).frame(&wireguard(4, 64));
    let from_vip = net.outbound(net.vip);
    let looks_like_data =
        from_vip.clone().fragmented(9, false).frame(&net.wireguard_out(4, 64).bytes(&from_vip));
    vec![
        row("later fragment that looks like data", looks_like_data)
            .held(Held::Active)
            .counts(C::FragmentPassed),
        row("later fragment from the VIP", from(net.vip)).drops(C::FragmentFenced),
        row("later fragment from the VIP", from(net.vip)).held(Held::Active).counts(C::FragmentPassed),
        row("later fragment from another address", from(net.host)).counts(C::FragmentPassed),
    ]
}

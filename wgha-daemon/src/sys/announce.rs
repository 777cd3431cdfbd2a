//! Frames that we send: adverts, announcements of where a VIP is, and questions that prove that they were heard.

use std::net::IpAddr;

use bytes::BytesMut;
use wgha_common::{
    Address, Family,
    wire::{NoRoom, arp, ethernet, ip, ndisc, vrrp},
};

/// An advert as a whole frame.
///
/// # Errors
/// [`NoRoom`] when it lists more addresses than one advert can.
pub fn advert(advert: &vrrp::Advert<'_>, mac: ethernet::Mac) -> Result<BytesMut, NoRoom> {
    let (destination, ethertype) = match advert.source.family() {
        Family::V4 => (ethernet::ipv4_multicast(vrrp::GROUP_V4), ethernet::IPV4),
        Family::V6 => (ethernet::ipv6_multicast(vrrp::GROUP_V6), ethernet::IPV6),
    };
    let ip = advert.ip_header();
    let payload = ethernet::HEADER_LEN + ip.emitted_len();
    let mut frame = BytesMut::zeroed(payload + advert.emitted_len());
    ethernet::Header { destination, source: mac, ethertype }.emit(&mut frame)?;
    ip.emit(&mut frame[ethernet::HEADER_LEN..])?;
    advert.emit(&mut frame[payload..])?;
    Ok(frame)
}

/// "`vip` is at `mac`" as a whole frame: an unsolicited neighbour advertisement with Override to
/// ff02::1, or a gratuitous ARP request to everybody.
///
/// # Errors
/// None in practice: the frame is made long enough.
pub fn announcement(vip: IpAddr, mac: ethernet::Mac) -> Result<BytesMut, NoRoom> {
    let address = Address::from(vip);
    match address.family() {
        Family::V4 => arp_request(arp::Request { sender: address, mac, target: address }),
        // From the VIP itself: it is held when it is announced, and every node accepts that.
        Family::V6 => {
            let message = ndisc::Advertisement { source: address, target: address, mac };
            neighbour_frame(&message.ip_header(), mac, |out| message.emit(out))
        }
    }
}

/// "Where is `gateway`?" from `source` as a whole frame: who answers has learnt where `source` is.
///
/// # Errors
/// None in practice: the frame is made long enough.
pub fn solicitation(source: IpAddr, mac: ethernet::Mac, gateway: IpAddr) -> Result<BytesMut, NoRoom> {
    let (source, target) = (Address::from(source), Address::from(gateway));
    match source.family() {
        Family::V4 => arp_request(arp::Request { sender: source, mac, target }),
        Family::V6 => {
            let message = ndisc::Solicitation { source, mac, target };
            neighbour_frame(&message.ip_header(), mac, |out| message.emit(out))
        }
    }
}

fn arp_request(request: arp::Request) -> Result<BytesMut, NoRoom> {
    let mut frame = BytesMut::zeroed(ethernet::HEADER_LEN + arp::LEN);
    let (destination, source) = (ethernet::BROADCAST, request.mac);
    ethernet::Header { destination, source, ethertype: ethernet::ARP }.emit(&mut frame)?;
    request.emit(&mut frame[ethernet::HEADER_LEN..])?;
    Ok(frame)
}

fn neighbour_frame(
    ip: &ip::Header,
    mac: ethernet::Mac,
    emit: impl FnOnce(&mut [u8]) -> Result<(), NoRoom>,
) -> Result<BytesMut, NoRoom> {
    let payload = ethernet::HEADER_LEN + ip.emitted_len();
    let mut frame = BytesMut::zeroed(payload + ndisc::MESSAGE_LEN);
    let destination = ethernet::ipv6_multicast(ip.destination.0);
    ethernet::Header { destination, source: mac, ethertype: ethernet::IPV6 }.emit(&mut frame)?;
    ip.emit(&mut frame[ethernet::HEADER_LEN..])?;
    emit(&mut frame[payload..])?;
    Ok(frame)
}

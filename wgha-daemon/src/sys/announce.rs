//! Frames that we send: adverts, and announcements of where a VIP is.

use std::net::IpAddr;

use bytes::BytesMut;
use wgha_common::{
    Address, Family,
    wire::{NoRoom, arp, ethernet, ndisc, vrrp},
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
        Family::V4 => gratuitous_arp(address, mac),
        Family::V6 => neighbour_advertisement(address, mac),
    }
}

fn gratuitous_arp(address: Address, mac: ethernet::Mac) -> Result<BytesMut, NoRoom> {
    let mut frame = BytesMut::zeroed(ethernet::HEADER_LEN + arp::LEN);
    ethernet::Header { destination: ethernet::BROADCAST, source: mac, ethertype: ethernet::ARP }
        .emit(&mut frame)?;
    arp::Announcement { address, mac }.emit(&mut frame[ethernet::HEADER_LEN..])?;
    Ok(frame)
}

fn neighbour_advertisement(target: Address, mac: ethernet::Mac) -> Result<BytesMut, NoRoom> {
    // From the VIP itself: it is held when it is announced, and every node accepts that.
    let message = ndisc::Advertisement { source: target, target, mac };
    let ip = message.ip_header();
    let payload = ethernet::HEADER_LEN + ip.emitted_len();
    let mut frame = BytesMut::zeroed(payload + ndisc::MESSAGE_LEN);
    let destination = ethernet::ipv6_multicast(ndisc::ALL_NODES.0);
    ethernet::Header { destination, source: mac, ethertype: ethernet::IPV6 }.emit(&mut frame)?;
    ip.emit(&mut frame[ethernet::HEADER_LEN..])?;
    message.emit(&mut frame[payload..])?;
    Ok(frame)
}

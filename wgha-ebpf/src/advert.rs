//! VRRP adverts: those of others are checked and recorded, ours are stamped.

use wgha_common::{
    Address,
    abi::{AdvertSeen, AdvertStamp, ChecksumStyle, Counter, Event, EventKind, UplinkConfig, outranks},
    wire::{
        checksum::Sum,
        ip,
        vrrp::{self, HEADER_LEN, Header},
    },
};

use crate::{
    chain::{Carried, Part},
    clock::Clock,
    fence, maps,
    packet::{Packet, Skb},
    report, verdict,
};

/// An advert that is right by RFC 9568 §7.1.
struct Valid {
    source: Address,
    header: Header,
    style: ChecksumStyle,
}

/// How an advert that comes in is counted. It always goes on to the stack, where people look for it.
///
/// Its steps are functions of their own: they use the same stack one after the other, and the packets that matter
/// for speed do without it.
#[inline(always)]
pub fn heard<P: Packet>(packet: &P, uplink: &UplinkConfig, carried: &Carried) -> Counter {
    if !uplink.is_family(carried.family) {
        return Counter::AdvertOtherFamily;
    }
    if carried.part != Part::Whole {
        return Counter::AdvertFragment;
    }
    let Some(source) = carried.source(packet) else {
        return Counter::Unparsed;
    };
    match check(packet, carried, source) {
        Ok(advert) if advert.header.vrid != uplink.vrid => Counter::AdvertOtherVrid,
        Ok(advert) if advert.source == uplink.source => Counter::AdvertOwn,
        Ok(advert) => accept(uplink, &advert),
        Err(fault) => reject(packet, uplink, carried, source, fault),
    }
}

/// The checks of RFC 9568 §7.1, in its order.
#[inline(always)]
fn check<P: Packet>(packet: &P, carried: &Carried, source: Address) -> Result<Valid, Counter> {
    if carried.hop_limit != ip::HOP_LIMIT {
        return Err(Counter::AdvertBadHopLimit);
    }
    if !source.is_unicast() || source.family() != carried.family {
        return Err(Counter::AdvertBadSource);
    }
    let bytes = carried.load::<P, HEADER_LEN>(packet).ok_or(Counter::AdvertTruncated)?;
    let header = Header::parse(&bytes).map_err(verdict::header_fault)?;
    check_length(packet, carried, &header)?;
    let sum = packet.sum(carried.at, carried.len).ok_or(Counter::AdvertBadChecksum)?;
    let style = style(packet, carried, &source, sum).ok_or(Counter::AdvertBadChecksum)?;
    Ok(Valid { source, header, style })
}

/// Which style the checksum of a whole advert fits, if any. `sum` is that of its bytes.
#[inline(never)]
fn style<P: Packet>(packet: &P, carried: &Carried, source: &Address, sum: Sum) -> Option<ChecksumStyle> {
    let destination = carried.destination(packet)?;
    vrrp::checksum_style(sum, source, &destination, carried.len as u16)
}

/// The IP header's length must be that of the advert, and the frame, which may be padded, must hold it.
#[inline(always)]
fn check_length<P: Packet>(packet: &P, carried: &Carried, header: &Header) -> Result<(), Counter> {
    let len = header.advert_len(carried.family);
    if carried.len < len || !carried.is_complete(packet) {
        return Err(Counter::AdvertTruncated);
    }
    if carried.len > len || header.addresses as usize > vrrp::max_addresses(carried.family) {
        return Err(Counter::AdvertBadLength);
    }
    Ok(())
}

/// Records an advert, ends our lease if it outranks us, and rings if that matters.
///
/// Where only peers are heard, a stranger can do neither, nor have others forgotten by adverts of many sources.
#[inline(never)]
fn accept(uplink: &UplinkConfig, advert: &Valid) -> Counter {
    let only_peers = uplink.has(UplinkConfig::AUTHENTICATED | UplinkConfig::ACQUAINTED);
    if only_peers && !maps::is_advertiser(&advert.source) {
        return Counter::AdvertStranger;
    }
    let Header { priority, interval, addresses, .. } = advert.header;
    let (at, checksum) = (Clock::Exact.now(), advert.style as u8);
    let seen = AdvertSeen { at, adverts: 1, interval, priority, checksum, addresses, reserved: [0; 3] };
    let before = maps::remember(&advert.source, &seen);
    let claim = claim(uplink, &advert.source, priority, at);
    if let Some(kind) = claim.or(verdict::change(&before, priority, interval)) {
        let counter = Counter::AdvertValid as u32;
        let source = advert.source;
        report::ring(kind, &Event { at, counter, source, interval, priority, checksum, ..Event::default() });
    }
    Counter::AdvertValid
}

/// What an advert is to us while we claim the role ourselves. Priority 0 claims nothing, and under authentication an advert
/// proves nothing.
#[inline(always)]
fn claim(uplink: &UplinkConfig, source: &Address, priority: u8, at: u64) -> Option<EventKind> {
    if priority == 0 || !fence::claims() {
        return None;
    }
    let ours = maps::advert_stamp()?.priority;
    if uplink.has(UplinkConfig::AUTHENTICATED) || !outranks(priority, source, ours, &uplink.source) {
        return Some(EventKind::Rival);
    }
    fence::yield_to(*source, at);
    Some(EventKind::Outranked)
}

/// Rings for a bad advert with our VRID; those of others are theirs to mend.
#[inline(never)]
fn reject<P: Packet>(
    packet: &P,
    uplink: &UplinkConfig,
    carried: &Carried,
    source: Address,
    fault: Counter,
) -> Counter {
    if carried.load::<P, 2>(packet).is_some_and(|[_, vrid]| vrid == uplink.vrid) {
        let (at, counter) = (Clock::Exact.now(), fault as u32);
        if report::ring(EventKind::Malformed, &Event { at, counter, source, ..Event::default() }) {
            report::log_malformed(counter);
        }
    }
    fault
}

/// Writes what the map says into an advert of ours: priority, interval and the whole checksum.
#[inline(always)]
pub fn stamp(
    packet: &Skb<'_>,
    uplink: &UplinkConfig,
    carried: &Carried,
    stamp: &AdvertStamp,
) -> Result<(), Counter> {
    if carried.part != Part::Whole {
        return Err(Counter::AdvertFragment);
    }
    let mut bytes = carried.load::<_, HEADER_LEN>(packet).ok_or(Counter::AdvertTruncated)?;
    let header = Header::parse(&bytes).map_err(verdict::header_fault)?;
    check_length(packet, carried, &header)?;
    header_of(&mut bytes, stamp);
    let rest =
        packet.sum(carried.at + HEADER_LEN, carried.len - HEADER_LEN).ok_or(Counter::AdvertTruncated)?;
    let destination = carried.destination(packet).ok_or(Counter::Unparsed)?;
    let style = ChecksumStyle::from_number(stamp.checksum);
    let checksum =
        vrrp::checksum(style, rest.bytes(&bytes), &uplink.source, &destination, carried.len as u16);
    bytes[vrrp::CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_be_bytes());
    packet.store(carried.at, &bytes).ok_or(Counter::Unparsed)
}

/// The header with what the map says, and a checksum of zero.
#[inline(always)]
fn header_of(bytes: &mut [u8; HEADER_LEN], stamp: &AdvertStamp) {
    let [high, low] = (stamp.interval & 0x0fff).to_be_bytes();
    bytes[vrrp::PRIORITY_OFFSET] = stamp.priority;
    bytes[vrrp::INTERVAL_OFFSET] = high;
    bytes[vrrp::INTERVAL_OFFSET + 1] = low;
    bytes[vrrp::CHECKSUM_OFFSET] = 0;
    bytes[vrrp::CHECKSUM_OFFSET + 1] = 0;
}

//! VRRPv3 (RFC 9568 §5).

use super::{NoRoom, be16, checksum::Sum, ip};
use crate::{Address, Centiseconds, Family, Vrid, abi::ChecksumStyle};

/// Bytes of the header, before the addresses.
pub const HEADER_LEN: usize = 8;
/// Where in the header the priority stands.
pub const PRIORITY_OFFSET: usize = 2;
/// Where in the header the interval stands.
pub const INTERVAL_OFFSET: usize = 4;
/// Where in the header the checksum stands.
pub const CHECKSUM_OFFSET: usize = 6;
/// The version and type of an advert: version 3, type 1 ADVERTISEMENT.
pub const VERSION_TYPE: u8 = 0x31;
/// How many addresses of a family one advert can list within an MTU of 1500.
#[must_use]
pub const fn max_addresses(family: Family) -> usize {
    match family {
        Family::V4 => 255, // the count's 8 bits
        Family::V6 => (1500 - ip::IPV6_LEN - HEADER_LEN) / 16,
    }
}

/// 224.0.0.18 (RFC 9568 §5.1.1.2).
pub const GROUP_V4: [u8; 4] = [224, 0, 0, 18];
/// ff02::12 (RFC 9568 §5.1.2.2).
pub const GROUP_V6: [u8; 16] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12];

/// To which group adverts go.
#[must_use]
pub const fn group(family: Family) -> Address {
    match family {
        Family::V4 => Address::v4(GROUP_V4),
        Family::V6 => Address::v6(GROUP_V6),
    }
}

/// What is wrong with an advert's header (RFC 9568 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// Not version 3.
    Version,
    /// Not type 1.
    Type,
    /// VRID 0.
    Vrid,
    /// No address listed.
    NoAddress,
    /// Interval 0.
    Interval,
}

/// The header of an advert, as it stands on the wire.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Reserve| Max Advertise Interval|          Checksum             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IPvX Address(es)                        |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of which virtual router.
    pub vrid: u8,
    /// 0 resigns.
    pub priority: u8,
    /// How many addresses follow.
    pub addresses: u8,
    /// Max Advertise Interval, 1..=4095 centiseconds.
    pub interval: u16,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// [`HeaderError`], in the order in which RFC 9568 §7.1 has its checks.
    #[inline(always)]
    pub const fn parse(b: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        if b[0] >> 4 != 3 {
            return Err(HeaderError::Version);
        }
        if b[0] & 0x0f != 1 {
            return Err(HeaderError::Type);
        }
        let header = Self { vrid: b[1], priority: b[2], addresses: b[3], interval: be16(b, 4) & 0x0fff };
        if header.vrid == 0 {
            return Err(HeaderError::Vrid);
        }
        if header.addresses == 0 {
            return Err(HeaderError::NoAddress);
        }
        if header.interval == 0 {
            return Err(HeaderError::Interval);
        }
        Ok(header)
    }

    /// Bytes of the whole advert, if its addresses are of `family`.
    #[must_use]
    #[inline(always)]
    pub const fn advert_len(&self, family: Family) -> usize {
        HEADER_LEN + self.addresses as usize * family.address_len()
    }
}

/// Which style the checksum of an advert fits. `payload` is the sum over the advert with its checksum.
#[must_use]
#[inline(always)]
pub fn checksum_style(payload: Sum, src: &Address, dst: &Address, len: u16) -> Option<ChecksumStyle> {
    let pseudo = payload.pseudo_header(src, dst, ip::protocol::VRRP, len).is_right();
    match src.family() {
        Family::V6 if pseudo => Some(ChecksumStyle::Rfc9568),
        Family::V4 if payload.is_right() => Some(ChecksumStyle::Rfc9568),
        Family::V4 if pseudo => Some(ChecksumStyle::PseudoHeader),
        _ => None,
    }
}

/// The checksum to write. `payload` is the sum over the advert with a checksum of zero.
#[must_use]
#[inline(always)]
pub fn checksum(style: ChecksumStyle, payload: Sum, src: &Address, dst: &Address, len: u16) -> u16 {
    match (src.family(), style) {
        (Family::V4, ChecksumStyle::Rfc9568) => payload.checksum(),
        _ => payload.pseudo_header(src, dst, ip::protocol::VRRP, len).checksum(),
    }
}

/// An advert to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advert<'a> {
    /// Of which virtual router.
    pub vrid: Vrid,
    /// 0 resigns.
    pub priority: u8,
    /// How often it is repeated.
    pub interval: Centiseconds,
    /// What the checksum covers.
    pub style: ChecksumStyle,
    /// From which address.
    pub source: Address,
    /// The virtual addresses, all of the source's family.
    pub addresses: &'a [Address],
}

impl Advert<'_> {
    /// Bytes that [`Advert::emit`] writes.
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        HEADER_LEN + self.addresses.len() * self.source.family().address_len()
    }

    /// The IP header that carries it.
    #[must_use]
    pub fn ip_header(&self) -> ip::Header {
        let family = self.source.family();
        ip::Header {
            source: self.source,
            destination: group(family),
            protocol: ip::protocol::VRRP,
            hop_limit: ip::HOP_LIMIT,
            header_len: if matches!(family, Family::V4) { 20 } else { 40 },
            payload_len: u16::try_from(self.emitted_len()).unwrap_or(u16::MAX),
            more_fragments: false,
            later_fragment: false,
        }
    }

    /// Writes it, with its checksum, to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short, or when there are more addresses than one advert can list.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out = out.get_mut(..self.emitted_len()).ok_or(NoRoom)?;
        if self.addresses.len() > max_addresses(self.source.family()) {
            return Err(NoRoom);
        }
        out[0] = VERSION_TYPE;
        out[1] = self.vrid.number();
        out[2] = self.priority;
        out[3] = u8::try_from(self.addresses.len()).map_err(|_| NoRoom)?;
        out[4..6].copy_from_slice(&self.interval.number().to_be_bytes());
        out[6..8].fill(0);
        let address_len = self.source.family().address_len();
        for (slot, address) in out[HEADER_LEN..].chunks_exact_mut(address_len).zip(self.addresses) {
            slot.copy_from_slice(address.bytes());
        }
        let len = u16::try_from(out.len()).map_err(|_| NoRoom)?;
        let sum = Sum::default().bytes(out);
        let sum = checksum(self.style, sum, &self.source, &group(self.source.family()), len);
        out[6..8].copy_from_slice(&sum.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advert(source: Address, addresses: &[Address], style: ChecksumStyle) -> Vec<u8> {
        let advert = Advert {
            vrid: Vrid::new(52).unwrap(),
            priority: 100,
            interval: Centiseconds::new(10).unwrap(),
            style,
            source,
            addresses,
        };
        let mut out = vec![0; advert.emitted_len()];
        advert.emit(&mut out).unwrap();
        out
    }

    fn style_of(bytes: &[u8], source: &Address) -> Option<ChecksumStyle> {
        let len = u16::try_from(bytes.len()).unwrap();
        checksum_style(Sum::default().bytes(bytes), source, &group(source.family()), len)
    }

    const V6: Address = Address::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    const V4: Address = Address::v4([192, 0, 2, 3]);

    #[test]
    fn what_is_emitted_is_read_back() {
        for (source, vip) in [(V6, Address::v6([0x20; 16])), (V4, Address::v4([192, 0, 2, 2]))] {
            let bytes = advert(source, &[vip], ChecksumStyle::Rfc9568);
            let header = Header::parse(bytes.first_chunk().unwrap()).unwrap();
            assert_eq!(header, Header { vrid: 52, priority: 100, addresses: 1, interval: 10 });
            assert_eq!(header.advert_len(source.family()), bytes.len());
            assert_eq!(style_of(&bytes, &source), Some(ChecksumStyle::Rfc9568));
        }
    }

    #[test]
    fn ipv4_checksums_of_both_rfcs_are_told_apart() {
        let vip = [Address::v4([192, 0, 2, 2])];
        let old = advert(V4, &vip, ChecksumStyle::PseudoHeader);
        assert_eq!(style_of(&old, &V4), Some(ChecksumStyle::PseudoHeader));
    }

    #[test]
    fn every_flipped_bit_spoils_the_checksum() {
        let bytes = advert(V6, &[Address::v6([0x20; 16])], ChecksumStyle::Rfc9568);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(style_of(&bad, &V6), None, "bit {bit}");
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = advert(V4, &[Address::v4([192, 0, 2, 2])], ChecksumStyle::Rfc9568);
        // 0x3134 + 0x6401 + 0x000a + 0xc000 + 0x0202 = 0x15741, folded 0x5742, inverted 0xa8bd
        assert_eq!(bytes, [0x31, 52, 100, 1, 0, 10, 0xa8, 0xbd, 192, 0, 2, 2]);
    }
}

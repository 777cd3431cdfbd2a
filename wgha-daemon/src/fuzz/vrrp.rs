use wgha_common::{
    Address, Centiseconds, Family, Vrid,
    wire::{
        checksum::Sum,
        vrrp::{Advert, HEADER_LEN, Header, checksum_style, group, max_addresses},
    },
};

const V6: Address = Address::v6([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
const V4: Address = Address::v4([192, 0, 2, 3]);

/// An advert as it stands behind its IP header, after a byte that says of which family: even is IPv6.
///
/// One that is right is written again, byte for byte but for the reserved bits.
#[must_use]
pub fn advert(bytes: &[u8]) -> bool {
    let Some((family, bytes)) = bytes.split_first() else { return false };
    let source = if family % 2 == 0 { V6 } else { V4 };
    let Some(Ok(header)) = bytes.first_chunk().map(Header::parse) else { return false };
    assert!(header.vrid != 0 && header.addresses != 0 && (1..=4095).contains(&header.interval));
    let Ok(len) = u16::try_from(bytes.len()) else { return false };
    let style = checksum_style(Sum::default().bytes(bytes), &source, &group(source.family()), len);
    let (Some(style), Some(addresses)) = (style, addresses(bytes, &header, source.family())) else {
        return false;
    };
    let (Ok(vrid), Ok(interval)) = (Vrid::new(header.vrid), Centiseconds::new(header.interval)) else {
        panic!("{header:?} was taken");
    };
    let Header { priority, .. } = header;
    let again = Advert { vrid, priority, interval, style, source, addresses: &addresses };
    let mut out = vec![0; bytes.len()];
    let written = again.emit(&mut out);
    assert_eq!(written.is_ok(), addresses.len() <= max_addresses(source.family()), "{written:?}");
    if written.is_ok() {
        is_the_same(bytes, &out);
        assert_eq!(
            checksum_style(Sum::default().bytes(&out), &source, &group(source.family()), len),
            Some(style)
        );
    }
    true
}

/// Those that it lists, if it is as long as it says and they are all of its family.
fn addresses(bytes: &[u8], header: &Header, family: Family) -> Option<Vec<Address>> {
    let listed = &bytes[HEADER_LEN..];
    let addresses: Vec<_> = match family {
        Family::V4 => listed.as_chunks().0.iter().copied().map(Address::v4).collect(),
        Family::V6 => listed.as_chunks().0.iter().copied().map(Address::v6).collect(),
    };
    let right = bytes.len() == header.advert_len(family) && addresses.iter().all(|a| a.family() == family);
    right.then_some(addresses)
}

/// But for the reserved bits, and with them the checksum.
fn is_the_same(bytes: &[u8], out: &[u8]) {
    let reserved = bytes[4] & 0xf0;
    assert_eq!((bytes[4] ^ reserved, &bytes[..4], bytes[5]), (out[4], &out[..4], out[5]));
    assert_eq!(bytes[HEADER_LEN..], out[HEADER_LEN..]);
    if reserved == 0 {
        let sum = |b: &[u8]| u16::from_be_bytes([b[6], b[7]]) % 0xffff;
        assert_eq!(sum(bytes), sum(out));
    }
}

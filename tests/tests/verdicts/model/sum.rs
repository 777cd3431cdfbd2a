//! The Internet checksum (RFC 1071).

/// The one's-complement sum of these, each padded with a zero to an even length.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What IPv6, and most of IPv4, sum beside the payload: the addresses, the length, the protocol.
pub fn pseudo(addresses: &[u8], len: usize, protocol: u8) -> Vec<u8> {
    let mut pseudo = addresses.to_vec();
    pseudo.extend((len as u32).to_be_bytes());
    pseudo.extend([0, protocol]);
    pseudo
}

/// The checksum that is as right over `new` as `old` was over `before`. UDP's: 0 is none, and never comes to be.
pub fn mended_udp(old: u16, before: &[u8], after: &[u8]) -> u16 {
    if old == 0 {
        return 0;
    }
    match mended(old, before, after) {
        0 => 0xffff,
        sum => sum,
    }
}

/// The same where 0 is a sum like others: it may as well be 0xffff.
pub fn mended(old: u16, before: &[u8], after: &[u8]) -> u16 {
    let (before, after) = (u32::from(sum(&[before])), u32::from(sum(&[after])));
    ((u32::from(old) + before + 0xffff - after) % 0xffff) as u16
}

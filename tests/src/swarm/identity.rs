//! Who a client is: everything follows from its number.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use boringtun::x25519::{PublicKey, StaticSecret};

use crate::Plan;

/// The servers' address in the tunnel, for clients of a swarm.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The length of the prefix that [`SERVER`] and all clients share.
pub const PREFIX_LEN: u8 = 10;

/// A client's static key.
#[must_use]
pub fn private_key(number: u32) -> StaticSecret {
    let mut key = [0x5a; 32];
    for (lane, bytes) in key.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&mixed(u64::from(number) << 8 | lane as u64).to_be_bytes());
    }
    StaticSecret::from(key)
}

/// A client's public key.
#[must_use]
pub fn public_key(number: u32) -> [u8; 32] {
    PublicKey::from(&private_key(number)).to_bytes()
}

/// The servers' public key.
#[must_use]
pub fn server_public_key() -> PublicKey {
    PublicKey::from(&server_private_key())
}

/// The servers' private key.
#[must_use]
pub fn server_private_key() -> StaticSecret {
    StaticSecret::from(from_base64(Plan::SERVER_KEY))
}

/// A client's address in the tunnel. It is IPv4 in either topology: a tunnel's IPv6 neighbours each cost an entry of a
/// table that the whole machine shares, and that ends at 1,024.
#[must_use]
pub fn tunnel_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 65, 0, 0).to_bits() + number)
}

/// The prefix from which clients send that are spread over many addresses.
#[must_use]
pub const fn spread_prefix(ipv6: bool) -> &'static str {
    if ipv6 { "2001:db8:a::/64" } else { "198.18.0.0/16" }
}

/// A client's own address within [`spread_prefix`].
#[must_use]
pub fn spread_address(number: u32, ipv6: bool) -> IpAddr {
    if ipv6 {
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0);
        return Ipv6Addr::from_bits(prefix.to_bits() + 1 + u128::from(number)).into();
    }
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + number).into()
}

/// A key as `wg` writes it.
#[must_use]
pub fn to_base64(key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(44);
    for bytes in key.chunks(3) {
        let group =
            bytes.iter().fold(0, |group, &byte| group << 8 | u32::from(byte)) << (8 * (3 - bytes.len()));
        for digit in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * digit) & 63) as usize];
            text.push(if digit > bytes.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// A key as `wg` writes it; what is not of its alphabet counts for nothing.
fn from_base64(text: &str) -> [u8; 32] {
    let digits = text.bytes().filter_map(|letter| ALPHABET.iter().position(|&l| l == letter));
    let mut key = [0; 32];
    for (place, digit) in digits.enumerate() {
        for bit in 0..6 {
            let at = 6 * place + bit;
            if digit >> (5 - bit) & 1 == 1 && at < 256 {
                key[at / 8] |= 0x80 >> (at % 8);
            }
        }
    }
    key
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// SplitMix64 of Steele, Lea and Flood: neighbouring numbers give bits without anything in common.
pub(super) const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_wg_writes_them() {
        assert_eq!(to_base64(&from_base64(Plan::SERVER_KEY)), Plan::SERVER_KEY);
        assert_eq!(to_base64(server_public_key().as_bytes()), Plan::SERVER_PUBLIC);
    }

    #[test]
    fn clients_differ_in_everything() {
        assert_ne!(public_key(0), public_key(1));
        assert_eq!(tunnel_address(256), Ipv4Addr::new(10, 65, 1, 0));
        assert_eq!(spread_address(1, false), IpAddr::from([198, 18, 0, 2]));
        assert_ne!(spread_address(0, true), spread_address(1, true));
    }
}

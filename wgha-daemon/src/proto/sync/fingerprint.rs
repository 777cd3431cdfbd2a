use std::net::IpAddr;

use blake2::{Blake2s, Digest, digest::consts::U16};
use serde::{Deserialize, Serialize};
use wgha_common::{Centiseconds, Vrid};

/// BLAKE2s with an output of 16 bytes.
pub type Fingerprint = [u8; 16];

/// Of what must be configured alike on all servers. Where they differ, somebody has forgotten one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fingerprints {
    /// VRID, VIPs, advert interval: [`Fingerprints::of_vrrp`].
    pub vrrp: Fingerprint,
    /// Listen port, and the peers' keys with their allowed IPs, in the order of the keys: [`fingerprint`] of them.
    pub wireguard: Fingerprint,
}

impl Fingerprints {
    /// The order of the VIPs does not matter.
    #[must_use]
    pub fn of_vrrp(vrid: Vrid, vips: &[IpAddr], interval: Centiseconds) -> Fingerprint {
        let mut vips: Vec<String> = vips.iter().map(IpAddr::to_string).collect();
        vips.sort();
        let head = [vec![vrid.number()], interval.number().to_be_bytes().to_vec()];
        fingerprint(head.into_iter().chain(vips.into_iter().map(String::into_bytes)))
    }
}

/// Of parts in this order. Where one ends and the next begins matters.
pub fn fingerprint<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Fingerprint {
    let mut hash = Blake2s::<U16>::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_between_parts_matter() {
        assert_ne!(fingerprint(["ab", "c"]), fingerprint(["a", "bc"]));
        assert_ne!(fingerprint(["a"]), fingerprint(["a", ""]));
        assert_eq!(fingerprint(["a", "b"]), fingerprint([b"a", b"b"]));
    }

    #[test]
    fn what_must_be_alike_is_in_it_and_the_order_of_the_vips_is_not() {
        let of = |vrid: u8, vips: [&str; 2], cs: u16| {
            let vips = vips.map(|vip| vip.parse().unwrap());
            Fingerprints::of_vrrp(Vrid::new(vrid).unwrap(), &vips, Centiseconds::new(cs).unwrap())
        };
        let one = of(52, ["2001:db8::2", "192.0.2.2"], 10);
        assert_eq!(one, of(52, ["192.0.2.2", "2001:db8::2"], 10));
        assert_ne!(one, of(53, ["192.0.2.2", "2001:db8::2"], 10));
        assert_ne!(one, of(52, ["192.0.2.3", "2001:db8::2"], 10));
        assert_ne!(one, of(52, ["192.0.2.2", "2001:db8::2"], 11));
    }
}

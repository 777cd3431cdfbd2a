//! Network cards for the machine, two by two: what one sends the other one receives.

use std::process::Command;

/// A cable for each server, and one for the gateway.
const CABLES: usize = 3;
/// What XDP in the driver would have to turn off. A hub has none of it; another end of the cable might.
const WITHOUT: &str = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";

/// Their addresses, as the harness wants to be told them: both ends of a cable beside each other.
pub fn addresses() -> String {
    (0..2 * CABLES).map(address).collect::<Vec<_>>().join(",")
}

/// Of a range that everybody may use (RFC 9542 §2.1).
fn address(number: usize) -> String {
    format!("52:54:00:77:67:{number:02x}")
}

/// Plugs them in: a hub is a cable.
pub fn plug(qemu: &mut Command) {
    for number in 0..2 * CABLES {
        let (hub, mac) = (number / 2, address(number));
        qemu.arg("-netdev").arg(format!("hubport,id=port{number},hubid={hub}"));
        qemu.arg("-device").arg(format!("virtio-net-pci,netdev=port{number},mac={mac},{WITHOUT}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_has_an_address_and_shares_a_hub_with_one_other() {
        let mut qemu = Command::new("qemu");
        plug(&mut qemu);
        let words: Vec<_> = qemu.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        for hub in 0..CABLES {
            let on = words.iter().filter(|word| word.ends_with(&format!(",hubid={hub}")));
            assert_eq!(on.count(), 2);
        }
        let has = |mac: &str| words.iter().any(|word| word.contains(&format!("mac={mac},")));
        assert!(addresses().split(',').all(has), "{words:?}");
    }
}

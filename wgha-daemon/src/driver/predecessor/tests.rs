use std::time::Duration;

use wgha_common::{Address, Family, IfIndex, Priority, Vrid};

use super::*;
use crate::{
    config::{DEFAULT_ADVERT_INTERVAL, VirtualAddress},
    sys::{
        address::InterfaceAddress,
        link::Link,
        wireguard::{Facts, Implementation},
    },
};

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// Everything that the judgement goes by.
#[derive(Clone)]
struct Scene {
    predecessor: Predecessor,
    vrrp: Vrrp,
    uplink: UplinkSeen,
    tunnel: TunnelSeen,
}

impl Scene {
    /// A daemon of epoch 7 has left everything in its place.
    fn intact() -> Self {
        let vip = VirtualAddress { address: "2001:db8:1::2".parse().unwrap(), prefix_len: 64 };
        let link = Link { index: IfIndex(2), up: true, running: true, mac: [2; 6], veth: false };
        let facts = Facts {
            listen_port: Some(51800),
            implementation: Implementation::Userspace,
            peers: 1,
            endpoints: 1,
        };
        Self {
            predecessor: Predecessor {
                lease: Lease::new(Role::Active, 7, NOW + Duration::from_millis(1)),
                revoked: 6,
                uplink: UplinkConfig {
                    vip: Address::from(vip.address),
                    wireguard_port: 51800,
                    vrid: 52,
                    family: 6,
                    ..UplinkConfig::default()
                },
                vips: BTreeMap::from([(vip.address, 64)]),
                ..Predecessor::default()
            },
            vrrp: Vrrp {
                id: Vrid::new(52).unwrap(),
                priority: Priority::new(100).unwrap(),
                advert_interval: DEFAULT_ADVERT_INTERVAL,
                preempt: true,
                preempt_delay: Duration::ZERO,
                checksum: None,
                authentication: false,
                virtual_addresses: vec![vip],
                family: Family::V6,
            },
            uplink: UplinkSeen {
                link: Some(link),
                addresses: vec![InterfaceAddress { address: vip.address, prefix_len: 64, unusable: false }],
                ..UplinkSeen::default()
            },
            tunnel: TunnelSeen { link: Some(link), facts: Some(Ok(facts)), ..TunnelSeen::default() },
        }
    }

    fn judged(&self) -> (Inherited, Option<&'static str>) {
        self.predecessor.inherited(&self.vrrp, &self.uplink, &self.tunnel, NOW)
    }
}

#[test]
fn what_is_intact_is_gone_on_with() {
    let until = Some(NOW + Duration::from_millis(1));
    assert_eq!(Scene::intact().judged(), (Inherited { epoch: 7, until, ended: false }, None));
}

type Change = fn(&mut Scene);

#[test]
fn whatever_is_missing_ends_the_lease() {
    // Those that end it before its time have others told.
    let over = ["it was revoked", "it has lapsed"];
    let cases: [(Change, &str); 14] = [
        (|s| s.predecessor.revoked = 7, "it was revoked"),
        (|s| s.predecessor.lease.until = NOW.as_nanos(), "it has lapsed"),
        (|s| s.predecessor.lease.until = 0, "it was revoked"),
        (|s| s.vrrp.id = Vrid::new(53).unwrap(), "it was of another virtual router"),
        (|s| s.vrrp.family = Family::V4, "it was of another virtual router"),
        (|s| s.vrrp.virtual_addresses[0].prefix_len = 48, "it was for other virtual addresses"),
        (|s| s.predecessor.vips.clear(), "it was for other virtual addresses"),
        (|s| s.uplink.link = None, "the uplink is down or has no carrier"),
        (|s| s.uplink.addresses.clear(), "a virtual address is gone"),
        (|s| s.uplink.addresses[0].unusable = true, "a virtual address is gone"),
        (|s| s.tunnel.link = None, "the WireGuard interface is down"),
        (|s| s.tunnel.facts = None, "WireGuard has another port"),
        (|s| s.tunnel.facts = Some(Err("silent".into())), "WireGuard has another port"),
        (|s| s.predecessor.uplink.wireguard_port = 51801, "WireGuard has another port"),
    ];
    for (change, why) in cases {
        let mut scene = Scene::intact();
        change(&mut scene);
        assert_eq!(
            scene.judged(),
            (Inherited { epoch: 7, until: None, ended: !over.contains(&why) }, Some(why))
        );
    }
}

#[test]
fn who_did_not_serve_leaves_its_epoch_only() {
    for role in [Role::Backup, Role::Claiming] {
        let mut scene = Scene::intact();
        scene.predecessor.lease.role = role as u32;
        assert_eq!(scene.judged(), (Inherited { epoch: 7, until: None, ended: false }, None));
    }
}

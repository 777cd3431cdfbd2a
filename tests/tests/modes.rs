//! Every hook does the same: native XDP, generic XDP, TC. A daemon that is killed leaves its fence, and the next one takes it over.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{collections::BTreeMap, fs};

use aya::programs::links::{FdLink, PinnedLink};
use wgha_tests::{
    Namespace, Node, Pair, Plan, SOON, Settings, Topology,
    Which::{A, B},
    cards, may_run, wait_until,
};

/// What `[uplink] attach` says, and what `wgha status` shows then.
const MODES: [(&str, &str); 3] = [("native", "xdp native"), ("generic", "xdp generic"), ("tc", "tc (")];

#[test]
fn every_hook_carries_a_failover() {
    if !may_run() {
        return;
    }
    for (attach, shown) in MODES {
        let settings = |plan: &Plan, which| Settings { attach, ..Settings::seed(plan, which) };
        let pair = Pair::start(Topology::ipv6().unwrap(), settings).unwrap();
        let uplink = &pair.b.status().unwrap()["uplink"];
        assert!(uplink["ingress"].as_str().unwrap().starts_with(shown), "{attach}: {uplink}");
        pair.ping().unwrap();
        let traffic = pair.a.status().unwrap()["wireguard"]["traffic"]["ingress"].clone();
        assert!(traffic["initiation"]["packets"].as_u64() >= Some(1), "{attach}: {traffic}");
        // The Backup hears adverts and is fenced.
        assert!(counter(&pair.b, "advert_valid") > 0, "{attach}");
        pair.topology.a.tunnel.set(false).unwrap();
        pair.b.wait_role("active", SOON).unwrap();
        pair.topology.a.tunnel.set(true).unwrap();
        pair.wait_serving(A).unwrap();
    }
}

#[test]
fn a_killed_daemons_programs_are_taken_over_in_every_mode() {
    if !may_run() {
        return;
    }
    for (before, after) in [("native", "auto"), ("generic", "auto"), ("tc", "auto"), ("generic", "native")] {
        let settings = |plan: &Plan, which| Settings { attach: before, ..Settings::seed(plan, which) };
        let mut pair = Pair::start(Topology::ipv6().unwrap(), settings).unwrap();
        let shown = |node: &Node| node.status().unwrap()["uplink"]["ingress"].as_str().unwrap().to_owned();
        let ingress = shown(&pair.b);
        pair.b.kill9();
        let left = links(&pair.topology.b.namespace);
        assert_eq!(left.len(), 2 - filters(&pair.topology.b.namespace), "{left:?}");
        let settings = Settings { attach: after, ..Settings::seed(&pair.topology.plan, B) };
        pair.b = Node::start(&pair.topology, B, &settings).unwrap();
        // On a veth `auto` does without native XDP: whether its answers leave depends on the far end.
        let expected = match (before, after) {
            ("native", "auto") if !cards::are_there() => "tc (",
            (_, "auto") => &ingress,
            _ => "xdp native",
        };
        assert!(shown(&pair.b).starts_with(expected), "{before}, then {after}: {}", shown(&pair.b));
        let now = links(&pair.topology.b.namespace);
        if shown(&pair.b) == ingress {
            // The same links: the new programs have replaced the old ones between two packets.
            assert_eq!(now, left);
        }
        assert_eq!(now.len(), 2 - filters(&pair.topology.b.namespace), "the old pin or filter is gone");
        pair.wait_serving(A).unwrap();
    }
}

/// Nothing is pinned where there is no bpffs; the daemon says so and works.
#[test]
fn without_a_bpffs_it_works_and_says_so() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    t.a.namespace.run("umount", &["/sys/fs/bpf"]).unwrap();
    let a = Node::start(&t, A, &Settings::seed(&t.plan, A)).unwrap();
    a.wait_role("active", SOON).unwrap();
    let status = a.status().unwrap();
    if filters(&t.a.namespace) == 2 {
        assert_eq!(status["uplink"]["pinned"], true, "filters stay without pins");
        return;
    }
    assert_eq!(status["uplink"]["pinned"], false);
    assert!(status["problems"][0].as_str().unwrap().contains("bpffs"), "{status}");
    wait_until("status to be degraded", SOON, || Ok(a.wgha(&["status"])?.status.code() == Some(1))).unwrap();
}

/// How many hooks of a daemon's uplink are filters, where a kernel has no TCX; none has two.
fn filters(namespace: &Namespace) -> usize {
    let shown = ["ingress", "egress"]
        .map(|way| namespace.run("tc", &["filter", "show", "dev", "eno1", way]).unwrap_or_default());
    let ours = shown.map(|filters| filters.matches("direct-action").count());
    assert!(ours[0] <= 1 && ours[1] <= 1, "{ours:?}");
    ours.iter().sum()
}

fn counter(node: &Node, name: &str) -> u64 {
    node.status().unwrap()["counters"][name].as_u64().unwrap_or(0)
}

/// The links' pins, and the kernel's numbers of what they hold.
fn links(namespace: &Namespace) -> BTreeMap<String, u32> {
    let folder = namespace.path("/sys/fs/bpf/wgha");
    let pins = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let pins = pins.filter(|pin| !pin.file_type().unwrap().is_dir());
    let link = |pin: fs::DirEntry| {
        let link = FdLink::from(PinnedLink::from_pin(pin.path()).unwrap());
        (pin.file_name().into_string().unwrap(), link.info().unwrap().id())
    };
    pins.map(link).collect()
}

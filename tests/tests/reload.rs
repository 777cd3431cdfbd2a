//! A daemon that is executed anew goes on where it was, and the tunnel does not notice.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt as _, path::PathBuf, process::Output, time::Duration};

use aya::maps::{MapData, MapInfo};
use serde_json::Value;
use wgha_common::abi::Lease;
use wgha_tests::{
    AFTER_WIREGUARD, Node, Pair, Pinger, Plan, Property, SOON, Settings, Topology,
    Which::{A, B},
    clock::observe_for,
    may_run, monotonic_ns,
    node::{BINARY_OF_OTHERS, CONFIG, binary},
    throughput::Stream,
    wait_until,
};

/// Between two pings.
const EVERY: Duration = Duration::from_millis(1);

#[test]
fn the_active_is_executed_anew_and_nothing_is_lost() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    drop(pair.ping().unwrap());
    let ping = Pinger::start(&pair.topology.client, pair.topology.plan.tunnel_server, EVERY).unwrap();
    ping.wait_answer(0, Some(A), SOON).unwrap();
    observe_for(Duration::from_secs(1)).unwrap();

    nothing_is_lost(&ping, Duration::ZERO, || {
        let before = Before::of(&pair.a);
        succeeded(&pair.a.wgha(&["reload"]).unwrap());
        before.assert_went_on(&pair.a, "active");
        assert_no_change_of_role(&pair.b, before.at);
        pair.wait_probing().unwrap();
    });
    nothing_is_lost(&ping, Duration::ZERO, || {
        let before = Before::of(&pair.b);
        succeeded(&pair.b.wgha(&["reload"]).unwrap());
        assert!(before.is_past(&pair.b));
        assert_no_change_of_role(&pair.a, before.at);
        pair.wait_serving(A).unwrap();
        pair.wait_probing().unwrap();
    });
    drop(ping);

    let before = Before::of(&pair.a);
    pair.a.hangup().unwrap();
    wait_until("A to be executed anew", SOON, || Ok(before.is_past(&pair.a))).unwrap();
    before.assert_went_on(&pair.a, "active");
    pair.wait_probing().unwrap();

    // The usual bounds hold again.
    let ping = pair.ping().unwrap();
    let killed = monotonic_ns();
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(killed, Some(B), AFTER_WIREGUARD).unwrap();
}

/// How long pings are lost beside a stream.
const STREAM_LOSES: Duration = Duration::from_millis(100);

/// A busy machine loses some of a thousand pings a second by itself: no more than it has just lost in as much time. A failover
/// loses some every time. `unnoticed` is as short as any outage that does not count.
fn nothing_is_lost(ping: &Pinger, unnoticed: Duration, mut during: impl FnMut()) {
    let unnoticed = u64::try_from(unnoticed.as_nanos()).unwrap();
    let longest = |since: u64| {
        let outages = ping.outages(since).into_iter();
        outages.map(|outage| outage.to_ns.unwrap_or(u64::MAX) - outage.from_ns).max().unwrap_or(0)
    };
    let mut lost = Vec::new();
    for _ in 0..6 {
        let alone = monotonic_ns();
        observe_for(Duration::from_secs(1)).unwrap();
        let alone = longest(alone);
        let since = monotonic_ns();
        during();
        observe_for(Duration::from_millis(500)).unwrap();
        if longest(since) <= alone.max(unnoticed) {
            return;
        }
        lost.push((alone, ping.outages(since)));
    }
    panic!("pings are lost each time (longest outage without a reload, outages with it): {lost:?}");
}

/// As fast as it goes. On two processors a stream that takes all of them loses pings beside it by itself, for some 30 ms at a
/// time; a lease that had lapsed would cost seconds.
#[test]
fn a_stream_through_the_tunnel_goes_on() {
    if !may_run() || !Property::SecondProcessor.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let stream = Stream::start(&pair.topology).unwrap();
    let ping = Pinger::start(&pair.topology.client, pair.topology.plan.tunnel_server, EVERY).unwrap();
    ping.wait_answer(0, Some(A), SOON).unwrap();
    observe_for(Duration::from_secs(1)).unwrap();
    nothing_is_lost(&ping, STREAM_LOSES, || {
        let before = Before::of(&pair.a);
        let received = stream.received();
        succeeded(&pair.a.wgha(&["reload"]).unwrap());
        before.assert_went_on(&pair.a, "active");
        assert_no_change_of_role(&pair.b, before.at);
        let during = stream.received();
        assert!(during > received, "the stream has paused");
        wait_until("the stream to go on", SOON, || Ok(stream.received() > during + (1 << 20))).unwrap();
    });
}

#[test]
fn a_wrong_configuration_changes_nothing_and_a_right_one_is_taken() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let namespace = &pair.topology.a.namespace;
    let right = Settings { priority: 120, ..Settings::seed(&pair.topology.plan, A) };
    let before = Before::of(&pair.a);
    namespace.write(CONFIG, &right.to_toml().replace("priority = 120", "priority = 255")).unwrap();
    let refused = pair.a.wgha(&["reload"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("vrrp.priority = 255"), "{said}");
    assert!(!before.is_past(&pair.a));
    assert_eq!(pair.a.role().unwrap().as_deref(), Some("active"));

    // Its address would stay behind on the old one, and its tunnel up.
    namespace.ip("link add eno2 type veth peer name eno3").unwrap();
    namespace.ip("link set eno2 up").unwrap();
    namespace.write(CONFIG, &right.to_toml().replace("\"eno1\"", "\"eno2\"")).unwrap();
    let refused = pair.a.wgha(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another uplink.interface takes a stop and a start"), "{said}");
    assert!(!before.is_past(&pair.a));

    namespace.write(CONFIG, &right.to_toml()).unwrap();
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    before.assert_went_on(&pair.a, "active");
    assert_eq!(pair.a.status().unwrap()["vrrp"]["priority"], 120);
    assert_no_change_of_role(&pair.b, before.at);
}

/// As the README has it: the Active stands by, and is not stopped.
#[test]
fn a_role_is_handed_over_by_a_lower_priority() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let lower = Settings { priority: 90, ..Settings::seed(&pair.topology.plan, A) };
    pair.topology.a.namespace.write(CONFIG, &lower.to_toml()).unwrap();
    let handed = monotonic_ns();
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    pair.wait_serving(B).unwrap();
    ping.wait_answer(handed, Some(B), AFTER_WIREGUARD).unwrap();
}

/// Whoever had another list of addresses may still hold one that is not configured any more.
#[test]
fn an_address_that_is_no_longer_configured_is_given_up() {
    if may_run() {
        [false, true].into_iter().for_each(an_address_is_given_up);
    }
}

fn an_address_is_given_up(authentication: bool) {
    let more_vrrp = if authentication { "authentication = true\n" } else { "" }.to_owned();
    let seed = |plan: &Plan, which| Settings { more_vrrp: more_vrrp.clone(), ..Settings::seed(plan, which) };
    let pair = Pair::start(Topology::ipv6().unwrap(), seed).unwrap();
    pair.wait_probing().unwrap();
    let Topology { plan, a, .. } = &pair.topology;
    let seed = seed(plan, A);
    let other: IpAddr = "2001:db8:1::22".parse().unwrap();
    let with = |vips: &[IpAddr]| {
        let virtual_addresses = vips.iter().map(|vip| plan.with_prefix(*vip)).collect();
        a.namespace.write(CONFIG, &Settings { virtual_addresses, ..seed.clone() }.to_toml()).unwrap();
        succeeded(&pair.a.wgha(&["reload"]).unwrap());
    };
    // Whoever has only just begun to listen waits for the advert of an Active Router, which is due in 2 s during a reload.
    observe_for(Duration::from_secs(3)).unwrap();
    let since = monotonic_ns();
    with(&[plan.vip, other]);
    // It cannot go on, and its kernel half says so: nobody waits until its lease must be over.
    let taken = pair.b.wait_event("role", "active", since, SOON).unwrap();
    println!("B takes over: {}", taken["detail"]);
    wait_until("A to hold both", SOON, || Ok(a.has_address(plan.vip) && a.has_address(other))).unwrap();
    with(&[plan.vip]);
    wait_until("A to serve again", SOON, || Ok(pair.a.role()?.as_deref() == Some("active"))).unwrap();
    assert!(!a.has_address(other), "nobody has removed it");
}

#[test]
fn the_program_that_is_at_the_path_by_then_is_executed_and_one_that_dies_costs_the_lease() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let (of_a, of_b) = (Settings::seed(&topology.plan, A), Settings::seed(&topology.plan, B));
    let a = Node::start_through(&topology, A, &of_a, &["/usr/bin/env"]).unwrap();
    a.wait_role("active", SOON).unwrap();
    let b = Node::start(&topology, B, &of_b).unwrap();
    let pair = Pair { a, b, topology };
    pair.wait_serving(A).unwrap();
    pair.wait_probing().unwrap();
    let path = pair.topology.a.namespace.path(BINARY_OF_OTHERS);

    fs::remove_file(&path).unwrap();
    fs::copy(binary().unwrap(), &path).unwrap();
    let before = Before::of(&pair.a);
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    before.assert_went_on(&pair.a, "active");
    let executed = fs::metadata(format!("/proc/{}/exe", pair.a.id())).unwrap();
    assert_eq!(executed.ino(), fs::metadata(&path).unwrap().ino());
    pair.wait_probing().unwrap();

    // It says that it could run, and then does not.
    let copy = path.with_extension("new");
    fs::write(&copy, "#!/bin/sh\n[ \"$1\" = check ]\n").unwrap();
    fs::set_permissions(&copy, fs::metadata(&path).unwrap().permissions()).unwrap();
    fs::rename(&copy, &path).unwrap();
    let ping = pair.ping().unwrap();
    let dies = monotonic_ns();
    assert_eq!(pair.a.wgha(&["reload"]).unwrap().status.code(), Some(2));
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(dies, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn maps_of_another_version_are_replaced() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let folder = maps_of_a(&pair.topology);
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let older = folder.with_file_name(name.replacen("maps", "maps9", 1));
    fs::rename(&folder, &older).unwrap();
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    // Its lease was in a map that this version does not know: it is elected anew.
    pair.wait_serving(A).unwrap();
    assert_eq!(maps_of_a(&pair.topology), folder);

    // The same version by its name, and another one in truth.
    let lease = folder.join("LEASE");
    fs::remove_file(&lease).unwrap();
    MapData::from_pin(folder.join("UPLINK")).unwrap().pin(&lease).unwrap();
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    pair.wait_serving(A).unwrap();
    assert_eq!(MapInfo::from_pin(&lease).unwrap().value_size() as usize, size_of::<Lease>());
    // Until it has heard what the new maps brought, B asks for the old discriminator.
    pair.wait_probing().unwrap();
    wait_until("B to ask for the new one", SOON, || {
        let asked = misled(&pair.a);
        observe_for(Duration::from_millis(200))?;
        Ok(misled(&pair.a) == asked)
    })
    .unwrap();
    let before = Before::of(&pair.a);
    succeeded(&pair.a.wgha(&["reload"]).unwrap());
    before.assert_went_on(&pair.a, "active");
}

/// A lone node with a lease of 6 s, so that it still stands when a killed daemon is started again.
fn lone() -> (Topology, Settings, Node) {
    let topology = Topology::ipv6().unwrap();
    let seed = Settings::seed(&topology.plan, A);
    let settings = Settings { peer: None, advert_interval: "2s".into(), ..seed };
    let node = Node::start(&topology, A, &settings).unwrap();
    node.wait_role("active", SOON).unwrap();
    let vip = topology.plan.vip;
    wait_until("the take-over to end", SOON, || Ok(topology.a.has_address(vip) && topology.a.tunnel.is_up()))
        .unwrap();
    // The end of raising the tunnel has to be heard of as well.
    observe_for(Duration::from_millis(200)).unwrap();
    (topology, settings, node)
}

/// Kills the daemon, does something, and starts it again; its epochs before and after.
fn killed_and_started(meanwhile: impl FnOnce(&Topology)) -> (u64, u64, Node, Topology) {
    let (topology, settings, mut node) = lone();
    let epoch = epoch(&node);
    node.kill9();
    meanwhile(&topology);
    let again = Node::start(&topology, A, &settings).unwrap();
    again.wait_role("active", SOON).unwrap();
    let later = self::epoch(&again);
    (epoch, later, again, topology)
}

#[test]
fn a_killed_daemon_that_is_started_in_time_goes_on() {
    if !may_run() {
        return;
    }
    let (before, after, node, _topology) = killed_and_started(|_| {});
    assert_eq!(before, after);
    assert!(has_event(&node, "effect", "went_on"));
}

#[test]
fn nobody_goes_on_with_a_lease_that_has_lapsed() {
    if !may_run() {
        return;
    }
    let (before, after, node, _topology) =
        killed_and_started(|_| observe_for(Duration::from_millis(6_500)).unwrap());
    assert_refused(before, after, &node, &["it has lapsed", "it was revoked"]);
}

#[test]
fn nobody_goes_on_without_the_vip() {
    if !may_run() {
        return;
    }
    let (before, after, node, topology) = killed_and_started(|topology| {
        let vip = topology.plan.with_prefix(topology.plan.vip);
        topology.a.namespace.ip(&format!("address del {vip} dev eno1")).unwrap();
    });
    assert_refused(before, after, &node, &["a virtual address is gone"]);
    assert!(topology.a.has_address(topology.plan.vip));
}

#[test]
fn nobody_goes_on_with_a_lease_that_an_advert_has_ended() {
    if !may_run() {
        return;
    }
    let (before, after, node, _topology) = killed_and_started(outrank_a);
    assert_refused(before, after, &node, &["it was revoked"]);
}

/// One advert of priority 200, from B.
fn outrank_a(topology: &Topology) {
    use wgha::sys::{announce, link, packet_socket::PacketSocket};
    use wgha_common::{Centiseconds, Vrid, abi::ChecksumStyle, wire::vrrp};
    let vips = [topology.plan.vip.into()];
    let advert = vrrp::Advert {
        vrid: Vrid::new(Plan::VRID).unwrap(),
        priority: 200,
        interval: Centiseconds::new(1).unwrap(),
        style: ChecksumStyle::Rfc9568,
        source: "fe80::77".parse::<IpAddr>().unwrap().into(),
        addresses: &vips,
    };
    let frame = announce::advert(&advert, [2, 0, 0, 0, 0, 0x77]).unwrap();
    topology
        .b
        .namespace
        .inside(|| {
            let index = link::index("eno1")?.unwrap();
            Ok(PacketSocket::open()?.send(index, &frame)?)
        })
        .unwrap();
}

fn assert_refused(before: u64, after: u64, node: &Node, because: &[&str]) {
    assert!(after > before, "{before}, and then {after}");
    let log = node.log().join("\n");
    let said = because.iter().any(|why| log.contains(&format!("the daemon before this one: {why}")));
    assert!(said, "{log}");
    assert!(!has_event(node, "effect", "went_on"));
}

#[test]
fn detach_leaves_nothing_of_a_daemon_that_was_killed() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    assert!(maps_of_a(&pair.topology).join("LEASE").exists(), "there is nothing to be left");
    pair.a.kill9();
    succeeded(
        &wgha_tests::node::run_wgha(&pair.topology.a.namespace, &["detach", "--config", CONFIG]).unwrap(),
    );
    let left = fs::read_dir(pair.topology.a.namespace.path("/sys/fs/bpf")).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.ends_with(".debug")), "{left:?}");
    assert!(!pair.topology.a.has_address(pair.topology.plan.vip) && !pair.topology.a.tunnel.is_up());
}

fn maps_of_a(topology: &Topology) -> PathBuf {
    let bpffs = topology.a.namespace.path("/sys/fs/bpf/wgha");
    let folders = fs::read_dir(bpffs).unwrap().map(|e| e.unwrap().path());
    let mut maps = folders.filter(|f| f.file_name().unwrap().to_string_lossy().starts_with("maps"));
    let folder = maps.next().unwrap();
    assert_eq!(maps.next(), None);
    folder
}

/// What a daemon was before it was executed anew.
struct Before {
    at: u64,
    id: u32,
    epoch: u64,
    uptime: f64,
    descriptors: usize,
    /// How many probes were to another discriminator than its own.
    misled: Value,
}

impl Before {
    fn of(node: &Node) -> Self {
        Self {
            at: monotonic_ns(),
            id: node.id(),
            epoch: epoch(node),
            uptime: uptime(node),
            descriptors: descriptors(node),
            misled: misled(node),
        }
    }

    /// Whether another program answers. While one makes way for the other, none does.
    fn is_past(&self, node: &Node) -> bool {
        node.status().is_ok_and(|status| status["uptime_s"].as_f64().is_some_and(|up| up < self.uptime))
    }

    /// The same process, another program, the same role under the same epoch, and nothing in its events of a change.
    fn assert_went_on(&self, node: &Node, role: &str) {
        assert!(self.is_past(node), "it is the old one");
        assert_eq!(node.role().unwrap().as_deref(), Some(role));
        assert_eq!((node.id(), epoch(node)), (self.id, self.epoch));
        assert_no_change_of_role(node, self.at);
        assert!(has_event(node, "effect", "went_on"));
        assert_eq!(misled(node), self.misled, "it does not answer to what the others know");
        let inherited = descriptors(node).saturating_sub(self.descriptors);
        assert!(inherited < 4, "{inherited} descriptors more than before");
    }
}

fn assert_no_change_of_role(node: &Node, since: u64) {
    let changed =
        current_events(node).into_iter().find(|e| e["kind"] == "role" && e["at_ns"].as_u64() >= Some(since));
    assert_eq!(changed, None);
}

/// Those of the program that answers now.
fn current_events(node: &Node) -> Vec<Value> {
    let output = node.wgha(&["events", "--json"]).unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn has_event(node: &Node, kind: &str, what: &str) -> bool {
    current_events(node).iter().any(|e| e["kind"] == kind && e["what"] == what)
}

fn epoch(node: &Node) -> u64 {
    node.status().unwrap()["lease"]["epoch"].as_u64().unwrap()
}

fn uptime(node: &Node) -> f64 {
    node.status().unwrap()["uptime_s"].as_f64().unwrap()
}

fn misled(node: &Node) -> Value {
    node.status().unwrap()["counters"]["probe_bad_discriminator"].clone()
}

fn descriptors(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.id())).unwrap().count()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

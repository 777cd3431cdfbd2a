//! What the system does to a node behind its back: addresses, names, maps, pins and programs are not as it left them.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Frame, Namespace, Node, Pair, Plan, SOON, Settings, Topology,
    Which::{A, B},
    clock::{observe_for, patience},
    fault::OneWay,
    leftovers::{has_programs, pins},
    may_run, monotonic_ns,
    node::{self, advert_interval},
    packets::{Advert, Ip, VRRP},
    storm::{Asker, Rules, View, What, Wire, judge},
    topology::UPLINK,
    usage::Usage,
    wait_until,
};

#[test]
fn both_started_at_once_agree_and_never_both_answer() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let observer = topology.observer().unwrap();
    let mut wire = Wire::watch(&topology, &observer).unwrap();
    let _asker = Asker::start(&observer, &topology.plan).unwrap();
    let both = || Node::start_both(&topology, |which| Settings::seed(&topology.plan, which)).unwrap();
    let [mut a, mut b] = both();
    for _ in 0..3 {
        a.wait_role("active", SOON).unwrap();
        b.wait_role("backup", SOON).unwrap();
        observe_for(Duration::from_millis(300)).unwrap();
        assert_eq!((role(&a), role(&b)), ("active".into(), "backup".into()));
        a.kill9();
        b.kill9();
        [a, b] = both();
    }
    drop((a, b));
    let seen = wire.take_sightings();
    let overlap = patience(Duration::from_millis(100));
    let rules = Rules {
        overlap,
        advert_overlap: overlap,
        advert_pause: advert_interval() * 7 / 2,
        ..Rules::default()
    };
    assert_eq!(judge(&seen, &rules), []);
    let answered =
        |s: &wgha_tests::storm::Sighting| s.view == View::Asker && matches!(s.what, What::Answer { .. });
    assert!(seen.iter().any(answered), "nobody has answered");
}

/// RTM_NEWADDR without NLM_F_REPLACE would fail with EEXIST.
#[test]
fn a_vip_that_is_there_already_is_held() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let mut pair = pair().unwrap();
        let plan = pair.topology.plan.clone();
        let no_dad = if plan.is_ipv6() { "nodad" } else { "" };
        let vip = plan.with_prefix(plan.vip);
        pair.topology.b.namespace.ip(&format!("address replace {vip} dev {UPLINK} {no_dad}")).unwrap();
        let killed = monotonic_ns();
        pair.a.kill9();
        let held = pair.b.wait_event("effect", "vip_held", killed, SOON).unwrap();
        assert_eq!(held["detail"], "ok");
        assert_eq!(role(&pair.b), "active");
        assert!(pair.topology.b.has_address(plan.vip));
        pair.a = Node::start(&pair.topology, A, &Settings::seed(&plan, A)).unwrap();
        pair.wait_serving(A).unwrap();
    }
}

/// Under its other name it still has the VIP, and whatever asks for that is still asked.
#[test]
fn an_uplink_that_is_renamed_stays_fenced() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let observer = pair.topology.observer().unwrap();
    let from_a = Capture::at_port(&pair.topology, A).unwrap();
    let asker = Asker::start(&observer, &pair.topology.plan).unwrap();

    // Whoever has gone on has not put the VIP there itself.
    let reloaded = pair.a.wgha(&["reload"]).unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    let renamed = monotonic_ns();
    rename(&pair.topology.a.namespace, UPLINK, "eno9");
    expect_fault_of_a(&pair, "the uplink does not exist");
    let moved = monotonic_ns();
    ping.wait_answer(renamed, Some(B), AFTER_WIREGUARD).unwrap();
    let plan = &pair.topology.plan;
    let held = || Ok(pair.topology.a.namespace.ip("address show")?.contains(&plan.with_prefix(plan.vip)));
    wait_until("the VIP to leave the uplink, whatever that is called", SOON, || held().map(|held| !held))
        .unwrap();
    let asked = asker.asked();
    observe_for(Duration::from_secs(2)).unwrap();
    assert!(asker.asked() > asked, "nobody has asked");
    expect_silent(&from_a, moved, &pair.topology.plan);

    let back = monotonic_ns();
    rename(&pair.topology.a.namespace, "eno9", UPLINK);
    pair.topology.restore_uplink(A).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(back, Some(A), AFTER_WIREGUARD).unwrap();
}

/// The kernel tells no neighbour of it by itself.
#[test]
fn another_mac_address_is_announced() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    observe_for(patience(Duration::from_secs(5))).unwrap(); // until it is announced at leisure only
    let from_a = Capture::at_port(&pair.topology, A).unwrap();
    let changed = monotonic_ns();
    pair.topology.a.namespace.ip(&format!("link set {UPLINK} address 02:00:00:00:00:99")).unwrap();
    let plan = &pair.topology.plan;
    for address in [plan.vip, plan.a] {
        // To everybody: not an answer of the kernel's.
        let announces = |frame: Frame<'_>| {
            frame.neighbour().is_some_and(|n| n.answers && n.overrides && n.target == address)
                && frame.0[..12] == [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0x99]
        };
        let told = from_a.wait_received("an announcement", changed, SOON, announces).unwrap();
        let event = pair.a.wait_event("input", "mac_changed", changed, SOON).unwrap();
        let apart = told.at_ns.abs_diff(node::at(&event));
        assert!(apart < 1_000_000_000, "{apart} ns: by chance");
    }
}

/// The peer channel has other addresses, and goes on.
#[test]
fn who_has_no_address_to_send_from_says_that_it_does_not_serve() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let a = &pair.topology.a.namespace;
    let shown = a.ip(&format!("-6 -brief address show dev {UPLINK} scope link")).unwrap();
    let own = shown.split_whitespace().find(|word| word.starts_with("fe80::")).unwrap();
    a.ip(&format!("address del {own} dev {UPLINK}")).unwrap();
    expect_fault_of_a(&pair, "no address");
    let says = || {
        let status = pair.b.status()?;
        Ok(status["peers"][0]["serving"] == false && status["peers"][0]["fit"] == false)
    };
    wait_until("B to be told", SOON, says).unwrap();
}

/// What cannot be set is not tried without end.
#[test]
fn a_backup_without_a_tunnel_waits_for_it() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();
    pair.topology.b.tunnel.delete().unwrap();
    pair.b.wait_role("fault", SOON).unwrap();
    let roamed = monotonic_ns();
    pair.topology.client_tunnel.wg_set("listen-port 40123").unwrap();
    ping.wait_answer(roamed, Some(A), AFTER_WIREGUARD).unwrap();

    let before = Usage::of(&[pair.b.id()]).unwrap();
    let began = Instant::now();
    observe_for(Duration::from_secs(3)).unwrap();
    let share =
        Usage::of(&[pair.b.id()]).unwrap().since(&before).cpu_ns as f64 / began.elapsed().as_nanos() as f64;
    println!("a Backup without a tunnel takes {:.1} % of a processor", share * 100.0);
    assert!(share < 0.2, "{share}");
    pair.topology.b.tunnel.create().unwrap();
    pair.b.wait_role("backup", SOON).unwrap();
}

#[test]
fn an_uplink_that_is_deleted_and_made_anew_is_taken_again() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let deleted = monotonic_ns();
    pair.topology.delete_uplink(A).unwrap();
    expect_fault_of_a(&pair, "the uplink does not exist");
    ping.wait_answer(deleted, Some(B), AFTER_WIREGUARD).unwrap();
    let back = monotonic_ns();
    pair.topology.make_uplink(A).unwrap();
    pair.wait_serving(A).unwrap();
    assert!(has_programs(&pair.topology.a.namespace).unwrap());
    ping.wait_answer(back, Some(A), AFTER_WIREGUARD).unwrap();
}

/// Whoever sends to it is heard by nobody but it, and whoever it sends to does not hear it: in the end the tunnel is back.
#[test]
fn one_way_losses_end_with_one_that_serves() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    for way in [OneWay::Sent, OneWay::Received] {
        let lost = monotonic_ns();
        pair.topology.lose(A, way).unwrap();
        if way == OneWay::Sent {
            ping.wait_answer(lost, Some(B), AFTER_WIREGUARD).unwrap();
        } else {
            // What is sent to A is lost, answers to probes included.
            pair.b.wait_event("role", "active", lost, SOON).unwrap();
        }
        let mended = monotonic_ns();
        pair.topology.lose_no_more(A).unwrap();
        pair.wait_serving(A).unwrap();
        ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
        pair.wait_probing().unwrap();
    }
}

/// More routers than `ROUTERS` holds: the one that matters is not forgotten for those.
#[test]
fn a_crowd_of_routers_changes_nothing() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let since = monotonic_ns();
    let mut crowd = Crowd::of(&pair.topology);
    for router in 0..500 {
        crowd.advertises(router);
    }
    wait_until("B to have heard them", SOON, || Ok(counter(&pair.b, "advert_valid") > 400)).unwrap();
    assert_eq!((role(&pair.a), role(&pair.b)), ("active".into(), "backup".into()));
    wait_until("B to obey A", SOON, || Ok(pair.b.status()?["vrrp"]["active_router"].is_string())).unwrap();
    expect_no_change_of_role(&pair, since);
    take_over_and_back(&mut pair, &ping);
}

/// A daemon that hangs reads no events: those for which there is no room are lost, and it looks for itself.
#[test]
fn a_full_ring_is_survived() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let mut crowd = Crowd::of(&pair.topology);
    pair.b.stop().unwrap();
    // Of each kind of news 16 ring in a tenth of a second, and 1,365 have room.
    let until = monotonic_ns() + 5_000_000_000;
    for router in 0.. {
        crowd.advertises(router);
        crowd.says(router, 2);
        crowd.says(router, 0);
        observe_for(Duration::from_millis(1)).unwrap();
        if monotonic_ns() > until {
            break;
        }
    }
    pair.b.cont().unwrap();
    wait_until("events to be lost", SOON, || Ok(counter(&pair.b, "ring_full") > 0)).unwrap();
    pair.wait_serving(A).unwrap();
    pair.wait_probing().unwrap();
    take_over_and_back(&mut pair, &ping);
}

#[test]
fn pins_that_are_removed_are_put_back() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let links =
        |pair: &Pair| pins(&pair.topology.a.namespace).iter().filter(|pin| pin.contains("/link_")).count();
    let before = links(&pair);
    let removed = monotonic_ns();
    pair.topology.remove_pins(A).unwrap();
    assert_eq!(links(&pair), 0);
    wait_until("the pins to be back", SOON, || Ok(links(&pair) == before)).unwrap();
    expect_no_change_of_role(&pair, removed);
    // What they are for: a daemon that is killed leaves its fence.
    let from_a = Capture::at_port(&pair.topology, A).unwrap();
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    let moved = monotonic_ns();
    ping.wait_answer(moved, Some(B), AFTER_WIREGUARD).unwrap();
    observe_for(Duration::from_secs(1)).unwrap();
    expect_silent(&from_a, moved, &pair.topology.plan);
}

#[test]
fn a_bpffs_that_goes_away_is_told_and_costs_nothing() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let since = monotonic_ns();
    let attached = pair.a.status().unwrap()["uplink"]["ingress"].as_str().unwrap().to_owned();
    pair.topology.a.namespace.run("umount", &["-l", "/sys/fs/bpf"]).unwrap();
    if attached.contains("clsact") {
        // Filters are held by the interface, and hold their maps: no pin keeps the fence there.
        observe_for(patience(Duration::from_secs(2))).unwrap();
        assert_eq!(problems(&pair.a.status().unwrap()), "[]");
    } else {
        wait_until("A to say so", SOON, || {
            let status = pair.a.status()?;
            Ok(status["uplink"]["pinned"] == false && problems(&status).contains("bpffs"))
        })
        .unwrap();
    }
    assert!(has_programs(&pair.topology.a.namespace).unwrap());
    expect_no_change_of_role(&pair, since);
}

#[test]
fn programs_that_are_taken_off_are_put_back() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    for which in [B, A] {
        pair.topology.detach_programs(which).unwrap();
        let namespace = &pair.topology.server(which).namespace;
        wait_until("the programs to be back", SOON, || has_programs(namespace)).unwrap();
        pair.wait_serving(A).unwrap();
        pair.wait_probing().unwrap();
    }
    take_over_and_back(&mut pair, &ping);
}

/// The kernel renames an interface that is up since Linux 6.2 only.
fn rename(namespace: &Namespace, from: &str, to: &str) {
    if namespace.ip(&format!("link set {from} name {to}")).is_err() {
        namespace
            .ip_batch(&format!("link set {from} down\nlink set {from} name {to}\nlink set {to} up"))
            .unwrap();
    }
}

fn expect_fault_of_a(pair: &Pair, problem: &str) {
    pair.a.wait_role("fault", SOON).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let status = pair.a.status().unwrap();
    assert!(problems(&status).contains(problem), "{status}");
}

fn problems(status: &Value) -> String {
    status["problems"].to_string()
}

/// Nothing of WireGuard, no advert that claims anything, no word about the VIP.
fn expect_silent(wire: &Capture, since: u64, plan: &Plan) {
    for packet in wire.received(since) {
        let frame = packet.frame();
        let about_vip = frame.neighbour().is_some_and(|n| n.answers && n.target == plan.vip);
        let claims = frame.advert().is_some_and(|advert| advert.priority > 0);
        let wireguard = frame.udp().is_some_and(|udp| udp.source_port == Plan::PORT);
        assert!(!about_vip && !claims && !wireguard, "A has sent: {}", frame.describe());
    }
}

/// A dies, B takes over, A comes back.
fn take_over_and_back(pair: &mut Pair, ping: &wgha_tests::Pinger) {
    let killed = monotonic_ns();
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    ping.wait_answer(killed, Some(B), AFTER_WIREGUARD).unwrap();
    let again = monotonic_ns();
    pair.a = Node::start(&pair.topology, A, &Settings::seed(&pair.topology.plan, A)).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(again, Some(A), AFTER_WIREGUARD).unwrap();
}

fn expect_no_change_of_role(pair: &Pair, since: u64) {
    for node in [&pair.a, &pair.b] {
        let changed = node
            .events()
            .unwrap()
            .into_iter()
            .find(|event| event["kind"] == "role" && event["at_ns"].as_u64() >= Some(since));
        assert_eq!(changed, None, "{}", node.which);
    }
}

fn role(node: &Node) -> String {
    node.role().unwrap().unwrap_or_default()
}

fn counter(node: &Node, name: &str) -> u64 {
    node.status().unwrap()["counters"][name].as_u64().unwrap_or(0)
}

/// Routers of the lowest priority, as many as one likes.
struct Crowd {
    socket: File,
    vip: IpAddr,
}

impl Crowd {
    /// At the port of the switch of B: only B hears them.
    fn of(topology: &Topology) -> Self {
        let socket = wgha_tests::fault::at_port_of(topology, B).unwrap();
        Self { socket, vip: topology.plan.vip }
    }

    fn advertises(&mut self, router: u16) {
        self.says(router, 1);
    }

    fn says(&mut self, router: u16, priority: u8) {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xc0, router);
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
        let ip = Ip::new(source.into(), group.into(), VRRP);
        let interval = u16::try_from(advert_interval().as_millis() / 10).unwrap();
        let mut frame = Advert::new(Plan::VRID, priority, interval, self.vip).frame(&ip);
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0x12]);
        self.socket.write_all(&frame).unwrap();
    }
}

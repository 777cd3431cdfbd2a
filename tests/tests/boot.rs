//! Between boot and election, and after a stop: whatever brings wg1 up, it is silent (I4, I11).
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{collections::BTreeSet, fs, net::IpAddr, process::Output, time::Duration};

use wgha_common::abi::Counter;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Frame, Node, Pinger, Plan, Process, Property, SOON, Settings, Topology,
    Which::{A, B},
    clock::observe_for,
    flood::Flood,
    leftovers::{BPFFS, counted, has_clsact, has_programs, pins},
    may_run, monotonic_ns,
    node::{BINARY_OF_OTHERS, CONFIG, binary, roles, run_wgha},
    packets::{Datagram, Ip, wireguard},
    pinger, wait_until,
};

/// UDP
const UDP: u8 = 17;
/// A data packet of WireGuard.
const TRANSPORT: u8 = 4;

#[test]
fn what_comes_up_behind_the_fence_is_silent_until_it_is_elected_and_after_the_stop() {
    if !may_run() {
        return;
    }
    for (topology, more) in [(Topology::ipv6 as fn() -> _, "nodad"), (Topology::ipv4, "")] {
        let mut t = topology().unwrap();
        let endpoint = endpoint_of_the_client(&t);
        t.a.tunnel.delete().unwrap();
        let settings = at_boot(&t);
        let wire = Capture::at_port(&t, A).unwrap();
        assert_closed(&fence(&t, &settings));

        // What a boot could do worst: all that WireGuard needs to speak, and the VIP on the uplink.
        t.a.tunnel.create().unwrap();
        let talk = format!("peer {} endpoint {endpoint} persistent-keepalive 1", Plan::CLIENT_PUBLIC);
        t.a.tunnel.wg_set(&talk).unwrap();
        wait_fenced(&t, Counter::WireguardOutFenced);
        let hold = format!("address add {} dev eno1 {more}", t.plan.with_prefix(t.plan.vip));
        t.a.namespace.ip(&hold).unwrap();
        ask_for_the_vip(&t);
        assert_silent(&wire, 0, t.plan.vip);

        let mut node = Node::start(&t, A, &settings).unwrap();
        node.wait_role("active", SOON).unwrap();
        let ping = Pinger::start(&t.client, t.plan.tunnel_server, pinger::INTERVAL).unwrap();
        ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();

        assert!(node.term().unwrap().success());
        let stopped = monotonic_ns();
        t.a.tunnel.wg_set(&talk).unwrap();
        t.a.tunnel.set(true).unwrap();
        wait_fenced(&t, Counter::WireguardOutFenced);
        t.a.namespace.ip(&hold).unwrap();
        ask_for_the_vip(&t);
        assert_silent(&wire, stopped, t.plan.vip);
        assert!(wire.received(0).iter().any(|p| is_of_wireguard(p.frame())), "nothing was looked at");

        detach_leaves_nothing(&t);
    }
}

/// Where WireGuard itself is silent a stop takes the programs off, unless the fence was asked for.
#[test]
fn the_fence_stays_after_a_stop_and_a_crash_until_detach() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    t.a.tunnel.wg_set(&format!("peer {} remove", Plan::CLIENT_PUBLIC)).unwrap();
    let settings = Settings::seed(&t.plan, A);
    let mut node = Node::start(&t, A, &settings).unwrap();
    assert!(node.term().unwrap().success());
    assert!(!has_programs(&t.a.namespace).unwrap(), "nobody has asked for the fence");

    assert_closed(&fence(&t, &settings));
    for killed in [false, true] {
        let mut node = Node::start(&t, A, &settings).unwrap();
        node.wait_role("active", SOON).unwrap();
        if killed {
            node.kill9();
            node = Node::start(&t, A, &settings).unwrap();
            node.wait_role("active", SOON).unwrap();
        }
        assert!(node.term().unwrap().success());
        assert!(has_programs(&t.a.namespace).unwrap(), "killed before: {killed}");
        assert!(!t.a.tunnel.is_up() && !t.a.has_address(t.plan.vip), "the rest is undone");
    }
    detach_leaves_nothing(&t);
    let mut node = Node::start(&t, A, &settings).unwrap();
    assert!(node.term().unwrap().success());
    assert!(!has_programs(&t.a.namespace).unwrap(), "detach has ended it");
}

/// Several may share a bpffs, each for its own uplink.
#[test]
fn what_guards_another_uplink_is_left_alone() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    // Without peers its lease is longer than any pause of a busy machine.
    let seed = Settings { peer: None, ..Settings::seed(&t.plan, A) };
    let mut node = Node::start(&t, A, &seed).unwrap();
    node.wait_role("active", SOON).unwrap();
    let (own, since) = (pins(&t.a.namespace), monotonic_ns());

    t.a.namespace
        .ip_batch("link add eno2 type veth peer name eno3\nlink set eno2 up\nlink set eno3 up")
        .unwrap();
    let other = "/run/wgha/other.toml";
    let toml = Settings { listen_port: Some(51_900), ..seed }.to_toml();
    let toml = toml.replace("\"eno1\"", "\"eno2\"").replace("\"wg1\"", "\"wg2\"");
    t.a.namespace.write(other, &format!("{toml}\n[paths]\nsocket = \"/run/wgha/other.sock\"\n")).unwrap();
    let run = |verb: &str, config: &str| {
        let output = run_wgha(&t.a.namespace, &[verb, "--config", config]).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    for verb in ["fence", "detach"] {
        run(verb, other);
        observe_for(Duration::from_secs(2)).unwrap(); // the daemon looks at its own once a second
        let now = pins(&t.a.namespace);
        assert!(own.iter().all(|pin| now.contains(pin)), "{verb}: {now:?}");
        assert_eq!(now.len() > own.len(), verb == "fence", "{now:?}");
        let log = node.log().join("\n");
        assert!(!log.contains("taken off"), "{verb}: {log}");
    }
    assert_eq!(roles(&node, since).unwrap(), [""; 0]);

    run("fence", other);
    let others: Vec<_> = pins(&t.a.namespace).into_iter().filter(|pin| !own.contains(pin)).collect();
    assert!(node.term().unwrap().success());
    run("detach", CONFIG);
    assert_eq!(
        BTreeSet::from_iter(pins(&t.a.namespace)),
        BTreeSet::from_iter(others),
        "no daemon guards those"
    );
    run("detach", other);
    assert_eq!(pins(&t.a.namespace), [""; 0]);
}

/// A packet from WireGuard's port every few microseconds, while a daemon takes the fence over, and while it ends.
#[test]
fn between_the_fence_and_the_daemon_there_is_no_gap() {
    if !may_run() || !Property::SecondProcessor.is_there() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let b = Node::start(&t, B, &Settings::seed(&t.plan, B)).unwrap();
    b.wait_role("active", SOON).unwrap();
    let settings = Settings { preempt: false, ..at_boot(&t) };
    assert_closed(&fence(&t, &settings));
    let wire = Capture::at_port(&t, A).unwrap();
    let datagram = Datagram::new(Plan::PORT, 4321, wireguard(TRANSPORT, 64));
    let frame = datagram.frame(&Ip::new(t.plan.a, t.plan.b, UDP));
    let mut sent = 0;
    for _ in 0..4 {
        let flood = Flood::start(&t.a.namespace, frame.clone()).unwrap();
        let mut node = Node::start(&t, A, &settings).unwrap();
        node.wait_role("backup", SOON).unwrap();
        assert!(node.term().unwrap().success());
        sent += flood.end();
        assert_closed(&fence(&t, &settings));
    }
    let fenced = counted(&t.a.namespace, &t.a.namespace.path(BPFFS), Counter::WireguardOutFenced).unwrap();
    let passed = wire.received(0).into_iter().filter(|p| is_of_wireguard(p.frame())).count();
    assert_eq!(passed, 0, "of {sent}; {fenced} were fenced");
    assert!(sent > 10_000 && fenced >= sent, "{fenced} of {sent}");
    detach_leaves_nothing(&t);
}

#[test]
fn what_is_missing_is_named_and_nothing_is_left() {
    if !may_run() {
        return;
    }
    let mut t = Topology::ipv6().unwrap();
    t.a.tunnel.delete().unwrap();
    let settings = at_boot(&t);
    let write = |text: &str| t.a.namespace.write(CONFIG, text).unwrap();
    let said = |code: i32| {
        let output = run_wgha(&t.a.namespace, &["fence", "--config", CONFIG]).unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(!has_programs(&t.a.namespace).unwrap() && pins(&t.a.namespace).is_empty());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    write(&settings.to_toml().replace("eno1", "eno9"));
    assert!(said(1).contains("there is no interface eno9"), "{}", said(1));
    write(&Settings { listen_port: None, ..settings.clone() }.to_toml());
    let no_port = said(1);
    assert!(no_port.contains("which port is WireGuard's?"), "{no_port}");
    assert!(no_port.contains("wg1") && no_port.contains("listen_port = "), "{no_port}");
    write(&settings.to_toml().replace("listen_port = 51800", "listen_port = 0"));
    assert!(said(2).contains("wireguard.listen_port = 0"), "{}", said(2));
    write(&settings.to_toml());
    t.a.namespace.run("umount", &["/sys/fs/bpf"]).unwrap();
    let no_bpffs = said(1);
    assert!(no_bpffs.contains("the fence would end with this process"), "{no_bpffs}");
}

#[test]
fn twice_is_once_and_a_running_daemon_is_left_alone() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let settings = Settings::seed(&t.plan, A);
    assert_closed(&fence(&t, &settings));
    let before = pins(&t.a.namespace);
    assert_closed(&fence(&t, &settings));
    assert_eq!(pins(&t.a.namespace), before);
    detach_leaves_nothing(&t);

    let mut node = Node::start(&t, A, &settings).unwrap();
    node.wait_role("active", SOON).unwrap();
    let roles = || node.events().unwrap().into_iter().filter(|e| e["kind"] == "role").count();
    let before = (roles(), pins(&t.a.namespace));
    let refused = fence(&t, &settings);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("a daemon guards eno1 already"), "{said}");
    assert_eq!((roles(), pins(&t.a.namespace)), before);
    assert_eq!(node.role().unwrap().as_deref(), Some("active"));
    t.a.tunnel.wg_set(&format!("peer {} remove", Plan::CLIENT_PUBLIC)).unwrap();
    assert!(node.term().unwrap().success());
    assert!(has_programs(&t.a.namespace).unwrap(), "it was said to stay");
    detach_leaves_nothing(&t);
}

/// Between two programs in one process the lock is nobody's, but the lease stands: one that takes its time is waited for.
#[test]
fn a_daemon_that_is_being_executed_anew_is_left_alone() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let settings = Settings { peer: None, ..Settings::seed(&t.plan, A) };
    let mut node = Node::start_through(&t, A, &settings, &["/usr/bin/env"]).unwrap();
    node.wait_role("active", SOON).unwrap();
    let replace = format!("rm {BINARY_OF_OTHERS}; cat >{BINARY_OF_OTHERS}; chmod 755 {BINARY_OF_OTHERS}");
    let other = "#!/bin/sh\n[ \"$1\" = run ] || exit 0\nexec sleep 1000\n";
    t.a.namespace.run_with_input("sh", &["-c", &replace], other).unwrap();
    node.hangup().unwrap();
    let name = format!("/proc/{}/comm", node.id());
    wait_until("the other program", SOON, || Ok(fs::read_to_string(&name)?.trim() == "sleep")).unwrap();
    let mut refused = 0;
    wait_until("the lease to lapse", SOON, || {
        let output = fence(&t, &settings);
        refused += u32::from(output.status.code() == Some(3));
        Ok(output.status.success())
    })
    .unwrap();
    assert!(refused > 0, "the lease was not heeded");
    node.kill9();
    detach_leaves_nothing(&t);
}

/// Wherever it is killed: the next one, or a daemon, makes it whole, and detach takes off what there is.
#[test]
fn killed_in_the_middle_it_can_be_put_right_and_taken_off() {
    if !may_run() {
        return;
    }
    let mut t = Topology::ipv6().unwrap();
    t.a.tunnel.delete().unwrap();
    let settings = at_boot(&t);
    t.a.namespace.write(CONFIG, &settings.to_toml()).unwrap();
    let mut unfinished = 0;
    for after in (0..12_u32).map(|n| Duration::from_millis(40) * n) {
        let mut command = t.a.namespace.command(binary().unwrap());
        let mut killed = Process::start("wgha fence", command.args(["fence", "--config", CONFIG])).unwrap();
        observe_for(after).unwrap();
        unfinished += u32::from(killed.ended().unwrap().is_none());
        killed.kill();
        if after.as_millis() % 80 == 0 {
            assert_closed(&fence(&t, &settings));
            assert!(has_programs(&t.a.namespace).unwrap(), "after {after:?}");
        }
        detach_leaves_nothing(&t);
    }
    assert!(unfinished > 1, "it is never caught in the middle");
}

/// Where a kernel has no TCX the programs are in it; what others have put there is theirs.
#[test]
fn detach_takes_an_empty_clsact_off_and_leaves_one_in_use() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let tc = |words: &str| t.a.namespace.run("tc", &words.split(' ').collect::<Vec<_>>()).unwrap();
    assert_closed(&fence(&t, &Settings::seed(&t.plan, A)));
    tc("qdisc replace dev eno1 clsact");
    detach_leaves_nothing(&t);
    for direction in ["ingress", "egress"] {
        tc("qdisc replace dev eno1 clsact");
        tc(&format!("filter add dev eno1 {direction} protocol all u32 match u32 0 0 flowid 1:1"));
        let detached = run_wgha(&t.a.namespace, &["detach", "--config", CONFIG]).unwrap();
        assert!(detached.status.success() && has_clsact(&t.a.namespace).unwrap(), "{detached:?}");
        assert!(tc(&format!("filter show dev eno1 {direction}")).contains("u32"));
        tc("qdisc del dev eno1 clsact");
    }
}

#[test]
fn a_port_that_is_not_the_devices_is_told() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let settings = Settings { listen_port: Some(Plan::PORT + 1), ..Settings::seed(&t.plan, A) };
    let told = |output: &Output| {
        let said = [&output.stdout[..], &output.stderr].concat();
        String::from_utf8_lossy(&said).contains("wg1 listens on port 51800, but listen_port = 51801")
    };
    let fenced = fence(&t, &settings);
    assert_closed(&fenced);
    assert!(told(&fenced), "{fenced:?}");
    let checked = run_wgha(&t.a.namespace, &["check", "--config", CONFIG]).unwrap();
    assert!(checked.status.success() && told(&checked), "{checked:?}");
    let node = Node::start(&t, A, &settings).unwrap();
    node.wait_role("active", SOON).unwrap();
    let status = node.wgha(&["status"]).unwrap();
    assert!(status.status.code() == Some(1) && told(&status), "{status:?}");
}

/// With the port that wg1 is going to have.
fn at_boot(t: &Topology) -> Settings {
    Settings { listen_port: Some(Plan::PORT), ..Settings::seed(&t.plan, A) }
}

fn fence(t: &Topology, settings: &Settings) -> Output {
    t.a.namespace.write(CONFIG, &settings.to_toml()).unwrap();
    run_wgha(&t.a.namespace, &["fence", "--config", CONFIG]).unwrap()
}

fn assert_closed(fenced: &Output) {
    assert!(fenced.status.success(), "{fenced:?}");
}

fn endpoint_of_the_client(t: &Topology) -> std::net::SocketAddr {
    let port = t.client_tunnel.wg_show("listen-port").unwrap();
    (t.plan.client, port.trim().parse::<u16>().unwrap()).into()
}

/// Until one more is dropped than now.
fn wait_fenced(t: &Topology, counter: Counter) {
    let count = || counted(&t.a.namespace, &t.a.namespace.path(BPFFS), counter);
    let before = count().unwrap();
    wait_until("the fence to drop something", AFTER_WIREGUARD, || Ok(count()? > before)).unwrap();
}

/// The gateway asks, and A hears it: the question is dropped.
fn ask_for_the_vip(t: &Topology) {
    let _asking = Pinger::start(&t.gateway, t.plan.vip, Duration::from_millis(20)).unwrap();
    wait_fenced(t, Counter::NeighbourInFenced);
    wait_fenced(t, Counter::NeighbourInFenced);
}

fn assert_silent(wire: &Capture, since: u64, vip: IpAddr) {
    let speaks = |frame: Frame<'_>| {
        is_of_wireguard(frame) || frame.neighbour().is_some_and(|n| n.answers && n.target == vip)
    };
    let spoken: Vec<_> = wire.received(since).into_iter().filter(|p| speaks(p.frame())).collect();
    assert!(spoken.is_empty(), "A has sent: {}", spoken[0].frame().describe());
}

fn is_of_wireguard(frame: Frame<'_>) -> bool {
    frame.udp().is_some_and(|udp| udp.source_port == Plan::PORT)
}

fn detach_leaves_nothing(t: &Topology) {
    let detached = run_wgha(&t.a.namespace, &["detach", "--config", CONFIG]).unwrap();
    assert!(detached.status.success(), "{detached:?}");
    assert!(!has_programs(&t.a.namespace).unwrap(), "programs");
    assert!(!has_clsact(&t.a.namespace).unwrap(), "clsact");
    assert_eq!(pins(&t.a.namespace), [""; 0]);
    assert!(!t.a.namespace.path(BPFFS).exists(), "the folder for pins");
}

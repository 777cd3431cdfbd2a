//! The harness itself: the network carries the tunnel under the usual recipe, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{env, fs, process::Command, time::Duration};

use wgha_tests::{
    Capture, Keepalived, KeepalivedSettings, Pinger, Topology,
    Which::{A, B},
    may_run, monotonic_ns, node, pinger, wait_for, wait_until,
};

const SOON: Duration = Duration::from_secs(20);
/// WireGuard's own 15 s before it tries another handshake, and some.
const AFTER_WIREGUARD: Duration = Duration::from_secs(90);

#[test]
fn the_recipe_carries_the_tunnel_to_b_in_ipv6() {
    if may_run() {
        recipe_moves_the_tunnel(&Topology::ipv6().unwrap());
    }
}

#[test]
fn the_recipe_carries_the_tunnel_to_b_in_ipv4() {
    if may_run() {
        recipe_moves_the_tunnel(&Topology::ipv4().unwrap());
    }
}

fn recipe_moves_the_tunnel(t: &Topology) {
    // The recipe loses the tunnel's address with the link; what is to be proven here is the network.
    for which in [A, B] {
        t.server(which).namespace.set_net("ipv6/conf/wg1/keep_addr_on_down", "1").unwrap();
    }
    let recipe = |which| KeepalivedSettings::seed(&t.plan, which).with_notify_script("wg1");
    let a = Keepalived::start(t, A, &recipe(A)).unwrap();
    a.wait_active(true, SOON).unwrap();
    let b = Keepalived::start(t, B, &recipe(B)).unwrap();
    let wire = Capture::at_port(t, B).unwrap();
    let ping = Pinger::start(&t.client, t.plan.tunnel_server, pinger::INTERVAL).unwrap();
    ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();

    let cut = monotonic_ns();
    t.cut(A).unwrap();
    b.wait_active(true, SOON).unwrap();
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
    // The youngest probes are not answered yet, and may be the longest pause after the outage itself.
    let ended = || Ok(ping.longest_outage(cut).filter(|outage| outage.length().is_some()));
    let outage = wait_for("the outage to end", SOON, ended).unwrap();
    assert!(outage.lost > 0 && outage.length().unwrap() > Duration::from_millis(100), "{outage:?}");

    let adverts = || wire.received(cut).into_iter().filter_map(|p| p.frame().advert()).collect::<Vec<_>>();
    let first = adverts().first().copied().unwrap();
    let centiseconds = u16::try_from(node::advert_interval().as_millis() / 10).unwrap();
    assert_eq!((first.vrid, first.priority, first.interval_cs), (52, 99, centiseconds));
    assert_eq!(first.address, Some(t.plan.vip));
    let announced = wire
        .received(cut)
        .iter()
        .filter_map(|p| p.frame().neighbour())
        .any(|n| n.target == t.plan.vip && n.answers && n.overrides);
    assert!(announced, "the VIP was not announced by B");

    // Whether the tunnel follows is not asked: under the recipe nothing keeps B's WireGuard from talking on.
    t.mend(A).unwrap();
    b.wait_active(false, SOON).unwrap();
}

/// Set in the process that is to be killed in the middle of its work.
const VICTIM: &str = "WGHA_TESTS_VICTIM";

#[test]
fn nothing_outlives_a_harness_that_is_killed() {
    if !may_run() {
        return;
    }
    let mark = format!("{VICTIM}={}", std::process::id());
    let mut victim = Command::new(env::current_exe().unwrap());
    victim.args(["--ignored", "--exact", "works_until_it_is_killed"]);
    let mut victim = victim.env(VICTIM, std::process::id().to_string()).spawn().unwrap();
    // The victim, five namespaces and keepalived with its child; where tunnels are processes they are there before it.
    wait_until("the victim's work", SOON, || Ok(marked(&mark).len() > 7)).unwrap();
    let namespaces = marked(&mark).into_iter().filter_map(|id| net_of(&id)).collect::<Vec<_>>();
    assert!(namespaces.len() > 5);
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the end of its processes", SOON, || Ok(marked(&mark).is_empty())).unwrap();
    let ours = net_of("self").unwrap();
    let left: Vec<_> =
        processes().filter_map(|id| net_of(&id)).filter(|n| *n != ours && namespaces.contains(n)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!fs::exists("/run/wireguard/wg1.sock").unwrap());
}

#[test]
fn nothing_outlives_a_topology_that_is_dropped() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv6().unwrap();
    let keepalived = Keepalived::start(&t, A, &KeepalivedSettings::seed(&t.plan, A)).unwrap();
    let namespaces = [&t.switch, &t.gateway, &t.client, &t.a.namespace, &t.b.namespace];
    let namespaces = namespaces.map(|n| format!("net:[{}]", n.inode().unwrap()));
    assert!(processes().filter_map(|id| net_of(&id)).any(|n| namespaces.contains(&n)));
    drop(keepalived);
    drop(t);
    // They have all been killed; the kernel may not have come to each of them yet.
    let is_left = |id: &String| net_of(id).is_some_and(|n| namespaces.contains(&n));
    wait_until("the last process to end", SOON, || Ok(!processes().any(|id| is_left(&id)))).unwrap();
}

#[test]
#[ignore = "is run, and killed, by another test"]
fn works_until_it_is_killed() {
    assert!(env::var_os(VICTIM).is_some(), "only for the other test");
    let t = Topology::ipv6().unwrap();
    let _a = Keepalived::start(&t, A, &KeepalivedSettings::seed(&t.plan, A)).unwrap();
    std::thread::sleep(2 * SOON);
}

fn processes() -> impl Iterator<Item = String> {
    let names =
        fs::read_dir("/proc").unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
}

/// Processes that have inherited a mark in their environment.
fn marked(mark: &str) -> Vec<String> {
    processes()
        .filter(|id| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
}

fn net_of(id: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{id}/ns/net")).ok()?.to_string_lossy().into_owned())
}

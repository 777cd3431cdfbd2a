//! Two Active Routers, one on either side of a cut, meet again: the first probe after it ends one of the two leases.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Packet, Pair, Plan, SOON, Settings, Topology,
    Which::{self, A, B},
    clock::observe_for,
    fault::BlackHole,
    may_run, monotonic_ns,
    node::{at, roles},
    wait_until,
};

const UP: u8 = 3;
const ADMIN_DOWN: u8 = 0;
/// RFC 5880 §4.1, "Neighbor Signaled Session Down".
const BECAUSE_OF_THE_QUESTION: u8 = 3;

/// How often adverts are sent: so seldom that there is a pause between them.
const ADVERT_INTERVAL: Duration = Duration::from_secs(2);
/// What happens within this part of it is not their doing.
const QUIET: Duration = Duration::from_millis(900);
/// Long enough for both to find their roles, short enough for a neighbour to be remembered.
const PARTED: Duration = Duration::from_secs(2);
/// WireGuard alone would need ten seconds and more.
const BEFORE_WIREGUARD: Duration = Duration::from_secs(5);

fn seldom(plan: &Plan, which: Which, preempt: bool) -> Settings {
    let advert_interval = format!("{}ms", ADVERT_INTERVAL.as_millis());
    // With the gateway as a witness one of the two would step down before the cut ends.
    Settings { advert_interval, preempt, witness: Some("none"), ..Settings::seed(plan, which) }
}

/// B took the role from A, which it could not reach, and has to give it back: A answers its first probe with Up.
#[test]
fn the_one_that_took_the_role_yields_to_the_first_answer() {
    if !may_run() {
        return;
    }
    for topology in [Topology::ipv6, Topology::ipv4] {
        let pair = Pair::start(topology().unwrap(), |plan, which| seldom(plan, which, true)).unwrap();
        pair.wait_probing().unwrap();
        let ping = pair.ping().unwrap();
        let met = part_and_meet(&pair, A);
        expect_one_to_yield(&pair, B, &met);
        let wire = &met.wire.received(met.at);
        assert!(wire.iter().any(|p| says(p, true, UP)), "B has asked as one that serves");
        pair.wait_moved(A).unwrap();
        // Clients had sessions with B: A has begun new ones.
        let answer = ping.wait_answer(met.at, Some(A), AFTER_WIREGUARD).unwrap();
        let dark = Duration::from_nanos(answer.at_ns - met.at);
        println!("{dark:?} without tunnel");
        assert!(dark < BEFORE_WIREGUARD, "{dark:?}");
    }
}

/// A took the role from B, which it could not reach; B's kernel half ends its lease on A's first probe.
#[test]
fn the_other_one_yields_to_the_first_question() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let settings = |which| seldom(&topology.plan, which, false);
    let (first, of_a) = (settings(B), settings(A));
    let b = Node::start(&topology, B, &first).unwrap();
    b.wait_role("active", SOON).unwrap();
    let a = Node::start(&topology, A, &of_a).unwrap();
    let pair = Pair { a, b, topology };
    pair.wait_serving(B).unwrap();
    wait_until("A to go by probes", SOON, || Ok(pair.a.status()?["detection"]["by"] == "probes")).unwrap();
    let met = part_and_meet(&pair, B);
    expect_one_to_yield(&pair, B, &met);
    let sent = met.wire.received(met.at);
    let yielded = sent.iter().find(|p| says(p, false, ADMIN_DOWN)).expect("B has not answered");
    assert_eq!(yielded.frame().bfd().unwrap().diagnostic, BECAUSE_OF_THE_QUESTION);
    assert!(!sent.iter().any(|p| says(p, false, UP)), "B has answered a claim that outranks it with Up");
    let counters = pair.b.status().unwrap()["counters"].clone();
    assert_eq!(counters["lease_outranked"], 1, "{counters:#}");
    // Whoever had listened to B has to learn where the VIP is, and has no session.
    pair.a.wait_event("effect", "announced", met.at, SOON).unwrap();
    pair.wait_moved(A).unwrap();
}

/// The end of a cut.
struct Met {
    at: u64,
    /// At B's port, from before.
    wire: Capture,
}

/// Parts `cut_off` from everybody until both serve, and joins them again when nobody will send an advert for a while.
fn part_and_meet(pair: &Pair, cut_off: Which) -> Met {
    let mut hole = BlackHole::at(&pair.topology, cut_off).unwrap();
    let parted = monotonic_ns();
    hole.open().unwrap();
    let takes = cut_off.other();
    pair.node(takes).wait_event("role", "active", parted, SOON).unwrap();
    observe_for(PARTED).unwrap();
    assert_eq!(pair.a.role().unwrap().as_deref(), Some("active"));
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("active"));
    let [of_a, wire] = [A, B].map(|which| Capture::at_port(&pair.topology, which).unwrap());
    let quiet = || {
        let last = [&of_a, &wire].map(last_advert);
        let next = last.iter().min().map(|at| at + ADVERT_INTERVAL.as_nanos() as u64);
        last.iter().all(|at| *at > 0) && next > Some(monotonic_ns() + QUIET.as_nanos() as u64)
    };
    wait_until("a pause between adverts", SOON, || Ok(quiet())).unwrap();
    let at = monotonic_ns();
    hole.close().unwrap();
    Met { at, wire }
}

fn last_advert(wire: &Capture) -> u64 {
    let sent = wire.received(0).into_iter().filter(|p| p.frame().advert().is_some());
    sent.map(|p| p.at_ns).max().unwrap_or(0)
}

/// `loser` yields, long before the next advert of anybody; the other one never does.
fn expect_one_to_yield(pair: &Pair, loser: Which, met: &Met) {
    let event = pair.node(loser).wait_event("role", "backup", met.at, SOON).unwrap();
    let took = Duration::from_nanos(at(&event) - met.at);
    println!("{loser} has yielded after {took:?}");
    assert!(took < QUIET, "{took:?}");
    observe_for(ADVERT_INTERVAL).unwrap();
    assert_eq!(roles(pair.node(loser), met.at).unwrap(), ["backup"]);
    assert_eq!(roles(pair.node(loser.other()), met.at).unwrap(), [""; 0]);
}

fn says(packet: &Packet, asks: bool, state: u8) -> bool {
    packet.frame().bfd().is_some_and(|bfd| (bfd.asks, bfd.state) == (asks, state))
}

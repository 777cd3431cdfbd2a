//! Machines that are suspended, and wake up as what they were: their leases are over, their neighbours' too for all they know.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Pair, Plan, Property,
    Which::{self, A},
    may_run, node, suspend,
};

/// Both at once, as they are on one machine here: it is the Active that matters, and that nobody believes the other one dead
/// for having been asleep oneself is the same for all.
#[test]
fn who_wakes_up_is_silent_until_it_has_been_elected_again() {
    if !may_run() || !Property::Suspend.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    ping.wait_answer(0, Some(A), AFTER_WIREGUARD).unwrap();
    let ports = Which::BOTH.map(|which| (which, Capture::at_port(&pair.topology, which).unwrap()));

    let sleep = suspend::to_ram().unwrap();
    let woke = sleep.woke_ns();
    ping.wait_answer(woke, None, AFTER_WIREGUARD).unwrap();

    let [of_a, of_b] = [&pair.a, &pair.b].map(|node| roles(node, woke));
    let lapsed = of_a.first().is_some_and(|role| role.what == "backup" && role.why.contains("lapsed"));
    assert!(lapsed, "A: {of_a:?}, B: {of_b:?}");
    let elections = of_a.iter().chain(&of_b).filter(|role| role.what == "active");
    let elected = elections.map(|role| role.at_ns).min().expect("an answer without an Active");
    for (which, port) in ports {
        for packet in port.received(woke).iter().filter(|packet| packet.at_ns < elected) {
            let frame = packet.frame();
            let about_vip =
                frame.neighbour().is_some_and(|n| n.answers && n.target == pair.topology.plan.vip);
            let wireguard = frame.udp().is_some_and(|udp| udp.source_port == Plan::PORT);
            let serves = frame.advert().is_some_and(|advert| advert.priority != 0);
            let said = frame.describe();
            assert!(
                !about_vip && !wireguard && !serves,
                "{which} has sent before anybody was elected: {said}"
            );
        }
    }
    println!("slept for {:?}; then A: {of_a:?}, B: {of_b:?}", sleep.slept);
}

/// What a node says of a role that it has taken.
#[derive(Debug)]
struct Role {
    at_ns: u64,
    what: String,
    why: String,
}

fn roles(node: &Node, since_ns: u64) -> Vec<Role> {
    let events = node.events().unwrap();
    let taken = events.iter().filter(|e| e["kind"] == "role" && node::at(e) >= since_ns);
    let word = |word: &serde_json::Value| word.as_str().unwrap_or_default().to_owned();
    taken.map(|e| Role { at_ns: node::at(e), what: word(&e["what"]), why: word(&e["detail"]) }).collect()
}

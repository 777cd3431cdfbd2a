//! What happened in a failover, and when: in order, and counted from the evidence.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Pair, SOON,
    Which::{A, B},
    clock::observe_for,
    may_run, monotonic_ns, wait_until,
};

/// Each after the one before it.
const IN_ORDER: [&str; 6] =
    ["active", "vip_held", "announced", "handshakes_started", "first_handshake", "all_back"];
/// Somewhere in between: the tunnel's link is raised beside, and what the client sends under its old session comes when
/// the gateway has learnt the way.
const BESIDE: [&str; 5] =
    ["tunnel_raised", "gateway_answered", "talkers_back", "first_transport_in", "first_transport_out"];

#[test]
fn of_a_crash() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    wait_until("the client's endpoint on B", SOON, || {
        Ok(!pair.topology.b.tunnel.wg_show("endpoints")?.contains("(none)"))
    })
    .unwrap();
    // WireGuard has it a moment before the daemon has noted that.
    observe_for(Duration::from_secs(1)).unwrap();
    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
    let all_back = pair.b.wait_event("effect", "all_back", cut, SOON).unwrap();
    assert_eq!(all_back["detail"], "", "somebody is missing");
    pair.b.wait_event("effect", "first_transport_in", cut, SOON).unwrap();

    let events = pair.b.events().unwrap();
    let text: Vec<_> = events.iter().map(|e| e.to_string()).collect();
    let text = text.join("\n");
    println!("{text}");
    let since = |what: &str| {
        let step = events.iter().find(|e| e["what"] == what && e["at_ns"].as_u64() >= Some(cut));
        let step = step.unwrap_or_else(|| panic!("no {what} in\n{text}"));
        expect_counted(step, events.iter().find(|e| e["what"] == "active").unwrap());
        step["since_evidence_us"].as_u64().unwrap()
    };
    let steps = IN_ORDER.map(|what| (since(what), what));
    assert!(steps.is_sorted_by_key(|(us, _)| *us), "{steps:?}\n{text}");
    let (_, active) = steps[0];
    for what in BESIDE {
        assert!(since(what) >= since(active), "{what}\n{text}");
    }
    assert!(since("first_transport_out") >= since("first_handshake"), "{text}");
}

/// The count and the clock say the same.
fn expect_counted(step: &Value, active: &Value) {
    let evidence = |e: &Value| {
        let us = e["since_evidence_us"].as_u64().unwrap_or_else(|| panic!("not counted: {e}"));
        e["at_ns"].as_u64().unwrap() / 1000 - us
    };
    assert!(evidence(step).abs_diff(evidence(active)) <= 1, "{step}, {active}");
}

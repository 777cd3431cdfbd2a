//! The gateway as a witness: a node that hears nothing neither takes nor keeps the role.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Pair, Plan, SOON, Settings, Topology,
    Which::{self, A, B},
    clock::{observe_for, patience},
    fault::OneWay,
    may_run, monotonic_ns,
    node::{at, roles},
    wait_until,
};

/// Longer than whatever would flap takes.
const A_WHILE: Duration = Duration::from_secs(5);

#[test]
fn an_active_router_that_hears_nothing_steps_down_in_ipv6() {
    if may_run() {
        an_active_router_that_hears_nothing_steps_down(Pair::ipv6().unwrap());
    }
}

#[test]
fn an_active_router_that_hears_nothing_steps_down_in_ipv4() {
    if may_run() {
        an_active_router_that_hears_nothing_steps_down(Pair::ipv4().unwrap());
    }
}

fn an_active_router_that_hears_nothing_steps_down(pair: Pair) {
    wait_witnessed(&pair);
    let ping = pair.ping().unwrap();
    let deaf = monotonic_ns();
    pair.topology.lose(A, OneWay::Received).unwrap();

    // Nobody tells it.
    let fault = pair.a.wait_event("role", "fault", deaf, SOON).unwrap();
    assert_eq!(fault["detail"], "nothing is heard on the uplink any more, not even the gateway");
    pair.b.wait_role("active", SOON).unwrap();
    pair.wait_moved(B).unwrap();
    ping.wait_answer(at(&fault), Some(B), AFTER_WIREGUARD).unwrap();
    let served = monotonic_ns();
    observe_for(A_WHILE).unwrap();
    assert_eq!(roles(&pair.a, deaf).unwrap(), ["fault"], "it stays out");
    assert_eq!(roles(&pair.b, served).unwrap(), [""; 0], "B serves in peace");
    ping.wait_answer(monotonic_ns(), Some(B), SOON).unwrap();
    assert_eq!(pair.a.status().unwrap()["witness"]["finding"], "deaf");

    // It takes its role back, once.
    let mended = monotonic_ns();
    pair.topology.lose_no_more(A).unwrap();
    pair.wait_serving(A).unwrap();
    ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
    observe_for(A_WHILE).unwrap();
    assert_eq!(roles(&pair.a, mended).unwrap(), ["backup", "claiming", "active"]);
    assert_eq!(roles(&pair.b, mended).unwrap(), ["backup"]);
}

#[test]
fn a_gateway_that_is_dead_for_both_costs_nobody_the_role() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_witnessed(&pair);
    let dead = monotonic_ns();
    pair.topology.cut_gateway().unwrap();
    wait_finding(&pair.a, "gateway_silent");
    wait_finding(&pair.b, "gateway_silent");
    observe_for(A_WHILE).unwrap();
    assert_eq!(roles(&pair.a, dead).unwrap(), [""; 0]);
    assert_eq!(roles(&pair.b, dead).unwrap(), [""; 0]);

    // B takes over all the same, and says that it has waited.
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let held = pair.b.wait_event("effect", "held_back", dead, SOON).unwrap();
    assert_eq!(held["detail"], "the role is not taken on silence: the gateway does not answer");
    assert!(pair.reason_of_b().unwrap().contains("probes unanswered"));

    pair.topology.mend_gateway().unwrap();
    wait_finding(&pair.b, "reached");
}

#[test]
fn a_backup_that_is_cut_off_does_not_promote_itself() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_witnessed(&pair);
    let cut = monotonic_ns();
    pair.topology.cut(B).unwrap();
    let held = pair.b.wait_event("effect", "held_back", cut, SOON).unwrap();
    assert!(held["detail"].as_str().unwrap().contains("nothing is heard"), "{held}");
    observe_for(A_WHILE).unwrap();
    let mended = monotonic_ns();
    pair.topology.mend(B).unwrap();
    wait_finding(&pair.b, "reached");
    observe_for(A_WHILE).unwrap();
    assert_eq!(roles(&pair.b, cut).unwrap(), [""; 0]);
    assert_eq!(roles(&pair.a, cut).unwrap(), [""; 0]);

    // It is as good as before.
    pair.wait_probing().unwrap();
    pair.topology.cut(A).unwrap();
    pair.b.wait_event("role", "active", mended, SOON).unwrap();
}

/// What the witness prevents in the test above.
#[test]
fn without_a_witness_it_does() {
    if !may_run() {
        return;
    }
    let none = |plan: &Plan, which: Which| Settings { witness: Some("none"), ..Settings::seed(plan, which) };
    let pair = Pair::start(Topology::ipv6().unwrap(), none).unwrap();
    pair.wait_probing().unwrap();
    let status = pair.b.status().unwrap()["witness"].clone();
    assert_eq!(
        (&status["finding"], &status["why_none"]),
        (&"none".into(), &"witness = \"none\" is configured".into())
    );
    pair.topology.cut(B).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
}

#[test]
fn the_role_goes_to_whoever_reaches_the_gateway() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_witnessed(&pair);
    let silent = monotonic_ns();
    pair.topology.silence_gateway(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let resigned = pair.a.wait_event("role", "backup", silent, SOON).unwrap();
    let why = resigned["detail"].as_str().unwrap();
    assert!(why.starts_with("the gateway does not answer here, and fe80::"), "{why}");
    pair.wait_serving(B).unwrap();
    observe_for(A_WHILE).unwrap();
    assert_eq!(roles(&pair.a, silent).unwrap(), ["backup"], "it leaves it to B");
    assert_eq!(roles(&pair.b, silent).unwrap(), ["active"]);
    let ping = wgha_tests::Pinger::start(
        &pair.topology.client,
        pair.topology.plan.tunnel_server,
        wgha_tests::pinger::INTERVAL,
    );
    ping.unwrap().wait_answer(silent, Some(B), AFTER_WIREGUARD).unwrap();

    pair.topology.lose_no_more(A).unwrap();
    pair.wait_serving(A).unwrap();
}

#[test]
fn the_gateway_is_asked_once_a_second_and_never_from_the_vip() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_witnessed(&pair);
    let gateway = pair.topology.plan.gateway;
    for which in [A, B] {
        let wire = Capture::at_port(&pair.topology, which).unwrap();
        let since = monotonic_ns();
        observe_for(A_WHILE).unwrap();
        let questions = wire.received(since).into_iter().filter(|p| {
            let neighbour = p.frame().neighbour();
            let own = p.frame().ip().is_some_and(|ip| ip.source.to_string().starts_with("fe80::"));
            own && neighbour.is_some_and(|n| !n.answers && n.target == gateway)
        });
        // The kernel has questions of its own now and then.
        let questions = questions.count();
        assert!((3..=12).contains(&questions), "{questions} questions of {which}");
    }
    let status = pair.b.status().unwrap()["witness"].clone();
    assert_eq!(status["gateways"], serde_json::json!([gateway.to_string()]));
    let table = String::from_utf8(pair.b.wgha(&["status"]).unwrap().stdout).unwrap();
    assert!(table.contains(&format!("witness         gateway {gateway} answers, last ")), "{table}");
}

#[test]
fn without_a_default_route_there_is_no_witness() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    topology.b.namespace.ip("-6 route delete default").unwrap();
    let pair = Pair::start(topology, Settings::seed).unwrap();
    let status = pair.b.status().unwrap()["witness"].clone();
    assert_eq!(
        (&status["finding"], &status["why_none"]),
        (&"none".into(), &"there is no default route over the uplink".into())
    );
    assert_eq!(pair.b.status().unwrap()["problems"], serde_json::json!([]));
    pair.wait_probing().unwrap();
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
}

/// Both reach the gateway, and B probes A.
fn wait_witnessed(pair: &Pair) {
    pair.wait_probing().unwrap();
    wait_finding(&pair.a, "reached");
    wait_finding(&pair.b, "reached");
    for node in [&pair.a, &pair.b] {
        let told = || Ok(node.status()?["peers"][0]["reaches_gateway"] == true);
        wait_until("each to have heard that of the other", SOON, told).unwrap();
    }
    // Whoever is spoken to all the time knows it after so many intervals of probes, which are as slow as the rest.
    observe_for(patience(Duration::from_secs(2))).unwrap();
}

fn wait_finding(node: &Node, finding: &str) {
    let what = format!("{} to find {finding}", node.which);
    wait_until(&what, SOON, || Ok(node.status()?["witness"]["finding"] == finding)).unwrap();
}

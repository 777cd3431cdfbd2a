//! The peer channel between the servers: what each knows of the other, and what keeps them apart.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use serde_json::Value;
use wgha_tests::{
    Capture, Node, Pair, Plan, SOON, Server, Settings, Topology,
    Which::{self, A, B},
    clock::observe_for,
    frame::SBFD_PORT,
    may_run, monotonic_ns, wait_until,
};

/// A private key that is not the servers'.
const OTHER_KEY: &str = "2CmKENGwc1g33EvYXaxkGw887yekfl1TpU8vP1svz3o=";
/// The public key of nobody.
const NOBODY: &str = "L/wdBjh++Lt6NDErbGw/aRVQaEUIw85+44iTdaGNb6A=";

#[test]
fn each_knows_the_other_and_b_knows_where_the_client_is() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let pair = pair().unwrap();
        let plan = &pair.topology.plan;
        for which in Which::BOTH {
            wait_connected(&pair, which);
            let (status, other) = (pair.node(which).status().unwrap(), which.other());
            let peer = &status["peers"][0];
            assert_eq!(peer["address"], plan.server(other).to_string());
            assert_eq!(
                (&peer["priority"], &peer["why_not"]),
                (&other.priority().into(), &Value::Null),
                "{which}"
            );
            assert_eq!(peer["source"], pair.node(other).status().unwrap()["uplink"]["source"]);
            assert_eq!(peer["serving"], other == A, "{which}");
            wait_problem(&pair, which, "none", |problems| problems.is_empty());
        }
        assert_eq!(endpoint(&pair, B), "(none)");
        let _ping = pair.ping().unwrap();
        wait_replicated(&pair);
    }
}

#[test]
fn another_private_key_is_named_on_both_and_not_tried_again_and_again() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    set_private_key(&topology.b, OTHER_KEY);
    let wire = Capture::at_port(&topology, B).unwrap();
    let pair = Pair::start(topology, Settings::seed).unwrap();
    for which in Which::BOTH {
        wait_problem(&pair, which, "another private key", |problems| {
            problems.iter().any(|p| p.contains("refused") && p.contains("has another WireGuard private key"))
        });
    }
    let _ping = pair.ping().unwrap();
    let since = monotonic_ns();
    observe_for(Duration::from_secs(6)).unwrap();
    let opened = wire.packets().into_iter();
    let opened = opened.filter(|p| p.frame().tcp().is_some_and(|(_, to, opens)| opens && to == SBFD_PORT));
    let (later, first): (Vec<_>, Vec<_>) = opened.partition(|p| p.at_ns >= since);
    assert!(!first.is_empty() && later.len() <= 1, "{} and {} more", first.len(), later.len());
    assert_eq!(endpoint(&pair, B), "(none)", "taken over from a stranger");
    assert_eq!(pair.b.status().unwrap()["detection"]["by"], "adverts");

    // Mended, it is noticed without a restart.
    set_private_key(&pair.topology.b, Plan::SERVER_KEY);
    for which in Which::BOTH {
        wait_connected(&pair, which);
        wait_problem(&pair, which, "none", |problems| problems.is_empty());
    }
    wait_replicated(&pair);
}

#[test]
fn what_is_configured_on_one_server_only_is_shown_on_both() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    Which::BOTH.into_iter().for_each(|which| wait_connected(&pair, which));
    let b = &pair.topology.b.tunnel;
    b.wg_set(&format!("peer {NOBODY} allowed-ips 2001:db8:2::99/128")).unwrap();
    let said =
        |problems: &[String]| problems.iter().any(|p| p.contains("peers or allowed IPs are not as on"));
    Which::BOTH.into_iter().for_each(|which| wait_problem(&pair, which, "the difference", said));
    assert_eq!(pair.b.wgha(&["status"]).unwrap().status.code(), Some(1), "degraded");
    b.wg_set(&format!("peer {NOBODY} remove")).unwrap();
    Which::BOTH
        .into_iter()
        .for_each(|which| wait_problem(&pair, which, "none", |problems| problems.is_empty()));
}

#[test]
fn a_backup_that_comes_back_is_told_everything() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let _ping = pair.ping().unwrap();
    wait_replicated(&pair);
    assert!(pair.b.term().unwrap().success());
    wait_problem(&pair, A, "that B is gone", |problems| {
        problems.iter().any(|p| p.contains("is not connected"))
    });
    assert_eq!(pair.a.status().unwrap()["peers"][0]["connected_s"], Value::Null);

    let (b, client) = (&pair.topology.b.tunnel, Plan::CLIENT_PUBLIC);
    let allowed = Plan::alone(pair.topology.plan.tunnel_client);
    b.wg_set(&format!("peer {client} remove")).unwrap();
    b.wg_set(&format!("peer {client} allowed-ips {allowed}")).unwrap();
    assert_eq!(endpoint(&pair, B), "(none)");
    pair.b = Node::start(&pair.topology, B, &Settings::seed(&pair.topology.plan, B)).unwrap();
    Which::BOTH.into_iter().for_each(|which| wait_connected(&pair, which));
    wait_replicated(&pair);
    pair.wait_probing().unwrap();
}

fn wait_connected(pair: &Pair, which: Which) {
    wait_until(&format!("{which} to be connected"), SOON, || {
        let peer = pair.node(which).status()?["peers"][0].clone();
        Ok(peer["connected_s"].is_number() && peer["serving"].is_boolean())
    })
    .unwrap();
}

fn wait_problem(pair: &Pair, which: Which, what: &str, wanted: impl Fn(&[String]) -> bool) {
    let problems = || {
        let status = pair.node(which).status()?;
        let problems = status["problems"].as_array().unwrap().iter();
        anyhow::Ok(problems.map(|p| p.as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let waited = wait_until(&format!("problems of {which}: {what}"), SOON, || Ok(wanted(&problems()?)));
    assert!(waited.is_ok(), "{:#}: {:?}", waited.unwrap_err(), problems());
}

/// B's WireGuard has the endpoint that A's has.
fn wait_replicated(pair: &Pair) {
    wait_until("the client's endpoint on B", SOON, || {
        let (a, b) = (endpoint(pair, A), endpoint(pair, B));
        Ok(a != "(none)" && a == b)
    })
    .unwrap();
}

fn endpoint(pair: &Pair, which: Which) -> String {
    let shown = pair.topology.server(which).tunnel.wg_show("endpoints").unwrap();
    let line = shown.lines().find(|line| line.starts_with(Plan::CLIENT_PUBLIC)).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn set_private_key(server: &Server, key: &str) {
    let words = ["set", "wg1", "private-key", "/dev/stdin"];
    server.namespace.run_with_input("wg", &words, key).unwrap();
}

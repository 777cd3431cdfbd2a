//! A server that comes back with a new wg1 knows nobody. It takes the role back once it has been told where the clients are.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Node, Pair, Pinger, Plan, SOON, Settings, Topology,
    Which::{self, A, B},
    clock::{observe_for, patience},
    may_run, monotonic_ns, wait_until,
};

/// Some hundred milliseconds at most are usual. Whoever does not know the client is dark for 15 s.
const BOUND: Duration = Duration::from_secs(2);
/// The longest that a server waits to be told.
const LONGEST_NS: u64 = 5_000_000_000;

#[test]
fn the_role_is_taken_back_once_the_clients_are_known() {
    if !may_run() {
        return;
    }
    let mut away = Away::begin(&Settings::seed);
    away.block_channel();
    let since = away.a_returns(&Settings::seed);
    let pair = &away.pair;
    pair.a.wait_event("effect", "held_back", since, SOON).unwrap();
    // It stays with whom the client knows.
    let held = monotonic_ns();
    away.ping.wait_answer(held, Some(B), SOON).unwrap();
    let status = pair.a.status().unwrap();
    assert_eq!((&status["role"], endpoint(pair, A).as_str()), (&"backup".into(), "(none)"), "{status}");
    let why = status["vrrp"]["held_back"].as_str().unwrap_or_default();
    assert!(why.contains("not been told where the clients are"), "{status}");
    away.unblock_channel();
    away.expect_told_first(since);
    away.expect_short(since);
    assert_eq!(away.pair.a.status().unwrap()["vrrp"]["held_back"], Value::Null);
}

/// Here a newcomer listens for 36 ms only: less than it takes to connect, to be told, and to have it set.
#[test]
fn nor_is_it_taken_back_before_by_a_server_that_listens_for_a_moment() {
    if !may_run() {
        return;
    }
    let mut away = Away::begin(&quick);
    let since = away.a_returns(&quick);
    away.expect_told_first(since);
    away.expect_short(since);
}

#[test]
fn nor_if_wg1_is_made_anew_under_the_daemon() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::start(Topology::ipv6().unwrap(), quick).unwrap();
    let ping = pair.ping().unwrap();
    wait_until("the client's endpoint on B", SOON, || Ok(endpoint(&pair, B) != "(none)")).unwrap();
    let deleted = monotonic_ns();
    pair.topology.a.tunnel.delete().unwrap();
    ping.wait_answer(deleted, Some(B), AFTER_WIREGUARD).unwrap();
    let since = monotonic_ns();
    pair.topology.a.tunnel.create().unwrap();
    let away = Away { pair, ping };
    away.expect_told_first(since);
    away.expect_short(since);
}

#[test]
fn nobody_waits_for_ever_to_be_told() {
    if !may_run() {
        return;
    }
    let mut away = Away::begin(&Settings::seed);
    away.block_channel();
    let since = away.a_returns(&Settings::seed);
    let held = away.pair.a.wait_event("effect", "held_back", since, SOON).unwrap();
    let in_vain = away.pair.a.wait_event("effect", "held_back_in_vain", since, SOON).unwrap();
    assert!(at(&in_vain) - at(&held) >= LONGEST_NS, "{held} {in_vain}");
    away.pair.wait_serving(A).unwrap();
    // The client finds out by itself.
    away.ping.wait_answer(since, Some(A), AFTER_WIREGUARD).unwrap();
}

/// Who has been told already takes the role back when it always did: after it has listened.
#[test]
fn who_knows_the_clients_is_not_held_back() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let down = monotonic_ns();
    pair.topology.a.tunnel.set(false).unwrap();
    ping.wait_answer(down, Some(B), AFTER_WIREGUARD).unwrap();
    pair.a.wait_event("input", "endpoints_known", down, SOON).unwrap();
    let up = monotonic_ns();
    pair.topology.a.tunnel.set(true).unwrap();
    let mended = pair.a.wait_event("role", "backup", up, SOON).unwrap();
    let claimed = pair.a.wait_event("role", "claiming", up, SOON).unwrap();
    println!("it has listened for {:?}", Duration::from_nanos(at(&claimed) - at(&mended)));
    ping.wait_answer(up, Some(A), AFTER_WIREGUARD).unwrap();
    let events = pair.a.events().unwrap();
    assert!(!events.iter().any(|e| e["what"] == "held_back" && at(e) >= down), "{events:#?}");
}

/// From a dead Active the role is taken, known clients or not.
#[test]
fn a_dead_active_is_not_waited_for() {
    if !may_run() {
        return;
    }
    let mut away = Away::begin(&Settings::seed);
    away.block_channel();
    let since = away.a_returns(&Settings::seed);
    away.pair.a.wait_event("effect", "held_back", since, SOON).unwrap();
    away.pair.b.kill9();
    let taken = away.pair.a.wait_event("role", "active", since, SOON).unwrap();
    assert!(!taken["detail"].as_str().unwrap().contains("preempted"), "{taken}");
    let in_vain = |e: &Value| e["what"] == "held_back_in_vain";
    assert!(!away.pair.a.events().unwrap().iter().any(in_vain), "{taken}");
}

/// Who starts listens for 36 ms only.
fn quick(plan: &Plan, which: Which) -> Settings {
    let advert_interval = format!("{}ms", patience(Duration::from_millis(10)).as_millis());
    Settings { advert_interval, ..Settings::seed(plan, which) }
}

/// What A, which outranks B, finds when it comes back.
struct Away {
    pair: Pair,
    ping: Pinger,
}

impl Away {
    /// A serves a client, is stopped, and gets a new wg1. B serves.
    fn begin(settings: &impl Fn(&Plan, Which) -> Settings) -> Self {
        let mut pair = Pair::start(Topology::ipv6().unwrap(), settings).unwrap();
        let ping = pair.ping().unwrap();
        wait_until("the client's endpoint on B", SOON, || Ok(endpoint(&pair, B) != "(none)")).unwrap();
        let stopped = monotonic_ns();
        assert!(pair.a.term().unwrap().success());
        ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();
        pair.topology.a.tunnel.delete().unwrap();
        pair.topology.a.tunnel.create().unwrap();
        assert_eq!(endpoint(&pair, A), "(none)");
        Self { pair, ping }
    }

    /// Since when.
    fn a_returns(&mut self, settings: &impl Fn(&Plan, Which) -> Settings) -> u64 {
        let since = monotonic_ns();
        let topology = &self.pair.topology;
        self.pair.a = Node::start(topology, A, &settings(&topology.plan, A)).unwrap();
        since
    }

    /// The servers cannot talk to each other, and know it at once.
    fn block_channel(&self) {
        let refused = |port| format!("  tcp {port} 7784 reject with tcp reset\n");
        let rules = format!(
            "table inet blocked {{\n chain in {{\n  type filter hook input priority 0\n{}{} }}\n}}\n",
            refused("dport"),
            refused("sport")
        );
        self.pair.topology.a.namespace.run_with_input("nft", &["-f", "-"], &rules).unwrap();
    }

    fn unblock_channel(&self) {
        self.pair.topology.a.namespace.run("nft", &["delete", "table", "inet", "blocked"]).unwrap();
    }

    /// A has claimed the role when its WireGuard knew the client, and not before.
    fn expect_told_first(&self, since: u64) {
        let a = &self.pair.a;
        let claimed = a.wait_event("role", "claiming", since, SOON).unwrap();
        let events = a.events().unwrap();
        let known = events.iter().find(|e| e["what"] == "endpoints_known" && at(e) >= since);
        assert!(known.is_some_and(|known| at(known) <= at(&claimed)), "{events:#?}");
        assert!(!events.iter().any(|e| e["what"] == "held_back_in_vain"), "{events:#?}");
        assert_ne!(endpoint(&self.pair, A), "(none)");
    }

    /// And the client has hardly noticed.
    fn expect_short(&self, since: u64) {
        self.pair.wait_serving(A).unwrap();
        self.ping.wait_answer(since, Some(A), AFTER_WIREGUARD).unwrap();
        // Pings of the last moment are not counted as lost yet.
        observe_for(Duration::from_millis(500)).unwrap();
        let outage = self.ping.longest_outage(since).map_or(Duration::ZERO, |o| o.length().unwrap());
        println!("the tunnel was silent for {outage:?}");
        assert!(outage < patience(BOUND), "{outage:?}");
    }
}

fn at(event: &Value) -> u64 {
    event["at_ns"].as_u64().unwrap()
}

/// Where a server believes the client to be.
fn endpoint(pair: &Pair, which: Which) -> String {
    let shown = pair.topology.server(which).tunnel.wg_show("endpoints").unwrap();
    shown.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

//! A Backup in steady state: the kernel half reads every advert and every answer, the daemon is not woken for any.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use serde_json::Value;
use wgha_tests::{
    Node, Pair, Plan, SOON, Settings, Topology, Which,
    clock::{observe_for, patience},
    may_run, monotonic_ns, node, wait_until,
};

const WHILE: Duration = Duration::from_secs(4);

#[test]
fn unchanged_adverts_do_not_wake_the_daemon() {
    if !may_run() {
        return;
    }
    let alone = |plan: &Plan, which: Which| Settings { peer: None, ..Settings::seed(plan, which) };
    let pair = Pair::start(Topology::ipv6().unwrap(), alone).unwrap();
    let steady = Steady::watch(&pair.b, "advert_valid");
    println!("{} adverts: {} wake-ups by the ring, {} by timers", steady.count, steady.ring, steady.timer);
    assert!(steady.count >= 20, "40 are due");
    assert_eq!(steady.ring, 0);
    // A deadline that an advert has put off is looked at once: no more than one a Active_Down_Interval.
    assert!(steady.timer <= steady.count / 2, "{} for {} adverts", steady.timer, steady.count);
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("backup"));
}

/// One wake-up to send a probe, and its answer is looked at with the next.
#[test]
fn probes_wake_the_daemon_to_be_sent_and_for_nothing_else() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let steady = Steady::watch(&pair.b, "answer_heard");
    let due = steady.elapsed.as_millis() / node::probe_interval().as_millis();
    println!(
        "{} answers, {due} due: {} wake-ups by the ring, {} by timers",
        steady.count, steady.ring, steady.timer
    );
    assert!(steady.count >= 20, "{due} are due");
    assert_eq!(steady.ring, 0);
    assert!(u128::from(steady.timer) <= due * 3 / 2 + 50, "{} for {due} probes", steady.timer);
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("backup"));
}

/// What has happened for a while.
struct Steady {
    elapsed: Duration,
    count: u64,
    ring: u64,
    timer: u64,
}

impl Steady {
    fn watch(node: &Node, counter: &str) -> Self {
        let count = |status: &Value| status["counters"][counter].as_u64().unwrap_or(0);
        wait_until(counter, SOON, || Ok(count(&node.status()?) > 5)).unwrap();
        let begun = monotonic_ns();
        let before = node.status().unwrap();
        observe_for(patience(WHILE)).unwrap();
        let after = node.status().unwrap();
        let elapsed = Duration::from_nanos(monotonic_ns() - begun);
        let woken =
            |by: &str| after["wakeups"][by].as_u64().unwrap() - before["wakeups"][by].as_u64().unwrap();
        Self { elapsed, count: count(&after) - count(&before), ring: woken("ring"), timer: woken("timer") }
    }
}

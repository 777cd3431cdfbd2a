//! A Backup in steady state: the kernel half reads every advert, the daemon is not woken for any.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{Node, Pair, SOON, clock::observe_for, may_run, wait_until};

#[test]
fn unchanged_adverts_do_not_wake_the_daemon() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_until("adverts to be counted", SOON, || Ok(adverts(&pair.b) > 5)).unwrap();
    let (adverts_before, ring_before) = (adverts(&pair.b), ring_wakeups(&pair.b));
    observe_for(Duration::from_secs(4)).unwrap();
    let (adverts_after, ring_after) = (adverts(&pair.b), ring_wakeups(&pair.b));
    println!("{} adverts, {} wake-ups by the ring", adverts_after - adverts_before, ring_after - ring_before);
    assert!(adverts_after - adverts_before >= 20, "40 are due");
    assert_eq!(ring_after - ring_before, 0);
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("backup"));
}

fn adverts(node: &Node) -> u64 {
    node.status().unwrap()["counters"]["advert_valid"].as_u64().unwrap_or(0)
}

fn ring_wakeups(node: &Node) -> u64 {
    node.status().unwrap()["wakeups"]["ring"].as_u64().unwrap()
}

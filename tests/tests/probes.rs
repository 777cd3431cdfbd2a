//! S-BFD between the servers: what it notices, and what it does not mistake.

use wgha_tests::{
    AFTER_WIREGUARD, Pair, SOON,
    Which::{A, B},
    clock, may_run, monotonic_ns,
};

/// B's status says that it probes A and is answered.
fn wait_probing(pair: &Pair) {
    let there =
        clock::wait_until("B to go by probes", SOON, || Ok(pair.b.status()?["detection"]["by"] == "probes"));
    assert!(there.is_ok(), "{:#}\n{:#}", pair.a.status().unwrap(), pair.b.status().unwrap());
}

fn reason(pair: &Pair) -> String {
    pair.b.status().unwrap()["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_crash_is_noticed_by_unanswered_probes() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    wait_probing(&pair);
    let status = pair.b.status().unwrap();
    assert_eq!(status["detection"]["peer"], pair.topology.plan.a.to_string());
    assert_eq!(status["peers"][0]["serving"], true, "{status:#}");
    let ping = pair.ping().unwrap();

    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    assert!(reason(&pair).contains("probes unanswered"), "{}", reason(&pair));
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn a_killed_daemon_is_told_by_its_own_kernel_half() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    wait_probing(&pair);
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    assert!(reason(&pair).contains("answers that it does not serve"), "{}", reason(&pair));
}

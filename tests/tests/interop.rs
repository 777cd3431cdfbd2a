//! wgha and keepalived take each other for routers of one virtual router: roles change on each other's adverts.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use wgha_tests::{
    Keepalived, KeepalivedSettings, Node, SOON, Settings, Topology,
    Which::{A, B},
    may_run, wait_until,
};

#[test]
fn keepalived_backs_up_wgha_in_ipv6() {
    if may_run() {
        keepalived_backs_up_wgha(&Topology::ipv6().unwrap());
    }
}

#[test]
fn keepalived_backs_up_wgha_in_ipv4() {
    if may_run() {
        keepalived_backs_up_wgha(&Topology::ipv4().unwrap());
    }
}

#[test]
fn wgha_backs_up_keepalived_in_ipv6() {
    if may_run() {
        wgha_backs_up_keepalived(&Topology::ipv6().unwrap());
    }
}

#[test]
fn wgha_backs_up_keepalived_in_ipv4() {
    if may_run() {
        wgha_backs_up_keepalived(&Topology::ipv4().unwrap());
    }
}

fn keepalived_backs_up_wgha(t: &Topology) {
    let keepalived = Keepalived::start(t, B, &KeepalivedSettings::seed(&t.plan, B)).unwrap();
    keepalived.wait_active(true, SOON).unwrap();
    // Preempts: keepalived yields to an advert that it must have accepted, checksum and all.
    let mut a = Node::start(t, A, &Settings::seed(&t.plan, A)).unwrap();
    a.wait_role("active", SOON).unwrap();
    keepalived.wait_active(false, SOON).unwrap();
    // And stays there, while wgha hears nothing from it.
    assert!(a.term().unwrap().success());
    keepalived.wait_active(true, SOON).unwrap();
    let a = Node::start(t, A, &Settings::seed(&t.plan, A)).unwrap();
    a.wait_role("active", SOON).unwrap();
    keepalived.wait_active(false, SOON).unwrap();
    // Crash instead of farewell.
    t.cut(A).unwrap();
    keepalived.wait_active(true, SOON).unwrap();
    t.mend(A).unwrap();
    keepalived.wait_active(false, SOON).unwrap();
    a.wait_role("active", SOON).unwrap();
}

/// keepalived 2.2 covers IPv4's pseudo-header in its checksum, and accepts nothing else. wgha serves already
/// when it hears that for the first time.
#[test]
fn keepalived_that_starts_later_is_answered_in_its_own_way() {
    if !may_run() {
        return;
    }
    let t = Topology::ipv4().unwrap();
    let a = Node::start(&t, A, &Settings::seed(&t.plan, A)).unwrap();
    a.wait_role("active", SOON).unwrap();
    let keepalived = Keepalived::start(&t, B, &KeepalivedSettings::seed(&t.plan, B)).unwrap();
    wait_until("keepalived to be heard", SOON, || {
        Ok(a.status()?["routers"][0]["checksum"] == "pseudo-header")
    })
    .unwrap();
    keepalived.wait_active(false, SOON).unwrap();
    a.wait_role("active", SOON).unwrap();
}

fn wgha_backs_up_keepalived(t: &Topology) {
    let b = Node::start(t, B, &Settings::seed(&t.plan, B)).unwrap();
    b.wait_role("active", SOON).unwrap();
    let mut keepalived = Keepalived::start(t, A, &KeepalivedSettings::seed(&t.plan, A)).unwrap();
    keepalived.wait_active(true, SOON).unwrap();
    b.wait_role("backup", SOON).unwrap();
    wait_until("B to have released the VIP", SOON, || Ok(!t.b.has_address(t.plan.vip))).unwrap();
    let router = b.status().unwrap()["routers"][0].clone();
    assert_eq!(router["priority"], 100, "{router}");
    let expected = if t.plan.is_ipv6() { "rfc9568" } else { "pseudo-header" };
    assert_eq!(router["checksum"], expected, "what keepalived covers: {router}");

    t.cut(A).unwrap();
    b.wait_role("active", SOON).unwrap();
    t.mend(A).unwrap();
    b.wait_role("backup", SOON).unwrap();
    assert!(keepalived.is_active());

    keepalived.term().unwrap();
    b.wait_role("active", SOON).unwrap();
    wait_until("B to hold the VIP", SOON, || Ok(t.b.has_address(t.plan.vip))).unwrap();
}

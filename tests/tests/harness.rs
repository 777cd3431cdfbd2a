//! The harness itself: the network carries the tunnel under the usual recipe, and leaves nothing behind.

use std::time::Duration;

use wgha_tests::{
    Keepalived, KeepalivedSettings, Topology,
    Which::{A, B},
    may_run,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_recipe_of_keepalived_moves_the_vip() {
    for make in [Topology::ipv6, Topology::ipv4] {
        if !may_run() {
            return;
        }
        let t = make().unwrap();
        let recipe = |which| KeepalivedSettings::seed(&t.plan, which).with_notify_script("wg1");
        let a = Keepalived::start(&t, A, &recipe(A)).unwrap();
        let b = Keepalived::start(&t, B, &recipe(B)).unwrap();
        a.wait_active(true, SOON).unwrap();
        b.wait_active(false, SOON).unwrap();
        t.cut(A).unwrap();
        b.wait_active(true, SOON).unwrap();
        assert!(t.server(B).has_address(t.plan.vip));
        t.mend(A).unwrap();
        b.wait_active(false, SOON).unwrap();
        assert!(a.is_active());
    }
}

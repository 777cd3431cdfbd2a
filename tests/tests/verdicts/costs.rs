//! What a packet costs. Printed, not asserted: another machine has other figures.

use wgha_tests::{
    cost::{self, Effort},
    may_run,
};

use crate::kernel::object;

#[test]
fn costs_are_shown() {
    if !may_run() {
        return;
    }
    let rounds = std::env::var("WGHA_COST_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    let costs = cost::measure(&object(), Effort { rounds, repeat: 100_000 }).unwrap();
    assert_eq!(costs.len(), 2 * (4 + 4 + 3), "every packet at every hook that has it, in both families");
    for cost in costs {
        println!(
            "IPv{} {:<12} {:<20} {:>4} ns above {} ns ({}..{})",
            cost.ip_version,
            cost.hook.program(),
            cost.packet,
            cost.median(),
            cost.passing,
            cost.above[0],
            cost.above[cost.above.len() - 1],
        );
        assert_eq!(cost.above.len() % rounds, 0);
    }
}

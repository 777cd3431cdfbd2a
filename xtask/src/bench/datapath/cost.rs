//! Nanoseconds a packet.

use anyhow::Result;
use serde_json::{Value, json};
use wgha_tests::cost::{self, Cost, Effort, Hook};

use super::super::{
    Plan, claims,
    report::Table,
    stats::{Measured, Summary},
};
use crate::demo::words;

/// Fewer differences spread too much.
const LEAST_ROUNDS: usize = 10;
/// So many runs make one figure, which is a whole number.
const REPEAT: u32 = 300_000;
/// What WireGuard's data may cost in each direction.
const TRANSPORT: &str = "WireGuard transport";
const AT_MOST_NS: f64 = 20.0;

/// Of every kind of packet.
pub struct Costs(Vec<Cost>);

impl Costs {
    /// Measures.
    pub fn measure(object: &[u8], plan: &Plan) -> Result<Self> {
        words::heading("Nanoseconds a packet, by BPF_PROG_TEST_RUN");
        let effort = Effort { rounds: plan.runs.max(LEAST_ROUNDS), repeat: REPEAT };
        cost::measure(object, effort).map(Self)
    }

    /// All of them.
    pub fn table(&self) -> Table {
        let head = vec!["packet", "hook", "IP", "pass-only ns", "above it ns", "min", "max"];
        let row = |cost: &Cost| {
            let ends = [cost.above.first(), cost.above.last()];
            let mut row = vec![
                cost.packet.to_owned(),
                cost.hook.program().to_owned(),
                cost.ip_version.to_string(),
                cost.passing.to_string(),
                cost.median().to_string(),
            ];
            row.extend(ends.map(|end| end.map_or_else(String::new, i64::to_string)));
            row
        };
        let title = "Cost of a packet (medians)".to_owned();
        Table { title, head, rows: self.0.iter().map(row).collect() }
    }

    /// Of WireGuard's data.
    pub fn claims(&self) -> Vec<Vec<String>> {
        let of = self.0.iter().filter(|cost| cost.packet == TRANSPORT && cost.hook != Hook::Ingress);
        of.filter_map(|cost| {
            let above: Vec<Measured> = cost.above.iter().map(|ns| Some(*ns as f64)).collect();
            let claim = format!(
                "{TRANSPORT}, IPv{}, {}: ns above pass-only ≤ {AT_MOST_NS}",
                cost.ip_version,
                cost.hook.program()
            );
            claims::row(claim, &above, |s: &Summary| s.median.is_some_and(|ns| ns <= AT_MOST_NS))
        })
        .collect()
    }

    /// Everything.
    pub fn to_json(&self) -> Value {
        let cost = |cost: &Cost| {
            json!({
                "packet": cost.packet,
                "program": cost.hook.program(),
                "ip_version": cost.ip_version,
                "passing_ns": cost.passing,
                "above_ns": cost.above,
            })
        };
        self.0.iter().map(cost).collect()
    }
}

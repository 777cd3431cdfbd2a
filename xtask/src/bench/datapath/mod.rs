//! What the kernel half costs: nanoseconds a packet above a program that only passes, and what gets through.

mod cost;
mod throughput;

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;

use self::{
    cost::Costs,
    throughput::{Kind, Round},
};
use super::{Plan, claims, report::Report};
use crate::{demo::words, run};

/// Measures.
///
/// # Errors
/// The system's, and the user's.
pub fn run(plan: &Plan) -> Result<Report> {
    let path = run::workspace().join("target/bpf/wgha-ebpf");
    let object = fs::read(&path).with_context(|| path.display().to_string())?;
    let costs = Costs::measure(&object, plan)?;
    let mut rounds = Vec::new();
    for kind in Kind::ALL {
        words::heading(kind.about());
        match kind.measure(&object, plan) {
            Ok(of_kind) => rounds.extend(of_kind),
            Err(error) => words::step(&format!("{error:#}")),
        }
    }
    Ok(report(&costs, &rounds))
}

fn report(costs: &Costs, rounds: &[Round]) -> Report {
    let setting = format!(
        "nanoseconds by BPF_PROG_TEST_RUN, in turn with a program that only passes, medians of the differences; \
         datagrams of 60 bytes over veth, past both programs in turn on the same hook; a TCP stream through the tunnel \
         ({}) to a server of a wgha pair and to one without, each in a fresh network",
        throughput::wireguard()
    );
    let mut tables = vec![costs.table()];
    tables.extend(throughput::table(rounds));
    let mut rows = costs.claims();
    rows.extend(Kind::ALL.iter().filter_map(|kind| kind.claim(rounds)));
    tables.extend(claims::table("Claims", rows));
    let rounds: Vec<_> = rounds.iter().map(Round::to_json).collect();
    let data = json!({ "setting": setting, "costs": costs.to_json(), "throughput": rounds });
    Report { name: "datapath", setting, tables, data, picture: None }
}

//! How long the tunnel is silent after a fault: everybody in turn, round after round, never two at once.

mod case;
mod picture;
mod run;
mod scene;
mod verdict;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use wgha_tests::{clock, contestant, interrupt, prober};

use self::{case::Case, run::Run};
use super::{
    Plan,
    report::{Report, Table},
    stats::{Measured, Summary},
};
use crate::demo::{stage, words};

/// Measures.
///
/// # Errors
/// That not one run succeeded. What is there when the user interrupts is told.
pub fn run(plan: &Plan) -> Result<Report> {
    let contestants = contestant::named(&plan.contestants)?;
    let cases = Case::parse_all(&plan.cases)?;
    let pace = words::duration(prober::pace());
    words::heading(&format!(
        "Failover: the longest time without an answer to a UDP echo every {pace} through the tunnel"
    ));
    for contestant in &contestants {
        words::step(&format!("{:<3} {}", contestant.name(), contestant.about()));
    }
    let mut rounds = Vec::new();
    for round in 1..=plan.runs {
        let mut runs = Vec::new();
        for case in &cases {
            for contestant in &contestants {
                if interrupt::check().is_err() {
                    break;
                }
                match Run::measure(contestant.as_ref(), *case) {
                    Ok(run) => {
                        progress(round, plan.runs, &run);
                        runs.push(run);
                    }
                    Err(error) => words::step(&format!("{case}, {}: {error:#}", contestant.name())),
                }
            }
        }
        rounds.push(runs);
    }
    if rounds.iter().all(Vec::is_empty) {
        bail!("nothing could be measured");
    }
    Ok(report(&cases, &rounds))
}

fn progress(round: usize, rounds: usize, run: &Run) {
    let by = run.by.map_or("nobody".to_owned(), |which| which.to_string());
    let complaint = run.complaint().map(|c| format!("; {c}")).unwrap_or_default();
    words::step(&format!(
        "{round}/{rounds} {}, {:<3} {:>8}, served by {by}, steal {}{complaint}",
        run.case,
        run.contestant,
        words_of(run.outage),
        run.stolen
    ));
}

/// A time in a table; what did not end is longer than was waited for.
fn words_of(outage: Measured) -> String {
    outage.map_or_else(
        || format!("> {} s", run::cap().as_secs()),
        |ms| words::duration(Duration::from_secs_f64(ms / 1e3)),
    )
}

/// The runs of a contestant in a case.
fn of<'a>(rounds: &'a [Vec<Run>], case: Case, contestant: &str) -> Vec<&'a Run> {
    rounds.iter().flatten().filter(|run| run.case == case && run.contestant == contestant).collect()
}

fn summary(rounds: &[Vec<Run>], case: Case, contestant: &str) -> Option<Summary> {
    Summary::of(&of(rounds, case, contestant).iter().map(|run| run.outage).collect::<Vec<_>>())
}

fn report(cases: &[Case], rounds: &[Vec<Run>]) -> Report {
    let mut tables: Vec<_> = cases.iter().map(|case| table(*case, rounds)).collect();
    tables.extend(verdict::tables(cases, rounds));
    let wireguard = if stage::kernel_has_wireguard() { "kernel WireGuard" } else { "wireguard-go" };
    let slowness = clock::patience(Duration::from_secs(1)).as_secs();
    let slow = if slowness > 1 {
        format!(
            "; an emulated processor: intervals below 1 s are {slowness} times as long as is said of them"
        )
    } else {
        String::new()
    };
    let setting = format!(
        "IPv6 over veth, {wireguard}; a fresh network for every run, more than 6 s after the last handshake; \
         medians, and the least and the most{slow}"
    );
    let all: Vec<_> = rounds
        .iter()
        .enumerate()
        .flat_map(|(round, runs)| {
            runs.iter().map(move |run| {
                let mut json = run.to_json();
                json["round"] = json!(round + 1);
                json
            })
        })
        .collect();
    let data = json!({ "setting": setting, "cap_ms": run::cap().as_millis() as u64, "runs": all });
    Report { name: "failover", setting, tables, data, picture: Some(picture::draw(cases, rounds)) }
}

fn table(case: Case, rounds: &[Vec<Run>]) -> Table {
    let head = vec![
        "",
        "what",
        "runs",
        "median",
        "min",
        "max",
        "on the VIP",
        "stray packets",
        "false failovers",
        "first initiation",
        "steal",
    ];
    let rows = contestant::all().into_iter().filter_map(|contestant| {
        let runs = of(rounds, case, contestant.name());
        let summary = summary(rounds, case, contestant.name())?;
        let on_vip = runs.iter().filter(|run| run.on_vip && run.outage.is_some()).count();
        let initiations: Vec<_> = runs.iter().map(|run| run.initiation).collect();
        let initiation = Summary::of(&initiations).and_then(|s| s.median);
        Some(vec![
            contestant.name().to_owned(),
            contestant.about().to_owned(),
            summary.count.to_string(),
            words_of(summary.median),
            words_of(summary.min),
            words_of(summary.max),
            format!("{on_vip}/{}", runs.len()),
            runs.iter().map(|run| run.strays + run.from_backup).sum::<usize>().to_string(),
            runs.iter().map(|run| run.false_failovers).sum::<usize>().to_string(),
            initiation.map_or_else(|| "–".to_owned(), |ms| words_of(Some(ms))),
            runs.iter().map(|run| run.stolen).sum::<u64>().to_string(),
        ])
    });
    Table { title: case.to_string(), head, rows: rows.collect() }
}

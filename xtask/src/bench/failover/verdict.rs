//! What is claimed, beside what was found. Ratios are taken within a round, where both had the same machine.

use wgha_tests::contestant::{self, Contestant};

use super::{
    super::{
        claims,
        report::Table,
        stats::{Measured, millis},
    },
    Run,
    case::{Case, Condition, Fault},
    words_of,
};

/// Plain case: the first takes at least so many times as long as the second.
const AT_LEAST: [(&str, &str, f64); 5] =
    [("B0", "W2", 1000.0), ("B0", "W1", 2000.0), ("B2", "W10", 1.4), ("B2", "W2", 4.0), ("B2", "W1", 6.0)];
/// What is left of an outage without detection, over the oracle's.
const OVER_ORACLE: f64 = 1.5;
/// A harder condition over the plain case.
const OVER_PLAIN: f64 = 1.3;
/// What a node sees itself, over the oracle's.
const SEEN_ITSELF: f64 = 2.0;

/// One or none.
pub fn tables(cases: &[Case], rounds: &[Vec<Run>]) -> Vec<Table> {
    let mut rows = Vec::new();
    let wgha: Vec<_> = contestant::all().into_iter().filter(|c| c.name().starts_with('W')).collect();
    if cases.contains(&Case::PLAIN) {
        rows.extend(AT_LEAST.iter().filter_map(|claim| at_least(rounds, claim)));
        rows.extend(wgha.iter().filter_map(|c| over_oracle(rounds, c.as_ref())));
        let others = cases.iter().filter(|case| **case != Case::PLAIN);
        rows.extend(others.flat_map(|case| wgha.iter().filter_map(|c| over(rounds, *case, c.name()))));
    }
    claims::table("Claims (ratios within a round)", rows).into_iter().collect()
}

fn at_least(rounds: &[Vec<Run>], (slow, fast, times): &(&str, &str, f64)) -> Option<Vec<String>> {
    let slow_and_fast = |round: &[Run]| {
        let fast = outage(round, Case::PLAIN, fast)?;
        // What did not end took at least as long as was waited.
        Some(outage(round, Case::PLAIN, slow)?.unwrap_or(millis(super::run::cap())) / fast?)
    };
    row(format!("crash: {slow} ÷ {fast} ≥ {times}"), ratios(rounds, slow_and_fast), |r| r >= *times)
}

fn over_oracle(rounds: &[Vec<Run>], contestant: &dyn Contestant) -> Option<Vec<String>> {
    let budget = contestant.detection_budget();
    let rest = |round: &[Run]| {
        let oracle = outage(round, Case::PLAIN, "O")??;
        let outage = outage(round, Case::PLAIN, contestant.name())?;
        Some(outage.map_or(f64::INFINITY, |ms| (ms - millis(budget)) / oracle))
    };
    let claim =
        format!("crash: ({} − {}) ÷ O ≤ {OVER_ORACLE}", contestant.name(), words_of(Some(millis(budget))));
    row(claim, ratios(rounds, rest), |r| r <= OVER_ORACLE)
}

/// Harder conditions are compared with the plain case, what a node sees itself with the oracle.
fn over(rounds: &[Vec<Run>], case: Case, name: &str) -> Option<Vec<String>> {
    let seen_itself = matches!(case.fault, Fault::Stop | Fault::Tunnel | Fault::Carrier);
    let (base, limit) = match (case.fault, case.condition) {
        (Fault::Crash, _) => (name, OVER_PLAIN),
        (_, Condition::Cold) if seen_itself => ("O", SEEN_ITSELF),
        _ => return None,
    };
    let times = |round: &[Run]| {
        let plain = outage(round, Case::PLAIN, base)??;
        Some(outage(round, case, name)?.unwrap_or(f64::INFINITY) / plain)
    };
    row(format!("{}: {name} ÷ {base} (crash) ≤ {limit}", case.name()), ratios(rounds, times), |r| {
        r <= limit
    })
}

/// In this round; none: it was not measured.
fn outage(round: &[Run], case: Case, name: &str) -> Option<Measured> {
    round.iter().find(|run| run.case == case && run.contestant == name).map(|run| run.outage)
}

fn ratios(rounds: &[Vec<Run>], of: impl Fn(&[Run]) -> Option<f64>) -> Vec<Measured> {
    rounds.iter().filter_map(|round| of(round)).map(|ratio| ratio.is_finite().then_some(ratio)).collect()
}

fn row(claim: String, ratios: Vec<Measured>, holds: impl Fn(f64) -> bool) -> Option<Vec<String>> {
    claims::row(claim, &ratios, |summary| holds(summary.median.unwrap_or(f64::INFINITY)))
}

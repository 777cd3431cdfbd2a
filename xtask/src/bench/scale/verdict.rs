//! What is claimed of many peers, beside what was found. Ratios are taken within a round.

use super::{
    super::{
        report::Table,
        stats::{Measured, Summary, millis},
    },
    Kick, WGHA,
    case::Case,
    crash::{LIMIT, Run},
};

/// B1's 99 % over wgha's, at least.
const OVER_RECIPE: [(Case, f64); 2] = [(Case::all_talk(1000), 15.0), (Case::behind_one_address(1000), 20.0)];
/// All back: wgha's time over an unpaced kick's.
const OVER_KICK: f64 = 1.3;
/// Talkers come so many times earlier than in the order of the configuration, at the same pace: as evenly as they are
/// spread over it, their 99 % would be everyone's.
const IN_ORDER: f64 = 20.0;

/// One, or none.
pub fn table(rounds: &[Vec<Run>]) -> Option<Table> {
    let mut rows = Vec::new();
    for (case, times) in OVER_RECIPE {
        let claim = format!("{case}: B1 ÷ {WGHA}, 99 % ≥ {times}");
        // What did not end took at least as long as was waited.
        let ratio = |round: &[Run]| {
            Some(
                at(round, case, "B1", 99)?.unwrap_or(millis(LIMIT))
                    / at(round, case, WGHA, 99)?.unwrap_or(f64::INFINITY),
            )
        };
        rows.extend(row(claim, ratios(rounds, ratio), |r| r >= times));
    }
    for (case, _) in OVER_RECIPE {
        let claim = format!("{case}: {WGHA} ÷ {}, all ≤ {OVER_KICK}", Kick::NAME);
        let ratio = |round: &[Run]| {
            let kick = at(round, case, Kick::NAME, 100)?.unwrap_or(millis(LIMIT));
            Some(at(round, case, WGHA, 100)?.unwrap_or(f64::INFINITY) / kick)
        };
        rows.extend(row(claim, ratios(rounds, ratio), |r| r <= OVER_KICK));
    }
    let case = Case::some_talk(100, 10_000);
    let claim = format!("{case}: {WGHA}, everyone's 99 % ÷ the talkers' ≥ {IN_ORDER}");
    let ratio = |round: &[Run]| {
        let run = of(round, case, WGHA)?;
        Some(run.everyone_at(99).unwrap_or(millis(LIMIT)) / run.talkers_at(99).unwrap_or(f64::INFINITY))
    };
    rows.extend(row(claim, ratios(rounds, ratio), |r| r >= IN_ORDER));
    let wgha = rounds.iter().flatten().filter(|run| run.contestant == WGHA);
    let cookies = wgha.map(|run| run.counts.cookies as f64).reduce(f64::max);
    rows.extend(
        cookies.and_then(|most| row(format!("cookies, {WGHA}, at most"), vec![Some(most)], |n| n == 0.0)),
    );
    let head = vec!["claim", "median", "min", "max", "is so"];
    let title = "Claims (ratios within a round)".to_owned();
    (!rows.is_empty()).then_some(Table { title, head, rows })
}

fn of<'a>(round: &'a [Run], case: Case, name: &str) -> Option<&'a Run> {
    round.iter().find(|run| run.case == case && run.contestant == name)
}

/// In this round; none: it was not measured.
fn at(round: &[Run], case: Case, name: &str, percent: usize) -> Option<Measured> {
    of(round, case, name).map(|run| run.talkers_at(percent))
}

fn ratios(rounds: &[Vec<Run>], of: impl Fn(&[Run]) -> Option<f64>) -> Vec<Measured> {
    rounds.iter().filter_map(|round| of(round)).map(|ratio| ratio.is_finite().then_some(ratio)).collect()
}

fn row(claim: String, ratios: Vec<Measured>, holds: impl Fn(f64) -> bool) -> Option<Vec<String>> {
    let summary = Summary::of(&ratios)?;
    let words = |ratio: Measured| ratio.map_or_else(|| "∞".to_owned(), |r| format!("{r:.2}"));
    let verdict = if holds(summary.median.unwrap_or(f64::INFINITY)) { "yes" } else { "NO" };
    let mut row = vec![claim];
    row.extend([summary.median, summary.min, summary.max].map(words));
    row.push(verdict.to_owned());
    Some(row)
}

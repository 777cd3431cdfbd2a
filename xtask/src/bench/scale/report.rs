//! Tables.

use std::time::Duration;

use wgha_tests::swarm::Back;

use super::{
    contestant::Contestant,
    crash::{Case, Outcome},
};

/// The shares of clients that tables tell about.
const PERCENT: [usize; 3] = [50, 99, 100];

/// A time in milliseconds, with microseconds behind the point.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// One line for one crash.
pub fn print_run(case: &Case, contestant: Contestant, run: usize, outcome: &Outcome) {
    let all = if outcome.everyone.of == outcome.talkers.of {
        String::new()
    } else {
        format!("; everyone {}", times(&outcome.everyone))
    };
    println!(
        "{case}, {contestant:<12} run {run}: {}{all}; cookies {}, steal {}",
        times(&outcome.talkers),
        outcome.cookies(),
        outcome.steal_ticks()
    );
}

/// The medians of every contestant, and how many times as long as the fastest each took to the 99th percentile.
pub fn print_medians(case: &Case, outcomes: &[(Contestant, Vec<Outcome>)]) {
    println!("{case}, medians:");
    let p99 = |outcomes: &[Outcome]| median(outcomes.iter().map(|o| o.talkers.at(99)).collect());
    let fastest = outcomes.iter().filter_map(|(_, outcomes)| p99(outcomes)).min();
    for (contestant, outcomes) in outcomes {
        let columns = PERCENT.map(|percent| {
            let all = outcomes.iter().map(|o| o.talkers.at(percent)).collect();
            format!("{percent} % {}", written(median(all)))
        });
        let ratio =
            p99(outcomes).zip(fastest).map(|(p99, fastest)| p99.as_secs_f64() / fastest.as_secs_f64());
        let ratio = ratio.map_or_else(String::new, |ratio| format!("  ({ratio:.1} x to 99 %)"));
        println!("  {contestant:<12} {}{ratio}", columns.join("  "));
    }
}

/// The middle one; those that never came are the longest.
fn median(mut times: Vec<Option<Duration>>) -> Option<Duration> {
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    times.get(times.len().saturating_sub(1) / 2).copied().flatten()
}

fn times(back: &Back) -> String {
    let columns = PERCENT.map(|percent| format!("{percent} % {}", written(back.at(percent))));
    format!("{} ({} of {})", columns.join("  "), back.after.len(), back.of)
}

fn written(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".into(), |time| format!("{:>9.1} ms", milliseconds(time)))
}

//! Every run as a dot over logarithmic time, case by case.

use wgha_tests::contestant;

use super::{Run, case::Case, of, run::cap, summary, words_of};
use crate::{
    bench::stats::millis,
    demo::figure::svg::{Area, Svg, Text},
};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 32.0;
/// For names on the left and medians on the right.
const LEFT: f64 = MARGIN + 56.0;
const RIGHT: f64 = WIDTH - MARGIN - 90.0;
const LANE: f64 = 22.0;
const TITLE: f64 = 40.0;
const GAP: f64 = 26.0;

/// Both ends of the axis, milliseconds.
const FROM: f64 = 1.0;
const TO: f64 = 30_000.0;
const TICKS: [(f64, &str); 5] =
    [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s")];

const INK: &str = "#0f172a";
const SOFT: &str = "#64748b";
const GRID: &str = "#e2e8f0";
const WGHA: &str = "#2563eb";
const ORACLE: &str = "#0d9488";
const OTHERS: &str = "#d97706";

/// An SVG document.
pub fn draw(cases: &[Case], rounds: &[Vec<Run>]) -> String {
    let mut svg = Svg::default();
    svg.text(MARGIN, MARGIN + 16.0, "How long the tunnel is silent", &Text::new(22.0, INK).bold());
    let told = "One dot per run, a line at the median; logarithmic. B0 to B2: keepalived; O: wgha that is told of the \
                crash; W: wgha.";
    svg.text(MARGIN, MARGIN + 38.0, told, &Text::new(13.0, SOFT));
    let mut y = MARGIN + 62.0;
    for case in cases {
        y = panel(&mut svg, *case, rounds, y) + GAP;
    }
    svg.finish(WIDTH, y)
}

fn panel(svg: &mut Svg, case: Case, rounds: &[Vec<Run>], top: f64) -> f64 {
    let names: Vec<_> = contestant::all().iter().map(|c| c.name()).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !of(rounds, case, name).is_empty()).collect();
    svg.text(MARGIN, top + 14.0, &case.to_string(), &Text::new(15.0, INK).bold());
    let lanes = top + TITLE - 14.0;
    let bottom = lanes + LANE * names.len() as f64;
    svg.rect(Area { x: LEFT, y: lanes, width: RIGHT - LEFT, height: bottom - lanes }, "#f8fafc", 4.0);
    for (ms, name) in TICKS {
        svg.line((x(ms), lanes), (x(ms), bottom), GRID, 1.0, "");
        svg.text(x(ms), bottom + 14.0, name, &Text::new(11.0, SOFT).centred());
    }
    for (i, name) in names.iter().enumerate() {
        lane(svg, case, rounds, name, lanes + LANE * (i as f64 + 0.5));
    }
    bottom + 14.0
}

fn lane(svg: &mut Svg, case: Case, rounds: &[Vec<Run>], name: &str, y: f64) {
    let colour = match name.as_bytes() {
        [b'W', ..] => WGHA,
        [b'O', ..] => ORACLE,
        _ => OTHERS,
    };
    svg.text(LEFT - 10.0, y + 4.0, name, &Text::new(12.0, INK).before());
    for (i, run) in of(rounds, case, name).into_iter().enumerate() {
        // Side by side where they would cover each other.
        let offset = (i % 3) as f64 * 4.0 - 4.0;
        svg.circle((x(run.outage.unwrap_or(millis(cap()))), y + offset), 2.8, colour);
    }
    let median = summary(rounds, case, name).and_then(|s| s.median);
    let at = x(median.unwrap_or(millis(cap())));
    svg.line((at, y - 9.0), (at, y + 9.0), INK, 1.4, "");
    svg.text(RIGHT + 10.0, y + 4.0, &words_of(median), &Text::new(12.0, INK));
}

fn x(ms: f64) -> f64 {
    let share = (ms / FROM).max(1.0).log10() / (TO / FROM).log10();
    LEFT + 12.0 + share.min(1.0) * (RIGHT - LEFT - 24.0)
}

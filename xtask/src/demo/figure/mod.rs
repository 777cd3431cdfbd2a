//! The run as a picture: all of it over linear time, and every fault on its own over logarithmic time.

mod labels;
mod lanes;
mod legend;
mod overview;
mod panel;
mod pings;
mod scale;
pub mod svg;

use wgha_tests::Which;

use self::svg::{Svg, Text};
use super::recording::Recording;

/// Width of the picture.
const WIDTH: f64 = 1320.0;
/// Around everything.
const MARGIN: f64 = 36.0;
/// Between two panels.
const GAP: f64 = 28.0;
/// Panels side by side.
const COLUMNS: usize = 2;

const INK: &str = "#0f172a";
const SOFT: &str = "#64748b";
const GRID: &str = "#e2e8f0";
const LOST: &str = "#dc2626";
const OUTAGE: &str = "#fee2e2";

/// The colour of everything that a server has answered.
const fn colour_of(which: Which) -> &'static str {
    match which {
        Which::A => "#2563eb",
        Which::B => "#d97706",
    }
}

/// An SVG document.
pub fn draw(recording: &Recording) -> String {
    let mut svg = Svg::default();
    let mut y = header(&mut svg, recording);
    y = overview::draw(&mut svg, recording, y) + GAP;
    y = explanation(&mut svg, y);
    for row in panel::all(recording).chunks(COLUMNS) {
        let height = row.iter().map(panel::Panel::height).fold(0.0, f64::max);
        for (column, panel) in row.iter().enumerate() {
            let width = (WIDTH - 2.0 * MARGIN - GAP) / COLUMNS as f64;
            panel.draw(&mut svg, MARGIN + column as f64 * (width + GAP), y, width, height);
        }
        y += height + GAP;
    }
    svg.finish(WIDTH, y - GAP + MARGIN)
}

fn header(svg: &mut Svg, recording: &Recording) -> f64 {
    let y = MARGIN + 22.0;
    svg.text(
        MARGIN,
        y,
        "What a WireGuard client sees while its server fails over",
        &Text::new(24.0, INK).bold(),
    );
    let told =
        format!("A ping through the tunnel every 5 ms, to two servers under wgha. {}.", recording.setting);
    svg.text(MARGIN, y + 24.0, &told, &Text::new(14.0, SOFT));
    legend::draw(svg, MARGIN, y + 52.0);
    y + 78.0
}

fn explanation(svg: &mut Svg, y: f64) -> f64 {
    let told = "The same, one thing at a time. Time runs from when it was done, on a logarithmic scale: each \
                step to the right takes ten times as long.";
    svg.text(MARGIN, y + 4.0, told, &Text::new(14.0, SOFT));
    y + 24.0
}

#[cfg(test)]
mod tests;

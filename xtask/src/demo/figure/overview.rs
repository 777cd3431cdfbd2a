//! The whole run over linear time.

use std::time::Duration;

use wgha_tests::Outage;

use super::{
    super::{
        recording::{Fault, Recording},
        table,
    },
    GRID, INK, LOST, MARGIN, SOFT, WIDTH, labels, lanes,
    pings::Strip,
    scale::{Linear, TimeScale},
    svg::{Svg, Text},
};

/// Left of the axes.
pub const GUTTER: f64 = 74.0;
const NUMBERS: f64 = 26.0;
const ROW: f64 = 16.0;
const STRIP: f64 = 96.0;
const LANE: f64 = 22.0;

/// Draws it below `y` and returns its lower edge.
pub fn draw(svg: &mut Svg, recording: &Recording, y: f64) -> f64 {
    let times = (recording.start_ns, recording.end_ns);
    let scale = Linear { times, ends: (MARGIN + GUTTER, WIDTH - MARGIN) };
    let lengths = lengths(recording, &scale);
    let rows = lengths.iter().map(|(place, ..)| place.row + 1).max().unwrap_or(0);
    let strip_y = y + NUMBERS + rows as f64 * ROW + 4.0;
    let lanes_y = strip_y + STRIP + 8.0;
    let bottom = lanes_y + lanes::height(LANE);

    let strip = Strip { scale: &scale, y: strip_y, height: STRIP };
    let outages: Vec<Outage> = recording.faults.iter().filter_map(|f| f.outage).collect();
    strip.ground(svg, &outages, recording.end_ns);
    seconds(svg, &scale, strip_y, bottom);
    strip.pings(svg, &recording.probes);
    lanes::draw(svg, recording, &scale, recording.end_ns, (lanes_y, LANE));
    for (number, fault) in recording.faults.iter().enumerate() {
        let x = scale.x(fault.at_ns);
        svg.line((x, y + NUMBERS - 4.0), (x, bottom), INK, 1.0, "3 3");
        badge(svg, (x, y + 12.0), number + 1);
    }
    for (place, _, text) in lengths {
        // The uppermost row of the labels lies next to the strip.
        let baseline = strip_y - 6.0 - place.row as f64 * ROW;
        svg.text(place.left, baseline, &text, &look());
    }
    bottom + 24.0
}

/// The number of a fault, as it is found again at its panel.
pub fn badge(svg: &mut Svg, at: (f64, f64), number: usize) {
    svg.circle(at, 10.0, INK);
    svg.text(at.0, at.1 + 4.2, &number.to_string(), &Text::new(12.0, "#ffffff").bold().centred());
}

fn look() -> Text {
    Text::new(12.0, LOST).bold()
}

/// How long the tunnel was silent, beside each number.
fn lengths(recording: &Recording, scale: &Linear) -> Vec<(labels::Place, f64, String)> {
    let told = |fault: &Fault| match fault.silence() {
        Some(Duration::ZERO) => None,
        _ => Some((scale.x(fault.at_ns) + 4.0, table::silence(fault))),
    };
    let told: Vec<_> = recording.faults.iter().filter_map(told).collect();
    let texts: Vec<_> =
        told.iter().map(|(x, text)| labels::Label { x: *x, width: look().width(text) }).collect();
    let places = labels::place(&texts, scale.ends().1);
    places.into_iter().zip(told).map(|(place, (x, text))| (place, x, text)).collect()
}

/// Marks and names whole seconds.
fn seconds(svg: &mut Svg, scale: &Linear, top: f64, bottom: f64) {
    let length = (scale.times.1 - scale.times.0) / 1_000_000_000;
    let step = [1, 2, 5, 10, 20, 30, 60].into_iter().find(|step| length / step <= 14).unwrap_or(120);
    for second in (0..=length).step_by(usize::try_from(step).unwrap_or(1)) {
        let x = scale.x(scale.times.0 + second * 1_000_000_000);
        svg.line((x, top), (x, bottom + 4.0), GRID, 0.8, "");
        svg.text(x, bottom + 17.0, &format!("{second} s"), &Text::new(11.0, SOFT).centred());
    }
}

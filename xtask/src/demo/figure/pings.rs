//! The strip of pings: answered ones by round trip and server, lost ones in red.

use std::collections::BTreeMap;

use wgha_tests::{Outage, Probe, Which};

use super::{
    super::words::millis,
    GRID, LOST, OUTAGE, SOFT, colour_of,
    scale::{RoundTrips, TimeScale},
    svg::{Area, Svg, Text},
};

/// Height of the ticks for lost pings, at the lower edge of the strip.
const LOST_HEIGHT: f64 = 7.0;
/// A dot is at least so high.
const DOT: f64 = 2.2;

/// One strip on paper.
pub struct Strip<'a, S> {
    /// Its time axis.
    pub scale: &'a S,
    /// Upper edge.
    pub y: f64,
    /// Downwards.
    pub height: f64,
}

impl<S: TimeScale> Strip<'_, S> {
    /// Shades the outages and draws the axis of round trips.
    pub fn ground(&self, svg: &mut Svg, outages: &[Outage], end_ns: u64) {
        let (left, right) = self.scale.ends();
        for outage in outages {
            let x = self.scale.x(outage.from_ns);
            let width = self.scale.x(outage.to_ns.unwrap_or(end_ns)) - x;
            svg.rect(Area { x, y: self.y, width, height: self.height }, OUTAGE, 0.0);
        }
        svg.text(left - 6.0, self.y + 6.0, "round trip", &Text::new(10.0, SOFT).before());
        for (ms, label) in RoundTrips::TICKS {
            let y = self.round_trips().y(ms);
            svg.line((left, y), (right, y), GRID, 0.8, "");
            svg.text(left - 6.0, y + 3.5, label, &Text::new(10.0, SOFT).before());
        }
    }

    /// Draws the pings, gathered by columns of paper: a long run has more of them than paper has dots.
    pub fn pings(&self, svg: &mut Svg, probes: &[Probe]) {
        let (left, right) = self.scale.ends();
        for which in Which::BOTH {
            let answered = probes
                .iter()
                .filter_map(|p| Some((p.sent_ns, p.answer.filter(|a| a.from() == Some(which))?)));
            let mut columns: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
            for (sent_ns, answer) in answered {
                let x = self.scale.x(sent_ns);
                if x > left && x < right {
                    let y = self.round_trips().y(millis(answer.at_ns.saturating_sub(sent_ns)));
                    let column = columns.entry(column(x)).or_insert((y, y));
                    *column = (column.0.min(y), column.1.max(y));
                }
            }
            let dots: Vec<_> =
                columns.iter().map(|(c, (top, bottom))| (place(*c), top - DOT, *bottom)).collect();
            svg.uprights(&dots, colour_of(which), 1.0);
        }
        let lost = probes.iter().filter(|p| p.answer.is_none()).map(|p| self.scale.x(p.sent_ns));
        let columns: std::collections::BTreeSet<_> =
            lost.filter(|x| *x > left && *x < right).map(column).collect();
        let bottom = self.y + self.height;
        let ticks: Vec<_> = columns.into_iter().map(|c| (place(c), bottom - LOST_HEIGHT, bottom)).collect();
        svg.uprights(&ticks, LOST, 1.0);
    }

    fn round_trips(&self) -> RoundTrips {
        RoundTrips { top: self.y + 4.0, bottom: self.y + self.height - LOST_HEIGHT - 3.0 }
    }
}

/// Columns are 0.8 wide, so that they look like one area when they touch.
const COLUMN: f64 = 0.8;

#[expect(clippy::cast_possible_truncation, reason = "paper is not that wide")]
fn column(x: f64) -> i64 {
    (x / COLUMN).round() as i64
}

fn place(column: i64) -> f64 {
    column as f64 * COLUMN
}

//! One fault on its own: pings, roles, and what the daemons did.

use std::time::Duration;

use wgha_tests::{Outage, Which};

use super::{
    super::{
        recording::{Event, Fault, Recording},
        words::{self, duration},
    },
    GRID, INK, LOST, SOFT, colour_of,
    labels::{self, Label, Place},
    lanes, overview,
    pings::Strip,
    scale::{SinceFault, TimeScale},
    svg::{Area, Svg, Text},
};

const PADDING: f64 = 14.0;
const TITLE: f64 = 52.0;
const STRIP: f64 = 74.0;
const LANE: f64 = 20.0;
const ROW: f64 = 16.0;
const AXIS: f64 = 24.0;
/// So many rows of labels fit at the least, so that panels look alike.
const LEAST_ROWS: usize = 3;

/// A panel, before it has a place.
pub struct Panel<'a> {
    number: usize,
    recording: &'a Recording,
    fault: &'a Fault,
    steps: Vec<Step>,
    until_ms: f64,
}

/// Something that a daemon did.
struct Step {
    at_ns: u64,
    node: Which,
    text: String,
}

/// All of them, over one scale so that they can be compared.
pub fn all(recording: &Recording) -> Vec<Panel<'_>> {
    let longest = recording.faults.iter().map(|f| silent_until(f, recording.end_ns)).fold(1000.0, f64::max);
    let panel = |(i, fault)| Panel {
        number: i + 1,
        recording,
        fault,
        steps: steps(recording, fault),
        until_ms: longest * 2.5,
    };
    recording.faults.iter().enumerate().map(panel).collect()
}

fn silent_until(fault: &Fault, end_ns: u64) -> f64 {
    let until = fault.outage.map_or(fault.at_ns, |o| o.to_ns.unwrap_or(end_ns));
    words::millis(until.saturating_sub(fault.at_ns))
}

/// Width of a panel's axis, to know its rows before it has a place.
const AXIS_WIDTH: f64 =
    (super::WIDTH - 2.0 * super::MARGIN - super::GAP) / 2.0 - overview::GUTTER - 2.0 * PADDING;

impl Panel<'_> {
    /// How high it must be.
    pub fn height(&self) -> f64 {
        let places = self.places(&self.scale(0.0));
        let rows = places.iter().map(|p| p.row + 1).max().unwrap_or(0).max(LEAST_ROWS);
        PADDING + TITLE + STRIP + 8.0 + lanes::height(LANE) + 10.0 + rows as f64 * ROW + AXIS + PADDING
    }

    /// Draws it.
    pub fn draw(&self, svg: &mut Svg, x: f64, y: f64, width: f64, height: f64) {
        svg.rect(Area { x, y, width, height }, GRID, 8.0);
        svg.rect(Area { x: x + 1.0, y: y + 1.0, width: width - 2.0, height: height - 2.0 }, "#fdfdfe", 7.0);
        self.title(svg, x + PADDING, y + PADDING);
        let scale = self.scale(x + PADDING + overview::GUTTER);
        let strip_y = y + PADDING + TITLE;
        let lanes_y = strip_y + STRIP + 8.0;
        let bottom = y + height - PADDING - AXIS;

        let strip = Strip { scale: &scale, y: strip_y, height: STRIP };
        let outages: Vec<Outage> = self.fault.outage.into_iter().collect();
        strip.ground(svg, &outages, self.recording.end_ns);
        axis(svg, &scale, strip_y, bottom);
        let near = self.fault.at_ns.saturating_sub(1_000_000_000)..self.fault.until_ns;
        let probes: Vec<_> =
            self.recording.probes.iter().filter(|p| near.contains(&p.sent_ns)).copied().collect();
        strip.pings(svg, &probes);
        self.silence(svg, &scale, strip_y);
        lanes::draw(svg, self.recording, &scale, self.fault.until_ns, (lanes_y, LANE));
        let zero = scale.x_of_ms(0.0);
        svg.line((zero, strip_y - 4.0), (zero, bottom), INK, 1.2, "3 3");
        self.labels(svg, &scale, lanes_y);
    }

    fn scale(&self, left: f64) -> SinceFault {
        SinceFault { zero_ns: self.fault.at_ns, until_ms: self.until_ms, ends: (left, left + AXIS_WIDTH) }
    }

    fn title(&self, svg: &mut Svg, x: f64, y: f64) {
        overview::badge(svg, (x + 10.0, y + 9.0), self.number);
        svg.text(x + 28.0, y + 14.0, self.fault.title, &Text::new(16.0, INK).bold());
        let vip = self.recording.vip_moved(self.fault);
        let vip = vip.map(|d| format!("VIP on {} after {}", self.fault.expected, duration(d)));
        let tunnel = match self.fault.silence() {
            _ if !self.fault.recovered() => format!("{} does not answer", self.fault.expected),
            Some(d) if d.is_zero() => "not one ping lost".to_owned(),
            Some(d) => format!("tunnel silent for {}", duration(d)),
            None => "the tunnel stays silent".to_owned(),
        };
        let told = vip.into_iter().chain([tunnel]).collect::<Vec<_>>().join(" · ");
        svg.text(x + 28.0, y + 34.0, &told, &Text::new(13.0, SOFT));
    }

    /// How long the tunnel was silent, inside the shade if there is room.
    fn silence(&self, svg: &mut Svg, scale: &SinceFault, strip_y: f64) {
        let Some(outage) = self.fault.outage else { return };
        let (from, to) = (scale.x(outage.from_ns), scale.x(outage.to_ns.unwrap_or(self.recording.end_ns)));
        let text = self.fault.silence().map_or("not back".to_owned(), duration);
        let look = Text::new(13.0, LOST).bold().centred();
        if look.width(&text) < to - from {
            svg.text(f64::midpoint(from, to), strip_y + STRIP / 2.0, &text, &look);
        }
    }

    fn places(&self, scale: &SinceFault) -> Vec<Place> {
        let label = |step: &Step| Label { x: scale.x(step.at_ns), width: look(step).width(&step.text) + 4.0 };
        labels::place(&self.steps.iter().map(label).collect::<Vec<_>>(), scale.ends.1 + PADDING - 4.0)
    }

    fn labels(&self, svg: &mut Svg, scale: &SinceFault, lanes_y: f64) {
        let first_row = lanes_y + lanes::height(LANE) + 10.0;
        for (step, place) in self.steps.iter().zip(self.places(scale)) {
            let (x, colour) = (scale.x(step.at_ns), colour_of(step.node));
            let from = lanes::y(step.node, lanes_y, LANE) + LANE;
            let baseline = first_row + place.row as f64 * ROW + 11.0;
            svg.line((x, from - LANE / 2.0), (x, baseline), colour, 0.8, "");
            svg.circle((x, from - LANE / 2.0), 2.6, colour);
            svg.text(place.left + 4.0, baseline, &step.text, &look(step));
        }
    }
}

fn look(step: &Step) -> Text {
    Text::new(11.0, colour_of(step.node))
}

fn axis(svg: &mut Svg, scale: &SinceFault, top: f64, bottom: f64) {
    for (x, name) in scale.ticks() {
        svg.line((x, top), (x, bottom), GRID, 0.8, "");
        svg.text(x, bottom + 15.0, name, &Text::new(11.0, SOFT).centred());
    }
}

/// The first of each sort: what a failover consists of.
fn steps(recording: &Recording, fault: &Fault) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for event in recording.events_of(fault) {
        let Some(done) = done(event, fault.expected) else { continue };
        if event.what == "announced" && recording.is_cut_off(event.node, event.at_ns) {
            continue;
        }
        let done = format!("{} {done}", event.node);
        if !steps.iter().any(|s| s.text.ends_with(&done)) {
            let after = duration(Duration::from_nanos(event.at_ns - fault.at_ns));
            steps.push(Step { at_ns: event.at_ns, node: event.node, text: format!("{after} {done}") });
        }
    }
    steps
}

/// What an event did for the failover; the one who takes over has nothing to give up.
fn done(event: &Event, expected: Which) -> Option<&'static str> {
    Some(match (event.kind.as_str(), event.what.as_str()) {
        ("role", "active") => "is Active",
        ("role", "backup") => "is Backup",
        ("role", "fault") => "is in Fault",
        ("role", "stopping") => "resigns",
        ("process", "off") => "has ended",
        ("effect", "vip_held") => "has the VIP",
        ("effect", "vip_released" | "tunnel_lowered") if event.node == expected => return None,
        ("effect", "vip_released") => "gives up the VIP",
        ("effect", "announced") => "announces it",
        ("effect", "tunnel_raised") => "raises wg1",
        ("effect", "tunnel_lowered") => "lowers wg1",
        _ => return None,
    })
}

use wgha_tests::pinger::{Answer, Outage, Probe};

use super::*;
use crate::demo::recording::{Event, Fault};

const MS: u64 = 1_000_000;

fn event(at_ms: u64, node: Which, kind: &str, what: &str) -> Event {
    Event { at_ns: at_ms * MS, node, kind: kind.into(), what: what.into(), detail: String::new() }
}

/// Two faults: one of 15 s, one of 30 ms, each with everything that a failover consists of in few milliseconds.
fn recording() -> Recording {
    let faults =
        [("wg1 set down on A", 5_000, 15_020, Which::B), ("wg1 set up <on> A", 27_000, 30, Which::A)];
    let lost = |ms: u64| faults.iter().any(|(_, at, length, _)| ms >= *at && ms < at + length);
    let server = |ms: u64| if ms > 5_000 && ms < 27_000 { Which::B } else { Which::A };
    let probe = |ms: u64| Probe {
        sent_ns: ms * MS,
        answer: (!lost(ms)).then(|| Answer {
            at_ns: ms * MS + 400_000 + ms % 7 * 90_000,
            hop_limit: server(ms).hop_limit(),
        }),
    };
    let mut events = vec![event(900, Which::A, "role", "active"), event(950, Which::B, "role", "backup")];
    for (_, at, _, new) in faults {
        let old = new.other();
        events.push(event(at + 1, old, "role", if old == Which::A { "fault" } else { "backup" }));
        events.push(event(at + 2, new, "role", "claiming"));
        events.push(event(at + 3, new, "role", "active"));
        for (i, what) in ["vip_held", "announced", "tunnel_raised"].into_iter().enumerate() {
            events.push(event(at + 3 + i as u64, new, "effect", what));
        }
        events.push(event(at + 30, old, "effect", "tunnel_lowered"));
        events.push(event(at + 38, old, "effect", "vip_released"));
    }
    Recording {
        start_ns: 1_000 * MS,
        end_ns: 35_000 * MS,
        probes: (1_000..35_000).step_by(5).map(probe).collect(),
        events,
        faults: faults
            .map(|(title, at, length, expected)| Fault {
                title,
                at_ns: at * MS,
                until_ns: (at + 20_000).min(27_000).max(at + 8_000) * MS,
                expected,
                served_by: Some(expected),
                outage: Some(Outage { from_ns: (at - 5) * MS, to_ns: Some((at + length) * MS), lost: 7 }),
            })
            .into(),
        setting: "IPv6, somebody's WireGuard".into(),
        seed_ping: Vec::new(),
    }
}

#[test]
fn no_text_lies_on_another() {
    let recording = recording();
    let mut svg = Svg::default();
    let y = header(&mut svg, &recording);
    let y = overview::draw(&mut svg, &recording, y);
    let mut y = explanation(&mut svg, y + GAP);
    for panel in panel::all(&recording) {
        let height = panel.height();
        panel.draw(&mut svg, MARGIN, y, 610.0, height);
        y += height;
    }
    let texts = svg.texts();
    assert!(texts.len() > 60, "{}", texts.len());
    for (i, a) in texts.iter().enumerate() {
        for b in &texts[i + 1..] {
            let beside = a.x + a.width <= b.x || b.x + b.width <= a.x;
            let above = a.y + a.height <= b.y || b.y + b.height <= a.y;
            assert!(beside || above, "{a:?} {b:?}");
        }
        assert!(a.x >= 0.0 && a.x + a.width <= WIDTH, "{a:?}");
    }
}

#[test]
fn the_picture_is_well_formed_and_small() {
    let picture = draw(&recording());
    assert!(picture.len() < 400_000, "{} bytes", picture.len());
    let opened = picture.matches("<text ").count();
    assert_eq!(opened, picture.matches("</text>").count());
    assert!(picture.contains("wg1 set up &lt;on&gt; A"));
    assert!(picture.contains("tunnel silent for 15.0 s"));
    assert!(!picture.contains("NaN") && !picture.contains("inf"));
    if let Some(path) = std::env::var_os("WGHA_FIGURE") {
        std::fs::write(path, picture).unwrap();
    }
}

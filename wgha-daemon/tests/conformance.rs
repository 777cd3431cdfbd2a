//! One rule per file: `tests/conformance/*.case` played against the state machine.
//!
//! A case names its rule in the first line (`# RFC 9568 §…`, `# ARCHITECTURE, …` or `# I3 …`) and then reads
//! as a play. Times count from the moment that `given` ends with; `at` in an advert is its arrival.
//!
//! ```text
//! settings priority=100 interval=100ms preempt=yes preempt_delay=0s   these are the defaults
//! given new | ready | backup | claiming | active | fault              where the play begins
//! at 20ms advert ::4 priority=90 interval=100ms at=19ms               what happens
//! expect send_advert                                                  what the machine does about it
//! state backup                                                        how it stands then
//! timeout 460.9375ms
//! ```
//! Every action must be expected before the next thing happens and at the end. Our own source is `::3`.
#![expect(clippy::unwrap_used, reason = "tests panic")]

#[path = "conformance/line.rs"]
mod line;
#[path = "conformance/play.rs"]
mod play;

use std::{
    fs,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "case")).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_goes_as_written() {
    let mut failures = Vec::new();
    for path in cases() {
        let text = fs::read_to_string(&path).unwrap();
        if let Err(failure) = play::play(&text) {
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&path).display();
            failures.push(format!("{name}:{failure}"));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn there_are_cases() {
    assert!(cases().len() >= 100, "{} cases", cases().len());
}

/// The first line that fails, and why: a runner that lets things pass proves nothing.
#[test]
fn the_runner_is_strict() {
    for (text, want) in [
        ("given backup", "1: the first line names no rule"),
        ("# I3 x", "1: nothing is played"),
        ("# I3 x\ngiven backup\nat 0ms sneeze", "3: unknown word `sneeze`"),
        ("# I3 x\ngiven backup\nexpect sneeze", "3: expected sneeze, but nothing is done"),
        ("# I3 x\ngiven nothing", "2: unknown word `nothing`"),
        ("# I3 x\nsettings colour=red", "2: unknown word `colour`"),
        ("# I3 x\nsneeze", "2: unknown word `sneeze`"),
        (
            "# I3 x\ngiven active\nat 100ms timer\nexpect send_advert\nexpect set_lease colour=red",
            "5: unknown word `colour`",
        ),
        (
            "# I3 x\ngiven active\nat 100ms timer\nexpect send_advert\nexpect set_lease active until=1ms",
            "5: expected set_lease active until=1ms, but set_lease active epoch=1 until=390ms",
        ),
        ("# I3 x\ngiven active\nat 100ms timer", "3: not expected: send_advert"),
        ("# I3 x\ngiven active\nat 100ms timer\nat 101ms timer", "4: not expected: send_advert"),
        ("# I3 x\ngiven active\nat 5ms timer\nexpect send_advert", "3: no timer is due before 100ms"),
        ("# I3 x\ngiven backup\nstate active", "3: the state is backup"),
        ("# I3 x\ngiven backup\ntimeout 1ms", "3: the timeout is 360.9375ms"),
        ("# I3 x\ngiven backup\nat 1 timer", "3: `1` is not a time"),
    ] {
        assert_eq!(play::play(text), Err(want.to_owned()), "{text}");
    }
}

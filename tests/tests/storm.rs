//! Faults at random, one after the other: never two that serve, never nobody for long, and nothing is left in the end.
//!
//! `WGHA_STORM_FAULTS` says how many in each of the two runs, `WGHA_STORM_SEED` which, `WGHA_STORM_ONLY` of what name; a
//! failure prints the seed.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{env, time::Duration};

use wgha_tests::{
    Topology,
    clock::patience,
    may_run,
    storm::{Kind, Report, Setup, Storm},
};

/// In each of the two runs.
const FAULTS: u64 = 100;
/// The tunnel is back within this after a fault is over. Mostly it takes some milliseconds, but a WireGuard that finds out by
/// itself takes 15 s, and tries again after 5 s.
const BACK: Duration = Duration::from_secs(40);
/// Half of all outages are shorter than this, however busy the machine: some 100 ms are usual on an idle one.
const USUAL: Duration = Duration::from_secs(2);

#[test]
fn storm_in_ipv6_with_preemption() {
    if may_run() {
        weather(Topology::ipv6().unwrap(), "ipv6-preempt", 1, true);
    }
}

#[test]
fn storm_in_ipv4_without_preemption() {
    if may_run() {
        weather(Topology::ipv4().unwrap(), "ipv4-nopreempt", 2, false);
    }
}

fn weather(topology: Topology, name: &'static str, seed: u64, preempt: bool) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("WGHA_STORM_SEED").unwrap_or(seed);
    let faults = usize::try_from(number("WGHA_STORM_FAULTS").unwrap_or(FAULTS)).unwrap();
    println!("WGHA_STORM_SEED={seed} WGHA_STORM_FAULTS={faults}");
    let only = env::var("WGHA_STORM_ONLY").unwrap_or_default();
    let kinds: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.name().contains(&only)).collect();
    let mut storm = Storm::begin(topology, Setup { name, seed, faults, preempt, kinds }).unwrap();
    if let Err(e) = storm.rage() {
        panic!("{e:#}");
    }
    let report = storm.end().unwrap();
    println!("{report}written: {}", report.write().unwrap().display());
    assert_eq!(report.wrong, [""; 0]);
    assert!(
        report.questions.1 > report.records.len(),
        "hardly any question was answered: {:?}",
        report.questions
    );
    assert_bounded(&report);
}

fn assert_bounded(report: &Report) {
    for record in &report.records {
        assert!(record.outage_after <= patience(BACK), "{record:?}");
    }
    let mut outages: Vec<_> = report.records.iter().filter_map(|record| record.outage).collect();
    outages.sort_unstable();
    let median = outages.get(outages.len() / 2).copied().unwrap_or_default();
    assert!(median <= patience(USUAL), "half of all outages are longer than {median:?}");
}

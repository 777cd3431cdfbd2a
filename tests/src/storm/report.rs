//! What became of a run, as a table and as JSON.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{kind::Strike, lives::Lives};

/// One fault, or two at once, and what the tunnel has seen of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// `CLOCK_BOOTTIME` ns.
    pub began_ns: u64,
    /// When it was over.
    pub over_ns: u64,
    /// What happened.
    pub strikes: Vec<Strike>,
    /// How long the tunnel was silent; nothing: it was not.
    pub outage: Option<Duration>,
    /// How long after the end of the fault it still was.
    pub outage_after: Duration,
    /// How long after the end of the fault everything was as it should be.
    pub healthy_after: Duration,
}

/// A run.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub name: String,
    /// By which seed.
    pub seed: u64,
    /// Fault by fault.
    pub records: Vec<Record>,
    /// What must not have been, in sentences.
    pub wrong: Vec<String>,
    /// How often somebody asked for the VIP, and was answered.
    pub questions: (u64, usize),
    /// How many questions both have answered, for a moment after a cut between them.
    pub doubly: usize,
    /// How many packets and adverts of a server that serves were looked at.
    pub sightings: usize,
    /// The longest for which WireGuard of both was heard.
    pub overlap: Duration,
    /// The daemons.
    pub lives: Lives,
    /// How long it took.
    pub took: Duration,
}

/// What a row of the table counts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Row {
    count: usize,
    outages: Vec<Duration>,
    healthy: Vec<Duration>,
}

impl Row {
    fn add(&mut self, record: &Record) {
        self.count += 1;
        self.outages.extend(record.outage);
        self.healthy.push(record.healthy_after);
    }

    fn cells(&self) -> [String; 5] {
        let of = |times: &[Duration]| (millis(median(times)), millis(times.iter().max().copied()));
        let (median, longest) = of(&self.outages);
        [self.count.to_string(), self.outages.len().to_string(), median, longest, of(&self.healthy).1]
    }
}

impl Report {
    /// By kind of fault; two at once are a kind of their own.
    fn rows(&self) -> BTreeMap<&'static str, Row> {
        let mut rows: BTreeMap<_, Row> = BTreeMap::new();
        for record in &self.records {
            let name = match record.strikes.as_slice() {
                [one] => one.kind.name(),
                _ => "two at once",
            };
            rows.entry(name).or_default().add(record);
        }
        rows
    }

    /// Writes it below the folder of what is built.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self) -> Result<PathBuf> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
        let path = target.join("storm").join(format!("{}.json", self.name));
        let folder = path.parent().context("no folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&path, format!("{:#}\n", self.to_json())).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    fn to_json(&self) -> Value {
        let record = |record: &Record| {
            json!({
                "fault": record.strikes.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "outage_ms": record.outage.map(in_millis),
                "outage_after_its_end_ms": in_millis(record.outage_after),
                "healthy_after_its_end_ms": in_millis(record.healthy_after),
            })
        };
        json!({
            "name": self.name,
            "seed": self.seed,
            "took_s": self.took.as_secs_f64(),
            "wrong": self.wrong,
            "questions": self.questions.0,
            "answers": self.questions.1,
            "answered_by_both": self.doubly,
            "sightings": self.sightings,
            "overlap_ms": in_millis(self.overlap),
            "faults": self.records.iter().map(record).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.records.len();
        writeln!(f, "{}: {count} faults by seed {} in {:.0?}\n", self.name, self.seed, self.took)?;
        line(
            f,
            "fault",
            ["times", "outages", "median ms", "longest ms", "healthy after ms"].map(str::to_owned),
        )?;
        let mut all = Row::default();
        self.records.iter().for_each(|record| all.add(record));
        for (name, row) in self.rows() {
            line(f, name, row.cells())?;
        }
        line(f, "all", all.cells())?;
        let (asked, answered) = self.questions;
        writeln!(
            f,
            "\nThe VIP was asked for {asked} times, and answered for {answered} times; {} times by both, after a cut.",
            self.doubly
        )?;
        writeln!(
            f,
            "{} packets of whoever serves were looked at; WireGuard of both for {:?} at most.",
            self.sightings, self.overlap
        )?;
        if let Some(life) = self.lives.longest() {
            let kib = |bytes| bytes >> 10;
            writeln!(
                f,
                "A daemon on {} lived through {} faults: descriptors {} → {}, memory {} → {} KiB.",
                life.which,
                life.faults,
                life.first.descriptors,
                life.last.descriptors,
                kib(life.first.memory),
                kib(life.last.memory)
            )?;
        }
        self.wrong.iter().try_for_each(|wrong| writeln!(f, "WRONG: {wrong}"))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, cells: [String; 5]) -> fmt::Result {
    let [times, outages, median, longest, healthy] = cells;
    writeln!(f, "{name:<36}{times:>6}{outages:>9}{median:>11}{longest:>12}{healthy:>18}")
}

/// The middle one, or the later of the two.
#[must_use]
pub fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| in_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Which, storm::Kind};

    #[test]
    fn faults_are_counted_by_kind() {
        let record = |kind, outage| Record {
            began_ns: 0,
            over_ns: 0,
            strikes: vec![Strike { kind, which: Which::A }],
            outage,
            outage_after: Duration::ZERO,
            healthy_after: Duration::from_millis(7),
        };
        let ms = Duration::from_millis;
        let outages = [Some(ms(30)), None, Some(ms(50)), Some(ms(90))];
        let mut records: Vec<_> = outages.into_iter().map(|outage| record(Kind::Cut, outage)).collect();
        records.push(record(Kind::Killed, None));
        let report = Report {
            name: "a".into(),
            seed: 7,
            records,
            wrong: vec!["two".into()],
            questions: (9, 8),
            doubly: 0,
            sightings: 5,
            overlap: ms(1),
            lives: Lives::default(),
            took: ms(1),
        };
        let shown = report.to_string();
        let cut = shown.lines().find(|line| line.starts_with(Kind::Cut.name())).unwrap();
        let cells: Vec<_> = cut[36..].split_whitespace().collect();
        assert_eq!(cells, ["4", "3", "50", "90", "7"]);
        assert!(shown.contains("WRONG: two"), "{shown}");
        assert_eq!(report.to_json()["faults"][0]["outage_ms"], 30);
    }
}

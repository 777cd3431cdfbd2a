//! A task in stages: each says that it begins and how long it took; a table ends it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::libtest::Counts;

/// What has been done.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    took: Duration,
    /// What its tests said, where it has tests.
    counts: Option<Counts>,
    failed: bool,
}

impl Stages {
    /// Does one that has tests. If it fails, the error is printed and the next one may go on.
    pub fn tests(&mut self, name: &'static str, run: impl FnOnce() -> Result<(Counts, bool)>) {
        let mut counts = Counts::default();
        self.stage(name, |stage| {
            let ok;
            (counts, ok) = run()?;
            stage.counts = Some(counts);
            if ok { Ok(()) } else { bail!("{counts}") }
        });
    }

    /// Does one that has none, and returns what it has made.
    pub fn step<T>(&mut self, name: &'static str, run: impl FnOnce() -> Result<T>) -> Option<T> {
        let mut made = None;
        self.stage(name, |_| {
            made = Some(run()?);
            Ok(())
        });
        made
    }

    fn stage(&mut self, name: &'static str, run: impl FnOnce(&mut Stage) -> Result<()>) {
        println!("\n== {name}");
        let started = Instant::now();
        let mut stage = Stage { name, took: Duration::ZERO, counts: None, failed: false };
        if let Err(error) = run(&mut stage) {
            stage.failed = true;
            eprintln!("{name}: {error:#}");
        }
        stage.took = started.elapsed();
        println!("== {name}: {} in {:.1} s", stage.outcome(), stage.took.as_secs_f64());
        self.done.push(stage);
    }

    /// Whether a stage has failed.
    pub fn has_failed(&self) -> bool {
        self.done.iter().any(|stage| stage.failed)
    }

    /// All tests of all stages.
    pub fn counts(&self) -> Counts {
        self.done.iter().filter_map(|stage| stage.counts).sum()
    }

    /// # Errors
    /// A stage has failed.
    pub fn result(&self) -> Result<()> {
        let failed: Vec<_> = self.done.iter().filter(|stage| stage.failed).map(|stage| stage.name).collect();
        if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
    }
}

impl Stage {
    const fn outcome(&self) -> &'static str {
        if self.failed { "FAILED" } else { "ok" }
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:<34} {:>8}  {:<7} tests", "stage", "time", "result")?;
        for stage in &self.done {
            let counts = stage.counts.map(|counts| counts.to_string()).unwrap_or_default();
            writeln!(
                f,
                "{:<34} {:>6.1} s  {:<7} {counts}",
                stage.name,
                stage.took.as_secs_f64(),
                stage.outcome()
            )?;
        }
        Ok(())
    }
}

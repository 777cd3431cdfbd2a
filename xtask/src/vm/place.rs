//! A kernel with all that is needed to boot it, and what is run in its machines.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use wgha_tests::property;

use super::{
    Args,
    accelerator::Accelerator,
    cache, cards, daemon,
    initramfs::{self, Contents},
    kernel::Kernel,
    machine::{Ended, Machine, Parts},
    matrix::{Matrix, Outcome},
    ourselves,
    suite::Binary,
};

/// What a test may take where it is not slowed down.
const LIMIT: Duration = Duration::from_secs(75);
/// How much is done of what is done at random, in tests that would do it for many minutes.
const AT_RANDOM: &str = "WGHA_STORM_FAULTS=8 WGHA_PACKETS=3000";
/// What a bench may take.
const BENCH_LIMIT: Duration = Duration::from_secs(3600);

/// A kernel, and all that is needed to boot it as often as is needed.
pub struct Place {
    kernel: Kernel,
    folder: PathBuf,
    initramfs: PathBuf,
    accelerator: Accelerator,
    cards: bool,
    sleeps: bool,
}

/// One test in one mode.
struct Job<'a> {
    mode: &'a str,
    column: usize,
    binary: &'a Binary,
    test: &'a str,
}

impl Place {
    /// Takes a kernel of a series and packs what its machines find at boot.
    ///
    /// # Errors
    /// The system's, or apt's.
    pub fn prepare(series: &str, args: &Args, contents: &Contents) -> Result<Self> {
        let kernel = Kernel::take(series, &cache())?;
        let folder = cache().join(&kernel.series);
        // The last run's consoles and logs.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let initramfs = initramfs::write(&kernel, contents, &folder)?;
        let accelerator = args.accelerator;
        println!(
            "\n== {} ({}), logs and consoles in {}",
            kernel.release,
            accelerator.name(),
            folder.display()
        );
        Ok(Self { kernel, folder, initramfs, accelerator, cards: args.cards, sleeps: args.suspend })
    }

    /// Every test in every mode, in as many machines at a time as can be had.
    ///
    /// # Errors
    /// No machine boots.
    pub fn test(&self, modes: &[&str], binaries: &[Binary], matrix: &mut Matrix) -> Result<()> {
        let mut jobs = Vec::new();
        for mode in modes {
            let cards = if self.cards { ", cards" } else { "" };
            let column = matrix.column(format!("{} {mode}{cards}", self.kernel.series));
            let tests =
                binaries.iter().flat_map(|binary| binary.tests.iter().map(move |test| (binary, test)));
            jobs.extend(tests.map(|(binary, test)| Job { mode, column, binary, test }));
        }
        let machines = self.accelerator.machines().min(jobs.len());
        let (jobs, matrix) = (Mutex::new(jobs.into_iter()), Mutex::new(matrix));
        thread::scope(|scope| {
            let work = |number| self.work(number, &jobs, &matrix);
            let workers = (1..=machines).map(|number| scope.spawn(move || work(number)));
            let mut ends = workers.collect::<Vec<_>>().into_iter().map(thread::ScopedJoinHandle::join);
            ends.try_for_each(|end| end.unwrap_or_else(|_| bail!("a machine's thread has panicked")))
        })
    }

    /// Takes tests as long as there are any, and switches its machine off: one that idles by a counted clock is busy.
    fn work<'a>(
        &self,
        number: usize,
        jobs: &Mutex<impl Iterator<Item = Job<'a>>>,
        matrix: &Mutex<&mut Matrix>,
    ) -> Result<()> {
        let folder = self.folder.join(number.to_string());
        fs::create_dir_all(&folder)?;
        let mut machine = None;
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(job) = job else {
                // One that has slept cannot switch itself off any more: that ends with the kernel's last word.
                return machine.filter(|_| !self.sleeps).map_or(Ok(()), Machine::off);
            };
            let mut said = Vec::new();
            let outcome = self.one(&mut machine, &folder, &job, &mut said)?;
            let lacks = said.iter().filter_map(|line| property::left_out(line)).collect::<Vec<_>>();
            let outcome = if lacks.is_empty() { outcome } else { outcome.in_part() };
            let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
            println!("{outcome:<12} {} ({})", job.name(), job.mode);
            if !outcome.is_passed() {
                said.iter().for_each(|line| println!("    {line}"));
            }
            lacks.into_iter().for_each(|why| matrix.lacks(job.name(), why.to_owned()));
            matrix.enter(job.column, job.name(), outcome);
            // Many hours may follow, and not all runs come to their end.
            fs::write(cache().join("matrix"), matrix.to_string())?;
        }
    }

    /// One test, in a new machine if there is none. A machine that dies or hangs is the test's fault, and the next one
    /// gets a new one.
    fn one(
        &self,
        machine: &mut Option<Machine>,
        folder: &Path,
        job: &Job<'_>,
        said: &mut Vec<String>,
    ) -> Result<Outcome> {
        let mut running = match machine.take() {
            Some(running) => running,
            None => self.boot(folder)?,
        };
        let slowness = self.accelerator.slowness();
        let (environment, binary) = (self.environment(job.mode, slowness), job.binary.path.display());
        let line = format!("{environment} exec {binary} --exact {} --nocapture --test-threads=1", job.test);
        let limit = LIMIT * slowness;
        let ended = running.run(&line, limit, &mut |line| said.push(line.to_owned()));
        let Ended { code, took } = match ended {
            Ok(ended) => ended,
            Err(e) => {
                said.push(format!("{e:#}"));
                return Ok(Outcome::Died);
            }
        };
        *machine = Some(running);
        Ok(match code {
            Some(0) => Outcome::Passed(took),
            Some(_) => Outcome::Failed(took),
            None => Outcome::Late(took),
        })
    }

    /// The benches, with what they print shown. Their intervals are what is said of them: nothing disturbs the machine.
    ///
    /// # Errors
    /// The machine does not boot, or the bench does not end well.
    pub fn bench(&self, words: &str) -> Result<()> {
        let mut machine = self.boot(&self.folder)?;
        let xtask = ourselves()?;
        let line = format!(
            "{} exec {} bench {words} --out /tmp/bench",
            self.environment("auto", 1),
            xtask.display()
        );
        let ended = machine.run(&line, BENCH_LIMIT, &mut |said| println!("{said}"))?;
        machine.run("cat /tmp/bench/*.json", LIMIT, &mut |_| {})?;
        machine.off()?;
        ensure!(ended.code == Some(0), "the bench has not ended well: {ended:?}");
        Ok(())
    }

    fn boot(&self, folder: &Path) -> Result<Machine> {
        let Self { kernel, initramfs, accelerator, cards, sleeps, .. } = self;
        let (accelerator, cards, sleeps) = (*accelerator, *cards, *sleeps);
        let parts = Parts { kernel, initramfs, accelerator, folder, cards, sleeps };
        Machine::boot(&parts)
    }

    /// What the harness goes by.
    fn environment(&self, mode: &str, slowness: u32) -> String {
        let daemon = daemon();
        let cards = if self.cards { format!("WGHA_CARDS={} ", cards::addresses()) } else { String::new() };
        let sleeps = if self.sleeps { "WGHA_SUSPEND=1 " } else { "" };
        format!(
            "{cards}{sleeps}{AT_RANDOM} WGHA_OWN_CLOCK=1 WGHA_SLOW={slowness} WGHA_ATTACH={mode} WGHA_SKIP_NOT_ALLOWED=1 WGHA_BIN={}",
            daemon.display()
        )
    }
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}::{}", self.binary.name, self.test)
    }
}

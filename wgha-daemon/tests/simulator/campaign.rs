//! Many schedules, on all processors, until one breaks a rule; and that one made small.

use std::{
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{random::Random, schedule::Schedule, seen::Seen, world::World};

/// Which incidents of a schedule happen, by their places.
pub type Only = Vec<usize>;

/// What was worth keeping: played before all others.
const KEPT: &str = include_str!("seeds.txt");
/// Seeds that a thread takes at a time.
const SHARE: u64 = 64;
/// Between two lines that say how far it has come.
const PROGRESS: Duration = Duration::from_secs(15);

/// The seeds that are kept.
pub fn kept() -> Vec<u64> {
    let seed = |line: &str| line.split_whitespace().next().map(|word| word.parse().unwrap());
    KEPT.lines().filter(|line| !line.starts_with('#')).filter_map(seed).collect()
}

/// One schedule: what was seen in it, or what is broken and since when.
pub fn play(seed: u64, only: Option<&Only>, trace: bool) -> Result<Seen, String> {
    let mut schedule = Schedule::draw(&mut Random::new(seed));
    if let Some(only) = only {
        schedule.incidents = only.iter().map(|n| schedule.incidents[*n]).collect();
    }
    if trace {
        eprintln!("{schedule:#?}");
    }
    let mut world = World::new(&schedule, Random::new(!seed), trace);
    // An overflow or a violated assertion of the machine is a failure with a seed like any other.
    let run = AssertUnwindSafe(|| world.run(schedule.end));
    let ended = panic::catch_unwind(run).unwrap_or_else(|_| Err("it panics".to_owned()));
    ended.map(|()| world.audit.seen).map_err(|broken| format!("at {} ms: {broken}", world.now as f64 / 1e6))
}

/// Plays the seeds that are kept, then those below `schedules`, until `enough` have broken a rule; the sum of what was seen.
///
/// # Panics
/// One breaks a rule. The message repeats it.
pub fn play_all(schedules: u64, enough: usize) -> Seen {
    let campaign = Campaign::new(schedules, enough);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Seen::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| campaign.work())).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            campaign.show_progress();
        }
        for worker in workers {
            sum.add(&worker.join().unwrap());
        }
    });
    let broken = campaign.broken.into_inner().unwrap();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
    sum
}

/// What the threads share.
struct Campaign {
    kept: Vec<u64>,
    /// Kept ones and others.
    places: u64,
    next: AtomicU64,
    enough: usize,
    broken: Mutex<Vec<String>>,
    begun: Instant,
    shown: Mutex<Instant>,
}

impl Campaign {
    fn new(schedules: u64, enough: usize) -> Self {
        let (kept, begun) = (kept(), Instant::now());
        let places = schedules + kept.len() as u64;
        let (next, broken, shown) = (AtomicU64::new(0), Mutex::default(), Mutex::new(begun));
        Self { kept, places, next, enough, broken, begun, shown }
    }

    fn seed(&self, place: u64) -> u64 {
        self.kept.get(place as usize).copied().unwrap_or_else(|| place - self.kept.len() as u64)
    }

    /// Plays seeds until there are none left.
    fn work(&self) -> Seen {
        let mut seen = Seen::default();
        loop {
            let first = self.next.fetch_add(SHARE, Ordering::Relaxed);
            if first >= self.places {
                return seen;
            }
            for seed in (first..self.places.min(first + SHARE)).map(|place| self.seed(place)) {
                match play(seed, None, false) {
                    Ok(more) => seen.add(&more),
                    Err(broken) => self.breaks(seed, &broken),
                }
            }
        }
    }

    fn breaks(&self, seed: u64, broken: &str) {
        let line = reproduction(seed, broken);
        let mut lines = self.broken.lock().unwrap();
        lines.push(line);
        if lines.len() >= self.enough {
            self.next.store(self.places, Ordering::Relaxed); // nobody need go on
        }
    }

    /// Says how far it has come where that takes its time. Past the test harness, which would keep it to itself.
    fn show_progress(&self) {
        let mut shown = self.shown.lock().unwrap();
        let done = self.next.load(Ordering::Relaxed);
        if shown.elapsed() < PROGRESS || done >= self.places {
            return;
        }
        *shown = Instant::now();
        let rate = done as f64 / self.begun.elapsed().as_secs_f64();
        let left = (self.places - done) as f64 / rate;
        let line = format!("{done} of {} schedules, {rate:.0} a second, {left:.0} s to go", self.places);
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// What is broken, and the line that shows it, with no more incidents than it takes.
fn reproduction(seed: u64, broken: &str) -> String {
    let all: Only = (0..Schedule::draw(&mut Random::new(seed)).incidents.len()).collect();
    let mut only = all.clone();
    for without in &all {
        let fewer: Only = only.iter().copied().filter(|n| n != without).collect();
        if play(seed, Some(&fewer), false).is_err() {
            only = fewer;
        }
    }
    let words: Vec<_> = only.iter().map(ToString::to_string).collect();
    let only = if only == all { String::new() } else { format!(" --only '{}'", words.join(",")) };
    format!(
        "{broken}\n  cargo xtask simulate --seed {seed}{only}\n  keep it: a line with {seed} and a word about it in wgha-daemon/tests/simulator/seeds.txt"
    )
}

//! Two to five nodes on one fake clock: the real state machine between a model of the kernel half and
//! a model of what effects change, in a network that loses, delays and doubles, with crashes, kills,
//! stops, pauses, partitions and faults. [`audit`] says what must hold, and within which bounds.
//!
//! - `WGHA_SIM_SCHEDULES=100000` plays that many schedules instead of 20,000.
//! - `WGHA_SIM_SEED=17` plays one, and prints everything that happens in it.
#![expect(clippy::unwrap_used, reason = "tests panic")]

#[path = "simulator/audit.rs"]
mod audit;
#[path = "simulator/channel.rs"]
mod channel;
#[path = "simulator/group.rs"]
mod group;
#[path = "simulator/kernel.rs"]
mod kernel;
#[path = "simulator/mischief.rs"]
mod mischief;
#[path = "simulator/node.rs"]
mod node;
#[path = "simulator/random.rs"]
mod random;
#[path = "simulator/trouble.rs"]
mod trouble;
#[path = "simulator/world.rs"]
mod world;

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use audit::Seen;
use random::Random;
use trouble::Schedule;
use world::World;

const SCHEDULES: u64 = 20_000;

fn play(seed: u64, trace: bool) -> Result<Seen, String> {
    let mut random = Random::new(seed);
    let schedule = Schedule::draw(&mut random);
    if trace {
        eprintln!("{schedule:#?}");
    }
    let mut world = World::new(&schedule, random, trace);
    world.run(schedule.end).map_err(|broken| {
        let at = world.now as f64 / 1e6;
        format!(
            "at {at} ms: {broken}\nWGHA_SIM_SEED={seed} cargo test -p wgha --test simulator -- --nocapture"
        )
    })?;
    Ok(world.audit.seen)
}

/// Plays seeds until there are none left; the sum of what was seen.
fn play_all(schedules: u64) -> Seen {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= schedules {
                return seen;
            }
            match play(seed, false) {
                Ok(more) => seen.add(&more),
                Err(broken) => panic!("{broken}"),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut seen = Seen::default();
        for worker in workers {
            seen.add(&worker.join().unwrap());
        }
        seen
    })
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn no_schedule_breaks_a_rule() {
    if let Some(seed) = number("WGHA_SIM_SEED") {
        play(seed, true).unwrap();
        return;
    }
    let schedules = number("WGHA_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let seen = play_all(schedules);
    println!("{schedules} schedules: {seen:?}");
    if schedules >= 1_000 {
        seen.assert_all();
    }
}

#[test]
fn a_seed_repeats_its_schedule() {
    let (once, again) = (play(7, false).unwrap(), play(7, false).unwrap());
    assert_eq!(once, again);
}

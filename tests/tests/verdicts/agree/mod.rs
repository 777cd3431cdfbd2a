//! The kernel half and its model, side by side: whatever frame is put through both, the same comes out of both.
//!
//! ```sh
//! cargo test -p wgha-tests --test verdicts agree                           # a million packets
//! WGHA_PACKETS=10000000 cargo test -p wgha-tests --test verdicts agree     # ten million
//! WGHA_PACKETS_SEED=0x1234 cargo test -p wgha-tests --test verdicts agree  # others, or those of a failure
//! ```

mod generator;
mod random;
mod round;

use std::{
    collections::BTreeSet,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use wgha_common::abi::{Counter, EventKind};
use wgha_tests::may_run;

use self::round::Round;
use crate::kernel::{Kernel, Then};

pub use generator::shortest;

/// How many packets, where nothing is said.
const PACKETS: u64 = 1_000_000;

/// What was reached of what there is to reach.
#[derive(Debug, Default)]
pub struct Reached {
    packets: u64,
    passed: u64,
    dropped: u64,
    returned: u64,
    changed: u64,
    counters: BTreeSet<&'static str>,
    events: BTreeSet<&'static str>,
    traffic: BTreeSet<u32>,
    witnessed: u64,
}

impl Reached {
    fn note(&mut self, then: Then, changed: bool) {
        self.packets += 1;
        self.changed += u64::from(changed);
        match then {
            Then::Passes => self.passed += 1,
            Then::Drops => self.dropped += 1,
            Then::Returns => self.returned += 1,
        }
    }

    /// Few packets reach less, and prove less.
    fn check(&self) {
        if self.packets < PACKETS {
            return;
        }
        let all = Counter::ALL.iter().filter(|counter| **counter != Counter::RingFull);
        let missed: Vec<_> = all.map(|c| c.name()).filter(|name| !self.counters.contains(name)).collect();
        assert!(missed.is_empty(), "no packet was counted as {missed:?}: the generator has lost something");
        assert_eq!(self.events.len(), EventKind::ALL.len(), "only these rang: {:?}", self.events);
        assert!(self.witnessed > 0, "no gateway has answered");
        assert_eq!(self.traffic.len(), 10, "both directions, five kinds of messages");
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn the_kernel_half_and_its_model_agree() {
    if !may_run() {
        return;
    }
    // CLOCK and TRAFFIC have an element for each CPU, and the model has one of all.
    wgha_tests::pin_this_thread(0).unwrap();
    let packets = from_environment("WGHA_PACKETS").unwrap_or(PACKETS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = from_environment("WGHA_PACKETS_SEED").unwrap_or(now.as_nanos() as u64);
    let (mut kernel, mut reached, began) = (Kernel::load(), Reached::default(), Instant::now());
    let mut seed = first;
    let mut world = round::empty(&mut kernel);
    while reached.packets < packets {
        Round::new(seed, &mut kernel, &mut world).run(&mut reached);
        seed = seed.wrapping_add(1);
    }
    reached.check();
    let Reached { packets, passed, dropped, returned, changed, .. } = reached;
    let took = began.elapsed();
    println!(
        "{packets} packets from WGHA_PACKETS_SEED={first:#x} in {took:.1?}, {:.0} a second:",
        packets as f64 / took.as_secs_f64()
    );
    println!("{passed} pass, {dropped} are dropped, {returned} go back; {changed} are changed");
}

//! What is done to A, step by step, and what is expected of it.

use std::time::Duration;

use anyhow::Result;
use wgha_tests::{
    Which::{self, A, B},
    interrupt, monotonic_ns,
};

use super::{
    recording::{Fault, Recording},
    stage::{self, Stage},
    timeline, words,
};

/// WireGuard's own 15 s before it tries another handshake, twice, and some.
const PATIENCE: Duration = Duration::from_secs(40);
/// WireGuard starts no two handshakes within 5 s: sooner, and its limits are what is measured.
const BETWEEN: Duration = Duration::from_millis(6500);

struct Step {
    title: &'static str,
    expected: Which,
    /// Does it, and returns when it began to.
    act: fn(&mut Stage) -> Result<u64>,
}

const STEPS: [Step; 6] = [
    Step { title: "wg1 set down on A", expected: B, act: |s| s.set_tunnel_of_a(false) },
    Step { title: "wg1 set up on A", expected: A, act: |s| s.set_tunnel_of_a(true) },
    Step { title: "A crashes (its link goes dead)", expected: B, act: Stage::cut_a },
    Step { title: "A is back", expected: A, act: Stage::mend_a },
    Step { title: "planned stop of A (SIGTERM)", expected: B, act: Stage::stop_a },
    Step { title: "A started again", expected: A, act: Stage::start_a },
];

/// Plays all steps and prints each one's timeline.
pub fn play(stage: &mut Stage) -> Result<Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    for step in STEPS {
        words::step(&format!("all quiet for {}", words::duration(BETWEEN)));
        stage::rest(BETWEEN)?;
        let mut fault = play_step(stage, &step)?;
        let recording = Recording { events: stage.events()?, ..Recording::default() };
        fault.until_ns = monotonic_ns();
        timeline::print(faults.len() + 1, &recording, &fault);
        // What happens in the pause still belongs to the fault before it.
        if let Some(before) = faults.last_mut() {
            before.until_ns = fault.at_ns;
        }
        faults.push(fault);
    }
    stage::rest(Duration::from_secs(2))?;
    if let Some(last) = faults.last_mut() {
        last.until_ns = monotonic_ns();
    }
    Ok(faults)
}

fn play_step(stage: &mut Stage, step: &Step) -> Result<Fault> {
    let at_ns = (step.act)(stage)?;
    let answered = stage.answered(step.expected, at_ns, PATIENCE);
    // Not answered in time is a result; Ctrl-C is not.
    interrupt::check()?;
    if answered.is_ok() {
        // Until the announcements are repeated and the losing side has cleaned up.
        stage::rest(Duration::from_millis(1500))?;
    }
    Ok(Fault {
        title: step.title,
        at_ns,
        until_ns: monotonic_ns(),
        expected: step.expected,
        served_by: stage.last_answer(at_ns),
        outage: stage.outage(at_ns),
    })
}

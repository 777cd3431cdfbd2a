//! The first packets of WireGuard after a take-over: the kernel half has stamped them, and they are told when there is time.

use std::time::Duration;

use wgha_common::{
    Timestamp,
    abi::Direction::{self, Egress, Ingress},
    wire::wireguard::MessageType::{self, Response, Transport},
};

use super::Heard;
use crate::sys::{bpf::TrafficReader, clock};

/// A step, and which packet it is: the earlier of them.
///
/// A client that has not noticed yet goes on sending under its old session, so that what comes in first proves only
/// that the segment has learnt us. What goes out first is of a new session.
const STEPS: [(&str, &[(Direction, MessageType)]); 3] = [
    ("first_handshake", &[(Ingress, Response), (Egress, Response)]),
    ("first_transport_in", &[(Ingress, Transport)]),
    ("first_transport_out", &[(Egress, Transport)]),
];

/// The first look, and the longest time between two. The stamps wait.
const LOOKS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// What comes later has another cause.
const LONGEST: Duration = Duration::from_secs(60);

/// Watches for them.
pub(super) struct Firsts {
    traffic: TrafficReader,
    /// When the last packet of each step came that was told, or is not to be.
    told: [Timestamp; STEPS.len()],
    watch: Option<Watch>,
}

#[derive(Clone, Copy)]
struct Watch {
    since: Timestamp,
    pause: Duration,
    due: Timestamp,
    missing: [bool; STEPS.len()],
}

impl Firsts {
    pub fn new(traffic: TrafficReader) -> Self {
        let mut firsts = Self { traffic, told: [Timestamp::ZERO; STEPS.len()], watch: None };
        firsts.stop();
        firsts
    }

    /// A take-over has begun.
    pub fn watch(&mut self, now: Timestamp) {
        let pause = LOOKS[0];
        self.watch = Some(Watch { since: now, pause, due: now + pause, missing: [true; STEPS.len()] });
    }

    /// What came until now is of no interest.
    pub fn stop(&mut self) {
        self.watch = None;
        self.told = std::array::from_fn(|step| self.stamp(step));
    }

    /// When to look.
    pub fn due(&self) -> Option<Timestamp> {
        self.watch.map(|watch| watch.due)
    }

    /// What has come, in the order in which it came.
    pub fn look(&mut self) -> Vec<Heard> {
        let Some(mut watch) = self.watch else { return Vec::new() };
        let mut come = Vec::new();
        for (step, (what, _)) in STEPS.iter().enumerate() {
            let at = self.stamp(step);
            if watch.missing[step] && at > self.told[step] {
                (watch.missing[step], self.told[step]) = (false, at);
                come.push((at, *what));
            }
        }
        come.sort();
        let now = clock::now();
        watch.pause = (watch.pause * 2).min(LOOKS[1]);
        watch.due = now + watch.pause;
        let over = watch.missing == [false; STEPS.len()] || now.since(watch.since) > LONGEST;
        self.watch = (!over).then_some(watch);
        come.into_iter().map(|(at, what)| Heard::Step { what, detail: String::new(), at }).collect()
    }

    /// When the first packet came under the newest lease that one came under; zero: none has.
    fn stamp(&self, step: usize) -> Timestamp {
        let first = |(direction, message): &(Direction, MessageType)| {
            // What cannot be read now is read at the next look.
            self.traffic.read(*direction, *message).ok().filter(|t| t.first != 0).map(|t| (t.epoch, t.first))
        };
        let seen: Vec<_> = STEPS[step].1.iter().filter_map(first).collect();
        let newest = seen.iter().map(|(epoch, _)| *epoch).max();
        let firsts = seen.iter().filter(|(epoch, _)| Some(*epoch) == newest).map(|(_, first)| *first);
        Timestamp::from_nanos(firsts.min().unwrap_or(0))
    }
}

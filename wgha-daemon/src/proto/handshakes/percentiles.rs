use std::collections::VecDeque;

use wgha_common::Timestamp;

use super::Progress;

/// So many hundredths of the peers that talked are back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// 50, 90, 99 or 100.
    pub percent: u8,
    /// When the last of these handshakes was completed.
    pub at: Timestamp,
}

/// Counts those that talk as they come back.
#[derive(Debug)]
pub(super) struct Percentiles {
    of: usize,
    back: usize,
    started: usize,
    answers_counted: bool,
    reached: VecDeque<Reached>,
}

impl Percentiles {
    pub const fn new(of: usize) -> Self {
        Self { of, back: 0, started: 0, answers_counted: of == 0, reached: VecDeque::new() }
    }

    pub const fn of(&self) -> usize {
        self.of
    }

    /// Another one that talks was started.
    pub fn started(&mut self) {
        self.started += 1;
    }

    /// Whether there are as many answers as there are peers that talk, for the first time.
    pub fn all_answered(&mut self, progress: Progress) -> bool {
        let all = usize::try_from(progress.responses).is_ok_and(|n| n >= self.of);
        let first = all && self.started >= self.of && !self.answers_counted;
        self.answers_counted |= first;
        first
    }

    /// When those that were not back at the last look came back.
    pub fn add(&mut self, mut times: Vec<Timestamp>) {
        times.sort_unstable();
        for at in times {
            self.back += 1;
            let passed = [50, 90, 99, 100].into_iter().filter(|percent| {
                let needed = (self.of * usize::from(*percent)).div_ceil(100);
                needed == self.back
            });
            self.reached.extend(passed.map(|percent| Reached { percent, at }));
        }
    }

    pub fn poll(&mut self) -> Option<Reached> {
        self.reached.pop_front()
    }
}

use std::{collections::VecDeque, time::Duration};

use wgha_common::Timestamp;

/// After so long, a handshake is not under way even if its initiation was never seen to leave.
const NEVER_LEFT: Duration = Duration::from_secs(1);

/// What the kernel half has counted on the uplink since the take-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Handshake initiations that went out.
    pub initiations: u64,
    /// Handshake responses that came in.
    pub responses: u64,
}

/// The handshakes under way, oldest first. Counts do not tell whose answer came: the oldest is taken to be done.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    patience: Duration,
    under_way: VecDeque<UnderWay>,
    entered: u64,
    progress: Progress,
    last_answer: Timestamp,
}

#[derive(Debug)]
struct UnderWay {
    /// How many initiations must have gone out for this one to be among them.
    number: u64,
    entered: Timestamp,
    left: Option<Timestamp>,
}

impl Window {
    pub const fn new(size: usize, patience: Duration) -> Self {
        let progress = Progress { initiations: 0, responses: 0 };
        Self {
            size,
            patience,
            under_way: VecDeque::new(),
            entered: 0,
            progress,
            last_answer: Timestamp::ZERO,
        }
    }

    pub fn enter(&mut self, now: Timestamp) {
        self.entered += 1;
        self.under_way.push_back(UnderWay { number: self.entered, entered: now, left: None });
    }

    /// How many more may be under way.
    pub fn room(&self) -> usize {
        self.size.saturating_sub(self.under_way.len())
    }

    pub fn advance(&mut self, now: Timestamp, progress: Progress) {
        let answered = progress.responses.saturating_sub(self.progress.responses);
        let answered = usize::try_from(answered).unwrap_or(usize::MAX).min(self.under_way.len());
        self.under_way.drain(..answered);
        if answered > 0 {
            self.last_answer = now;
        }
        self.progress = progress;
        for one in &mut self.under_way {
            if one.number <= progress.initiations {
                one.left.get_or_insert(now);
            }
        }
        // As long as answers come, the others may only be late: with more under way they would be later still. Those
        // that will never answer fill the window in the end, and then no answers come.
        let (patience, last_answer) = (self.patience, self.last_answer);
        self.under_way.retain(|one| {
            let waited = one.left.is_some_and(|left| now.since(left.max(last_answer)) >= patience);
            !waited && now.since(one.entered) < NEVER_LEFT
        });
    }
}

//! Whether this node hears anything: the gateway is its witness.
//!
//! A node that hears nothing cannot serve, but may still speak: others would yield to its adverts. What it misses
//! first are the very words that would tell it that another node serves. So somebody who is neither is asked.
//!
//! ```text
//! ask     every second; at once and quickly at the first sign of trouble ▸ AskGateway
//! listen  before each question, and while one is under way               ▸ Listen ▸ Listened
//! find    NoWitness · NeverAnswered · Reached · GatewaySilent (others are heard) · Deaf (nothing is)
//! ```
//!
//! What follows from a finding is decided in [`super::witness`].

use std::{
    cmp,
    collections::{BTreeSet, VecDeque},
    fmt,
    net::IpAddr,
    time::Duration,
};

use wgha_common::Timestamp;

use super::PeerId;

/// Between two questions while all is well.
pub(super) const STEADY: Duration = Duration::from_secs(1);
/// Between the first few questions where something depends on the answer, and how many they are.
const QUICK: (Duration, u32) = (Duration::from_millis(5), 5);
/// Between the next ones, and up to how many in a row.
const BRISK: (Duration, u32) = (Duration::from_millis(50), 16);
/// Between all others that follow one without an answer.
const SLOW: Duration = Duration::from_millis(250);
/// As many questions are remembered.
const REMEMBERED: usize = 8;
/// A gateway that has not answered for so long, while others were heard, is silent for a reason of its own: that it is
/// silent does not tell that we are deaf.
const FRESH: Duration = Duration::from_secs(3);
/// An answer takes no longer, mostly.
const ANSWER: Duration = Duration::from_millis(100);
/// A gateway that takes longer to answer is not waited for.
const SLOWEST: Duration = Duration::from_millis(500);
/// One stray packet is no hearing. So many, each so much later than the one before, and all of them within such a time, are.
const HEARING: (usize, Duration, Duration) = (3, Duration::from_millis(200), Duration::from_secs(10));

/// What this node has found out about its own hearing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finding {
    /// There is no gateway, or it is not to be asked.
    #[default]
    NoWitness,
    /// The gateway has not answered yet, ever: that it is silent means nothing.
    NeverAnswered,
    /// The gateway answers.
    Reached,
    /// The gateway does not answer, or not any more; others are heard, or it had been silent before them.
    GatewaySilent,
    /// The gateway answered until a moment ago, and since then nothing has come in at all.
    Deaf,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWitness => "there is no gateway to ask",
            Self::NeverAnswered => "the gateway has not answered yet",
            Self::Reached => "the gateway answers",
            Self::GatewaySilent => "the gateway does not answer",
            Self::Deaf => "nothing is heard on the uplink any more, not even the gateway",
        })
    }
}

/// What has come in last, as the kernel half has noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listened {
    /// Anything at all.
    pub heard: Timestamp,
    /// An answer of the gateway to us; [`Timestamp::ZERO`]: none yet.
    pub answered: Timestamp,
}

/// How long silence must last before it means something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// So many questions must go unanswered,
    questions: usize,
    /// the last of them for so long,
    grace: Duration,
    /// and nothing at all have come in for so long.
    silence: Duration,
}

/// For whoever would take over, and to call a gateway silent.
pub(super) const BACKUP: Patience =
    Patience { questions: 3, grace: Duration::from_millis(10), silence: Duration::ZERO };
/// For whoever would step down although somebody was heard all the time until now.
pub(super) const HUSHED: Patience =
    Patience { questions: 5, grace: Duration::from_millis(50), silence: Duration::ZERO };
/// For whoever would step down and has heard little before.
pub(super) const ACTIVE: Patience = Patience { silence: Duration::from_secs(3), ..HUSHED };

/// The kernel half notes by its coarse clock what comes in: so much too early at most, where it has 100 ticks a second.
const LAG: Duration = Duration::from_millis(11);

/// What is known of the gateway and of all else that comes in.
#[derive(Debug, Clone, Default)]
pub(super) struct Hearing {
    pub(super) gateways: Vec<IpAddr>,
    /// When a gateway answered last.
    pub(super) answered: Option<Timestamp>,
    /// When anything came in last.
    pub(super) heard: Timestamp,
    /// The last questions, none of them answered; the last one first.
    asked: VecDeque<Timestamp>,
    /// The first question, and the last one.
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// How long an answer takes at most, of late.
    takes: Duration,
    /// How many questions in a row have gone unanswered.
    unanswered: u32,
    /// Since when it is deaf, and what it has heard since, but for what comes too soon after another.
    deaf: Option<(Timestamp, Vec<Timestamp>)>,
    /// Which peers say that they reach the gateway.
    pub(super) reaching: BTreeSet<PeerId>,
}

impl Hearing {
    /// Other gateways: what the old ones have said, or not said, does not count.
    pub(super) fn set_gateways(&mut self, gateways: Vec<IpAddr>) {
        let (heard, reaching) = (self.heard, std::mem::take(&mut self.reaching));
        *self = Self { gateways, heard, reaching, ..Self::default() };
    }

    /// Somebody is there to be asked.
    pub(super) fn has_witness(&self) -> bool {
        !self.gateways.is_empty()
    }

    /// It has answered, ever: what it says counts, and that it says nothing.
    pub(super) fn counts(&self) -> bool {
        self.has_witness() && self.answered.is_some()
    }

    pub(super) fn asks(&mut self, now: Timestamp) {
        self.asked.truncate(REMEMBERED - 1);
        self.asked.push_front(now);
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// We have stood still: what we have asked may have been answered without our knowing.
    pub(super) fn stalled(&mut self) {
        self.asked.clear();
        self.unanswered = 0;
    }

    /// What has come in by `now`. Whoever is as patient as that finds out whether it hears nothing any more.
    pub(super) fn listened(&mut self, listened: &Listened, patience: Patience, now: Timestamp) {
        let before = self.heard;
        self.heard = self.heard.max(listened.heard).max(listened.answered);
        self.take_answer(listened.answered);
        if self.heard > before {
            self.heard_again(now);
        }
        if self.deaf.is_none() && self.is_cut_off(patience, now) {
            self.deaf = Some((now, Vec::new()));
        }
    }

    /// The answer to any question that is remembered answers those before it, and those after it as well: it has only
    /// just been seen.
    fn take_answer(&mut self, at: Timestamp) {
        if self.first.is_none_or(|first| at < first) || Some(at) <= self.answered {
            return; // it answers nothing that we have asked, or is known
        }
        if let (Some(last), 1) = (self.last, self.unanswered) {
            self.takes = cmp::max(at.since(last), self.takes * 7 / 8);
        }
        self.answered = Some(at);
        if self.asked.back().is_none_or(|oldest| *oldest <= at) {
            self.stalled();
        }
        // It is all the hearing that is wanted.
        self.deaf = self.deaf.take().filter(|(since, _)| at < *since);
    }

    fn heard_again(&mut self, now: Timestamp) {
        let (enough, apart, within) = HEARING;
        let Some((_, times)) = &mut self.deaf else { return };
        times.retain(|at| now.since(*at) <= within);
        if times.last().is_none_or(|last| now.since(*last) >= apart) {
            times.push(now);
        }
        if times.len() >= enough {
            self.deaf = None;
        }
    }

    /// What it comes to.
    pub(super) fn finding(&self, now: Timestamp) -> Finding {
        if !self.has_witness() {
            return Finding::NoWitness;
        }
        let Some(answered) = self.answered else { return Finding::NeverAnswered };
        if self.deaf.is_some() {
            Finding::Deaf
        } else if self.asked_in_vain(answered, BACKUP, now) {
            Finding::GatewaySilent
        } else {
            Finding::Reached
        }
    }

    /// Nothing at all has come in since so many questions, and the gateway had been answering until then.
    fn is_cut_off(&self, patience: Patience, now: Timestamp) -> bool {
        let fresh = self.answered.is_some_and(|answered| self.heard.since(answered) <= FRESH);
        let silent = now.since(self.heard) >= patience.silence;
        fresh && silent && self.has_witness() && self.asked_in_vain(self.heard + LAG, patience, now)
    }

    fn asked_in_vain(&self, since: Timestamp, patience: Patience, now: Timestamp) -> bool {
        let mut questions = self.asked.iter().rev().filter(|at| **at > since);
        let last = questions.nth(patience.questions - 1);
        // Routers answer questions like ours when they have nothing better to do.
        let grace = cmp::max(patience.grace, cmp::min(self.takes * 2, SLOWEST));
        last.is_some_and(|at| now.since(*at) >= grace)
    }

    /// Whether a question is under way, or has been in vain.
    pub(super) fn awaits_answer(&self) -> bool {
        self.unanswered > 0
    }

    /// Whether what has come in since then shows that the gateway is reached.
    pub(super) fn answered_since(&self, since: Timestamp) -> bool {
        self.answered.is_some_and(|at| at >= since)
    }

    /// When the first answer ever should have come.
    pub(super) fn first_answer_by(&self) -> Option<Timestamp> {
        self.last.filter(|_| self.answered.is_none() && self.unanswered == 1).map(|at| at + ANSWER)
    }

    /// When to ask next. Something depends on the answer since `urgent`.
    pub(super) fn next_question(&self, urgent: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let Some(last) = self.last else { return now };
        let pause = match (self.unanswered, urgent) {
            (_, Some(since)) if last < since => return since,
            (n, Some(_)) if n < QUICK.1 => QUICK.0,
            (n, Some(_)) if n < BRISK.1 => BRISK.0,
            // Nobody waits for the answer to a single one.
            (0 | 1, _) => STEADY,
            _ => SLOW,
        };
        last + pause
    }
}

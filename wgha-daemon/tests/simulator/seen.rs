//! How often what has happened: schedules in which nothing happens prove nothing.

use wgha::proto::{Reason, State};

/// How often what happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub active: u64,
    pub claiming: u64,
    pub fault: u64,
    pub stopping: u64,
    pub lapsed: u64,
    pub outranked: u64,
    pub resigned: u64,
    pub unanswered: u64,
    pub admin_down: u64,
    /// Take-overs from somebody whose lease was held against the strict rule.
    pub strict: u64,
    /// Active Routers that have made way for a successor.
    pub made_way: u64,
    /// Successors that went on.
    pub went_on: u64,
    /// Reloads that were given up.
    pub kept_on: u64,
    /// Nodes that have found that they hear nothing.
    pub deaf: u64,
    /// Backups that have not believed a silence.
    pub held_back: u64,
    /// Those that have not preempted yet, because nobody has told them where the clients are.
    pub untold: u64,
    /// Those that have been told by nobody in time.
    pub in_vain: u64,
    /// Moments at which two served, each within its bound.
    pub both: u64,
}

impl Seen {
    fn all(&mut self) -> [&mut u64; 18] {
        let Self { active, claiming, fault, stopping, lapsed, outranked, resigned, .. } = self;
        let Self { unanswered, admin_down, strict, both, made_way, went_on, kept_on, .. } = self;
        let Self { deaf, held_back, untold, in_vain, .. } = self;
        [
            active, claiming, fault, stopping, lapsed, outranked, resigned, unanswered, admin_down, strict,
            both, made_way, went_on, kept_on, deaf, held_back, untold, in_vain,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, more) in self.all().into_iter().zip(other.all()) {
            *sum += *more;
        }
    }

    /// # Panics
    /// Something has never happened.
    pub fn assert_all(mut self) {
        let copy = self;
        assert!(self.all().into_iter().all(|count| *count > 0), "{copy:?}");
    }

    pub fn count(&mut self, role: State, reason: &Reason) {
        let one = |counter: &mut u64, is: bool| *counter += u64::from(is);
        one(&mut self.active, role == State::Active);
        one(&mut self.claiming, role == State::Claiming);
        one(&mut self.fault, role == State::Fault);
        one(&mut self.stopping, role == State::Stopping);
        one(&mut self.went_on, *reason == Reason::WentOn);
        one(&mut self.lapsed, *reason == Reason::LeaseLapsed);
        one(&mut self.outranked, matches!(reason, Reason::Outranked { .. }));
        one(&mut self.resigned, matches!(reason, Reason::ActiveResigned(_)));
        one(&mut self.unanswered, matches!(reason, Reason::ProbesUnanswered { .. }));
        one(&mut self.admin_down, matches!(reason, Reason::AdminDown(_)));
    }
}

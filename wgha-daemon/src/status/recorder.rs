use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast;
use wgha_common::Timestamp;

use super::Event;

/// How many events are remembered.
pub const CAPACITY: usize = 4096;
/// How many events a follower may be behind before it is dropped.
const FOLLOWER_LAG: usize = 1024;

/// What happens later has another cause.
const LONGEST: Duration = Duration::from_secs(60);

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The role changed; `what` is the new one.
    Role,
    /// Something came in that the decision was made from.
    Input,
    /// Something was done; `detail` says how it ended.
    Effect,
}

impl Kind {
    /// Its name in [`Event::kind`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Input => "input",
            Self::Effect => "effect",
        }
    }
}

/// Remembers what happened, and tells it to who follows.
#[derive(Debug)]
pub struct Recorder {
    events: VecDeque<Event>,
    next_seq: u64,
    clocks: (Timestamp, SystemTime),
    evidence: Option<Timestamp>,
    followers: broadcast::Sender<Event>,
}

impl Recorder {
    /// An empty one. `now` and `wall` are the same moment on both clocks.
    #[must_use]
    pub fn new(now: Timestamp, wall: SystemTime) -> Self {
        Self {
            events: VecDeque::with_capacity(CAPACITY),
            next_seq: 1,
            clocks: (now, wall),
            evidence: None,
            followers: broadcast::Sender::new(FOLLOWER_LAG),
        }
    }

    /// Says again what the wall clock shows: it may have been set since. To be called once in a while.
    pub fn set_clocks(&mut self, now: Timestamp, wall: SystemTime) {
        self.clocks = (now, wall);
    }

    /// Where the events can be subscribed to as they come.
    #[must_use]
    pub fn followers(&self) -> broadcast::Sender<Event> {
        self.followers.clone()
    }

    /// The first sign of a failure came at `at`: this and what follows is one failover, until it has
    /// [`settled`](Self::settled). Later signs belong to the same one.
    pub fn evidence(&mut self, at: Timestamp) {
        self.evidence.get_or_insert(at);
    }

    /// The failover is over.
    pub fn settled(&mut self) {
        self.evidence = None;
    }

    /// Remembers that `what` happened at `at`, which need not be now.
    pub fn record(&mut self, kind: Kind, what: &str, detail: impl Into<String>, at: Timestamp) {
        let since_evidence =
            self.evidence.map(|evidence| at.since(evidence)).filter(|since| *since < LONGEST);
        let since_evidence = since_evidence.map(|since| since.as_micros());
        let event = Event {
            seq: self.next_seq,
            at_ns: at.as_nanos(),
            time: humantime::format_rfc3339_micros(self.wall(at)).to_string(),
            kind: kind.name().to_owned(),
            what: what.to_owned(),
            detail: detail.into(),
            since_evidence_us: since_evidence.and_then(|us| u64::try_from(us).ok()),
        };
        self.next_seq += 1;
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        let _ = self.followers.send(event.clone()); // fails when nobody follows
        self.events.push_back(event);
    }

    /// Everything that is remembered, the oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    fn wall(&self, at: Timestamp) -> SystemTime {
        let (now, wall) = self.clocks;
        let then = if at >= now { wall.checked_add(at.since(now)) } else { wall.checked_sub(now.since(at)) };
        // humantime has no words for times before 1970 or after 9999.
        let in_range = |t: &SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|d| d < YEAR_9999);
        then.filter(in_range).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// 1970 to 9999.
const YEAR_9999: Duration = Duration::from_secs(253_370_764_800);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + SECOND * u32::try_from(seconds).unwrap()
    }

    fn recorder() -> Recorder {
        Recorder::new(at(100), SystemTime::UNIX_EPOCH + 1000 * SECOND)
    }

    #[test]
    fn wall_time_is_that_of_the_moment_and_not_of_the_record() {
        let mut r = recorder();
        r.record(Kind::Input, "advert_heard", "fe80::3", at(99) + Duration::from_micros(7));
        r.record(Kind::Role, "active", "why", at(160));
        r.set_clocks(at(200), SystemTime::UNIX_EPOCH + 5 * SECOND);
        r.record(Kind::Role, "backup", "the wall clock was set back", at(201));
        r.record(Kind::Role, "backup", "before 1970", at(1));
        let times: Vec<_> = r.events().into_iter().map(|e| e.time).collect();
        assert_eq!(
            times,
            [
                "1970-01-01T00:16:39.000007Z",
                "1970-01-01T00:17:40.000000Z",
                "1970-01-01T00:00:06.000000Z",
                "1970-01-01T00:00:00.000000Z",
            ]
        );
    }

    #[test]
    fn events_of_a_failover_are_counted_from_its_first_evidence() {
        let mut r = recorder();
        r.record(Kind::Role, "backup", "", at(100));
        r.evidence(at(101));
        r.evidence(at(102));
        r.record(Kind::Role, "active", "", at(103));
        r.record(Kind::Input, "advert_heard", "it was before", at(100));
        r.settled();
        r.record(Kind::Effect, "vip_held", "", at(104));
        let since: Vec<_> = r.events().into_iter().map(|e| e.since_evidence_us).collect();
        assert_eq!(since, [None, Some(2_000_000), Some(0), None]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_numbers_go_on() {
        let mut r = recorder();
        for _ in 0..CAPACITY + 3 {
            r.record(Kind::Effect, "announced", "ok", at(100));
        }
        let events = r.events();
        assert_eq!(
            (events.len(), events[0].seq, events[CAPACITY - 1].seq),
            (CAPACITY, 4, CAPACITY as u64 + 3)
        );
    }

    #[test]
    fn followers_hear_what_comes_after_they_came() {
        let mut r = recorder();
        r.record(Kind::Role, "backup", "", at(100));
        let mut follower = r.followers().subscribe();
        r.record(Kind::Role, "active", "", at(101));
        assert_eq!(follower.try_recv().unwrap().what, "active");
        assert!(follower.try_recv().is_err());
    }
}

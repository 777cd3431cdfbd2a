//! Probes and their answers, counted. What follows from the count is decided in [`super::detect`].

use std::{cmp, collections::VecDeque, net::IpAddr, time::Duration};

use wgha_common::{Timestamp, abi::OUTSTANDING};

use super::{Answered, Detect, Introduced, PeerId};

/// How long the last probe is waited for, at most.
const MAX_GRACE: Duration = Duration::from_millis(1);

/// How often a peer is probed, and how long it may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// So many probes in a row must go unanswered.
    pub(super) probes: u32,
    /// How long the last of them is waited for.
    pub(super) grace: Duration,
    /// How long the peer may go on to serve after it was alive.
    lease: Duration,
}

impl Pace {
    /// What we are configured with, unless the peer cannot be probed so often or may serve for longer.
    pub(super) fn of(detect: &Detect, told: &Introduced) -> Self {
        let interval = cmp::max(detect.interval, told.required_min_rx);
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let for_lease = nanos(told.lease).div_ceil(nanos(interval).max(1)).saturating_add(1);
        let for_lease = u32::try_from(for_lease).unwrap_or(u32::MAX);
        Self {
            interval,
            probes: for_lease.max(u32::from(detect.multiplier)),
            grace: cmp::min(interval / 2, MAX_GRACE),
            lease: told.lease,
        }
    }

    /// A tick that is later than this is a stall of ours.
    pub(super) fn patience(&self) -> Duration {
        self.interval / 2
    }
}

/// A peer's word that it does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Down {
    /// When it said so first,
    pub(super) since: Timestamp,
    /// and last,
    pub(super) said: Timestamp,
    /// and when it was asked for that.
    pub(super) asked: Timestamp,
}

/// Whom we probe, and what has come of it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) peer: PeerId,
    pub(super) source: IpAddr,
    /// The number of the last probe before the first to it.
    before: u64,
    /// The number of the last probe.
    number: u64,
    /// The last probes, with their times.
    sent: VecDeque<(u64, Timestamp)>,
    last: Option<Answered>,
    /// When the last Up arrived. Before the first, nothing counts.
    up: Option<Timestamp>,
    /// It has said since that it does not serve, and we have not stalled since.
    down: Option<Down>,
    pub(super) last_rtt: Option<Duration>,
    /// It was last alive before that, and has not answered since.
    pub(super) silent_since: Option<Timestamp>,
    /// As many probes as needed were unanswered by then.
    enough: Option<Timestamp>,
    /// So many more must go unanswered, because we have stalled.
    pardons: u32,
}

impl Target {
    pub(super) fn new(peer: PeerId, source: IpAddr, number: u64) -> Self {
        Self {
            peer,
            source,
            before: number,
            number,
            sent: VecDeque::with_capacity(OUTSTANDING),
            last: None,
            up: None,
            down: None,
            last_rtt: None,
            silent_since: None,
            enough: None,
            pardons: 0,
        }
    }

    /// Its probes count: it has answered one with Up.
    pub(super) const fn counts(&self) -> bool {
        self.up.is_some()
    }

    pub(super) fn unanswered(&self) -> u32 {
        let answered = self.last.map_or(self.before, |last| last.number);
        u32::try_from(self.number - answered).unwrap_or(u32::MAX)
    }

    /// How many must go unanswered.
    pub(super) const fn needed(&self, pace: &Pace) -> u32 {
        pace.probes.saturating_add(self.pardons)
    }

    /// A probe is about to be sent.
    pub(super) fn probed(&mut self, number: u64, now: Timestamp) {
        self.number = number;
        self.sent.truncate(OUTSTANDING - 1);
        self.sent.push_front((number, now));
    }

    /// When the last probe was to be sent.
    pub(super) fn probed_at(&self) -> Option<Timestamp> {
        self.sent.front().map(|(_, at)| *at)
    }

    /// An answer; one that has been overtaken is none. Whether it is news. AdminDown that has taken longer than `fresh` may have
    /// waited in our own queue while the machine stood still: its sender may serve again, and the next answer tells.
    pub(super) fn answered(&mut self, answer: &Answered, fresh: Duration) -> bool {
        let newest = self.last.map_or(self.before, |last| last.number);
        if answer.peer != self.peer || answer.number <= newest || answer.number > self.number {
            return false;
        }
        let sent = self.sent.iter().find(|(number, _)| *number == answer.number);
        let asked = sent.map(|(_, at)| *at);
        self.last_rtt = asked.map(|at| answer.at.since(at)).or(self.last_rtt);
        self.last = Some(*answer);
        self.silent_since = None;
        self.enough = None;
        if answer.up {
            self.up = Some(answer.at);
            self.down = None;
            self.pardons = 0;
        } else if let Some(asked) = asked.filter(|at| self.counts() && answer.at.since(*at) <= fresh) {
            let since = self.down.map_or(answer.at, |down| down.since);
            self.down = Some(Down { since, said: answer.at, asked });
        }
        true
    }

    /// The answers of before `now` are in, and every probe has left. What is not answered by now was sent
    /// before, and whatever answers it not is silent since: its lease counts from then (I6), or from a
    /// later advert of it.
    pub(super) fn counted(&mut self, advert: Option<Timestamp>, pace: &Pace, now: Timestamp) {
        if self.unanswered() == 0 || !self.counts() {
            return;
        }
        let since = *self.silent_since.get_or_insert(now);
        self.silent_since = Some(advert.map_or(since, |at| at.max(since)));
        if self.unanswered() >= self.needed(pace) {
            self.enough.get_or_insert(now);
        }
    }

    /// From when on its silence means that it does not serve any more.
    pub(super) fn silent_from(&self, pace: &Pace) -> Option<Timestamp> {
        let lapsed = self.silent_since? + pace.lease;
        Some(self.enough?.max(lapsed) + pace.grace)
    }

    /// That it does not serve, if that was its last word.
    pub(super) fn down(&self) -> Option<Down> {
        self.down.filter(|_| self.last.is_some_and(|last| !last.up))
    }

    /// When it has answered Up, if that was its last word.
    pub(super) fn up(&self) -> Option<Timestamp> {
        self.up.filter(|_| self.last.is_some_and(|last| last.up))
    }

    /// We have stood still. Whatever we know may have passed: one probe more must go unanswered, and AdminDown
    /// be answered once more. Whether that keeps us from anything.
    pub(super) fn stalled(&mut self, pace: &Pace) -> bool {
        self.down = None;
        self.enough = None;
        self.pardons = cmp::min(self.pardons + 1, pace.probes);
        self.counts()
    }
}

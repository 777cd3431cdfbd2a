//! What is known of each client, written by the thread that drives it and read by everyone.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// One client. Times are `CLOCK_BOOTTIME` ns; 0: never.
#[derive(Debug, Default)]
pub struct Record {
    /// When it completed its latest handshake: as initiator or as responder.
    pub session_ns: AtomicU64,
    /// When it last received an authenticated transport packet.
    pub heard_ns: AtomicU64,
    /// The mark: [`Record::back_ns`] and [`Record::echo_ns`] are about what comes after it.
    pub mark_ns: AtomicU64,
    /// The first authenticated transport packet after the mark, in a session that was made after the mark.
    pub back_ns: AtomicU64,
    /// The first echo reply after the mark, in such a session.
    pub echo_ns: AtomicU64,
    /// The hop limit of the latest echo reply, [`crate::Which::hop_limit`] of its writer.
    pub hop_limit: AtomicU8,
    /// Echo replies.
    pub echoes: AtomicU32,
    /// Handshakes that it began and completed.
    pub initiated: AtomicU32,
    /// Handshakes that it answered.
    pub answered: AtomicU32,
    /// Initiations that it sent.
    pub initiations: AtomicU32,
    /// Cookie replies that it received: the server was under load.
    pub cookies: AtomicU32,
    /// Responses that came after it had itself answered an initiation: the two have crossed.
    pub crossed: AtomicU32,
    /// Initiations refused because they came within 20 ms of the last one.
    pub flooded: AtomicU32,
    /// Packets that were not authentic, old, or of no session.
    pub rejected: AtomicU32,
    /// The port that it sends from.
    pub port: AtomicU32,
    /// When it last sent the first packet from a new port.
    pub moved_ns: AtomicU64,
}

impl Record {
    pub(super) fn mark(&self, now_ns: u64) {
        self.back_ns.store(0, Relaxed);
        self.echo_ns.store(0, Relaxed);
        self.mark_ns.store(now_ns, Relaxed);
    }

    /// Notes a transport packet of the newest session, if that is younger than the mark.
    pub(super) fn heard_in_newest(&self, has_echo: bool, now_ns: u64) {
        let mark_ns = self.mark_ns.load(Relaxed);
        if mark_ns == 0 || self.session_ns.load(Relaxed) <= mark_ns {
            return;
        }
        note_first(&self.back_ns, now_ns);
        if has_echo {
            note_first(&self.echo_ns, now_ns);
        }
    }
}

fn note_first(when: &AtomicU64, now_ns: u64) {
    if when.load(Relaxed) == 0 {
        when.store(now_ns, Relaxed);
    }
}

/// Sums over clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that have had a session.
    pub with_session: usize,
    /// Echo replies.
    pub echoes: u64,
    /// Handshakes that clients began and completed.
    pub initiated: u64,
    /// Handshakes that clients answered.
    pub answered: u64,
    /// Initiations that clients sent.
    pub initiations: u64,
    /// Cookie replies that clients received.
    pub cookies: u64,
    /// Responses lost to crossing initiations.
    pub crossed: u64,
    /// Initiations refused because they came within 20 ms of the last one.
    pub flooded: u64,
    /// Packets that clients could not use.
    pub rejected: u64,
}

impl Counts {
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        records.fold(Self::default(), |sum, r| Self {
            with_session: sum.with_session + usize::from(r.session_ns.load(Relaxed) != 0),
            echoes: sum.echoes + u64::from(r.echoes.load(Relaxed)),
            initiated: sum.initiated + u64::from(r.initiated.load(Relaxed)),
            answered: sum.answered + u64::from(r.answered.load(Relaxed)),
            initiations: sum.initiations + u64::from(r.initiations.load(Relaxed)),
            cookies: sum.cookies + u64::from(r.cookies.load(Relaxed)),
            crossed: sum.crossed + u64::from(r.crossed.load(Relaxed)),
            flooded: sum.flooded + u64::from(r.flooded.load(Relaxed)),
            rejected: sum.rejected + u64::from(r.rejected.load(Relaxed)),
        })
    }

    /// What has been added since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            with_session: self.with_session - earlier.with_session,
            echoes: self.echoes - earlier.echoes,
            initiated: self.initiated - earlier.initiated,
            answered: self.answered - earlier.answered,
            initiations: self.initiations - earlier.initiations,
            cookies: self.cookies - earlier.cookies,
            crossed: self.crossed - earlier.crossed,
            flooded: self.flooded - earlier.flooded,
            rejected: self.rejected - earlier.rejected,
        }
    }
}

/// How long after the mark clients were back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// How many were asked for.
    pub of: usize,
    /// When those came back that did, sorted.
    pub after: Vec<Duration>,
}

impl Back {
    /// After what time this share of all was back; none: it is not yet.
    #[must_use]
    pub fn at(&self, percent: usize) -> Option<Duration> {
        let needed = (self.of * percent).div_ceil(100).max(1);
        self.after.get(needed - 1).copied()
    }

    /// Whether all are back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.after.len() == self.of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_of_all_not_of_those_that_are_back() {
        let back = Back { of: 4, after: [1, 2, 3].map(Duration::from_millis).to_vec() };
        assert_eq!(back.at(50), Some(Duration::from_millis(2)));
        assert_eq!(back.at(75), Some(Duration::from_millis(3)));
        assert_eq!(back.at(99), None);
        assert!(!back.is_complete());
    }
}

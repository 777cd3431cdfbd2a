//! What WireGuard's packets say of its health, which no interface shows: it has stopped, or the way to it is broken.
//!
//! Who is not authentic may send whatever it likes to the port, and is counted with the others: nothing follows from what comes
//! in alone. What goes out cannot be forged, and neither can what the device says of its clients.

use std::{fmt, time::Duration};

use wgha_common::Timestamp;

/// So many packets come in unanswered before WireGuard is asked whether it is there.
const ASKED: u64 = 3;
/// Nothing has gone out for so long meanwhile. One that does not answer us either then has stopped.
const QUIET: Duration = Duration::from_secs(3);
/// At so many looks initiations have come in unanswered: WireGuard's own tries are 5 s apart.
const TRIES: u32 = 3;
/// WireGuard's REJECT_AFTER_TIME: a session is over by then.
const SESSION: Duration = Duration::from_secs(180);
/// No frame with a keepalive is longer: IPv6, and two tags. The shortest one with an IP packet inside is.
const KEEPALIVE_FRAME: u64 = 102;

/// WireGuard's packets of one direction that passed the fence, since the kernel half came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Handshake initiations.
    pub initiations: u64,
    /// Handshake responses: only to whom it knows.
    pub responses: u64,
    /// Data and keepalives: only to whom it knows.
    pub transport: u64,
    /// Bytes of the frames of data and keepalives.
    pub transport_bytes: u64,
    /// Cookies, and what is none of these.
    pub others: u64,
}

impl Counts {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            initiations: self.initiations.saturating_sub(earlier.initiations),
            responses: self.responses.saturating_sub(earlier.responses),
            transport: self.transport.saturating_sub(earlier.transport),
            transport_bytes: self.transport_bytes.saturating_sub(earlier.transport_bytes),
            others: self.others.saturating_sub(earlier.others),
        }
    }

    fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// There is more than keepalives, for the most part.
    fn has_data(&self) -> bool {
        self.transport_bytes > self.transport.saturating_mul(KEEPALIVE_FRAME)
    }
}

/// The counts of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// What came in.
    pub received: Counts,
    /// What went out.
    pub sent: Counts,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Packets come in, and nothing goes out.
    WireguardStuck,
    /// Clients are spoken to, and nothing comes in.
    PathBroken,
}

impl Ailment {
    /// Its name in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WireguardStuck => "wireguard_stuck",
            Self::PathBroken => "path_broken",
        }
    }
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WireguardStuck => "WireGuard is stuck: clients are heard, and nothing goes out",
            Self::PathBroken => "the way to WireGuard is broken: clients are spoken to, and nothing comes in",
        })
    }
}

/// What is known beside the counts, and cannot be forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// WireGuard does not answer when it is asked how it is.
    pub(super) silent: bool,
    /// Since when several clients that had just been heard are spoken to and do not answer.
    pub(super) unanswered: Option<Timestamp>,
}

/// From one look at the counts to the next, under one lease.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    epoch: u64,
    last: Option<Sample>,
    /// When something last came in, at the latest.
    received: Timestamp,
    /// When something last went out that WireGuard says only to whom it knows.
    known: Option<Timestamp>,
    /// What has come in since something last went out.
    asked: Asked,
}

/// What WireGuard has not answered.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    since: Option<Timestamp>,
    packets: u64,
    /// At how many looks there were initiations among them.
    tries: u32,
    /// There was data among them.
    data: bool,
}

impl Watch {
    /// Takes what was counted under the lease of `epoch`. Another lease begins anew: what was before was not ours.
    pub(super) fn take(&mut self, sample: Sample, epoch: u64, now: Timestamp) {
        let before = self.last.replace(sample).filter(|_| self.epoch == epoch);
        let Some(before) = before else {
            *self = Self { epoch, last: Some(sample), received: now, ..Self::default() };
            return;
        };
        let (received, sent) = (sample.received.since(&before.received), sample.sent.since(&before.sent));
        if !received.is_zero() {
            self.received = now;
        }
        if sent.responses > 0 || sent.transport > 0 {
            self.known = Some(now);
        }
        if !sent.is_zero() {
            self.asked = Asked::default();
        } else if received.initiations > 0 || received.transport > 0 {
            self.asked.since.get_or_insert(now);
            let more = received.initiations.saturating_add(received.transport);
            self.asked.packets = self.asked.packets.saturating_add(more);
            self.asked.tries = self.asked.tries.saturating_add(u32::from(received.initiations > 0));
            self.asked.data |= received.has_data();
        }
    }

    /// Whether it is time to ask WireGuard how it is.
    pub(super) fn doubts(&self, now: Timestamp) -> bool {
        self.asked.packets >= ASKED && self.asked.since.is_some_and(|since| now.since(since) >= QUIET)
    }

    /// What is wrong, if anything is.
    pub(super) fn ailment(&self, facts: Facts, silence: Duration, now: Timestamp) -> Option<Ailment> {
        if self.doubts(now) && facts.silent || self.has_stopped(silence, now) {
            Some(Ailment::WireguardStuck)
        } else {
            self.hears_nobody(facts.unanswered?, silence, now).then_some(Ailment::PathBroken)
        }
    }

    /// It answers us, and has ceased to answer clients: there was one that it knew, which sent data, and then tried to begin
    /// anew, as clients do. Initiations alone are no evidence: who sends wrong ones gets no answer from anybody. Nor are
    /// keepalives: every client ends with one. But data is answered after 10 s, if only by a keepalive.
    fn has_stopped(&self, silence: Duration, now: Timestamp) -> bool {
        let Asked { since: Some(since), tries, data, .. } = self.asked else { return false };
        let knew = self.known.is_some_and(|at| since.since(at) <= SESSION);
        knew && data && tries >= TRIES && now.since(since) >= silence
    }

    /// Each of those clients would have answered after 10 s at the latest (WireGuard's KEEPALIVE_TIMEOUT).
    fn hears_nobody(&self, unanswered: Timestamp, silence: Duration, now: Timestamp) -> bool {
        self.last.is_some() && now.since(self.received) >= silence && now.since(unanswered) >= silence
    }
}

#[cfg(test)]
mod tests;

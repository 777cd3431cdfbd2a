//! When the device is read.

use std::time::Duration;

use wgha_common::Timestamp;

/// WireGuard needs a moment to take a packet in; one that it cannot use never shows.
const AFTER_RING: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];
/// What nobody rings for: bytes that tell who talks, and peers that somebody adds or removes.
const AUDIT: Duration = Duration::from_secs(5);
/// While clients move all the time, this many times as long as a reading takes lies between two: with 10,000 peers one
/// takes 40 ms, and more where others compute.
const SHARE: u32 = 5;
/// However small the device is: anybody can make the kernel half ring.
const LEAST: Duration = Duration::from_millis(5);
/// The same of audits. Who talks is told within 15 s: an audit must not be much rarer than that, however slow.
const AUDIT_SHARE: u32 = 20;
/// The same before the first reading of one that begins to serve: WireGuard starts no handshake while it is read.
const TAKEOVER_SHARE: u32 = 50;

/// The next readings, so that one serves all that has happened since the last, and they never take up the time.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    audit: Timestamp,
    /// When the ring was last heard, and how many readings have followed.
    rung: Option<(Timestamp, usize)>,
    earliest: Timestamp,
    /// How long the last one took.
    took: Duration,
}

impl Reads {
    /// The kernel half has rung. It may ring on and on: what was planned stays.
    pub fn ring(&mut self, now: Timestamp) {
        self.rung = match self.rung {
            Some((_, 0)) => self.rung,
            _ => Some((now, 0)),
        };
    }

    /// Something that matters has changed: read at once.
    pub fn hurry(&mut self) {
        self.audit = Timestamp::ZERO;
    }

    /// We begin to serve: whoever is to know of our clients can wait, the clients cannot.
    pub fn begin_to_serve(&mut self, now: Timestamp) {
        self.hurry();
        self.earliest = self.earliest.max(now + self.took * TAKEOVER_SHARE);
    }

    /// When to read next.
    pub fn due(&self) -> Timestamp {
        let rung = self.rung.map(|(at, step)| at + AFTER_RING[step]);
        rung.map_or(self.audit, |at| at.min(self.audit)).max(self.earliest)
    }

    /// A reading has begun at `begun` and has ended `now`.
    pub fn done(&mut self, begun: Timestamp, now: Timestamp) {
        let took = now.since(begun);
        self.took = took;
        self.earliest = now + (took * SHARE).max(LEAST);
        self.audit = now + AUDIT.max(took * AUDIT_SHARE);
        self.rung = self.rung.and_then(|(at, step)| {
            let next = (step..AFTER_RING.len()).find(|step| at + AFTER_RING[*step] > begun);
            next.map(|step| (at, step))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_ring_is_followed_by_readings_with_growing_pauses() {
        let mut reads = Reads::default();
        reads.done(at(0), at(0));
        assert_eq!(reads.due(), at(0) + AUDIT);
        reads.ring(at(100));
        for due in [102, 110, 150, 350] {
            assert_eq!(reads.due(), at(due));
            reads.done(at(due), at(due));
        }
        assert_eq!(reads.due(), at(350) + AUDIT);
    }

    #[test]
    fn a_flood_of_rings_neither_delays_the_first_reading_nor_takes_up_the_time() {
        let mut reads = Reads::default();
        reads.done(at(0), at(0));
        (100..=101).for_each(|ms| reads.ring(at(ms)));
        assert_eq!(reads.due(), at(102));
        reads.done(at(102), at(142)); // many peers
        reads.ring(at(142));
        assert_eq!(reads.due(), at(142) + 40 * MILLI * SHARE);
    }

    #[test]
    fn a_slow_reading_covers_what_was_due_before_it_began() {
        let mut reads = Reads::default();
        reads.done(at(0), at(0));
        reads.ring(at(100));
        reads.done(at(120), at(121));
        assert_eq!(reads.due(), at(150));
    }

    #[test]
    fn in_a_hurry_nothing_but_the_share_is_waited_for() {
        let mut reads = Reads::default();
        reads.done(at(0), at(2));
        reads.hurry();
        assert_eq!(reads.due(), at(2) + 2 * MILLI * SHARE);
    }

    #[test]
    fn a_large_device_is_not_read_while_handshakes_begin() {
        let mut reads = Reads::default();
        reads.begin_to_serve(at(0));
        assert!(reads.due() <= at(0), "nothing is known of it");
        reads.done(at(0), at(40));
        reads.begin_to_serve(at(5000));
        reads.ring(at(5001));
        assert_eq!(reads.due(), at(5000) + 40 * MILLI * TAKEOVER_SHARE);
    }

    #[test]
    fn who_talks_is_known_in_time_however_slow_a_reading_is() {
        let mut reads = Reads::default();
        reads.done(at(0), at(400));
        assert!(reads.due() < at(15_000));
    }
}

//! From what was found to what is done about it. Plain Rust: the tables are tested on the host.

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use wgha_common::{
    abi::{
        AdvertSeen, Answer, Counter, EventKind, RING_BURST, RING_PAUSE_NANOS, Rung, SHORT_RING_PAUSE_NANOS,
    },
    wire::{
        bfd::{Fault, State},
        vrrp::HeaderError,
    },
};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes; there is nothing to say about it.
    Pass,
    /// It passes and is counted.
    Count(Counter),
    /// It is dropped and counted: nothing is dropped without a reason that can be read.
    Drop(Counter),
    /// It has become an answer, leaves where it came in, and is counted.
    Transmit(Counter),
}

impl Verdict {
    /// It is dropped if there is a reason, else it passes.
    #[inline(always)]
    pub fn drops(reason: Option<Counter>) -> Self {
        reason.map_or(Self::Pass, Self::Drop)
    }

    /// Why.
    #[inline(always)]
    pub const fn counter(self) -> Option<Counter> {
        match self {
            Self::Pass => None,
            Self::Count(counter) | Self::Drop(counter) | Self::Transmit(counter) => Some(counter),
        }
    }

    /// As XDP wants it.
    #[inline(always)]
    pub const fn xdp(self) -> u32 {
        match self {
            Self::Pass | Self::Count(_) => xdp_action::XDP_PASS,
            Self::Drop(_) => xdp_action::XDP_DROP,
            Self::Transmit(_) => xdp_action::XDP_TX,
        }
    }

    /// As TC wants it. "Unspecified" lets the programs after ours have their say; `TC_ACT_OK` would skip them.
    #[inline(always)]
    pub const fn tc(self) -> i32 {
        match self {
            Self::Pass | Self::Count(_) => TC_ACT_UNSPEC,
            Self::Drop(_) => TC_ACT_SHOT,
            Self::Transmit(_) => TC_ACT_REDIRECT,
        }
    }
}

/// How a bad advert header is counted. A VRID of 0 is nobody's.
#[inline(always)]
pub const fn header_fault(error: HeaderError) -> Counter {
    match error {
        HeaderError::Version => Counter::AdvertBadVersion,
        HeaderError::Type => Counter::AdvertBadType,
        HeaderError::Vrid => Counter::AdvertOtherVrid,
        HeaderError::NoAddress => Counter::AdvertNoAddress,
        HeaderError::Interval => Counter::AdvertBadInterval,
    }
}

/// What becomes of an advert of ours, by how it is counted: what is not stamped does not leave.
#[inline(always)]
pub const fn of_our_advert(counter: Counter) -> Verdict {
    match counter {
        Counter::AdvertSent => Verdict::Count(counter),
        _ => Verdict::Drop(counter),
    }
}

/// How a bad control packet is counted: all alike, a peer's are never bad.
#[inline(always)]
pub const fn bfd_fault(_: Fault) -> Counter {
    Counter::ProbeMalformed
}

/// What becomes of a probe or an answer, by how it is counted. Those of strangers pass: there may be another
/// implementation on this host.
#[inline(always)]
pub const fn of_probe(counter: Counter) -> Verdict {
    match counter {
        Counter::ProbeAnsweredUp | Counter::ProbeAnsweredAdminDown => Verdict::Transmit(counter),
        Counter::ProbeBadPeer | Counter::Unparsed => Verdict::Count(counter),
        _ => Verdict::Drop(counter),
    }
}

/// Whether an answer with `state` is the first that says that its sender does not serve, after `before`.
#[inline(always)]
pub const fn goes_down(before: &Answer, state: u8) -> bool {
    state != State::Up as u8 && (before.answers == 0 || before.state == State::Up as u8)
}

/// What an advert changes in what is known of its router (`before`; all zeros: nothing), if it changes anything.
///
/// A router that resigned is forgotten: its next claim is that of a new one. One that resigns again changes nothing.
#[inline(always)]
pub const fn change(before: &AdvertSeen, priority: u8, interval: u16) -> Option<EventKind> {
    let resigned = before.priority == 0;
    match priority {
        0 if resigned && before.adverts > 0 => None,
        0 => Some(EventKind::Resigned),
        _ if resigned => Some(EventKind::NewRouter),
        _ if before.priority != priority || before.interval != interval => Some(EventKind::ChangedRouter),
        _ => None,
    }
}

/// How long events of a kind pause, and after how many. Only those that a stranger can repeat at will must.
#[inline(always)]
const fn pause(kind: EventKind) -> (u64, u32) {
    match kind {
        EventKind::Rival | EventKind::Malformed | EventKind::Contested => (RING_PAUSE_NANOS, 1),
        EventKind::NewRouter | EventKind::ChangedRouter | EventKind::Resigned => {
            (RING_PAUSE_NANOS, RING_BURST)
        }
        EventKind::NewSource | EventKind::NeighbourAnswered => (SHORT_RING_PAUSE_NANOS, 1),
        EventKind::Outranked | EventKind::AdminDown => (0, 1),
    }
}

/// Whether the pause of a kind is over at `now`.
#[inline(always)]
pub const fn has_paused(kind: EventKind, last: &Rung, now: u64) -> bool {
    last.at == 0 || now.saturating_sub(last.at) >= pause(kind).0
}

/// Whether an event of this kind may wake the daemon at `now`.
#[inline(always)]
pub const fn may_ring(kind: EventKind, last: &Rung, now: u64) -> bool {
    last.rang < pause(kind).1 || has_paused(kind, last, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drop_drops() {
        let counter = Counter::Unparsed;
        for (verdict, xdp, tc, counted) in [
            (Verdict::Pass, 2, -1, None),
            (Verdict::Count(counter), 2, -1, Some(counter)),
            (Verdict::Drop(counter), 1, 2, Some(counter)),
            (Verdict::Transmit(counter), 3, 7, Some(counter)),
        ] {
            assert_eq!((verdict.xdp(), verdict.tc(), verdict.counter()), (xdp, tc, counted), "{verdict:?}");
        }
    }

    #[test]
    fn what_changes_a_router() {
        let seen =
            |priority, interval| AdvertSeen { adverts: 1, priority, interval, ..AdvertSeen::default() };
        let nobody = AdvertSeen::default();
        for (before, priority, interval, want) in [
            (nobody, 100, 10, Some(EventKind::NewRouter)),
            (nobody, 0, 10, Some(EventKind::Resigned)),
            (seen(100, 10), 100, 10, None),
            (seen(100, 10), 101, 10, Some(EventKind::ChangedRouter)),
            (seen(100, 10), 100, 11, Some(EventKind::ChangedRouter)),
            (seen(100, 10), 0, 10, Some(EventKind::Resigned)),
            (seen(0, 10), 0, 10, None),
            (seen(0, 10), 100, 10, Some(EventKind::NewRouter)),
        ] {
            assert_eq!(change(&before, priority, interval), want, "{before:?} then {priority} {interval}");
        }
    }

    #[test]
    fn only_peers_are_answered_and_only_strangers_pass() {
        for counter in Counter::ALL.iter().copied() {
            let wanted = match counter {
                Counter::ProbeAnsweredUp | Counter::ProbeAnsweredAdminDown => Verdict::Transmit(counter),
                Counter::ProbeBadPeer | Counter::Unparsed => Verdict::Count(counter),
                _ => Verdict::Drop(counter),
            };
            assert_eq!(of_probe(counter), wanted);
        }
    }

    #[test]
    fn only_the_first_answer_that_says_so_goes_down() {
        let (up, down) = (State::Up as u8, State::AdminDown as u8);
        let after = |state| Answer { answers: 1, state, ..Answer::default() };
        for (before, state, wanted) in [
            (Answer::default(), up, false),
            (Answer::default(), down, true),
            (after(up), up, false),
            (after(up), down, true),
            (after(down), down, false),
            (after(down), up, false),
        ] {
            assert_eq!(goes_down(&before, state), wanted, "{before:?} then {state}");
        }
    }

    #[test]
    fn floods_pause_and_changes_do_not() {
        for kind in EventKind::ALL {
            use EventKind::*;
            let (pause, burst) = match kind {
                Rival | Malformed | Contested => (100_000_000, 1),
                NewRouter | ChangedRouter | Resigned => (100_000_000, 16),
                NewSource | NeighbourAnswered => (10_000_000, 1),
                Outranked | AdminDown => (0, 1),
            };
            let last = Rung { at: 1000, rang: burst, ..Rung::default() };
            let less = Rung { rang: burst - 1, ..last };
            assert_eq!(may_ring(kind, &last, 1000 + pause.max(1) - 1), pause == 0, "{}", kind.name());
            assert!(may_ring(kind, &less, 1000), "{}", kind.name());
            assert!(may_ring(kind, &last, 1000 + pause), "{}", kind.name());
            assert!(may_ring(kind, &Rung::default(), 1), "{}: the first", kind.name());
        }
    }

    #[test]
    fn every_header_error_has_its_own_counter() {
        use HeaderError::*;
        let faults = [Version, Type, Vrid, NoAddress, Interval].map(header_fault);
        for (i, fault) in faults.iter().enumerate() {
            assert!(!faults[..i].contains(fault), "{}", fault.name());
        }
    }
}

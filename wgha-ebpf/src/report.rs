//! What becomes of a packet, what wakes the daemon, and what is only counted.

use aya_log_ebpf::debug;
use wgha_common::abi::{Counter, Event, EventKind};

use crate::{
    maps,
    packet::Packet,
    verdict::{self, Verdict},
};

/// Counts what a verdict says, and says it as the packet's hook wants it.
#[inline(always)]
pub fn settle<P: Packet>(verdict: Verdict) -> u32 {
    if let Some(counter) = verdict.counter() {
        maps::count(counter);
    }
    P::action(verdict)
}

/// Rings for `event`, unless its kind must pause. Says whether it rang.
#[inline(always)]
pub fn ring(kind: EventKind, event: &Event) -> bool {
    let Some(rung) = maps::rung(kind) else {
        return false;
    };
    if !verdict::may_ring(kind, rung, event.at) {
        rung.suppressed += 1;
        return false;
    }
    if !maps::ring(&Event { kind: kind as u32, ..*event }) {
        rung.suppressed += 1;
        maps::count(Counter::RingFull);
        return false;
    }
    if verdict::has_paused(kind, rung, event.at) {
        rung.at = event.at;
        rung.rang = 0;
    }
    rung.rang += 1;
    true
}

/// For people who watch. A function of its own: what it needs of the stack is then needed nowhere else.
#[inline(never)]
pub fn log_malformed(counter: u32) {
    debug!((), "malformed advert, counter {}", counter);
}

//! What wakes the daemon, and what is only counted.

use aya_log_ebpf::debug;
use wgha_common::abi::{Counter, Event, EventKind};

use crate::{maps, verdict};

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
    rung.at = event.at;
    true
}

/// For people who watch. A function of its own: what it needs of the stack is then needed nowhere else.
#[inline(never)]
pub fn log_malformed(counter: u32) {
    debug!((), "malformed advert, counter {}", counter);
}

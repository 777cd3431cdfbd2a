//! `CLOCK_BOOTTIME`, read in two ways.

#![expect(unsafe_code, reason = "kernel helpers are foreign functions")]

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns};

use wgha_common::abi::ClockRead;

use crate::maps;

/// What the time is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Rare packets: right to the nanosecond, for some 40 ns.
    Exact,
    /// Every packet: behind by one tick at most, for next to nothing. The exact time is read once in a tick, and then again
    /// where the tick is another one: a helper that is called costs more than all else that is done with most packets.
    Coarse,
}

impl Clock {
    /// Nanoseconds.
    #[inline(always)]
    pub fn now(self) -> u64 {
        match self {
            Self::Exact => exact(),
            Self::Coarse => coarse(),
        }
    }
}

#[inline(always)]
fn exact() -> u64 {
    // SAFETY: the helper has no argument and no precondition.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
fn coarse() -> u64 {
    let Some(read) = maps::read_clock() else {
        return exact();
    };
    // SAFETY: as above. The verifier makes it a load.
    let tick = unsafe { bpf_jiffies64() };
    if read.tick != tick {
        *read = ClockRead { tick, at: exact() };
    }
    read.at
}

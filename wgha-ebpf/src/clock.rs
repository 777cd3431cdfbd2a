//! `CLOCK_MONOTONIC`, read in two ways.

#![expect(unsafe_code, reason = "kernel helpers are foreign functions")]

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

/// What the time is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Rare packets: right to the nanosecond, for some 40 ns.
    Exact,
    /// Every packet: behind by one tick at most, for some 4 ns.
    Coarse,
}

impl Clock {
    /// Nanoseconds.
    #[inline(always)]
    pub fn now(self) -> u64 {
        // SAFETY: neither helper has an argument or a precondition.
        unsafe {
            match self {
                Self::Exact => bpf_ktime_get_ns(),
                Self::Coarse => bpf_ktime_get_coarse_ns(),
            }
        }
    }
}

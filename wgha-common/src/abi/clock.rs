/// When one CPU last read the clock for WireGuard's packets. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockRead {
    /// In which tick (`jiffies`).
    pub tick: u64,
    /// `CLOCK_BOOTTIME` ns.
    pub at: u64,
}

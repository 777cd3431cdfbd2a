/// When something came in last: whether this node hears anything. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrivals {
    /// `CLOCK_BOOTTIME` ns of the last frame of any kind but WireGuard's data in plain frames, which `TRAFFIC` counts; behind by
    /// a tick and [`Arrivals::GRAIN`] at most. 0: none yet.
    pub any: u64,
    /// `CLOCK_BOOTTIME` ns of the last answer of one of `GATEWAYS` to a solicitation or an ARP request from our own address.
    pub gateway: u64,
}

impl Arrivals {
    /// `any` is not written more often than once in so many nanoseconds: all CPUs share it.
    pub const GRAIN: u64 = 1_000_000;
}

//! Liveness between wgha nodes: S-BFD (RFC 7880), reflected and recorded by the kernel half.

/// How many discriminators of probes that are under way the kernel half knows per peer.
pub const OUTSTANDING: usize = 8;

/// What this node's reflector and initiator go by. Writer: daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sbfd {
    /// The discriminator that our reflector answers to, drawn anew by each daemon; 0: it answers nobody.
    pub discriminator: u32,
    /// Required Min RX Interval in our answers, microseconds: our `[detect] interval`.
    pub required_min_rx: u32,
    /// The UDP port that our own probes come from, in host order; 0: we do not probe.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// The probes to one peer that an answer may still come for. Writer: daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outstanding {
    /// My Discriminator of each, random; 0: none.
    pub discriminators: [u32; OUTSTANDING],
}

/// The last answer of one peer that fitted a probe under way. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answer {
    /// `CLOCK_MONOTONIC` ns at which it arrived.
    pub at: u64,
    /// How many have come.
    pub answers: u64,
    /// Which probe it answers.
    pub discriminator: u32,
    /// The state in it, a [`crate::wire::bfd::State`] as a number: Up serves, AdminDown does not.
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

use crate::Address;

/// A configured peer. Writer: daemon.
///
/// What it has told of itself has come over the peer channel, and is authentic.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peer {
    /// Where its adverts come from; unspecified until it has introduced itself.
    pub source: Address,
    /// Its place in the configuration.
    pub number: u32,
    /// Its priority; 0 until it has introduced itself.
    pub priority: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl Peer {
    /// One that has told nothing yet.
    #[must_use]
    pub const fn unknown(number: u32) -> Self {
        Self { source: Address::UNSPECIFIED, number, priority: 0, reserved: [0; 3] }
    }

    /// Whether it has told who it is.
    #[must_use]
    #[inline(always)]
    pub const fn is_introduced(&self) -> bool {
        self.priority != 0
    }
}

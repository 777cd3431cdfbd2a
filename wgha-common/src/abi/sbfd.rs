//! Liveness between wgha nodes: S-BFD (RFC 7880), reflected and recorded by the kernel half.

/// How many discriminators of probes that are under way the kernel half knows per peer.
pub const OUTSTANDING: usize = 8;

/// What this node's reflector and initiator go by. Writer: daemon.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sbfd {
    /// The discriminator that our reflector answers to, drawn anew by each daemon that does not go on where another has left
    /// off; 0: it answers nobody.
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
    /// `CLOCK_BOOTTIME` ns at which it arrived.
    pub at: u64,
    /// How many have come.
    pub answers: u64,
    /// Which probe it answers.
    pub discriminator: u32,
    /// The state in it, a [`crate::wire::bfd::State`] as a number: Up serves, AdminDown does not.
    pub state: u8,
    /// The diagnostic in it: [`crate::wire::bfd::DIAGNOSTIC_NEIGHBOR`], if the peer ceased to serve because of our probe.
    pub diagnostic: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl Answer {
    /// Where the eight bytes are that say which probe is answered, and how; zero while it is being written.
    ///
    /// Written first and last by the kernel half, and read first and last by the daemon, which so sees what belongs together.
    pub const KEY: usize = core::mem::offset_of!(Self, discriminator);

    /// The bytes at [`Answer::KEY`].
    #[must_use]
    #[inline(always)]
    pub const fn key(&self) -> u64 {
        let [a, b, c, d] = self.discriminator.to_ne_bytes();
        u64::from_ne_bytes([a, b, c, d, self.state, self.diagnostic, 0, 0])
    }

    /// An answer with these bytes at [`Answer::KEY`].
    #[must_use]
    pub const fn with_key(at: u64, answers: u64, key: u64) -> Self {
        let [a, b, c, d, state, diagnostic, ..] = key.to_ne_bytes();
        let discriminator = u32::from_ne_bytes([a, b, c, d]);
        Self { at, answers, discriminator, state, diagnostic, reserved: [0; 2] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_stands_at_its_place() {
        let answer = Answer {
            at: 1,
            answers: 2,
            discriminator: 0x0102_0304,
            state: 3,
            diagnostic: 7,
            reserved: [0; 2],
        };
        assert_eq!(Answer::with_key(1, 2, answer.key()), answer);
        assert_eq!(Answer::KEY, size_of::<Answer>() - size_of::<u64>());
        assert!(Answer::KEY.is_multiple_of(size_of::<u64>()));
        assert_eq!(core::mem::offset_of!(Answer, state), Answer::KEY + size_of::<u32>());
    }
}

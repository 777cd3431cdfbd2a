use crate::Address;

/// Why the kernel half wakes the daemon.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The first advert of a router, or the first after it was forgotten or had resigned.
    NewRouter = 0,
    /// A known router changed its priority or its interval.
    ChangedRouter = 1,
    /// A router sent priority 0.
    Resigned = 2,
    /// A lower advert came while our lease stands: another router believes that it is Active.
    Rival = 3,
    /// An advert, or a peer's probe in state Up, outranked us and has ended our lease.
    Outranked = 4,
    /// An advert with our VRID broke RFC 9568 §7.1; `counter` says how.
    Malformed = 5,
    /// A peer that does not serve has answered a probe, for the first time since it did; `source` is the peer.
    AdminDown = 6,
    /// Transport data came from elsewhere than its session's last packet, or of a session that none has come of lately; or a
    /// handshake message came. `source` and `port` say from where. What did not ring for the pause rings with its next packet.
    NewSource = 7,
    /// A neighbour answered a solicitation or an ARP request from a VIP; `source` is the neighbour.
    NeighbourAnswered = 8,
    /// A peer that we outrank has asked in state Up while our lease stands: it serves, or claims to. `source`, `priority` are
    /// as it has introduced itself.
    Contested = 9,
}

impl EventKind {
    /// How many kinds there are.
    pub const COUNT: u32 = 10;
    /// All of them, by number.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::NewRouter,
        Self::ChangedRouter,
        Self::Resigned,
        Self::Rival,
        Self::Outranked,
        Self::Malformed,
        Self::AdminDown,
        Self::NewSource,
        Self::NeighbourAnswered,
        Self::Contested,
    ];

    /// From the number in a record.
    #[must_use]
    pub fn from_number(n: u32) -> Option<Self> {
        Self::ALL.get(n as usize).copied()
    }

    /// Whether it comes in numbers where all is well, so that nothing is amiss if some do not ring.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        matches!(self, Self::NewSource | Self::NeighbourAnswered)
    }

    /// Its name in logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewRouter => "new_router",
            Self::ChangedRouter => "changed_router",
            Self::Resigned => "resigned",
            Self::Rival => "rival",
            Self::Outranked => "outranked",
            Self::Malformed => "malformed",
            Self::AdminDown => "admin_down",
            Self::NewSource => "new_source",
            Self::NeighbourAnswered => "neighbour_answered",
            Self::Contested => "contested",
        }
    }
}

/// One record of the `EVENTS` ring. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event {
    /// `CLOCK_BOOTTIME` ns at which the packet arrived.
    pub at: u64,
    /// An [`EventKind`] as a number.
    pub kind: u32,
    /// The [`crate::abi::Counter`] that was raised, as a number; 0 where none was.
    pub counter: u32,
    /// Who sent it.
    pub source: Address,
    /// Max Advertise Interval, centiseconds; 0 when malformed.
    pub interval: u16,
    /// Its priority; 0 when malformed.
    pub priority: u8,
    /// Its [`crate::abi::ChecksumStyle`] as a number.
    pub checksum: u8,
    /// The UDP port that it came from, in host order; of `NewSource` only.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

/// When an [`EventKind`] last rang, so that a flood wakes the daemon once in its pause. Writer: kernel.
///
/// `Rival`, `Malformed` and `Contested` pause for [`crate::abi::RING_PAUSE_NANOS`], `NewSource` and `NeighbourAnswered` for
/// [`crate::abi::SHORT_RING_PAUSE_NANOS`]; `NewRouter`, `ChangedRouter` and `Resigned` after
/// [`crate::abi::RING_BURST`] of them. `Outranked` and `AdminDown` do not pause: a lease ends once, and what makes an answer
/// one cannot be guessed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rung {
    /// `CLOCK_BOOTTIME` ns of the first after the last pause.
    pub at: u64,
    /// How many did not ring, because of the pause or because the ring was full.
    pub suppressed: u64,
    /// How many have rung since `at`.
    pub rang: u32,
    /// Zero.
    pub reserved: u32,
}

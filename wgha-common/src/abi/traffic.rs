use crate::wire::wireguard::MessageType;

/// Which way a packet went through the uplink.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Into this node.
    Ingress = 0,
    /// Out of this node.
    Egress = 1,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// WireGuard packets of one direction and message type that passed. Writer: kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets; the segments of one that is yet to be segmented count each.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// Under the lease of which epoch the last one passed.
    pub epoch: u64,
    /// `CLOCK_BOOTTIME` ns of the first one of that epoch, exact.
    pub first: u64,
}

/// Where in `TRAFFIC` a direction and message type are counted.
#[must_use]
#[inline(always)]
pub const fn traffic_index(direction: Direction, message: MessageType) -> u32 {
    direction as u32 * MessageType::COUNT + message as u32
}

//! BFD control packets (RFC 5880 §4.1) as S-BFD uses them (RFC 7880, RFC 7881).

/// UDP port of S-BFD reflectors (RFC 7881 §3), and TCP port of the peer channel.
pub const PORT: u16 = 7784;

/// The state of a session, or of what a reflector answers for (RFC 5880 §4.1).
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Alive, and does not serve.
    AdminDown = 0,
    /// The initiator has had no answer yet.
    Down = 1,
    /// Serves.
    Up = 3,
}

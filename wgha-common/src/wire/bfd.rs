//! BFD control packets (RFC 5880 §4.1) as S-BFD uses them (RFC 7880, RFC 7881).

use super::NoRoom;

/// UDP port of S-BFD reflectors (RFC 7881 §3), and TCP port of the peer channel.
pub const PORT: u16 = 7784;
/// Bytes of a packet without authentication.
pub const LEN: usize = 24;
/// Where in it the state is, in the upper two bits.
pub const FLAGS_OFFSET: usize = 1;

const VERSION: u8 = 1;
/// "Neighbor Signaled Session Down" (RFC 5880 §4.1): a reflector has ceased to serve because of this very question.
pub const DIAGNOSTIC_NEIGHBOR: u8 = 3;
/// "Administratively Down" (RFC 5880 §4.1).
const DIAGNOSTIC_ADMIN_DOWN: u8 = 7;
const DIAGNOSTIC_MASK: u8 = 0x1f;

const POLL: u8 = 1 << 5;
const FINAL: u8 = 1 << 4;
const AUTHENTICATION: u8 = 1 << 2;
const DEMAND: u8 = 1 << 1;
const MULTIPOINT: u8 = 1;

/// The state of a session, or of what a reflector answers for (RFC 5880 §4.1).
///
/// The fourth one, Init, does not exist in S-BFD (RFC 7880 §7.3.1).
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Alive, and does not serve.
    AdminDown = 0,
    /// Of an initiator: it does not serve.
    Down = 1,
    /// Serves; of an initiator: or claims to.
    Up = 3,
}

impl State {
    /// From the number in a packet or in a record.
    #[must_use]
    #[inline(always)]
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::AdminDown),
            1 => Some(Self::Down),
            3 => Some(Self::Up),
            _ => None,
        }
    }
}

/// Who sent a packet: it is read by what that one must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sender {
    /// It asks: the D bit is set.
    Initiator,
    /// It answers: the D bit is clear, the state Up or AdminDown.
    Reflector,
}

/// What is wrong with a packet (RFC 5880 §6.8.6, RFC 7880 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not version 1.
    Version,
    /// Its Length is not 24.
    Length,
    /// It is authenticated; S-BFD between wgha nodes is not.
    Authenticated,
    /// Its Detect Mult is 0.
    DetectMult,
    /// The M bit is set: reserved for multipoint.
    Multipoint,
    /// A discriminator is 0.
    Discriminator,
    /// The D bit is not as its sender must have it: an answer is never taken for a question.
    Demand,
    /// A state that its sender cannot have.
    State,
}

/// A control packet of S-BFD.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       My Discriminator                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                      Your Discriminator                       |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                    Desired Min TX Interval                    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                   Required Min RX Interval                    |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                 Required Min Echo RX Interval                 |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
///
/// C and the echo interval are 0 and not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it: the D bit.
    pub sender: Sender,
    /// The sender's state; a reflector's is that of what it answers for.
    pub state: State,
    /// Why it has this state: a number of RFC 5880 §4.1.
    pub diagnostic: u8,
    /// The P bit: the initiator wants the F bit back.
    pub poll: bool,
    /// The F bit: the answer to P.
    pub is_final: bool,
    /// After how many packets without answer the initiator gives up; at least 1.
    pub detect_mult: u8,
    /// The sender's; not 0.
    pub my_discriminator: u32,
    /// The receiver's; not 0.
    pub your_discriminator: u32,
    /// How often the initiator asks, in microseconds.
    pub desired_min_tx: u32,
    /// How often the sender can be asked, in microseconds.
    pub required_min_rx: u32,
}

impl Packet {
    /// Reads a packet of `sender`.
    ///
    /// # Errors
    /// [`Fault`], in the order in which RFC 5880 §6.8.6 has its checks.
    #[inline(always)]
    pub const fn parse(b: &[u8; LEN], sender: Sender) -> Result<Self, Fault> {
        if b[0] >> 5 != VERSION {
            return Err(Fault::Version);
        }
        if b[3] as usize != LEN {
            return Err(Fault::Length);
        }
        if b[1] & AUTHENTICATION != 0 {
            return Err(Fault::Authenticated);
        }
        if b[2] == 0 {
            return Err(Fault::DetectMult);
        }
        if b[1] & MULTIPOINT != 0 {
            return Err(Fault::Multipoint);
        }
        let (my_discriminator, your_discriminator) = (be32(b, 4), be32(b, 8));
        if my_discriminator == 0 || your_discriminator == 0 {
            return Err(Fault::Discriminator);
        }
        if (b[1] & DEMAND != 0) != sender.demands() {
            return Err(Fault::Demand);
        }
        let Some(state) = sender.state(b[1] >> 6) else {
            return Err(Fault::State);
        };
        Ok(Self {
            sender,
            state,
            diagnostic: b[0] & DIAGNOSTIC_MASK,
            poll: b[1] & POLL != 0,
            is_final: b[1] & FINAL != 0,
            detect_mult: b[2],
            my_discriminator,
            your_discriminator,
            desired_min_tx: be32(b, 12),
            required_min_rx: be32(b, 16),
        })
    }

    /// What a reflector in `state` answers (RFC 7880 §7.2.2): never a question itself.
    #[must_use]
    #[inline(always)]
    pub const fn answer(&self, state: State, required_min_rx: u32) -> Self {
        Self {
            sender: Sender::Reflector,
            state,
            diagnostic: match state {
                State::AdminDown => DIAGNOSTIC_ADMIN_DOWN,
                State::Down | State::Up => 0,
            },
            poll: false,
            is_final: self.poll,
            detect_mult: self.detect_mult,
            my_discriminator: self.your_discriminator,
            your_discriminator: self.my_discriminator,
            desired_min_tx: self.desired_min_tx,
            required_min_rx,
        }
    }

    /// Its bytes.
    #[must_use]
    #[inline(always)]
    pub fn bytes(&self) -> [u8; LEN] {
        let flags = flag(POLL, self.poll) | flag(FINAL, self.is_final) | flag(DEMAND, self.sender.demands());
        let mut b = [0; LEN];
        b[0] = VERSION << 5 | (self.diagnostic & DIAGNOSTIC_MASK);
        b[1] = (self.state as u8) << 6 | flags;
        b[2] = self.detect_mult;
        b[3] = LEN as u8;
        b[4..8].copy_from_slice(&self.my_discriminator.to_be_bytes());
        b[8..12].copy_from_slice(&self.your_discriminator.to_be_bytes());
        b[12..16].copy_from_slice(&self.desired_min_tx.to_be_bytes());
        b[16..20].copy_from_slice(&self.required_min_rx.to_be_bytes());
        b
    }

    /// Writes it to the start of `out`.
    ///
    /// # Errors
    /// [`NoRoom`] below 24 bytes.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), NoRoom> {
        let out: &mut [u8; LEN] = out.first_chunk_mut().ok_or(NoRoom)?;
        *out = self.bytes();
        Ok(())
    }
}

impl Sender {
    #[inline(always)]
    const fn demands(self) -> bool {
        matches!(self, Self::Initiator)
    }

    /// The state by its number, if this sender can have it.
    #[inline(always)]
    const fn state(self, number: u8) -> Option<State> {
        match (self, State::from_number(number)) {
            (Self::Reflector, Some(State::Down)) => None,
            (_, state) => state,
        }
    }
}

#[inline(always)]
const fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

#[inline(always)]
const fn be32(b: &[u8; LEN], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Packet = Packet {
        sender: Sender::Initiator,
        state: State::Up,
        diagnostic: 0,
        poll: false,
        is_final: false,
        detect_mult: 3,
        my_discriminator: 0x0102_0304,
        your_discriminator: 0xa1a2_a3a4,
        desired_min_tx: 10_000,
        required_min_rx: 0,
    };

    #[rustfmt::skip]
    const QUESTION_BYTES: [u8; LEN] = [
        0x20, 0xc2, 3, 24,
        1, 2, 3, 4,
        0xa1, 0xa2, 0xa3, 0xa4,
        0, 0, 0x27, 0x10,
        0, 0, 0, 0,
        0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const ANSWER_BYTES: [u8; LEN] = [
        0x27, 0x10, 3, 24,
        0xa1, 0xa2, 0xa3, 0xa4,
        1, 2, 3, 4,
        0, 0, 0x27, 0x10,
        0, 0, 0x03, 0xe8,
        0, 0, 0, 0,
    ];

    #[test]
    fn bytes_are_those_of_the_rfc() {
        assert_eq!(QUESTION.bytes(), QUESTION_BYTES);
        assert_eq!(Packet::parse(&QUESTION_BYTES, Sender::Initiator), Ok(QUESTION));
        let answer = Packet { poll: true, ..QUESTION }.answer(State::AdminDown, 1000);
        assert_eq!(answer.bytes(), ANSWER_BYTES);
        assert_eq!(Packet::parse(&ANSWER_BYTES, Sender::Reflector), Ok(answer));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for state in [State::AdminDown, State::Down, State::Up] {
            for (poll, is_final) in [(false, false), (true, false), (false, true)] {
                for sender in [Sender::Initiator, Sender::Reflector] {
                    let packet = Packet { sender, state, poll, is_final, ..QUESTION };
                    let mut out = [0xff; LEN + 1];
                    packet.emit(&mut out).unwrap();
                    let read = Packet::parse(out.first_chunk().unwrap(), sender);
                    let impossible = sender == Sender::Reflector && state == State::Down;
                    assert_eq!(read, if impossible { Err(Fault::State) } else { Ok(packet) });
                    assert_eq!(out[LEN], 0xff, "and no more");
                }
            }
        }
        assert_eq!(QUESTION.emit(&mut [0; LEN - 1]), Err(NoRoom));
    }

    #[test]
    fn a_diagnostic_is_written_and_read() {
        let answer = QUESTION.answer(State::AdminDown, 0);
        let yielding = Packet { diagnostic: DIAGNOSTIC_NEIGHBOR, ..answer };
        assert_eq!(yielding.bytes()[0], 0x23);
        assert_eq!(Packet::parse(&yielding.bytes(), Sender::Reflector), Ok(yielding));
        assert_eq!(Packet { diagnostic: 0xff, ..answer }.bytes()[0], 0x3f, "the version is not touched");
        assert_eq!(yielding.answer(State::Up, 0).diagnostic, 0, "an answer has its own");
    }

    #[test]
    fn every_fault_is_told() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = QUESTION_BYTES;
            bytes[at] = byte;
            bytes
        };
        let mut no_your_discriminator = QUESTION_BYTES;
        no_your_discriminator[8..12].fill(0);
        let mut no_my_discriminator = QUESTION_BYTES;
        no_my_discriminator[4..8].fill(0);
        for (bytes, fault) in [
            (changed(0, 0x00), Fault::Version),
            (changed(0, 0x40), Fault::Version),
            (changed(3, 23), Fault::Length),
            (changed(3, 25), Fault::Length),
            (changed(1, 0xc6), Fault::Authenticated),
            (changed(2, 0), Fault::DetectMult),
            (changed(1, 0xc3), Fault::Multipoint),
            (no_my_discriminator, Fault::Discriminator),
            (no_your_discriminator, Fault::Discriminator),
            (changed(1, 0xc0), Fault::Demand),
            (changed(1, 0x82), Fault::State),
        ] {
            assert_eq!(Packet::parse(&bytes, Sender::Initiator), Err(fault), "{bytes:02x?}");
        }
        let answer = QUESTION.answer(State::Up, 0).bytes();
        assert_eq!(Packet::parse(&answer, Sender::Initiator), Err(Fault::Demand), "an answer asks nothing");
        assert_eq!(Packet::parse(&QUESTION_BYTES, Sender::Reflector), Err(Fault::Demand));
    }

    #[test]
    fn what_is_not_read_does_no_harm() {
        let mut bytes = QUESTION_BYTES;
        bytes[1] |= 0x08;
        bytes[20..].fill(0xff);
        assert_eq!(Packet::parse(&bytes, Sender::Initiator), Ok(QUESTION));
    }
}

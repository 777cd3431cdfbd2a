use wgha_common::wire::bfd::{LEN, Packet, Sender, State};

/// A control packet of S-BFD. Is written again as it was, but for what is not read; is never both a question and an
/// answer; and what a reflector makes of it is an answer.
#[must_use]
pub fn sbfd(bytes: &[u8]) -> bool {
    let Some(bytes) = bytes.first_chunk() else { return false };
    let read = [Sender::Initiator, Sender::Reflector].map(|sender| Packet::parse(bytes, sender));
    assert!(read.iter().filter(|read| read.is_ok()).count() < 2, "{read:?}");
    let Some(packet) = read.into_iter().find_map(Result::ok) else { return false };
    assert_eq!(known(&packet.bytes()), known(bytes));
    assert_eq!(Packet::parse(&packet.bytes(), packet.sender), Ok(packet));
    for state in [State::Up, State::AdminDown] {
        let answer = packet.answer(state, 1000);
        assert_eq!(Packet::parse(&answer.bytes(), Sender::Reflector), Ok(answer));
        assert!(Packet::parse(&answer.bytes(), Sender::Initiator).is_err(), "two reflectors would talk");
    }
    true
}

/// Without the diagnostic, the C bit and the echo interval.
fn known(bytes: &[u8; LEN]) -> [u8; LEN] {
    let mut known = *bytes;
    known[0] &= 0xe0;
    known[1] &= !0x08;
    known[20..].fill(0);
    known
}

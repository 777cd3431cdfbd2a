//! S-BFD: the probes of our peers are answered here, and answers to our own are recorded (RFC 7880, RFC 7881).
//!
//! What is answered is a question (D bit), and an answer never is one: two reflectors cannot talk to each other.

use wgha_common::{
    Address, Family,
    abi::{Answer, Counter, Event, EventKind},
    wire::{
        bfd::{self, Sender, State},
        ethernet::Mac,
        ip, udp,
    },
};

use crate::{
    chain::{Carried, Part},
    clock::Clock,
    fence, maps,
    packet::Packet,
    report, verdict, wireguard,
};

/// Bytes of a datagram with a control packet.
const DATAGRAM_LEN: usize = udp::HEADER_LEN + bfd::LEN;
/// Where in a frame the MAC addresses stand.
const TO: usize = 0;
const FROM: usize = size_of::<Mac>();

/// What a datagram to the reflector's port is; one that was answered is the answer now. `None`: we have no reflector.
///
/// In steps, which use the same stack one after the other.
#[inline(always)]
pub fn asked<P: Packet>(packet: &P, carried: &Carried) -> Option<Counter> {
    let counter = question(packet, carried)?;
    if !matches!(counter, Counter::ProbeAnsweredUp | Counter::ProbeAnsweredAdminDown) {
        return Some(counter);
    }
    // One that cannot be turned round is half an answer now, and is dropped.
    let sent = turn(packet, carried).and_then(|()| packet.send_back());
    Some(sent.map_or(Counter::ProbeMalformed, |()| counter))
}

/// Writes the answer over a question that is one, and says so.
#[inline(never)]
fn question<P: Packet>(packet: &P, carried: &Carried) -> Option<Counter> {
    let sbfd = maps::sbfd()?;
    if sbfd.discriminator == 0 {
        return None;
    }
    let Some(source) = carried.source(packet) else {
        return Some(Counter::Unparsed);
    };
    if maps::peer(&source).is_none() {
        return Some(Counter::ProbeBadPeer);
    }
    Some(match read(packet, carried, Sender::Initiator) {
        Ok(question) if question.your_discriminator != sbfd.discriminator => Counter::ProbeBadDiscriminator,
        Ok(question) => answer(packet, carried, sbfd.required_min_rx, &question),
        Err(fault) => fault,
    })
}

/// What a datagram from a reflector's port is. `None`: it is not for our initiator.
#[inline(never)]
pub fn answered<P: Packet>(packet: &P, carried: &Carried, port: u16) -> Option<Counter> {
    let sbfd = maps::sbfd()?;
    if sbfd.port == 0 || sbfd.port != port {
        return None;
    }
    let Some(source) = carried.source(packet) else {
        return Some(Counter::Unparsed);
    };
    let Some(peer) = maps::peer(&source) else {
        return Some(Counter::ProbeBadPeer);
    };
    Some(match read(packet, carried, Sender::Reflector) {
        Ok(answer) if !maps::is_outstanding(peer, answer.your_discriminator) => Counter::AnswerUnknown,
        Ok(answer) => record(peer, source, &answer),
        Err(fault) => fault,
    })
}

/// Reads a packet of `sender`, after the checks that questions and answers share: from one hop, whole, to an address of
/// our own, right by RFC 5880 §6.8.6.
///
/// It may not be behind tags, options or extension headers: nobody sends it so.
#[inline(always)]
fn read<P: Packet>(packet: &P, carried: &Carried, sender: Sender) -> Result<bfd::Packet, Counter> {
    if carried.hop_limit != ip::HOP_LIMIT {
        return Err(Counter::ProbeBadHopLimit);
    }
    let whole = carried.part == Part::Whole && carried.is_plain() && carried.is_complete(packet);
    if !whole || carried.len != DATAGRAM_LEN || !is_to_us(packet, carried) {
        return Err(Counter::ProbeMalformed);
    }
    let udp = wireguard::header(packet, carried).ok_or(Counter::ProbeMalformed)?;
    if udp.len as usize != DATAGRAM_LEN {
        return Err(Counter::ProbeMalformed);
    }
    let bytes = packet.load(carried.at + udp::HEADER_LEN).ok_or(Counter::ProbeMalformed)?;
    bfd::Packet::parse(&bytes, sender).map_err(verdict::bfd_fault)
}

/// Whether a packet is to an address of our own: sent to one machine, and to none of the VIPs.
///
/// A function of its own: [`question`] needs its stack for what comes after it.
#[inline(never)]
fn is_to_us<P: Packet>(packet: &P, carried: &Carried) -> bool {
    let to_one = packet.load(TO).is_some_and(|[first]: [u8; 1]| first & 1 == 0);
    let is_ours = |to: Address| to.is_unicast() && to.family() == carried.family && !maps::is_vip(&to);
    to_one && carried.destination(packet).is_some_and(is_ours)
}

/// Makes the question the answer, but for where it goes.
#[inline(always)]
fn answer<P: Packet>(packet: &P, carried: &Carried, min_rx: u32, question: &bfd::Packet) -> Counter {
    let (state, counter) = match fence::serves() {
        true => (State::Up, Counter::ProbeAnsweredUp),
        false => (State::AdminDown, Counter::ProbeAnsweredAdminDown),
    };
    let reply = question.answer(state, min_rx).bytes();
    write(packet, carried, &reply).map_or(Counter::ProbeMalformed, |()| counter)
}

/// Turns the addresses and the ports round: what was the frame's source is its destination.
#[inline(never)]
fn turn<P: Packet>(packet: &P, carried: &Carried) -> Option<()> {
    swap::<P, { size_of::<Mac>() }>(packet, TO, FROM)?;
    let (source, destination) = (carried.source_at(), carried.destination_at());
    match carried.family {
        Family::V4 => swap::<P, 4>(packet, source, destination)?,
        Family::V6 => swap::<P, 16>(packet, source, destination)?,
    }
    swap::<P, 2>(packet, carried.at, carried.at + 2)
}

/// Writes the answer over the question.
#[inline(never)]
fn write<P: Packet>(packet: &P, carried: &Carried, reply: &[u8; bfd::LEN]) -> Option<()> {
    match carried.family {
        Family::V4 => packet.store_payload::<8>(carried.at, reply, carried.source_at()),
        Family::V6 => packet.store_payload::<32>(carried.at, reply, carried.source_at()),
    }
}

#[inline(always)]
fn swap<P: Packet, const N: usize>(packet: &P, a: usize, b: usize) -> Option<()> {
    let (at_a, at_b) = (packet.load::<N>(a)?, packet.load::<N>(b)?);
    packet.store(a, &at_b)?;
    packet.store(b, &at_a)
}

/// Records an answer, and rings if it is the first that says that its sender does not serve.
#[inline(always)]
fn record(peer: u32, source: Address, answer: &bfd::Packet) -> Counter {
    let (at, state) = (Clock::Exact.now(), answer.state as u8);
    let discriminator = answer.your_discriminator;
    let before =
        maps::record_answer(peer, &Answer { at, answers: 1, discriminator, state, reserved: [0; 3] });
    if before.is_some_and(|before| verdict::goes_down(&before, state)) {
        let counter = Counter::AnswerHeard as u32;
        report::ring(EventKind::AdminDown, &Event { at, counter, source, ..Event::default() });
    }
    Counter::AnswerHeard
}

//! S-BFD: the probes of our peers are answered here, and answers to our own are recorded (RFC 7880, RFC 7881).
//!
//! What is answered is a question (D bit), and an answer never is one: two reflectors cannot talk to each other.

use wgha_common::{
    Address, Family,
    abi::{Answer, Counter, Event, EventKind, outranks},
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
    let yields = match question(packet, carried)? {
        Ok(State::Up) => contest(packet, carried),
        Ok(_) => false,
        Err(fault) => return Some(fault),
    };
    let answered = answer(packet, carried, yields);
    // One that cannot be turned round is half an answer now, and is dropped.
    let sent = answered.filter(|_| turn(packet, carried).and_then(|()| packet.send_back()).is_some());
    Some(sent.unwrap_or(Counter::ProbeMalformed))
}

/// What the one who asks says of itself, or what is wrong with the question.
#[inline(never)]
fn question<P: Packet>(packet: &P, carried: &Carried) -> Option<Result<State, Counter>> {
    let sbfd = maps::sbfd()?;
    if sbfd.discriminator == 0 {
        return None;
    }
    let Some(source) = carried.source(packet) else {
        return Some(Err(Counter::Unparsed));
    };
    if maps::peer(&source).is_none() {
        return Some(Err(Counter::ProbeBadPeer));
    }
    Some(match read(packet, carried, Sender::Initiator) {
        Ok(question) if question.your_discriminator == sbfd.discriminator => Ok(question.state),
        Ok(_) => Err(Counter::ProbeBadDiscriminator),
        Err(fault) => Err(fault),
    })
}

/// A peer serves, or claims to: the discriminator proves it, which was told over the peer channel alone. Ends our own lease if
/// we are outranked (I7), and says so.
#[inline(never)]
fn contest<P: Packet>(packet: &P, carried: &Carried) -> bool {
    let Some(peer) = carried.source(packet).and_then(|source| maps::peer(&source)) else {
        return false;
    };
    if !peer.is_introduced() || !fence::claims() {
        return false;
    }
    let (Some(uplink), Some(stamp)) = (maps::uplink(), maps::advert_stamp()) else {
        return false;
    };
    let yields = outranks(peer.priority, &peer.source, stamp.priority, &uplink.source);
    let at = Clock::Exact.now();
    if yields {
        fence::yield_to(peer.source, at);
    }
    let kind = if yields { EventKind::Outranked } else { EventKind::Contested };
    let (source, priority) = (peer.source, peer.priority);
    report::ring(kind, &Event { at, source, interval: stamp.interval, priority, ..Event::default() });
    yields
}

/// Whether a datagram may leave that is not WireGuard's. Without a lease a probe of ours may not say that we serve, whatever
/// the daemon had decided before it was stopped, say.
#[inline(never)]
pub fn may_leave<P: Packet>(packet: &P, carried: &Carried) -> bool {
    let (Some(sbfd), Some(udp)) = (maps::sbfd(), wireguard::header(packet, carried)) else {
        return true;
    };
    if sbfd.port == 0 || udp.source != sbfd.port || udp.destination != bfd::PORT {
        return true;
    }
    let flags: Option<[u8; 1]> = packet.load(carried.at + udp::HEADER_LEN + bfd::FLAGS_OFFSET);
    let says_up = flags.is_some_and(|[flags]| flags >> 6 == State::Up as u8);
    !says_up || fence::claims()
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
        Ok(answer) if !maps::is_outstanding(peer.number, answer.your_discriminator) => Counter::AnswerUnknown,
        Ok(answer) => record(peer.number, source, &answer),
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

/// Makes a question that is right the answer, but for where it goes.
#[inline(never)]
fn answer<P: Packet>(packet: &P, carried: &Carried, yields: bool) -> Option<Counter> {
    let bytes = packet.load(carried.at + udp::HEADER_LEN)?;
    let question = bfd::Packet::parse(&bytes, Sender::Initiator).ok()?;
    let (state, counter) = match fence::serves() {
        true => (State::Up, Counter::ProbeAnsweredUp),
        false => (State::AdminDown, Counter::ProbeAnsweredAdminDown),
    };
    let mut reply = question.answer(state, maps::sbfd()?.required_min_rx);
    if yields {
        reply.diagnostic = bfd::DIAGNOSTIC_NEIGHBOR;
    }
    write(packet, carried, &reply.bytes()).map(|()| counter)
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
    let diagnostic = answer.diagnostic;
    let seen = Answer { at, answers: 1, discriminator, state, diagnostic, reserved: [0; 2] };
    let before = maps::record_answer(peer, &seen);
    if before.is_some_and(|before| verdict::goes_down(&before, state)) {
        let counter = Counter::AnswerHeard as u32;
        report::ring(EventKind::AdminDown, &Event { at, counter, source, ..Event::default() });
    }
    Counter::AnswerHeard
}

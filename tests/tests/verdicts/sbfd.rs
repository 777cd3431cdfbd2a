//! S-BFD: questions of peers, and answers to ours.
//!
//! The layout is written out once more here, so that the rows do not share wgha's own codec.

mod claims;

use wgha_common::abi::{Counter as C, EventKind};
use wgha_tests::packets::{DESTINATION_OPTIONS, Datagram, Ip, TCP, UDP, VLAN, extension, padded, tagged};

use crate::{
    kernel::Hook,
    net::{MIN_RX, Net, PEER, PEER2, PROBE, PROBE_PORT, PROBE2, REFLECTOR},
    row::{Before, Ended, Held, Row, row},
};

pub use claims::{claims, ours};

/// The reflector's port.
const PORT: u16 = 7784;
/// Where a peer asks from.
pub const THEIR_PORT: u16 = 50_123;
/// The peer's own discriminator for its question.
const QUESTION: u32 = 0x0102_0304;

/// States.
const ADMIN_DOWN: u8 = 0;
const DOWN: u8 = 1;
pub const UP: u8 = 3;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const DEMAND: u8 = 0x02;

/// A control packet; every field can be wrong.
#[derive(Debug, Clone)]
pub struct Control {
    version_diagnostic: u8,
    state: u8,
    flags: u8,
    multiplier: u8,
    len: u8,
    mine: u32,
    yours: u32,
    min_tx: u32,
    min_rx: u32,
    payload_len: usize,
}

impl Control {
    /// A right question to our reflector, of one that does not serve.
    pub const fn question() -> Self {
        Self {
            version_diagnostic: 0x20,
            state: DOWN,
            flags: DEMAND,
            multiplier: 3,
            len: 24,
            mine: QUESTION,
            yours: REFLECTOR,
            min_tx: 2_000,
            min_rx: 0,
            payload_len: 24,
        }
    }

    /// What our reflector answers to it.
    pub fn answer(&self, state: u8) -> Self {
        Self {
            version_diagnostic: if state == ADMIN_DOWN { 0x27 } else { 0x20 },
            state,
            flags: if self.flags & POLL != 0 { FINAL } else { 0 },
            mine: self.yours,
            yours: self.mine,
            min_rx: MIN_RX,
            ..*self
        }
    }

    /// What a peer's reflector answers to a probe of ours.
    pub const fn told(probe: u32, state: u8) -> Self {
        Self { state, flags: 0, mine: 0xbeef, yours: probe, ..Self::question() }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            vec![self.version_diagnostic, self.state << 6 | self.flags, self.multiplier, self.len];
        for word in [self.mine, self.yours, self.min_tx, self.min_rx, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.resize(self.payload_len, 0);
        bytes
    }
}

fn to_us(net: &Net) -> Ip {
    Ip::new(net.peer, net.host, UDP)
}

fn question_datagram(control: &Control) -> Datagram {
    Datagram::new(THEIR_PORT, PORT, control.bytes())
}

/// A question of the peer.
pub fn asked(net: &Net, control: &Control) -> Vec<u8> {
    question_datagram(control).frame(&to_us(net))
}

/// An answer of the peer.
pub fn told(net: &Net, control: &Control) -> Vec<u8> {
    Datagram::new(PORT, PROBE_PORT, control.bytes()).frame(&to_us(net))
}

/// What comes back: to the port that asked.
pub fn returned(net: &Net, control: &Control, port: u16) -> Vec<u8> {
    let frame = Datagram::new(PORT, port, control.bytes()).frame(&Ip::new(net.host, net.peer, UDP));
    let (to, rest) = frame.split_at(6);
    let (from, rest) = rest.split_at(6);
    [from, to, rest].concat()
}

/// A question and its answer, by what this node is.
pub fn questions(net: &Net) -> Vec<Row> {
    let question = Control::question();
    let packet = asked(net, &question);
    let (up, down) = (question.answer(UP), question.answer(ADMIN_DOWN));
    let says_up = |what: &str, packet: Vec<u8>, answer: Vec<u8>| {
        row(what, packet).held(Held::Active).returns(C::ProbeAnsweredUp, answer)
    };
    let says_down = |what: &str| {
        row(what, packet.clone()).returns(C::ProbeAnsweredAdminDown, returned(net, &down, THEIR_PORT))
    };
    let mut rows = vec![says_up("question", packet.clone(), returned(net, &up, THEIR_PORT))];
    for held in [Held::Nothing, Held::Backup, Held::Claiming, Held::Revoked, Held::Ended] {
        rows.push(says_down("question").held(held));
    }
    rows.extend([
        says_down("question, first after the lease lapsed")
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        says_down("question, lapsed, then renewed late")
            .held(Held::Lapsed)
            .after(Before::Packet(packet.clone()))
            .after(Before::Lease(Held::Active)),
        says_down("question, next after a higher advert")
            .held(Held::Active)
            .after(Before::Packet(net.heard(net.low, 255))),
        says_up("question, padded", padded(&packet, 120), padded(&returned(net, &up, THEIR_PORT), 120)),
    ]);
    let variants = [
        ("question, with a diagnostic", Control { version_diagnostic: 0x23, ..question.clone() }),
        ("question, state AdminDown", Control { state: 0, version_diagnostic: 0x27, ..question.clone() }),
        ("question, poll", Control { flags: DEMAND | POLL, ..question.clone() }),
        (
            "question, with what is not read",
            Control { flags: DEMAND | FINAL | 8, min_rx: 9, ..question.clone() },
        ),
        (
            "question, the largest numbers",
            Control { multiplier: 255, mine: !0, min_tx: !0, ..question.clone() },
        ),
    ];
    for (what, control) in variants {
        let answer = Control { version_diagnostic: 0x20, ..control.answer(UP) };
        rows.push(says_up(what, asked(net, &control), returned(net, &answer, THEIR_PORT)));
    }
    let from_7784 = Datagram::new(PORT, PORT, question.bytes()).frame(&to_us(net));
    rows.push(says_up("question, from a reflector's port", from_7784, returned(net, &up, PORT)));
    rows
}

/// Controls that no packet of `base` may look like.
fn faults(base: &Control) -> Vec<(&'static str, Control)> {
    vec![
        ("version 2", Control { version_diagnostic: 0x40, ..base.clone() }),
        ("version 0", Control { version_diagnostic: 0, ..base.clone() }),
        ("length 23", Control { len: 23, ..base.clone() }),
        ("length 25", Control { len: 25, payload_len: 25, ..base.clone() }),
        ("authenticated", Control { flags: base.flags | 0x04, ..base.clone() }),
        ("multiplier 0", Control { multiplier: 0, ..base.clone() }),
        ("multipoint", Control { flags: base.flags | 0x01, ..base.clone() }),
        ("my discriminator 0", Control { mine: 0, ..base.clone() }),
        ("your discriminator 0", Control { yours: 0, ..base.clone() }),
        ("the other D bit", Control { flags: base.flags ^ DEMAND, ..base.clone() }),
        ("state Init", Control { state: 2, ..base.clone() }),
        ("a byte too few", Control { payload_len: 23, ..base.clone() }),
        ("a byte too many", Control { payload_len: 25, ..base.clone() }),
        ("empty", Control { payload_len: 0, ..base.clone() }),
    ]
}

/// Packets around `control` that nobody sends.
fn odd_packets(net: &Net, datagram: &Datagram) -> Vec<(&'static str, Vec<u8>)> {
    let ip = to_us(net);
    let packet = datagram.frame(&ip);
    let to = |destination| datagram.frame(&Ip { destination, ..ip.clone() });
    let lies = |len| Datagram { len: Some(len), ..datagram.clone() }.frame(&ip);
    let behind_options = Ip {
        options: if net.is_v4() { vec![1; 8] } else { Vec::new() },
        extensions: if net.is_v4() { Vec::new() } else { vec![extension(DESTINATION_OPTIONS, 8)] },
        ..ip.clone()
    };
    let mut to_many = packet.clone();
    to_many[0] |= 1;
    vec![
        ("UDP length too small", lies(31)),
        ("UDP length too large", lies(33)),
        ("frame cut short", packet[..packet.len() - 1].to_vec()),
        ("to the VIP", to(net.vip)),
        ("to the other VIP", to(net.vip2)),
        ("to a group", to(net.group)),
        ("to many machines", to_many),
        ("first fragment", datagram.frame(&ip.clone().fragmented(0, true))),
        ("behind options", datagram.frame(&behind_options)),
        ("priority tag", tagged(&packet, VLAN, 0)),
    ]
}

/// Questions of a peer that are not answered. The lease holds: whatever is answered is answered with Up.
pub fn wrong_questions(net: &Net) -> Vec<Row> {
    let question = Control::question();
    let mut rows: Vec<_> = faults(&question)
        .into_iter()
        .map(|(what, control)| (what, asked(net, &control)))
        .chain(odd_packets(net, &question_datagram(&question)))
        .map(|(what, packet)| {
            row(format!("question, {what}"), packet).held(Held::Active).drops(C::ProbeMalformed)
        })
        .collect();
    let far = Ip { hop_limit: 254, ..to_us(net) };
    let other = Control { yours: REFLECTOR ^ 1, ..question.clone() };
    let answer = Datagram::new(PORT, PORT, question.answer(UP).bytes()).frame(&to_us(net));
    rows.extend([
        row("question, hop limit 254", question_datagram(&question).frame(&far))
            .held(Held::Active)
            .drops(C::ProbeBadHopLimit),
        row("question, another discriminator", asked(net, &other))
            .held(Held::Active)
            .drops(C::ProbeBadDiscriminator),
        row("answer, to a reflector's port", answer).held(Held::Active).drops(C::ProbeMalformed),
    ]);
    rows
}

/// Questions to somebody else.
pub fn foreign(net: &Net) -> Vec<Row> {
    let question = Control::question();
    let datagram = question_datagram(&question);
    let packet = asked(net, &question);
    let stranger = Ip::new(net.low, net.host, UDP);
    let active = |what: &str, packet| row(what, packet).held(Held::Active);
    let later = to_us(net).fragmented(100, true).frame(&question.bytes());
    vec![
        active("question of a stranger", datagram.frame(&stranger)).counts(C::ProbeBadPeer),
        active(
            "question of a stranger, malformed",
            question_datagram(&Control { flags: 0, ..question.clone() }).frame(&stranger),
        )
        .counts(C::ProbeBadPeer),
        active("question, no reflector", packet.clone()).configured(|c| c.sbfd.discriminator = 0),
        active("question, no reflector, malformed", asked(net, &Control { yours: 0, ..question.clone() }))
            .configured(|c| c.sbfd.discriminator = 0),
        active("question, before the daemon has configured", packet.clone())
            .configured(|c| c.uplink.vrid = 0),
        active("question, VLAN 10", tagged(&packet, VLAN, 10)).counts(C::VlanPassed),
        active("question, later fragment", later).counts(C::FragmentPassed),
        active(
            "question, to the next port",
            Datagram::new(THEIR_PORT, 7785, question.bytes()).frame(&to_us(net)),
        ),
        active("peer channel", Ip { protocol: TCP, ..to_us(net) }.frame(&datagram.bytes(&to_us(net)))),
    ]
}

/// How a question was summed, and how its answer is.
pub fn checksums(net: &Net) -> Vec<Row> {
    let question = Control::question();
    let summed_with = |sum: u16| {
        let mut packet = asked(net, &question);
        let at = packet.len() - 24 - 2;
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let pseudo = wgha_tests::packets::pseudo_header(net.peer, net.host, UDP, 32);
    let partial = !wgha_tests::packets::checksum(&[&pseudo]);
    let answer = returned(net, &question.answer(UP), THEIR_PORT);
    let mut unsummed = answer.clone();
    let at = unsummed.len() - 24 - 2;
    unsummed[at..at + 2].fill(0);
    let asks = |what: &str, packet| row(what, packet).held(Held::Active);
    let zero = summing_to_zero(net);
    vec![
        asks("question, its sum is left to the device", summed_with(partial))
            .only(Hook::Xdp)
            .returns(C::ProbeAnsweredUp, answer.clone()),
        asks("question, not summed", summed_with(0)).only(Hook::Xdp).returns(C::ProbeAnsweredUp, answer),
        asks("question, not summed", summed_with(0))
            .only(Hook::Ingress)
            .returns(C::ProbeAnsweredUp, unsummed),
        asks("question, the sum of the answer is 0", asked(net, &zero))
            .returns(C::ProbeAnsweredUp, returned(net, &zero.answer(UP), THEIR_PORT)),
    ]
}

/// A question whose answer has a checksum of 0, which is written as 0xffff (RFC 768).
fn summing_to_zero(net: &Net) -> Control {
    let sum_of = |question: &Control| {
        let bytes = Datagram::new(PORT, THEIR_PORT, question.answer(UP).bytes())
            .bytes(&Ip::new(net.host, net.peer, UDP));
        u16::from_be_bytes([bytes[6], bytes[7]])
    };
    let mut question = Control { mine: 0x0001_0000, ..Control::question() };
    // Adding to a word takes as much from the checksum.
    question.mine |= u32::from(sum_of(&question));
    assert_eq!(sum_of(&question), 0xffff);
    question
}

/// Answers to our probes.
pub fn answers(net: &Net) -> Vec<Row> {
    let (up, down) = (told(net, &Control::told(PROBE, UP)), told(net, &Control::told(PROBE, ADMIN_DOWN)));
    let heard = |what: &str, packet: &[u8]| row(what, packet.to_vec()).drops(C::AnswerHeard);
    let after = |packet: &[u8]| Before::Packet(packet.to_vec());
    let of_peer2 = Ip::new(net.peer2, net.host, UDP);
    let of_peer2 =
        Datagram::new(PORT, PROBE_PORT, Control::told(PROBE2, ADMIN_DOWN).bytes()).frame(&of_peer2);
    vec![
        heard("answer, Up", &up).records(PEER, PROBE, UP, 1),
        heard("answer, Up", &up).held(Held::Active).records(PEER, PROBE, UP, 1),
        heard("answer, Up, to an older probe", &told(net, &Control::told(0x12, UP)))
            .records(PEER, 0x12, UP, 1),
        heard("answer, Up, after Up", &up).after(after(&up)).records(PEER, PROBE, UP, 2),
        heard("answer, AdminDown, the first", &down)
            .records(PEER, PROBE, ADMIN_DOWN, 1)
            .rings(EventKind::AdminDown),
        heard("answer, AdminDown, after Up", &down)
            .after(after(&up))
            .records(PEER, PROBE, ADMIN_DOWN, 2)
            .rings(EventKind::AdminDown),
        heard("answer, AdminDown, after AdminDown", &down)
            .after(after(&down))
            .records(PEER, PROBE, ADMIN_DOWN, 2),
        heard("answer, Up, after AdminDown", &up).after(after(&down)).records(PEER, PROBE, UP, 2),
        heard("answer, AdminDown, after both", &down)
            .after(after(&down))
            .after(after(&up))
            .records(PEER, PROBE, ADMIN_DOWN, 3)
            .rings(EventKind::AdminDown),
        heard("answer, AdminDown, of the other peer", &of_peer2)
            .after(after(&down))
            .records(PEER2, PROBE2, ADMIN_DOWN, 1)
            .rings(EventKind::AdminDown),
        heard(
            "answer, AdminDown because of our probe",
            &told(net, &Control { version_diagnostic: 0x23, ..Control::told(PROBE, ADMIN_DOWN) }),
        )
        .records(PEER, PROBE, ADMIN_DOWN, 1)
        .diagnosed(3)
        .rings(EventKind::AdminDown),
        heard("answer, Up, final", &told(net, &Control { flags: FINAL, ..Control::told(PROBE, UP) }))
            .records(PEER, PROBE, UP, 1),
    ]
}

/// Answers that are none to our probes.
pub fn wrong_answers(net: &Net) -> Vec<Row> {
    let answer = Control::told(PROBE, UP);
    let datagram = Datagram::new(PORT, PROBE_PORT, answer.bytes());
    let packet = told(net, &answer);
    let mut rows: Vec<_> = faults(&answer)
        .into_iter()
        .chain([("state Down", Control { state: 1, ..answer.clone() })])
        .map(|(what, control)| (what, told(net, &control)))
        .chain(odd_packets(net, &datagram))
        .map(|(what, packet)| row(format!("answer, {what}"), packet).drops(C::ProbeMalformed))
        .collect();
    let far = Ip { hop_limit: 254, ..to_us(net) };
    let unknown =
        |what: &str, probe| row(what, told(net, &Control::told(probe, ADMIN_DOWN))).drops(C::AnswerUnknown);
    rows.extend([
        row("answer, hop limit 254", datagram.frame(&far)).drops(C::ProbeBadHopLimit),
        unknown("answer, to no probe", PROBE ^ 1),
        unknown("answer, to a probe of another peer", PROBE2),
        row("answer of a stranger", datagram.frame(&Ip::new(net.client, net.host, UDP)))
            .counts(C::ProbeBadPeer),
        row(
            "answer, to another port",
            Datagram::new(PORT, PROBE_PORT + 1, answer.bytes()).frame(&to_us(net)),
        ),
        row("answer, no initiator", packet.clone()).configured(|c| c.sbfd.port = 0),
        row("answer, from another port", Datagram::new(7785, PROBE_PORT, answer.bytes()).frame(&to_us(net))),
        row("answer, before the daemon has configured", packet).configured(|c| c.uplink.vrid = 0),
    ]);
    rows
}

//! Probes in state Up: claims of peers, and our own.

use wgha_common::abi::{Counter as C, EventKind};
use wgha_tests::packets::{Datagram, Ip, UDP};

use super::{ADMIN_DOWN, Control, DEMAND, PORT, THEIR_PORT, UP, asked, question_datagram, to_us};
use crate::{
    net::{Net, PRIORITY, PROBE_PORT, REFLECTOR},
    row::{Before, Ended, Held, Row, row},
};

/// A peer serves, or claims to: its question is a claim, and ends our lease if it outranks us (I7).
pub fn claims(net: &Net) -> Vec<Row> {
    let question = Control { state: UP, ..Control::question() };
    let datagram = question_datagram(&question);
    let packet = asked(net, &question);
    let from = |peer| datagram.frame(&Ip::new(peer, net.host, UDP));
    let lower = from(net.peer2);
    let back = |peer, control: &Control| {
        let frame = Datagram::new(PORT, THEIR_PORT, control.bytes()).frame(&Ip::new(net.host, peer, UDP));
        [&frame[6..12], &frame[..6], &frame[12..]].concat()
    };
    let (up, down) = (question.answer(UP), question.answer(ADMIN_DOWN));
    let yields = Control { version_diagnostic: 0x23, ..down.clone() };
    let outranked = |what: &str, peer, router| {
        row(what, from(peer))
            .returns(C::ProbeAnsweredAdminDown, back(peer, &yields))
            .counts(C::LeaseOutranked)
            .rings(EventKind::Outranked)
            .claims_for(router)
            .ends(Ended::By(router))
    };
    let says_up = |what: &str, packet: &Vec<u8>, peer| {
        row(what, packet.clone()).held(Held::Active).returns(C::ProbeAnsweredUp, back(peer, &up))
    };
    let says_down =
        |what: &str| row(what, packet.clone()).returns(C::ProbeAnsweredAdminDown, back(net.peer, &down));
    let contested = |row: Row| row.rings(EventKind::Contested).claims_for(net.low);
    let mut rows = vec![
        outranked("claim of a peer that outranks us", net.peer, net.high).held(Held::Active),
        outranked("claim of a peer that outranks us", net.peer, net.high).held(Held::Claiming),
        outranked("claim, under authentication", net.peer, net.high)
            .held(Held::Active)
            .configured(|c| c.uplink.flags = 3),
        outranked("claim, our priority has become lower", net.peer2, net.low)
            .held(Held::Active)
            .configured(|c| c.stamp.priority = PRIORITY - 1),
        contested(says_up("claim of a peer that we outrank", &lower, net.peer2)),
        contested(row("claim of a peer that we outrank", lower.clone()).held(Held::Claiming))
            .returns(C::ProbeAnsweredAdminDown, back(net.peer2, &down)),
        says_up("claim of a peer that we outrank, again at once", &lower, net.peer2)
            .after(Before::Packet(lower.clone()))
            .suppressed(),
        contested(says_up("claim of a peer that we outrank, after the pause", &lower, net.peer2))
            .after(Before::Packet(lower.clone()))
            .after(Before::Pause),
        says_up("claim of a peer that has not been introduced", &packet, net.peer)
            .configured(|c| c.peers[0].1.priority = 0),
        says_down("claim, when we have yielded").held(Held::Active).after(Before::Packet(packet.clone())),
        says_down("claim, when our lease has lapsed")
            .held(Held::Lapsed)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
    ];
    for held in [Held::Nothing, Held::Backup, Held::Revoked, Held::Ended] {
        rows.push(says_down("claim").held(held));
    }
    rows.extend(wrong_claims(net, &question));
    rows
}

/// What proves nothing ends nothing.
fn wrong_claims(net: &Net, question: &Control) -> Vec<Row> {
    let far = Ip { hop_limit: 254, ..to_us(net) };
    let active = |what: &str, packet| row(what, packet).held(Held::Active);
    let stranger = Ip::new(net.high, net.host, UDP);
    let mut rows = vec![
        active(
            "claim, another discriminator",
            asked(net, &Control { yours: REFLECTOR ^ 1, ..question.clone() }),
        )
        .drops(C::ProbeBadDiscriminator),
        active("claim, hop limit 254", question_datagram(question).frame(&far)).drops(C::ProbeBadHopLimit),
        active("claim, authenticated", asked(net, &Control { flags: DEMAND | 4, ..question.clone() }))
            .drops(C::ProbeMalformed),
    ];
    if !net.is_v4() {
        rows.push(
            active("claim, from where a peer's adverts come", question_datagram(question).frame(&stranger))
                .counts(C::ProbeBadPeer),
        );
    }
    rows
}

/// Probes of our own that leave: without a lease none says that we serve.
pub fn ours(net: &Net) -> Vec<Row> {
    let up = Control { state: UP, ..Control::question() };
    let to_peer = Ip::new(net.host, net.peer, UDP);
    let leaves = |port, control: &Control| Datagram::new(port, PORT, control.bytes()).frame(&to_peer);
    let (says_up, says_down) = (leaves(PROBE_PORT, &up), leaves(PROBE_PORT, &Control::question()));
    let mut rows = Vec::new();
    for held in [Held::Active, Held::Claiming] {
        rows.push(row("our claim", says_up.clone()).held(held));
    }
    for held in [Held::Nothing, Held::Backup, Held::Revoked, Held::Ended] {
        rows.push(row("our claim", says_up.clone()).held(held).drops(C::ProbeFenced));
        rows.push(row("our question", says_down.clone()).held(held));
    }
    rows.extend([
        row("our claim, first after the lease lapsed", says_up.clone())
            .held(Held::Lapsed)
            .drops(C::ProbeFenced)
            .counts(C::LeaseLapsed)
            .ends(Ended::Lapsed),
        row("somebody else's claim on this host", leaves(PROBE_PORT + 1, &up)),
        row("our claim, we do not probe", says_up).configured(|c| c.sbfd.port = 0),
    ]);
    rows
}

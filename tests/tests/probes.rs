//! S-BFD between the servers: what it notices, and what it does not mistake.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Namespace, Node, Packet, Pair, Plan, Property, SOON, Settings, Topology,
    Which::{A, B},
    capture::write_pcap,
    cards,
    clock::observe_for,
    frame::{Bfd, SBFD_PORT},
    may_run, monotonic_ns,
    node::{at, roles},
    packets::{checksum, pseudo_header, sbfd_question},
    privilege::skipped,
    wait_until,
};

/// State Up of BFD.
const UP: u8 = 3;

#[test]
fn a_crash_is_noticed_by_unanswered_probes() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let pair = pair().unwrap();
        pair.wait_probing().unwrap();
        let status = pair.b.status().unwrap();
        assert_eq!(status["detection"]["peer"], pair.topology.plan.a.to_string());
        assert_eq!(status["peers"][0]["serving"], true, "{status:#}");
        let ping = pair.ping().unwrap();

        let cut = monotonic_ns();
        pair.topology.cut(A).unwrap();
        pair.b.wait_role("active", SOON).unwrap();
        expect_reason(&pair, "probes unanswered");
        ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
    }
}

#[test]
fn a_killed_daemon_is_told_by_its_own_kernel_half() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    pair.a.kill9();
    pair.b.wait_role("active", SOON).unwrap();
    expect_reason(&pair, "answers that it does not serve");
}

#[test]
fn answers_leave_in_every_mode_in_ipv6() {
    if may_run() {
        answers_leave_in_every_mode(Topology::ipv6);
    }
}

#[test]
fn answers_leave_in_every_mode_in_ipv4() {
    if may_run() {
        answers_leave_in_every_mode(Topology::ipv4);
    }
}

fn answers_leave_in_every_mode(topology: fn() -> anyhow::Result<Topology>) {
    // On a veth, `auto` is the mode whose answers leave whatever is at the far end.
    let auto = if cards::are_there() { "xdp native" } else { "tc (" };
    for (attach, shown) in
        [("native", "xdp native"), ("generic", "xdp generic"), ("tc", "tc ("), ("auto", auto)]
    {
        let mut topology = topology().unwrap();
        if attach == "native" && !cards::are_there() {
            topology.pass_at_far_ends().unwrap();
        }
        let settings = |plan: &Plan, which| Settings { attach, ..Settings::seed(plan, which) };
        let pair = Pair::start(topology, settings).unwrap();
        let ingress = pair.a.status().unwrap()["uplink"]["ingress"].clone();
        assert!(ingress.as_str().unwrap().starts_with(shown), "{attach}: {ingress}");
        pair.wait_probing().unwrap();
        expect_every_question_answered(&pair, shown);
        pair.topology.cut(A).unwrap();
        pair.b.wait_role("active", SOON).unwrap();
        expect_reason(&pair, "probes unanswered");
    }
}

/// What B asks is answered by A, on the wire: turned round, right in every field, with a whole checksum; but for TC,
/// which leaves to the interface what the question has left to it.
fn expect_every_question_answered(pair: &Pair, ingress: &str) {
    let (asked, told) =
        (Capture::at_port(&pair.topology, B).unwrap(), Capture::at_port(&pair.topology, A).unwrap());
    let since = monotonic_ns();
    observe_for(Duration::from_secs(1)).unwrap();
    let answers = told.received(since);
    let answers: Vec<_> = answers.iter().filter(|p| p.frame().bfd().is_some()).collect();
    let questions = asked.received(since);
    let questions: Vec<Bfd> = questions.iter().filter_map(|p| p.frame().bfd()).collect();
    assert!(questions.len() >= 20, "{ingress}: {} questions", questions.len());
    assert!(answers.len() * 10 >= questions.len() * 9, "{ingress}: {} of {}", answers.len(), questions.len());
    let plan = &pair.topology.plan;
    for answer in answers {
        let (ip, udp) = (answer.frame().ip().unwrap(), answer.frame().udp().unwrap());
        assert_eq!((ip.source, ip.destination, ip.hop_limit), (plan.a, plan.b, 255), "{ingress}");
        assert_eq!(udp.source_port, SBFD_PORT, "{ingress}");
        let pseudo = pseudo_header(ip.source, ip.destination, 17, ip.payload.len());
        let left = ingress == "tc (" && ip.payload[6..8] == (!checksum(&[&pseudo])).to_be_bytes();
        assert!(left || checksum(&[&pseudo, ip.payload]) == 0, "{ingress}: the checksum");
        let bfd = answer.frame().bfd().unwrap();
        assert_eq!((bfd.state, bfd.asks), (UP, false), "{ingress}");
    }
}

/// Silence of whom we have never heard says nothing.
#[test]
fn where_probes_never_worked_adverts_decide() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    block_probes(&topology.b.namespace);
    let pair = Pair::start(topology, Settings::seed).unwrap();
    let a = pair.topology.plan.a;
    wait_until("B to say that probes do not work", SOON, || {
        let detection = pair.b.status()?["detection"].clone();
        Ok(detection["by"] == "adverts" && detection["why"] == format!("{a} has not answered a probe yet"))
    })
    .unwrap();
    let waited = monotonic_ns();
    observe_for(Duration::from_secs(2)).unwrap();
    assert_eq!(roles(&pair.b, waited).unwrap(), [""; 0], "B has not stayed Backup");
    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    expect_reason(&pair, "no advert from");
}

/// B cannot know that A is well until it hears it; then it believes adverts until A answers again.
#[test]
fn a_way_for_probes_that_breaks_costs_one_failover_and_no_more() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let blocked = monotonic_ns();
    block_probes(&pair.topology.b.namespace);
    let taken = pair.b.wait_event("role", "active", blocked, SOON).unwrap();
    assert!(taken["detail"].as_str().unwrap().contains("probes unanswered"), "{taken}");
    pair.b.wait_event("role", "backup", at(&taken), SOON).unwrap();
    observe_for(Duration::from_secs(4)).unwrap();
    assert_eq!(roles(&pair.b, blocked).unwrap(), ["active", "backup"], "B does not rest");
    assert_eq!(roles(&pair.a, blocked).unwrap(), [""; 0], "A has yielded");
    assert_eq!(pair.b.status().unwrap()["detection"]["by"], "adverts");
    pair.wait_moved(A).unwrap();
    ping.wait_answer(monotonic_ns(), Some(A), AFTER_WIREGUARD).unwrap();

    // Mended, probes count again, and still nobody moves.
    let mended = monotonic_ns();
    pair.topology.b.namespace.run("nft", &["delete", "table", "inet", "blocked"]).unwrap();
    pair.wait_probing().unwrap();
    assert_eq!(roles(&pair.b, mended).unwrap(), [""; 0]);
}

/// B is told, and waits for nothing.
#[test]
fn a_planned_stop_is_taken_over_at_once() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let stopped = monotonic_ns();
    assert!(pair.a.term().unwrap().success());
    let asked = pair.a.wait_event("input", "stop_requested", stopped, SOON).unwrap();
    let taken = pair.b.wait_event("role", "active", stopped, SOON).unwrap();
    assert!(at(&asked) <= at(&taken), "asked {asked}, taken {taken}");
    expect_told(&taken);
    ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn wireguard_gone_on_the_active_is_told_at_once() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let deleted = monotonic_ns();
    pair.topology.a.tunnel.delete().unwrap();
    let fault = pair.a.wait_event("role", "fault", deleted, SOON).unwrap();
    let taken = pair.b.wait_event("role", "active", deleted, SOON).unwrap();
    assert!(at(&fault) <= at(&taken), "{fault}, {taken}");
    expect_told(&taken);
    ping.wait_answer(deleted, Some(B), AFTER_WIREGUARD).unwrap();
}

/// Without its cable A can tell nobody. That it answers no more is noticed long before adverts are missed.
#[test]
fn a_carrier_lost_is_noticed_by_probes() {
    if !may_run() || !Property::Carrier.is_there() {
        return;
    }
    // Adverts would need three seconds and more.
    let slow = |plan: &Plan, which| Settings { advert_interval: "1s".into(), ..Settings::seed(plan, which) };
    let pair = Pair::start(Topology::ipv6().unwrap(), slow).unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let unplugged = monotonic_ns();
    pair.topology.unplug(A).unwrap();
    pair.a.wait_event("role", "fault", unplugged, SOON).unwrap();
    let taken = pair.b.wait_event("role", "active", unplugged, SOON).unwrap();
    assert!(taken["detail"].as_str().unwrap().contains("probes unanswered"), "{taken}");
    ping.wait_answer(unplugged, Some(B), AFTER_WIREGUARD).unwrap();
}

#[test]
fn tcpdump_reads_it_as_bfd() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let pair = pair().unwrap();
        pair.wait_probing().unwrap();
        let wire = Capture::at_port(&pair.topology, A).unwrap();
        wait_until("questions and answers", SOON, || {
            // What is captured may begin with an answer, or with a question of A's, whose session is Up.
            let bfd = wire.packets().iter().filter_map(|p| p.frame().bfd()).collect::<Vec<_>>();
            let count = |state, asks| bfd.iter().filter(|bfd| (bfd.state, bfd.asks) == (state, asks)).count();
            Ok(count(1, true) >= 10 && count(3, false) >= 10)
        })
        .unwrap();
        let Some(text) = read_as_bfd(&pair.topology, &wire.packets()) else { return };
        let answers = text.matches("State Up, Flags: [none], Diagnostic: No Diagnostic").count();
        let questions = text.matches("State Down, Flags: [Demand], Diagnostic: No Diagnostic").count();
        assert!(answers >= 10 && questions >= 10, "{text}");
        assert_eq!(
            text.matches("BFDv1, length: 24").count(),
            text.matches("BFD Length: 24").count(),
            "{text}"
        );
        assert!(!text.contains("[|bfd"), "{text}");
    }
}

/// What tcpdump says of the packets of S-BFD. Older ones know BFD by the port that it is sent to, and not those of
/// S-BFD: so all are sent to the one of BFD.
fn read_as_bfd(topology: &Topology, packets: &[Packet]) -> Option<String> {
    const BFD_PORT: u16 = 3784;
    let to_port = 2 + if topology.plan.is_ipv6() { 14 + 40 } else { 14 + 20 };
    let mut packets: Vec<_> = packets.iter().filter(|p| p.frame().bfd().is_some()).cloned().collect();
    for packet in &mut packets {
        packet.bytes[to_port..to_port + 2].copy_from_slice(&BFD_PORT.to_be_bytes());
    }
    let file = "/run/bfd.pcap";
    write_pcap(&topology.switch.path(file), &packets).unwrap();
    match topology.switch.run("tcpdump", &["-r", file, "-n", "-vv"]) {
        Err(e) if e.to_string().contains("starting tcpdump") => {
            skipped("there is no tcpdump");
            None
        }
        text => Some(text.unwrap()),
    }
}

#[test]
fn a_stranger_is_not_answered() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let t = &pair.topology;
    for namespace in [&t.gateway, &t.b.namespace] {
        namespace.set_net("ipv6/conf/all/hop_limit", "255").unwrap();
        let interface = if namespace.has_link("lan") { "lan" } else { "eno1" };
        namespace.set_net(&format!("ipv6/conf/{interface}/hop_limit"), "255").unwrap();
    }
    let wire = Capture::at_port(t, B).unwrap();
    let asks = |f: wgha_tests::Frame<'_>| f.bfd().is_some_and(|bfd| bfd.asks);
    let question = wire.wait_received("a question of B", 0, SOON, asks).unwrap().frame().bfd().unwrap();

    let from_a = Capture::at_port(t, A).unwrap();
    let since = monotonic_ns();
    let reflector = SocketAddr::new(t.plan.a, SBFD_PORT);
    // B itself is answered: the question is right.
    assert!(is_answered(&t.b.namespace, reflector, question.yours));
    assert!(!is_answered(&t.gateway, reflector, question.yours));
    assert!(!is_answered(&t.b.namespace, reflector, !question.yours), "another discriminator");
    let to_stranger = from_a.received(since).into_iter().filter(|p| {
        p.frame().bfd().is_some() && p.frame().ip().is_some_and(|ip| ip.destination == t.plan.gateway)
    });
    assert_eq!(to_stranger.count(), 0);
    let counters = pair.a.status().unwrap()["counters"].clone();
    assert_eq!((&counters["probe_bad_peer"], &counters["probe_bad_discriminator"]), (&1.into(), &1.into()));
}

/// Asks once, from an ordinary socket in `namespace`.
fn is_answered(namespace: &Namespace, reflector: SocketAddr, discriminator: u32) -> bool {
    let answered = namespace.inside(|| {
        let socket = UdpSocket::bind(SocketAddr::new("::".parse()?, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to(&sbfd_question(0x1234, discriminator), reflector)?;
        let mut answer = [0; 64];
        match socket.recv_from(&mut answer) {
            Ok((24, from)) => Ok(from == reflector && answer[8..12] == 0x1234_u32.to_be_bytes()),
            Ok(_) => Ok(false),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    });
    answered.unwrap()
}

#[test]
fn without_real_time_it_probes_less_often_and_says_so() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let plan = topology.plan.clone();
    let defaults = |which| Settings { detect: None, ..Settings::seed(&plan, which) };
    let a = Node::start(&topology, A, &defaults(A)).unwrap();
    a.wait_role("active", SOON).unwrap();
    let without = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
    let b = Node::start_through(&topology, B, &defaults(B), &without).unwrap();
    let pair = Pair { a, b, topology };
    pair.wait_serving(A).unwrap();
    pair.wait_probing().unwrap();
    let detection = |node: &Node| node.status().unwrap()["detection"].clone();
    assert_eq!(detection(&pair.b)["interval_ms"], 50.0);
    assert!(detection(&pair.b)["not_real_time"].as_str().unwrap().contains("CAP_SYS_NICE"));
    assert!(pair.b.log().iter().any(|line| line.contains("WARN") && line.contains("CAP_SYS_NICE")));
    let a = detection(&pair.a);
    assert_eq!((&a["interval_ms"], &a["not_real_time"]), (&10.0.into(), &Value::Null), "with it");

    pair.topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    expect_reason(&pair, "probes unanswered");
}

/// B's probes do not leave.
fn block_probes(namespace: &Namespace) {
    let rules = "table inet blocked {\n chain out {\n  type filter hook output priority 0\n  \
                 udp dport 7784 drop\n }\n}\n";
    namespace.run_with_input("nft", &["-f", "-"], rules).unwrap();
}

/// B has taken over for this reason. It may have lost its lease since, on a machine that stands still now and then.
fn expect_reason(pair: &Pair, wanted: &str) {
    let taken = |e: &Value| e["kind"] == "role" && e["what"] == "active";
    let events = pair.b.events().unwrap();
    let reasons: Vec<_> = events.iter().filter(|e| taken(e)).map(|e| e["detail"].to_string()).collect();
    assert!(reasons.iter().any(|reason| reason.contains(wanted)), "{reasons:?}");
}

/// I14: B was told; it has not counted silence.
fn expect_told(taken: &Value) {
    let why = taken["detail"].as_str().unwrap();
    assert!(why.contains("resigned") || why.contains("answers that it does not serve"), "{why}");
}

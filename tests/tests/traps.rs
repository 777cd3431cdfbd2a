//! Where the kernel and its WireGuard set traps for whoever takes over: ARCHITECTURE.md lists them, with those that are
//! tested elsewhere.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Frame, Node, Packet, Pair, Pinger, Plan, Property, SOON, Settings, Topology,
    Which::{self, A, B},
    clock::{ClockAhead, patience, wait_at_most},
    fault::BusyConfiguration,
    may_run, monotonic_ns, pinger,
    swarm::{Swarm, SwarmSettings, servers, servers::Directory},
    wait_until,
};

/// WireGuard's own: after a try it does not try again for so long (REKEY_TIMEOUT).
const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// RTM_NEWADDR returns before the VIP is local, the later the busier the kernel's configuration is: what is answered
/// before that is lost. So WireGuard must not be asked to shake hands before.
#[test]
fn nobody_is_asked_before_the_vip_is_local() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    // With a keepalive WireGuard would begin by itself as well, and the answer to the one handshake be lost to the other.
    without_keepalive(&pair.topology);
    let ping = pair.ping().unwrap();
    let wire = Capture::at_port(&pair.topology, B).unwrap();
    for _ in 0..3 {
        wait_known(&pair, B);
        // What is busy may be so busy that A is believed to be dead before it is.
        let since = monotonic_ns();
        let busy = BusyConfiguration::start().unwrap();
        let cut = monotonic_ns();
        pair.topology.cut(A).unwrap();
        ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
        drop(busy);
        let (answered, used) = first_answer_and_session(&wire, since);
        assert_eq!(answered, used, "the first answer was lost: {}", told(&wire, since));
        let mended = monotonic_ns();
        pair.topology.mend(A).unwrap();
        pair.wait_serving(A).unwrap();
        ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
    }
}

/// Has both servers never say anything to the client of themselves.
fn without_keepalive(topology: &Topology) {
    for which in Which::BOTH {
        let line = format!("peer {} persistent-keepalive 0", Plan::CLIENT_PUBLIC);
        topology.server(which).tunnel.wg_set(&line).unwrap();
    }
}

/// The client's index in the first response that came to a server since then, and the one in the first data that the
/// server sent: the same one, if that response has made the session.
fn first_answer_and_session(wire: &Capture, since_ns: u64) -> ([u8; 4], [u8; 4]) {
    let packets: Vec<_> = wire.packets().into_iter().filter(|p| p.at_ns >= since_ns).collect();
    let first = |sent: bool, kind: u8| {
        let found = packets.iter().filter(|p| p.sent == sent).find_map(|p| {
            let frame = p.frame();
            let message = frame.udp().filter(|_| frame.is_udp_port(Plan::PORT))?.payload;
            (message.first() == Some(&kind)).then(|| message[4..8].try_into().unwrap())
        });
        found.unwrap_or_else(|| panic!("no message of type {kind}"))
    };
    // The sender's own index in a response, the receiver's in data.
    (first(true, RESPONSE), first(false, TRANSPORT))
}

/// What came and went at WireGuard's port since then, with the card that it was for, the types and the indices.
fn told(wire: &Capture, since_ns: u64) -> String {
    let packets = wire.packets();
    let lines = packets.iter().filter(|p| p.at_ns >= since_ns).filter_map(|packet| {
        let (frame, way) = (packet.frame(), if packet.sent { "sent" } else { "came" });
        let head = frame.udp().filter(|_| frame.is_udp_port(Plan::PORT))?.payload.get(..12)?;
        let at = Duration::from_nanos(packet.at_ns - since_ns);
        let card = packet.bytes.get(..6)?;
        Some(format!("\n{at:>12.3?} {way} for {card:02x?}, {}: {head:02x?}", frame.describe()))
    });
    lines.collect()
}

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const TRANSPORT: u8 = 4;

fn is(frame: Frame<'_>, kind: u8) -> bool {
    let of_port = frame.is_udp_port(Plan::PORT);
    of_port && frame.udp().is_some_and(|udp| udp.payload.first() == Some(&kind))
}

/// When `at_client` first saw the client send an initiation since then.
fn by_the_client(at_client: &Capture, since_ns: u64) -> Option<u64> {
    let sent = at_client.packets().into_iter().filter(|p: &Packet| p.sent && p.at_ns >= since_ns);
    sent.filter(|p| is(p.frame(), INITIATION)).map(|p| p.at_ns).min()
}

/// The VIP is deprecated, so that nothing else leaves from it. WireGuard's handshakes would leave from the server's own
/// address for the same reason, and clients follow whoever they hear.
#[test]
fn no_client_follows_a_server_to_its_own_address() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let (topology, plan) = (&pair.topology, &pair.topology.plan);
    let ping = pair.ping().unwrap();
    wait_known(&pair, B);
    let vip = SocketAddr::new(plan.vip, Plan::PORT).to_string();
    for (which, moved) in [(B, Topology::cut as fn(&Topology, Which) -> _), (A, Topology::mend)] {
        let since = monotonic_ns();
        moved(topology, A).unwrap();
        ping.wait_answer(since, Some(which), AFTER_WIREGUARD).unwrap();
        let addresses = topology.server(which).namespace.ip("-6 address show dev eno1").unwrap();
        let held = addresses.lines().find(|line| line.contains(&format!(" {}/", plan.vip))).unwrap();
        assert!(held.contains("deprecated"), "{held}");
        let followed = topology.client_tunnel.wg_show("endpoints").unwrap();
        assert!(followed.contains(&vip), "on {which}: {followed}");
    }
}

/// A client takes no initiation that is dated before the last one of the same key, and both servers have the same. What
/// takes over tries again and again meanwhile; when it lags far behind, the client itself begins.
#[test]
fn a_server_whose_clock_is_behind_comes_back_when_it_has_caught_up() {
    if !may_run() || !Property::OwnClock.is_there() {
        return;
    }
    for lag in [1, 6, 22] {
        let pair = Pair::ipv6().unwrap();
        let ping = pair.ping().unwrap();
        wait_known(&pair, B);
        let ahead = ClockAhead::by(lag).unwrap();
        let cut = monotonic_ns();
        pair.topology.cut(A).unwrap();
        ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
        drop(ahead);

        let (at_a, at_client) = (
            Capture::at_port(&pair.topology, A).unwrap(),
            Capture::start(&pair.topology.client, "eth0").unwrap(),
        );
        let mended = monotonic_ns();
        pair.topology.mend(A).unwrap();
        ping.wait_answer(mended, Some(A), AFTER_WIREGUARD).unwrap();
        let tried = at_a.wait_received("an initiation of A", mended, SOON, |f| is(f, INITIATION)).unwrap();
        let answered =
            at_a.packets().into_iter().find(|p| p.sent && is(p.frame(), RESPONSE)).map(|p| p.at_ns);
        let by_itself = by_the_client(&at_client, mended);
        println!("{lag} s: tried at {}, answered at {answered:?}, the client at {by_itself:?}", tried.at_ns);
        match lag {
            // Sooner than WireGuard by itself.
            1 => assert!(answered.unwrap() - tried.at_ns < nanoseconds(REKEY_TIMEOUT), "{tried:?}"),
            // Sooner than the client.
            6 => assert!(answered.is_some() && by_itself.is_none_or(|at| Some(at) > answered)),
            _ => assert!(by_itself.is_some()),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// Where nobody but the server ever has something to say, a client whose server has died is silent for minutes, and a
/// server that does not know where it is has nobody to talk to.
#[test]
fn an_idle_client_is_there_before_the_server_speaks() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let topology = &pair.topology;
    without_keepalive(topology);
    // It says one thing, and nothing more.
    drop(pair.ping().unwrap());
    wait_known(&pair, B);
    let at_client = Capture::start(&topology.client, "eth0").unwrap();
    let cut = monotonic_ns();
    topology.cut(A).unwrap();
    pair.b.wait_role("active", SOON).unwrap();
    let back = pair.b.wait_event("effect", "all_back", cut, SOON).unwrap();
    assert_eq!(back["detail"], "", "somebody is missing");

    // The first word arrives: it does not have to wait for a handshake.
    let speaks =
        Pinger::start(&topology.b.namespace, topology.plan.tunnel_client, pinger::INTERVAL * 40).unwrap();
    speaks.wait_answer(cut, None, SOON).unwrap();
    let first = speaks.probes()[0];
    assert!(first.answer.is_some(), "the first word was lost");
    assert_eq!(by_the_client(&at_client, cut), None, "the client has had to begin");
}

/// wg1 is not what it was, under a daemon that knows its clients and has handed them on.
#[test]
fn a_tunnel_made_anew_under_the_daemon_serves_again() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    wait_known(&pair, B);
    let deleted = monotonic_ns();
    pair.topology.a.tunnel.delete().unwrap();
    ping.wait_answer(deleted, Some(B), AFTER_WIREGUARD).unwrap();
    let made = monotonic_ns();
    pair.topology.a.tunnel.create().unwrap();
    pair.wait_serving(A).unwrap();
    // The new one knows no endpoint: B has told it.
    ping.wait_answer(made, Some(A), AFTER_WIREGUARD).unwrap();
    let index = |node: &Node| node.status().unwrap()["wireguard"]["listen_port"].clone();
    assert_eq!(index(&pair.a), Value::from(Plan::PORT));
}

/// Handshakes with a thousand clients at once are more than a queue holds, and who finds it full is told to wait for 5 s.
#[test]
fn a_thousand_clients_are_back_before_they_notice() {
    const CLIENTS: u32 = 1000;
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    for which in Which::BOTH {
        servers::add_peers(topology.server(which), CLIENTS).unwrap();
    }
    let pair = Pair::start(topology, Settings::seed).unwrap();
    let topology = &pair.topology;
    let swarm = Swarm::start(topology, SwarmSettings::behind_one_address(&topology.plan, CLIENTS)).unwrap();
    let took = swarm.establish(A, SOON * 3).unwrap();
    let directory = Directory::of(CLIENTS);
    wait_until("B to know all of them", SOON, || {
        Ok(directory.endpoints(&topology.b)?.len() == CLIENTS as usize)
    })
    .unwrap();
    let before = swarm.counts();
    let _ = swarm.mark();
    topology.cut(A).unwrap();
    wait_until("all clients", SOON, || Ok(swarm.all_back().is_complete())).unwrap();
    let (counts, back) = (swarm.counts().since(before), swarm.all_back());
    println!("sessions in {took:?}, back: half in {:?}, all in {:?}", back.at(50), back.at(100));
    assert!(counts.answered >= u64::from(CLIENTS), "{counts:?}");
    assert_eq!((counts.initiated, counts.cookies), (0, 0), "{counts:?}");
    let through_b = |r: &wgha_tests::swarm::Record| r.hop_limit.load(Relaxed) == B.hop_limit();
    swarm.talk(CLIENTS, Duration::from_secs(2));
    wait_until("answers of B", SOON, || Ok(swarm.records().iter().all(through_b))).unwrap();
    swarm.stop().unwrap();
}

/// A server's WireGuard has the endpoint that A's has.
fn wait_known(pair: &Pair, which: Which) {
    let endpoint = |which: Which| {
        let shown = pair.topology.server(which).tunnel.wg_show("endpoints")?;
        anyhow::Ok(shown.split_whitespace().nth(1).and_then(|word| word.parse::<SocketAddr>().ok()))
    };
    let begun = Instant::now();
    let known = wait_at_most(&format!("{which} to know the client"), patience(SOON), || {
        let (a, there) = (endpoint(A)?, endpoint(which)?);
        Ok((a.is_some() && a == there).then_some(()))
    });
    assert!(known.is_ok(), "not after {:?}", begun.elapsed());
    // WireGuard has it a moment before the daemon has made its plan of it.
    wgha_tests::clock::observe_for(patience(Duration::from_millis(300))).unwrap();
}

//! No lease, no service (I4): a Backup is silent whatever is done to its WireGuard and its addresses.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use wgha_tests::{
    Capture, Frame, Node, Packet, Pair, Pinger, Plan, SOON, Settings,
    Which::{A, B},
    clock::observe_for,
    contestant::Daemon as _,
    may_run, monotonic_ns,
    node::advert_interval,
    wait_until,
};

#[test]
fn wireguard_of_a_backup_stays_silent_even_when_it_is_forced_to_speak() {
    if !may_run() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    let ping = pair.ping().unwrap();
    let wire = Capture::at_port(&pair.topology, B).unwrap();
    let forced = monotonic_ns();

    // Everything that WireGuard needs to start a handshake by itself, and to steal the session of A.
    let port = pair.topology.client_tunnel.wg_show("listen-port").unwrap();
    let endpoint = format!("[{}]:{}", pair.topology.plan.client, port.trim());
    let tunnel = &pair.topology.b.tunnel;
    tunnel.set(true).unwrap();
    let again = format!(
        "allowed-ips {} endpoint {endpoint} persistent-keepalive 1",
        Plan::alone(pair.topology.plan.tunnel_client)
    );
    tunnel.wg_set(&format!("peer {} remove", Plan::CLIENT_PUBLIC)).unwrap();
    tunnel.wg_set(&format!("peer {} {again}", Plan::CLIENT_PUBLIC)).unwrap();
    tunnel.set(true).unwrap();

    wait_until("WireGuard on B to try", SOON, || Ok(counter(&pair, "wireguard_out_fenced") > 0)).unwrap();
    observe_for(Duration::from_secs(2)).unwrap();
    let spoken: Vec<_> =
        wire.received(forced).into_iter().filter(|p| p.frame().is_udp_port(Plan::PORT)).collect();
    assert!(spoken.is_empty(), "B has sent: {}", spoken[0].frame().describe());
    assert_eq!(pair.b.role().unwrap().as_deref(), Some("backup"));
    ping.wait_answer(monotonic_ns(), Some(A), SOON).unwrap();
}

/// With everything that the peer channel has told B, and a keepalive that makes its WireGuard try again and again:
/// while its daemon runs, hangs, is dead, and has gone.
#[test]
fn a_backup_that_knows_every_endpoint_stays_silent() {
    if !may_run() {
        return;
    }
    let mut pair = Pair::ipv6().unwrap();
    let wires = [A, B].map(|which| Capture::at_port(&pair.topology, which).unwrap());
    let ping = pair.ping().unwrap();
    let tunnel = &pair.topology.b.tunnel;
    wait_until("the client's endpoint on B", SOON, || Ok(!tunnel.wg_show("endpoints")?.contains("(none)")))
        .unwrap();
    tunnel.wg_set(&format!("peer {} persistent-keepalive 1", Plan::CLIENT_PUBLIC)).unwrap();
    tunnel.set(true).unwrap();
    wait_until("WireGuard on B to try", SOON, || Ok(counter(&pair, "wireguard_out_fenced") > 0)).unwrap();

    let tried = counter(&pair, "wireguard_out_fenced");
    observe_for(Duration::from_secs(11)).unwrap();
    // One that heeds its link has been silenced by the daemon meanwhile, and speaks up again whenever the link is set up.
    let persists = counter(&pair, "wireguard_out_fenced") > tried;
    assert!(persists || !tunnel.is_up(), "it has given up");
    pair.b.stop().unwrap();
    tunnel.set(false).unwrap();
    tunnel.set(true).unwrap();
    observe_for(Duration::from_secs(6)).unwrap();
    pair.b.cont().unwrap();
    pair.b.kill9();
    // A lease does not outlive its daemon by more than that.
    let fenced = monotonic_ns() + u64::try_from(advert_interval().as_nanos() * 3).unwrap();
    let terms = pair.b.terms().unwrap().into_iter();
    let mut terms = terms.map(|term| term.start..term.end.min(fenced)).collect::<Vec<_>>();
    tunnel.set(false).unwrap();
    tunnel.set(true).unwrap();
    observe_for(Duration::from_secs(11)).unwrap();
    pair.b = Node::start(&pair.topology, B, &Settings::seed(&pair.topology.plan, B)).unwrap();
    pair.wait_serving(A).unwrap();
    assert!(Node::term(&mut pair.b).unwrap().success());
    observe_for(Duration::from_secs(11)).unwrap();
    // On a machine that stands still now and then A's lease may have lapsed, and B has served in between.
    terms.extend(pair.b.terms().unwrap());

    let [of_a, of_b] = wires.each_ref().map(|wire| wire.received(0));
    let vip = pair.topology.plan.vip;
    for packet in of_b.iter().chain(&of_a).filter(|p| is_of_wireguard(p.frame())) {
        let source = packet.frame().ip().unwrap().source;
        assert_eq!(source, vip, "{}", packet.frame().describe());
    }
    let as_backup = |p: &&Packet| !terms.iter().any(|term| term.contains(&p.at_ns));
    let of_b = of_b.iter().filter(as_backup).find(|p| is_of_wireguard(p.frame()));
    assert!(of_b.is_none(), "B has sent: {}", of_b.unwrap().frame().describe());
    assert!(of_a.iter().any(|p| is_of_wireguard(p.frame())), "nothing was looked at");
    ping.wait_answer(monotonic_ns(), Some(A), SOON).unwrap();
}

fn is_of_wireguard(frame: Frame<'_>) -> bool {
    frame.udp().is_some_and(|udp| udp.source_port == Plan::PORT)
}

#[test]
fn solicitations_for_the_vip_are_answered_by_the_active_alone() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let pair = pair().unwrap();
        let answers = answers_about_the_vip(&pair, SOON);
        assert!(answers.0 > 0, "A does not answer");
        assert_eq!(answers.1, 0, "B answers");
    }
}

#[test]
fn a_backup_that_was_given_the_vip_by_hand_does_not_answer_for_it() {
    if !may_run() {
        return;
    }
    for pair in [Pair::ipv6, Pair::ipv4] {
        let pair = pair().unwrap();
        let plan = &pair.topology.plan;
        // Until it sticks through one look, in case the daemon takes it away: it may, but need not.
        let no_dad = if plan.is_ipv6() { "nodad" } else { "" };
        let give = format!("address replace {} dev eno1 {no_dad}", plan.with_prefix(plan.vip));
        let wire = Capture::at_port(&pair.topology, B).unwrap();
        let given = monotonic_ns();
        pair.topology.b.namespace.ip(&give).unwrap();
        let answers = answers_about_the_vip(&pair, SOON);
        assert!(answers.0 > 0, "A does not answer");
        let told = wire.received(given).into_iter().filter(|p| tells_of_the_vip(p.frame(), plan));
        assert_eq!(told.count(), 0, "B answers");
        assert_eq!(pair.a.role().unwrap().as_deref(), Some("active"));
        assert_eq!(pair.b.role().unwrap().as_deref(), Some("backup"));
    }
}

/// Makes the gateway ask for the VIP some times; how many answers came from A and from B.
fn answers_about_the_vip(pair: &Pair, timeout: Duration) -> (usize, usize) {
    let plan = &pair.topology.plan;
    let wires = [A, B].map(|which| Capture::at_port(&pair.topology, which).unwrap());
    let since = monotonic_ns();
    let asking = Pinger::start(&pair.topology.gateway, plan.vip, Duration::from_millis(20)).unwrap();
    for _ in 0..5 {
        let forgotten = monotonic_ns();
        pair.topology.gateway.ip("neigh flush dev lan").unwrap();
        let answer = asking.wait_answer(forgotten, None, timeout).unwrap();
        assert_eq!(answer.from(), Some(A));
    }
    let count =
        |wire: &Capture| wire.received(since).iter().filter(|p| tells_of_the_vip(p.frame(), plan)).count();
    (count(&wires[0]), count(&wires[1]))
}

fn tells_of_the_vip(frame: Frame<'_>, plan: &Plan) -> bool {
    frame.neighbour().is_some_and(|n| n.answers && n.target == plan.vip)
}

fn counter(pair: &Pair, name: &str) -> u64 {
    pair.b.status().unwrap()["counters"][name].as_u64().unwrap_or(0)
}

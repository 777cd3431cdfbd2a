//! The swarm itself: many clients in one process, against the servers' real WireGuard.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use wgha_tests::{
    SOON, Topology,
    Which::{self, A, B},
    may_run,
    swarm::{
        Swarm, SwarmSettings,
        servers::{self, Directory, Peer},
    },
    topology::{TUNNEL, UPLINK},
    wait_until,
};

const CLIENTS: u32 = 100;

#[test]
fn clients_establish_talk_and_roam() {
    if !may_run() {
        return;
    }
    for topology in [Topology::ipv6().unwrap(), Topology::ipv4().unwrap()] {
        let swarm = established(&topology, SwarmSettings::spread(&topology.plan, CLIENTS));
        let counts = swarm.counts();
        assert_eq!((counts.initiated, counts.cookies, counts.crossed), (100, 0, 0), "{counts:?}");

        swarm.talk(10, Duration::from_millis(100));
        wait_until("ten talkers' answers", SOON, || Ok(swarm.counts().since(counts).echoes >= 200)).unwrap();
        let talking = swarm.records().iter().filter(|r| r.echoes.load(Relaxed) > 1).count();
        assert_eq!(talking, 10, "the others are silent");

        swarm.talk(0, Duration::ZERO);
        swarm.roam(Duration::from_secs(2));
        wait_until("thirty moves", SOON, || {
            let moved = swarm.records().iter().filter(|r| r.moved_ns.load(Relaxed) != 0);
            Ok(moved.count() >= 30)
        })
        .unwrap();
        swarm.roam(Duration::ZERO);
        let directory = Directory::of(CLIENTS);
        wait_until("all endpoints on A", SOON, || {
            let endpoints = directory.endpoints(&topology.a)?;
            assert_eq!(endpoints.len(), 100);
            Ok(endpoints.into_iter().all(|(number, endpoint)| endpoint == swarm.address(number)))
        })
        .unwrap();
        swarm.stop().unwrap();
    }
}

#[test]
fn clients_behind_one_address_follow_a_server_that_starts_their_handshakes() {
    if !may_run() {
        return;
    }
    let topology = Topology::ipv6().unwrap();
    let swarm = established(&topology, SwarmSettings::behind_one_address(&topology.plan, CLIENTS));
    let peer = |(number, endpoint)| Peer { number, endpoint: Some(endpoint), keepalive: 25 };
    let endpoints = Directory::of(CLIENTS).endpoints(&topology.a).unwrap();
    topology.cut(A).unwrap();
    let before = swarm.counts();
    let _ = swarm.mark();
    assert!(swarm.all_back().after.is_empty());
    hold_vip(&topology, B);
    let configuration = servers::configuration(endpoints.into_iter().map(peer));
    let b = &topology.b.namespace;
    b.run_with_input("wg", &["setconf", TUNNEL, "/dev/stdin"], &configuration).unwrap();
    wait_until("all clients", SOON, || Ok(swarm.all_back().is_complete())).unwrap();
    let counts = swarm.counts().since(before);
    assert!(counts.answered >= 100 && counts.initiated == 0, "{counts:?}");

    swarm.talk(CLIENTS, Duration::from_millis(200));
    wait_until("answers of B", SOON, || {
        Ok(swarm.records().iter().all(|r| r.hop_limit.load(Relaxed) == B.hop_limit()))
    })
    .unwrap();
}

/// A swarm with sessions with A.
fn established(topology: &Topology, settings: SwarmSettings) -> Swarm {
    hold_vip(topology, A);
    for which in Which::BOTH {
        servers::add_peers(topology.server(which), CLIENTS).unwrap();
    }
    let swarm = Swarm::start(topology, settings).unwrap();
    let took = swarm.establish(A, SOON).unwrap();
    println!("{CLIENTS} sessions in {took:?}");
    swarm
}

/// Gives a server the VIP by hand, and has the gateway ask anew who has it.
fn hold_vip(topology: &Topology, which: Which) {
    let plan = &topology.plan;
    let no_dad = if plan.is_ipv6() { "nodad" } else { "" };
    let vip = plan.with_prefix(plan.vip);
    topology.server(which).namespace.ip(&format!("address add {vip} dev {UPLINK} {no_dad}")).unwrap();
    topology.gateway.ip("neigh flush dev lan").unwrap();
}

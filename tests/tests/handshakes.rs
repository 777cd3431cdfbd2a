//! Handshakes that a server starts: with real WireGuard, without the daemon.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    iter,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::mpsc::Sender,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use wgha::{
    driver::handshakes::{Command, Event, spawn},
    proto::{
        handshakes::{Candidate, How, Progress, Start},
        peers::{PeerKey, WireguardPeer},
    },
    sys::{
        clock,
        wireguard::{Device, WireguardError},
    },
};
use wgha_tests::{
    Capture, Namespace, Packet, Plan, Property, Topology, Tunnel, Which::B, contestant::restart_client,
    may_run, monotonic_ns, wait_until,
};

/// Much less than REKEY_TIMEOUT, after which WireGuard tries again by itself.
const AT_ONCE: Duration = Duration::from_secs(3);
const PSK: &str = "FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=";

/// The client, and B with the VIP; the client is silent, and B knows nothing of where it is.
struct Stage {
    topology: Topology,
    device: Device,
    endpoint: SocketAddr,
}

impl Stage {
    fn set() -> Self {
        let topology = Topology::ipv6().unwrap();
        let server = topology.server(B);
        server.namespace.ip(&format!("address add {}/64 dev eno1", topology.plan.vip)).unwrap();
        let port = topology.client_tunnel.wg_show("listen-port").unwrap().trim().parse().unwrap();
        let endpoint = SocketAddr::new(topology.plan.client, port);
        let device = open(&server.namespace).unwrap();
        // The other end is resolved, as it is in a take-over.
        server.namespace.run("ping", &["-c1", "-W2", &topology.plan.client.to_string()]).unwrap();
        Self { topology, device, endpoint }
    }

    fn tunnel(&self) -> &Tunnel {
        &self.topology.server(B).tunnel
    }

    /// Gives B the client anew, with everything that a peer can have, and no memory of having tried to reach it.
    fn renew_client(&self, keepalive: &str) {
        let (key, client) = (Plan::CLIENT_PUBLIC, self.topology.plan.tunnel_client);
        let psk = format!("printf %s {PSK} | wg set");
        let shell = |namespace: &Namespace, line: String| {
            namespace.run("sh", &["-c", &line]).unwrap();
        };
        let b = &self.topology.server(B).namespace;
        shell(b, format!("wg set wg1 peer {key} remove"));
        let allowed = format!("{client}/128,192.0.2.128/25,2001:db8:77::/48");
        shell(b, format!("{psk} wg1 peer {key} preshared-key /dev/stdin allowed-ips {allowed}{keepalive}"));
        let server = Plan::SERVER_PUBLIC;
        shell(
            &self.topology.client,
            format!("{psk} {} peer {server} preshared-key /dev/stdin", wgha_tests::topology::CLIENT_TUNNEL),
        );
    }

    fn client(&mut self) -> WireguardPeer {
        let [client] = self.device.read().unwrap().peers.try_into().unwrap();
        client
    }

    fn start(&mut self, how: How) {
        let key = self.client().key;
        self.device.start_handshakes(&[Start { key, endpoint: self.endpoint, how }]).unwrap();
    }

    /// What must not change: PSK, allowed IPs in any order, keepalive.
    fn settings(&self) -> Vec<String> {
        let shown = ["preshared-keys", "allowed-ips", "persistent-keepalive"]
            .map(|what| self.tunnel().wg_show(what).unwrap());
        shown
            .iter()
            .map(|line| {
                let mut words = line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                words.sort();
                words.join(" ")
            })
            .collect()
    }

    /// What carries out a take-over, without a kernel half: nothing is counted.
    fn starter(&self) -> (Sender<Command>, UnboundedReceiver<Event>) {
        let namespace = self.topology.server(B).namespace.clone();
        let (sender, events) = unbounded_channel();
        (spawn(move || open(&namespace), Progress::default, sender).unwrap(), events)
    }

    fn candidate(&mut self) -> Candidate {
        candidate(self.client().key, self.endpoint)
    }

    fn wait_handshake_after(&mut self, before: Option<Duration>, timeout: Duration) -> bool {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            if self.client().last_handshake > before {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

/// `wg1`: a program's, or else the kernel's, to be found in the namespace.
fn open(namespace: &Namespace) -> Result<Device, WireguardError> {
    let socket = namespace.path("/run/wireguard/wg1.sock");
    if socket.exists() {
        return Device::at_socket(&socket);
    }
    namespace.inside(|| Ok(Device::open("wg1"))).unwrap()
}

/// One that talks.
fn candidate(key: PeerKey, endpoint: SocketAddr) -> Candidate {
    let idle = Some(Duration::ZERO);
    Candidate { key, endpoint, last_handshake: None, keepalive: None, idle, clean: false }
}

#[test]
fn a_toggle_reaches_a_fresh_peer_and_leaves_no_trace() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    stage.renew_client("");
    let before = stage.settings();
    stage.start(How::Toggle);
    assert!(stage.wait_handshake_after(None, AT_ONCE));
    assert_eq!(stage.settings(), before);
    assert!(before[2].ends_with("off") && before[0].contains(PSK), "{before:?}");
}

#[test]
fn anew_reaches_a_peer_in_spite_of_a_session_and_of_an_initiation_just_sent() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    let wire = Capture::at_port(&stage.topology, B).unwrap();
    for keepalive in ["", " persistent-keepalive 7"] {
        stage.renew_client(keepalive);
        let before = stage.settings();
        // An initiation that nobody answers: the client's port is another one.
        let elsewhere = SocketAddr::new(stage.topology.plan.client, 9);
        let key = stage.client().key;
        stage.device.set_endpoints(&[(key, elsewhere)]).unwrap();
        let at = monotonic_ns();
        stage.device.start_handshakes(&[Start { key, endpoint: elsewhere, how: How::Toggle }]).unwrap();
        // The kernel leaves it to a worker, which would find the next endpoint. There is none where the peer's keepalive has
        // begun a handshake already; then that one goes unanswered.
        let _ =
            wire.wait_received("the one that goes nowhere", at, AT_ONCE, |f| f.is_udp_port(elsewhere.port()));
        stage.device.set_endpoints(&[(key, stage.endpoint)]).unwrap();
        stage.start(How::Toggle);
        let trapped = !stage.wait_handshake_after(None, Duration::from_millis(500));
        assert!(trapped, "a toggle does not help after an initiation: is the 5 s trap no more?");
        stage.start(How::Anew);
        assert!(stage.wait_handshake_after(None, AT_ONCE), "after an initiation");

        let first = stage.client().last_handshake;
        stage.start(How::Toggle);
        let held = !stage.wait_handshake_after(first, Duration::from_millis(500));
        assert!(held, "a toggle does not help while there is a session");
        // It has forgotten when the last handshake was; that there is one is enough.
        stage.start(How::Anew);
        assert!(stage.wait_handshake_after(first, AT_ONCE), "in spite of a session");
        assert_eq!(stage.settings(), before);
    }
}

#[test]
fn a_peer_that_is_not_there_is_not_made() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    let nobody = PeerKey([7; 32]);
    let start = |how| Start { key: nobody, endpoint: "[2001:db8:9::2]:7".parse().unwrap(), how };
    stage.device.set_endpoints(&[(nobody, stage.endpoint)]).unwrap();
    stage.device.start_handshakes(&[start(How::Toggle), start(How::Anew)]).unwrap();
    // Known when it was read, gone when it is kicked.
    let key = stage.client().key;
    let gone = Start { key, endpoint: stage.endpoint, how: How::Toggle };
    stage.tunnel().wg_set(&format!("peer {} remove", Plan::CLIENT_PUBLIC)).unwrap();
    stage.device.start_handshakes(&[gone]).unwrap();
    stage.device.set_endpoints(&[(key, stage.endpoint)]).unwrap();
    assert_eq!(stage.device.read().unwrap().peers, []);
}

#[test]
fn a_take_over_brings_a_client_back_that_says_nothing() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    stage.renew_client("");
    let before = stage.settings();
    let (commands, mut events) = stage.starter();
    let candidates = vec![stage.candidate()];
    let at = clock::now();
    commands.send(Command::Prepare).unwrap();
    commands.send(Command::Start { candidates, at }).unwrap();
    let mut seen = Vec::new();
    wait_until("the end", AT_ONCE, || {
        while let Ok(event) = events.try_recv() {
            seen.push(event);
        }
        Ok(matches!(seen.last(), Some(Event::Done { .. })))
    })
    .unwrap();
    println!("{seen:?}");
    assert!(matches!(seen[0], Event::Started { started: 1, of: 1, talkers: 1, .. }), "{seen:?}");
    let percents = seen.iter().filter_map(|event| match event {
        Event::Reached(reached) if reached.at > at => Some(reached.percent),
        _ => None,
    });
    assert_eq!(percents.collect::<Vec<_>>(), [50, 90, 99, 100], "{seen:?}");
    assert_eq!(seen.last(), Some(&Event::Done { missing: 0 }));
    assert_eq!(stage.settings(), before);
}

#[test]
fn a_lost_initiation_costs_half_a_second() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    stage.renew_client("");
    // The client cannot be heard for a moment.
    stage.topology.cut(B).unwrap();
    let (commands, mut events) = stage.starter();
    let candidates = vec![stage.candidate()];
    commands.send(Command::Start { candidates, at: clock::now() }).unwrap();
    wait_until("the first", AT_ONCE, || Ok(matches!(events.try_recv(), Ok(Event::Started { .. })))).unwrap();
    stage.topology.mend(B).unwrap();
    assert!(stage.wait_handshake_after(None, AT_ONCE), "WireGuard's own retry comes after 5 s");
    drop(commands);
}

/// Each has consumed the other's before its answer came, and takes the answer for none of its own.
#[test]
fn initiations_that_cross_cost_half_a_second() {
    if !may_run() || !Property::Delay.is_there() {
        return;
    }
    let mut stage = Stage::set();
    // The gateway knows the way to the VIP: nothing waits for that.
    stage.topology.client.run("ping", &["-c1", "-W2", &stage.topology.plan.vip.to_string()]).unwrap();
    stage.topology.delay(B, HELD_BACK).unwrap();
    // On a busy machine one of them may have come too late to meet the other one.
    let crossed = (0..5).any(|_| both_begin(&mut stage));
    assert!(crossed, "they have never crossed");
}

/// Sooner than WireGuard by itself.
const BEFORE_REKEY_TIMEOUT: Duration = Duration::from_millis(4900);
/// For so long each is on its way. There and back takes less than it is waited before the next try.
const HELD_BACK: Duration = Duration::from_millis(150);

/// Has both ends begin at the same time, and wants a session at once. Whether their initiations have crossed.
fn both_begin(stage: &mut Stage) -> bool {
    restart_client(&stage.topology).unwrap();
    stage.renew_client("");
    // It makes peers anew as it has read them when it began.
    let (commands, mut events) = stage.starter();
    let at_port = Capture::at_port(&stage.topology, B).unwrap();
    let at_b = Capture::start(&stage.topology.b.namespace, "eno1").unwrap();
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let client = stage.topology.client.inside(|| Ok(UdpSocket::bind(any)?)).unwrap();
    let candidates = vec![stage.candidate()];
    commands.send(Command::Prepare).unwrap();
    commands.send(Command::Start { candidates, at: clock::now() }).unwrap();
    while !matches!(events.blocking_recv().unwrap(), Event::Started { .. }) {}
    // The client begins with its first word.
    client.send_to(b"?", SocketAddr::new(stage.topology.plan.tunnel_server, 9)).unwrap();
    let back = stage.wait_handshake_after(None, BEFORE_REKEY_TIMEOUT);
    commands.send(Command::Stop(clock::now())).unwrap();
    let told: Vec<_> = iter::from_fn(|| events.try_recv().ok()).collect();
    let seen: Vec<_> = at_port.packets().iter().filter_map(handshake).collect();
    assert!(back, "WireGuard's own retry comes after 5 s: {told:?}, (ms, from the switch, type): {seen:?}");
    // Each left its side before the other one had come there. What is held back is seen when it is let go.
    let first = |wire: &Capture| {
        let mut seen = wire.packets().into_iter().filter(|p| !p.sent && is_initiation(p));
        seen.next().map(|p| p.at_ns)
    };
    let (Some(to_b), Some(to_port)) = (first(&at_b), first(&at_port)) else { return false };
    let held = u64::try_from(HELD_BACK.as_nanos()).unwrap();
    println!("to B at {to_b}, from B at {to_port}");
    to_port < to_b + held && to_b < to_port + held
}

/// When, which way, and which message of a handshake.
fn handshake(packet: &Packet) -> Option<(u64, bool, u8)> {
    let kind = *packet.frame().udp().filter(|_| packet.frame().is_udp_port(Plan::PORT))?.payload.first()?;
    (kind < 4).then_some((packet.at_ns / 1_000_000, packet.sent, kind))
}

fn is_initiation(packet: &Packet) -> bool {
    packet.frame().udp().is_some_and(|udp| {
        let ours = [udp.source_port, udp.destination_port].contains(&Plan::PORT);
        ours && udp.payload.first() == Some(&1)
    })
}

#[test]
#[ignore = "a measurement: prints what reading and starting cost"]
fn costs() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    stage.renew_client("");
    stage.client();
    let wire = Capture::at_port(&stage.topology, B).unwrap();
    for how in [How::Toggle, How::Anew, How::Anew, How::Anew] {
        thread::sleep(Duration::from_millis(100));
        stage.device.prepare().unwrap();
        let start = Start { key: stage.client().key, endpoint: stage.endpoint, how };
        let at = monotonic_ns();
        stage.device.start_handshakes(&[start]).unwrap();
        let took = monotonic_ns() - at;
        let first = wire.wait_received("an initiation", at, AT_ONCE, |f| f.is_udp_port(Plan::PORT)).unwrap();
        println!(
            "{how:?}, one peer: {} µs to the wire, {} µs in all",
            (first.at_ns - at) / 1000,
            took / 1000
        );
    }
    for peers in [100_u32, 1_000, 10_000] {
        measure(&mut stage, &wire, peers);
    }
}

#[test]
#[ignore = "a measurement: prints how long it takes from the command to the wire"]
fn latency() {
    if !may_run() {
        return;
    }
    let mut stage = Stage::set();
    let wire = Capture::at_port(&stage.topology, B).unwrap();
    for (peers, candidates) in [(1, 1), (1_000, 100), (1_000, 1_000), (10_000, 100), (10_000, 10_000)] {
        let text = configuration(peers);
        stage
            .topology
            .server(B)
            .namespace
            .run_with_input("wg", &["setconf", "wg1", "/dev/stdin"], &text)
            .unwrap();
        let keys = stage.device.read().unwrap().peers.iter().map(|p| p.key).collect::<Vec<_>>();
        let (commands, mut events) = stage.starter();
        let mut times = Vec::new();
        for _ in 0..9 {
            thread::sleep(Duration::from_millis(100));
            commands.send(Command::Prepare).unwrap();
            thread::sleep(Duration::from_millis(100));
            let candidates =
                keys.iter().take(candidates).map(|key| candidate(*key, stage.endpoint)).collect::<Vec<_>>();
            let at = monotonic_ns();
            commands.send(Command::Start { candidates, at: clock::now() }).unwrap();
            let first =
                wire.wait_received("an initiation", at, AT_ONCE, |f| f.is_udp_port(Plan::PORT)).unwrap();
            let told = loop {
                match events.try_recv() {
                    Ok(Event::Started { at, .. }) => break at.as_nanos(),
                    _ => thread::sleep(Duration::from_millis(1)),
                }
            };
            times.push(((first.at_ns - at) / 1000, (told - at) / 1000));
            commands.send(Command::Stop(clock::now())).unwrap();
            wait_until("the end", AT_ONCE, || Ok(matches!(events.try_recv(), Ok(Event::Done { .. }))))
                .unwrap();
        }
        times.sort_unstable();
        let (wire, told) = times[times.len() / 2];
        println!(
            "{candidates} of {peers} peers: {wire} µs to the wire at the median, of which {told} µs to the device"
        );
        println!("  all: {times:?}");
    }
}

fn configuration(peers: u32) -> String {
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = {}\n", Plan::SERVER_KEY, Plan::PORT);
    for n in 0..peers {
        let mut key = [0x55; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        let (key, [_, b, c, d]) = (PeerKey(key).base64(), n.to_be_bytes());
        text += &format!("[Peer]\nPublicKey = {key}\nPresharedKey = {PSK}\nAllowedIPs = 10.{b}.{c}.{d}/32\n");
    }
    text
}

fn measure(stage: &mut Stage, wire: &Capture, peers: u32) {
    let server = &stage.topology.server(B).namespace;
    let text = configuration(peers);
    server.run_with_input("wg", &["setconf", "wg1", "/dev/stdin"], &text).unwrap();
    let before = resident_kib();
    let mut times = Vec::new();
    for _ in 0..7 {
        let at = Instant::now();
        assert_eq!(stage.device.read().unwrap().peers.len(), peers as usize);
        times.push(at.elapsed());
    }
    times.sort();
    println!("{peers} peers: read {:?} at the median, {} KiB more", times[3], resident_kib() - before);
    let keys = stage.device.read().unwrap().peers.iter().map(|p| p.key).collect::<Vec<_>>();
    let endpoints = keys.iter().map(|key| (*key, stage.endpoint)).collect::<Vec<_>>();
    let at = Instant::now();
    stage.device.set_endpoints(&endpoints).unwrap();
    println!("  endpoints of all set in {:?}", at.elapsed());
    for (n, how) in [(1, How::Toggle), (64, How::Anew), (100, How::Anew), (100, How::Toggle), (1, How::Anew)]
    {
        let starts = keys
            .iter()
            .take(n)
            .map(|key| Start { key: *key, endpoint: stage.endpoint, how })
            .collect::<Vec<_>>();
        stage.device.prepare().unwrap();
        let at = monotonic_ns();
        stage.device.start_handshakes(&starts).unwrap();
        let took = monotonic_ns() - at;
        thread::sleep(Duration::from_millis(60));
        let seen = wire.received(at);
        let sent = seen.iter().filter(|p| p.frame().is_udp_port(Plan::PORT)).map(|p| p.at_ns - at);
        let sent = sent.collect::<Vec<_>>();
        println!(
            "  {how:?} of {n}: {} µs to the first on the wire, {} µs to the last of {}, {} µs in all",
            sent.first().map_or(0, |ns| ns / 1000),
            sent.last().map_or(0, |ns| ns / 1000),
            sent.len(),
            took / 1000
        );
    }
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

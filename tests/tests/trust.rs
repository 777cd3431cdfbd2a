//! Where claims have to be proven, whoever is on the segment and has not the key changes nothing; and what the servers
//! say to each other goes on to count.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use wgha_tests::{
    AFTER_WIREGUARD, Capture, Node, Pair, Plan, SOON, Settings, Stranger, Topology,
    Which::{self, A, B},
    clock::observe_for,
    may_run, monotonic_ns,
    node::{at, roles},
    wait_until,
};

/// How many of each kind a stranger sends to no end.
const FLOOD: u32 = 20_000;
/// How long an interval of the kernel half's ring is, and how many events of a kind ring in it.
const RING_PAUSE: Duration = Duration::from_millis(100);
const RING_BURST: u64 = 16;

fn authenticated(plan: &Plan, which: Which) -> Settings {
    Settings { more_vrrp: "authentication = true\n".into(), ..Settings::seed(plan, which) }
}

/// A serves, B probes it, and both know each other.
fn pair() -> Pair {
    let pair = Pair::start(Topology::ipv6().unwrap(), authenticated).unwrap();
    pair.wait_probing().unwrap();
    for node in [&pair.a, &pair.b] {
        let known = || Ok(node.status()?["peers"][0]["source"].is_string());
        wait_until("a peer that has introduced itself", SOON, known).unwrap();
    }
    pair
}

#[test]
fn a_stranger_changes_nothing() {
    if !may_run() {
        return;
    }
    let pair = pair();
    let mut stranger = Stranger::join(&pair.topology).unwrap();
    let ping = pair.ping().unwrap();
    let (since, before) = (monotonic_ns(), epochs(&pair));
    let vip = pair.topology.plan.vip;
    let ports = probe_ports(&pair);
    let [of_a, of_b] = [A, B].map(|which| stranger.source_of(which));
    for round in 0..20_u32 {
        for priority in [255, 0, 1, 100] {
            for source in [link_local(0x6666), of_a, of_b] {
                stranger.send(&Stranger::advert(source, priority, vip)).unwrap();
            }
        }
        for (which, port) in [(A, 50_000), (B, ports)] {
            let frames = [
                stranger.claim(which, round + 1),
                stranger.claim(which, u32::MAX - round),
                stranger.admin_down(which, port, round + 1),
            ];
            frames.iter().for_each(|frame| stranger.send(frame).unwrap());
            let to = SocketAddr::new(pair.topology.plan.server(which), 7784);
            let refused = stranger.namespace.inside(|| {
                let stream = TcpStream::connect_timeout(&to, Duration::from_secs(1));
                Ok(stream.is_err() || says_nothing(&stream?))
            });
            assert!(refused.unwrap(), "{which} talks to a stranger");
        }
        observe_for(Duration::from_millis(50)).unwrap();
    }
    observe_for(Duration::from_secs(2)).unwrap();
    expect_nothing(&pair, since, before);
    ping.wait_answer(monotonic_ns(), Some(A), SOON).unwrap();
    let outage = ping.longest_outage(since);
    assert!(outage.is_none_or(|o| o.length().is_some_and(|l| l < Duration::from_secs(1))), "{outage:?}");
    for node in [&pair.a, &pair.b] {
        let counters = node.status().unwrap()["counters"].clone();
        let count = |name: &str| counters[name].as_u64().unwrap_or(0);
        assert!(count("advert_stranger") >= 80, "{counters:#}");
        assert!(count("probe_bad_discriminator") >= 40, "{counters:#}");
        assert_eq!(count("lease_outranked") + count("lease_lapsed"), 0, "{counters:#}");
        let told = node.wgha(&["status"]).unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.matches("advert_stranger").count(), 1, "{told}");
    }
    let of_b = pair.b.status().unwrap()["counters"].clone();
    assert!(of_b["answer_unknown"].as_u64() >= Some(20), "{of_b:#}");
}

/// What the servers themselves say still counts: a planned stop, a preemption, a crash.
#[test]
fn the_servers_believe_each_other() {
    if !may_run() {
        return;
    }
    let mut pair = pair();
    let ping = pair.ping().unwrap();
    let stopped = monotonic_ns();
    assert!(pair.a.term().unwrap().success());
    let taken = pair.b.wait_event("role", "active", stopped, SOON).unwrap();
    assert!(reason(&taken).contains("answers that it does not serve"), "{taken}");
    ping.wait_answer(stopped, Some(B), AFTER_WIREGUARD).unwrap();

    let back = monotonic_ns();
    pair.a = Node::start(&pair.topology, A, &authenticated(&pair.topology.plan, A)).unwrap();
    let taken = pair.a.wait_event("role", "active", back, SOON).unwrap();
    assert!(reason(&taken).contains("preempted"), "{taken}");
    let yielded = pair.b.wait_event("input", "lease_revoked", back, SOON).unwrap();
    assert!(at(&yielded) <= at(&taken), "{yielded}, {taken}");
    pair.wait_serving(A).unwrap();
    assert_eq!(roles(&pair.b, back).unwrap(), ["backup"]);
    ping.wait_answer(at(&taken), Some(A), AFTER_WIREGUARD).unwrap();

    pair.wait_probing().unwrap();
    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    let taken = pair.b.wait_event("role", "active", cut, SOON).unwrap();
    assert!(reason(&taken).contains("probes unanswered"), "{taken}");
    ping.wait_answer(cut, Some(B), AFTER_WIREGUARD).unwrap();
    // A has not noticed, and goes on to serve whom it reaches. When they meet, one of them yields.
    let mended = monotonic_ns();
    pair.topology.mend(A).unwrap();
    pair.b.wait_event("role", "backup", mended, SOON).unwrap();
    pair.wait_serving(A).unwrap();
    assert_eq!(roles(&pair.a, mended).unwrap(), [""; 0]);
}

/// A is dead, and somebody goes on to send its adverts: B takes over all the same, and keeps the role.
#[test]
fn adverts_of_a_dead_server_keep_nobody_from_taking_over() {
    if !may_run() {
        return;
    }
    let pair = pair();
    let mut stranger = Stranger::join(&pair.topology).unwrap();
    let (of_a, vip) = (stranger.source_of(A), pair.topology.plan.vip);
    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    let mut serving = Vec::new();
    for n in 0..400_u32 {
        let priority = if n % 4 == 3 { 0 } else { 255 };
        stranger.send(&Stranger::advert(of_a, priority, vip)).unwrap();
        observe_for(Duration::from_millis(5)).unwrap();
        if n % 100 == 99 {
            serving = roles(&pair.b, cut).unwrap();
        }
    }
    assert_eq!(serving, ["active"]);
    observe_for(Duration::from_secs(1)).unwrap();
    assert_eq!(roles(&pair.b, cut).unwrap(), ["active"]);
}

/// Whatever a stranger sends as fast as he can: it is counted, and costs a bounded number of wake-ups and no memory.
#[test]
fn floods_are_counted_and_cost_little() {
    if !may_run() {
        return;
    }
    let pair = pair();
    let mut stranger = Stranger::join(&pair.topology).unwrap();
    let ping = pair.ping().unwrap();
    let (of_a, of_b) = (stranger.source_of(A), stranger.source_of(B));
    let vip = pair.topology.plan.vip;
    type Frame = Box<dyn Fn(&Stranger, u32) -> Vec<u8>>;
    let floods: [(&str, Frame); 7] = [
        ("adverts of many", Box::new(move |_, n| Stranger::advert(link_local(n), n as u8, vip))),
        ("adverts of A that change", Box::new(move |_, n| Stranger::advert(of_a, (n % 2 * 255) as u8, vip))),
        ("adverts of B that change", Box::new(move |_, n| Stranger::advert(of_b, (n % 3) as u8, vip))),
        ("claims to A", Box::new(|s, n| s.claim(A, n + 1))),
        ("claims to B", Box::new(|s, n| s.claim(B, n + 1))),
        ("solicitations", Box::new(move |s, _| s.solicitation(A, vip))),
        ("initiations", Box::new(move |s, n| s.initiation(A, vip, (n % 60_000) as u16 + 1024))),
    ];
    let (since, before) = (monotonic_ns(), epochs(&pair));
    for (what, frame) in floods {
        let costs = [&pair.a, &pair.b].map(Costs::of);
        let began = monotonic_ns();
        stranger.flood(FLOOD, frame).unwrap();
        let took = Duration::from_nanos(monotonic_ns() - began);
        for (node, before) in [&pair.a, &pair.b].into_iter().zip(costs) {
            let now = Costs::of(node);
            let pauses = (took.as_nanos() / RING_PAUSE.as_nanos()) as u64 + 2;
            // Three kinds of news of routers, and those that ring once in a pause or in a tenth of it.
            let most = pauses * (3 * RING_BURST + 3 + 2 * 10);
            let woken = now.rung - before.rung;
            println!(
                "{what}: {took:?}, {} woke up for the ring {woken} times of {most}, {} KiB, then {}",
                node.which, before.kib, now.kib
            );
            assert!(woken <= most, "{what}: {woken} of {most} in {took:?}");
            assert!(now.kib <= before.kib + 8 * 1024, "{what}: {} KiB, then {}", before.kib, now.kib);
        }
    }
    expect_nothing(&pair, since, before);
    ping.wait_answer(monotonic_ns(), Some(A), SOON).unwrap();
    for (node, names) in [
        (&pair.a, &["advert_stranger", "probe_bad_discriminator", "events_suppressed"][..]),
        (&pair.b, &["advert_stranger", "probe_bad_discriminator", "events_suppressed"][..]),
    ] {
        let counters = node.status().unwrap()["counters"].clone();
        for name in names {
            assert!(counters[name].as_u64() >= Some(u64::from(FLOOD) / 4), "{name}: {counters:#}");
        }
    }
}

/// What a daemon has cost so far.
struct Costs {
    rung: u64,
    kib: u64,
}

impl Costs {
    fn of(node: &Node) -> Self {
        let rung = node.status().unwrap()["wakeups"]["ring"].as_u64().unwrap();
        Self { rung, kib: resident_kib(node.id()) }
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn link_local(n: u32) -> IpAddr {
    Ipv6Addr::from(0xfe80_u128 << 112 | 0x6666 << 48 | u128::from(n)).into()
}

/// The port that B's probes come from.
fn probe_ports(pair: &Pair) -> u16 {
    let wire = Capture::at_port(&pair.topology, B).unwrap();
    let asks = |f: wgha_tests::Frame<'_>| f.bfd().is_some_and(|bfd| bfd.asks);
    let asked = wire.wait_received("a question of B", 0, SOON, asks).unwrap();
    asked.frame().udp().unwrap().source_port
}

/// Whether the other end closes without a word.
fn says_nothing(mut stream: &TcpStream) -> bool {
    use std::io::Read;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    !matches!(stream.read(&mut [0; 64]), Ok(n) if n > 0)
}

fn epochs(pair: &Pair) -> [Value; 2] {
    [&pair.a, &pair.b].map(|node| node.status().unwrap()["lease"]["epoch"].clone())
}

fn expect_nothing(pair: &Pair, since: u64, epochs_before: [Value; 2]) {
    for (node, role) in [(&pair.a, "active"), (&pair.b, "backup")] {
        assert_eq!(roles(node, since).unwrap(), [""; 0], "{}", node.which);
        assert_eq!(node.role().unwrap().as_deref(), Some(role));
    }
    assert_eq!(epochs(pair), epochs_before);
}

fn reason(event: &Value) -> &str {
    event["detail"].as_str().unwrap()
}

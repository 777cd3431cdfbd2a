//! No decision needs the time of day, and the clock that decides goes on while a machine is suspended.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::time::Duration;

use serde_json::Value;
use wgha_tests::{
    Node, Pair, Pinger, Property,
    Which::{A, B},
    clock::{WallClock, observe_for, patience},
    may_run, monotonic_ns, node,
};

const HOUR: i64 = 3600;
/// The ninth of September 2001, before any of this was started.
const LONG_AGO: i64 = 1_000_000_000;
/// Between two steps: a dozen of leases.
const PAUSE: Duration = Duration::from_millis(500);
/// What a figure that is asked for may be off by, as asking takes time.
const ASKING: Duration = Duration::from_millis(250);
/// A failover may take so long: 70 ms are usual.
const BOUND: Duration = Duration::from_millis(300);

/// NTP, a person or a hypervisor sets the clock. WireGuard's sessions do not mind either, only new ones do.
#[test]
fn steps_of_the_wall_clock_change_nothing() {
    if !may_run() || !Property::OwnClock.is_there() {
        return;
    }
    let pair = Pair::ipv6().unwrap();
    pair.wait_probing().unwrap();
    let ping = pair.ping().unwrap();
    let mut clock = WallClock::ours();
    let began = monotonic_ns();
    let before = Figures::of(&pair);
    for step in [HOUR, -HOUR, -HOUR, HOUR, 24 * HOUR, -25 * HOUR] {
        clock.step(step).unwrap();
        expect_untouched(&pair, &before, &ping, began);
    }
    clock.set(LONG_AGO).unwrap();
    expect_untouched(&pair, &before, &ping, began);
    // Back to the right one, and beyond: WireGuard's clients take no handshake that is dated back.
    clock.put_ahead(HOUR).unwrap();
    expect_untouched(&pair, &before, &ping, began);

    let cut = monotonic_ns();
    pair.topology.cut(A).unwrap();
    ping.wait_answer(cut, Some(B), BOUND * 10).unwrap();
    observe_for(patience(PAUSE)).unwrap();
    let outage = ping.longest_outage(cut).and_then(|outage| outage.length()).unwrap_or_default();
    println!("the failover afterwards took {outage:?}");
    assert!(outage <= patience(BOUND), "{outage:?}");
}

/// What is as it was after a step, at whatever time of day, when it is looked at a while later.
fn expect_untouched(pair: &Pair, before: &[Figures; 2], ping: &Pinger, began: u64) {
    observe_for(patience(PAUSE)).unwrap();
    for (was, node) in before.iter().zip([&pair.a, &pair.b]) {
        was.expect_gone_on(node);
        assert_eq!(node::roles(node, began).unwrap(), [""; 0], "{}", node.which);
        let shown = node.wgha(&["status"]).unwrap();
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    }
    assert_eq!(ping.outages(began), []);
}

/// What a node says of itself, and when it has said that.
struct Figures {
    at_ns: u64,
    status: Value,
}

impl Figures {
    fn of(pair: &Pair) -> [Self; 2] {
        [&pair.a, &pair.b].map(Self::of_node)
    }

    fn of_node(node: &Node) -> Self {
        let status = node.ask().unwrap_or_else(|| panic!("{} does not answer", node.which));
        Self { at_ns: monotonic_ns(), status }
    }

    /// Its role and its lease are the same, its durations have grown by the time that has passed, and what happens all the
    /// time has gone on.
    fn expect_gone_on(&self, node: &Node) {
        let now = Self::of_node(node);
        let (was, is) = (&self.status, &now.status);
        assert_eq!((&was["role"], &was["lease"]["epoch"]), (&is["role"], &is["lease"]["epoch"]), "{is:#}");
        assert_eq!(is["problems"], Value::Array(Vec::new()), "{is:#}");
        let passed = Duration::from_nanos(now.at_ns - self.at_ns).as_secs_f64();
        for name in ["/uptime_s", "/role_since_s", "/peers/0/connected_s"] {
            let grown = number(is, name) - number(was, name);
            let off = (grown - passed).abs();
            assert!(off <= patience(ASKING).as_secs_f64(), "{name} has grown by {grown} s in {passed} s");
        }
        let recent = patience(Duration::from_secs(2)).as_secs_f64() * 1e3;
        for name in ["/witness/answered_ms_ago", "/routers/0/heard_ms_ago"] {
            let ago = is.pointer(name).and_then(Value::as_f64);
            assert!(ago.is_none_or(|ms| (0.0..=recent).contains(&ms)), "{name}: {ago:?} ms");
        }
        let busy = if node.which == A { "/counters/probe_answered_up" } else { "/wakeups/timer" };
        assert!(number(is, busy) > number(was, busy) + 10.0, "{busy}: {is:#}");
    }
}

fn number(status: &Value, name: &str) -> f64 {
    status.pointer(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {name}: {status:#}"))
}

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use wgha_common::{Centiseconds, abi::Counter};

use super::{
    Event, RouterStatus, Snapshot, TrafficStatus,
    human::{bytes, count, millis, plural, span},
};

/// Wide enough for every label.
const LABEL_WIDTH: usize = 16;

/// What happens in a healthy network too.
const QUIET: &[Counter] = &[
    Counter::AdvertValid,
    Counter::AdvertSent,
    Counter::AdvertOwn,
    Counter::AdvertOtherVrid,
    Counter::AdvertOtherFamily,
    Counter::FragmentPassed,
    Counter::VlanPassed,
    Counter::WireguardPinned,
];

impl Snapshot {
    /// Whether nobody need look: no problem is known, and the node may serve or stand by.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty() && self.role != "fault"
    }
}

/// A snapshot taken at `now`, for a person in a hurry: who is Active, since when and why, is the other side heard,
/// what is wrong. Then the rest.
#[must_use]
pub fn table(s: &Snapshot, now: SystemTime) -> String {
    let mut text = headline(s, now);
    text += &format!("{}\n", other_side(s));
    if !s.problems.is_empty() {
        text += "\nPROBLEMS\n";
        s.problems.iter().for_each(|problem| text += &format!("  ! {problem}\n"));
    }
    text.push('\n');
    for (label, lines) in rows(s) {
        for (i, line) in lines.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let _ = writeln!(text, "{label:LABEL_WIDTH$}{line}");
        }
    }
    text
}

/// One event on one line: when, how long after the evidence, what, and why.
#[must_use]
pub fn event_line(event: &Event) -> String {
    let since = event.since_evidence_us.map_or(String::new(), |us| format!("+{:.3} ms", us as f64 / 1e3));
    let Event { time, kind, what, detail, .. } = event;
    format!("{time}  {since:>14}  {kind:6}  {what:14}  {detail}").trim_end().to_owned()
}

fn headline(s: &Snapshot, now: SystemTime) -> String {
    let since = Duration::try_from_secs_f64(s.role_since_s).ok().and_then(|ago| now.checked_sub(ago));
    let since = since.map_or(String::new(), |at| {
        let at = humantime::format_rfc3339_seconds(at).to_string();
        format!(" since {} UTC", at.trim_end_matches('Z').replace('T', " "))
    });
    let role = s.role.to_uppercase();
    let health = if s.is_healthy() { "healthy" } else { "DEGRADED" };
    format!("{role}{since} ({}), {health}\nbecause: {}\n", span(s.role_since_s), s.reason)
}

fn other_side(s: &Snapshot) -> String {
    let active = s.vrrp.active_router.as_deref();
    if active == Some("self") {
        return match s.routers.first() {
            Some(r) if !is_silent(r) => format!("{} CLAIMS THE ROLE TOO: {}", r.address, heard(r)),
            _ => "No other router claims the role. (A Backup is silent in VRRP: it may be there or not.)"
                .into(),
        };
    }
    let Some(active) = active else { return "No Active Router is heard.".into() };
    match s.routers.iter().find(|r| r.address.to_string() == active) {
        Some(r) if is_silent(r) => format!("Active was {active}, but it is SILENT: {}", heard(r)),
        Some(r) => format!("Active is {active}: {}", heard(r)),
        None => format!("Active is {active}."),
    }
}

fn heard(r: &RouterStatus) -> String {
    format!(
        "heard {} ago, every {} ms, priority {}",
        millis(r.heard_ms_ago),
        r.advert_interval_ms,
        r.priority
    )
}

/// Whether its adverts have stopped (RFC 9568 waits for three, too), or it has resigned.
fn is_silent(r: &RouterStatus) -> bool {
    r.priority == 0
        || r.heard_ms_ago > 3.0 * f64::from(r.advert_interval_ms) + f64::from(r.advert_interval_ms)
}

type Row = (&'static str, Vec<String>);

fn rows(s: &Snapshot) -> Vec<Row> {
    let mut rows = vec![
        ("virtual router", vec![virtual_router(s)]),
        ("addresses", vec![addresses(s)]),
        ("detection", vec![detection(s)]),
        ("heard", heard_routers(s)),
        ("uplink", vec![uplink(s), programs(s)]),
        ("lease", vec![lease(s)]),
        ("tunnel", tunnel(s)),
    ];
    rows.extend(attention(s));
    rows.push(("daemon", vec![daemon(s), wakeups(s)]));
    rows
}

fn virtual_router(s: &Snapshot) -> String {
    let v = &s.vrrp;
    let preempts = if v.preempt { "preempts" } else { "does not preempt" };
    format!("VRID {}, priority {}, advert every {} ms, {preempts}", v.id, v.priority, v.advert_interval_ms)
}

fn addresses(s: &Snapshot) -> String {
    let held = if s.vrrp.held { "held here" } else { "not held here" };
    format!("{} ({held})", s.vrrp.virtual_addresses.join(", "))
}

/// When this node would take over: a Backup goes by the Active Router's interval (RFC 9568 §6.1).
fn detection(s: &Snapshot) -> String {
    let active = s.routers.iter().find(|r| Some(r.address.to_string()) == s.vrrp.active_router);
    let interval = active.map_or(s.vrrp.advert_interval_ms, |r| r.advert_interval_ms);
    let interval = u16::try_from(interval / 10).ok().and_then(|cs| Centiseconds::new(cs).ok());
    let Some(interval) = interval else { return "by adverts".into() };
    let down = interval.active_down_interval(s.vrrp.priority).as_secs_f64();
    format!("by adverts, {} after the last one; [detect] is not used yet", span(down))
}

fn heard_routers(s: &Snapshot) -> Vec<String> {
    let lines = s.routers.iter().map(|r| {
        format!("{}: {}, {}, checksum {}", r.address, heard(r), plural(r.adverts, "advert"), r.checksum)
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { vec!["nobody".into()] } else { lines }
}

fn uplink(s: &Snapshot) -> String {
    let u = &s.uplink;
    let source = u.source.map_or("no address to send from".into(), |source| format!("sends from {source}"));
    format!("{} {}, {source}", u.interface, if u.running { "running" } else { "NOT RUNNING" })
}

fn programs(s: &Snapshot) -> String {
    let u = &s.uplink;
    let pinned = if u.pinned { "pinned" } else { "not pinned: they end with the daemon" };
    format!("ingress {}, egress {}, {pinned}", u.ingress, u.egress)
}

fn lease(s: &Snapshot) -> String {
    let l = &s.lease;
    match (l.serving, l.remaining_ms) {
        (true, Some(ms)) => format!("serving, epoch {}, ends in {} unless renewed", l.epoch, millis(ms)),
        (true, None) => format!("serving, epoch {}", l.epoch),
        (false, Some(ms)) => format!("claiming, epoch {}, ends in {}", l.epoch, millis(ms)),
        (false, None) if l.epoch == 0 => "none yet; what belongs to the VIP is fenced".into(),
        (false, None) => format!("none, the last was epoch {}; what belongs to the VIP is fenced", l.epoch),
    }
}

fn tunnel(s: &Snapshot) -> Vec<String> {
    let w = &s.wireguard;
    if !w.present {
        return vec![format!("{} IS NOT THERE", w.interface)];
    }
    let port = w.listen_port.map_or("no port".into(), |port| format!("port {port}"));
    let kind = w.implementation.as_deref().unwrap_or("unknown kind");
    let peers = plural(w.peers as u64, "peer");
    let mut lines =
        vec![format!("{} {}, {port}, {kind}, {peers}", w.interface, if w.up { "up" } else { "down" })];
    for (direction, label) in [("ingress", "in "), ("egress", "out")] {
        if let Some(traffic) = w.traffic.get(direction).filter(|traffic| !traffic.is_empty()) {
            let total = traffic.values().map(|t| t.bytes).sum();
            let types: Vec<_> = traffic.iter().map(|(name, t)| message_type(name, *t)).collect();
            lines.push(format!("{label} {}: {}", bytes(total), types.join(", ")));
        }
    }
    lines
}

fn message_type(name: &str, traffic: TrafficStatus) -> String {
    format!("{name} {}", count(traffic.packets))
}

/// Counters that do not rise in a healthy network: the fence's, and all the others.
fn attention(s: &Snapshot) -> Vec<Row> {
    let loud = s.counters.iter().filter(|(name, _)| QUIET.iter().all(|quiet| quiet.name() != name.as_str()));
    let (fenced, odd): (Vec<_>, Vec<_>) = loud.partition(|(name, _)| name.ends_with("_fenced"));
    let line = |counters: Vec<(&String, &u64)>, cut: &str| {
        let words = counters.iter().map(|(name, n)| format!("{} {}", name.trim_end_matches(cut), count(**n)));
        words.collect::<Vec<_>>().join(", ")
    };
    let rows = [("fence dropped", line(fenced, "_fenced")), ("attention", line(odd, ""))];
    rows.into_iter().filter(|(_, line)| !line.is_empty()).map(|(label, line)| (label, vec![line])).collect()
}

fn daemon(s: &Snapshot) -> String {
    format!("wgha {}, up {}, {}", s.version, span(s.uptime_s), s.config)
}

fn wakeups(s: &Snapshot) -> String {
    let w = &s.wakeups;
    let causes = [
        ("timer", w.timer),
        ("ring", w.ring),
        ("netlink", w.netlink),
        ("effects", w.effects),
        ("control", w.control),
    ];
    let causes: Vec<_> = causes.iter().map(|(name, n)| format!("{name} {}", count(*n))).collect();
    format!("woke up for {}", causes.join(", "))
}

use std::{
    fmt::Write,
    time::{Duration, SystemTime},
};

use wgha_common::{Centiseconds, abi::Counter};

use super::{
    Event, PeerStatus, RouterStatus, Snapshot, TrafficStatus,
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
    Counter::ProbeAnsweredUp,
    Counter::ProbeAnsweredAdminDown,
    Counter::AnswerHeard,
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
    let since = since.filter(|at| *at >= SystemTime::UNIX_EPOCH); // humantime knows nothing before that
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
            Some(r) if r.priority != 0 && !is_silent(r) => {
                format!("{} CLAIMS THE ROLE TOO: {}", r.address, heard(r))
            }
            _ => "No other router claims the role. (A Backup is silent in VRRP: it may be there or not.)"
                .into(),
        };
    }
    let Some(active) = active else { return "No Active Router is heard.".into() };
    match s.routers.iter().find(|r| r.address.to_string() == active) {
        Some(r) if r.priority == 0 => format!("Active was {active}, but it has RESIGNED: {}", heard(r)),
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

/// Whether its adverts have stopped. Four intervals are more than RFC 9568 waits for.
fn is_silent(r: &RouterStatus) -> bool {
    r.heard_ms_ago > 4.0 * f64::from(r.advert_interval_ms)
}

type Row = (&'static str, Vec<String>);

fn rows(s: &Snapshot) -> Vec<Row> {
    let mut rows = vec![
        ("virtual router", vec![virtual_router(s)]),
        ("addresses", vec![addresses(s)]),
        ("detection", detection(s)),
        ("witness", vec![witness(s)]),
        ("heard", heard_routers(s)),
        ("uplink", vec![uplink(s), programs(s)]),
        ("lease", vec![lease(s)]),
        ("tunnel", tunnel(s)),
    ];
    if !s.peers.is_empty() {
        rows.insert(5, ("servers", s.peers.iter().map(server).collect()));
    }
    rows.extend(attention(s));
    rows.push(("daemon", vec![daemon(s), wakeups(s)]));
    rows
}

fn virtual_router(s: &Snapshot) -> String {
    let v = &s.vrrp;
    let preempts = if v.preempt { "preempts" } else { "does not preempt" };
    let held_back = v.held_back.as_ref().map_or(String::new(), |why| format!(", HELD BACK: {why}"));
    let (id, priority, interval) = (v.id, v.priority, v.advert_interval_ms);
    format!("VRID {id}, priority {priority}, advert every {interval} ms, {preempts}{held_back}")
}

fn addresses(s: &Snapshot) -> String {
    let held = if s.vrrp.held { "held here" } else { "not held here" };
    format!("{} ({held})", s.vrrp.virtual_addresses.join(", "))
}

fn detection(s: &Snapshot) -> Vec<String> {
    let d = &s.detection;
    let mut lines = match (d.peer, d.probes, d.interval_ms) {
        (Some(peer), Some(probes), Some(interval)) if d.by == "probes" => {
            let answer = d
                .rtt_us
                .map_or("none is answered yet".into(), |us| format!("the last answer took {us:.0} us"));
            vec![format!("by {probes} unanswered probes of {peer}, one every {}; {answer}", millis(interval))]
        }
        _ => {
            let why = d.why.as_ref().map_or(String::new(), |why| format!("; {why}"));
            vec![by_adverts(s) + &why]
        }
    };
    if let Some(why) = &d.not_real_time {
        lines.push(format!("not in real time: {why}"));
    }
    if d.stalls > 0 {
        lines.push(format!("late itself {}, and not held against the other", plural(d.stalls, "time")));
    }
    lines
}

fn witness(s: &Snapshot) -> String {
    let w = &s.witness;
    let gateways: Vec<_> = w.gateways.iter().map(ToString::to_string).collect();
    let gateways = format!("gateway {}", gateways.join(", "));
    let ago = w.answered_ms_ago.map_or("never".into(), |ms| format!("{} ago", millis(ms)));
    match w.finding.as_str() {
        "reached" => format!("{gateways} answers, last {ago}"),
        "never_answered" => format!("{gateways} has never answered: that it is silent means nothing"),
        "gateway_silent" => format!("{gateways} is SILENT, last answer {ago}"),
        "deaf" => format!("NOTHING IS HEARD; {gateways} answered {ago}"),
        _ => format!("none: {}", w.why_none.as_deref().unwrap_or("not known")),
    }
}

fn server(p: &PeerStatus) -> String {
    let Some(connected) = p.connected_s else {
        return format!(
            "{} NOT CONNECTED: {}",
            p.address,
            p.why_not.as_deref().unwrap_or("no connection yet")
        );
    };
    let role = match p.serving {
        Some(true) => "Active",
        Some(false) => "Backup",
        None => "not introduced",
    };
    let priority = p.priority.map_or(String::new(), |priority| format!(", priority {priority}"));
    let fit = if p.fit == Some(false) { ", NOT FIT TO SERVE" } else { "" };
    let clock = p.clock_offset_ms.map_or(String::new(), |ms| format!(", its clock {ms:+.1} ms"));
    format!("{}: {role}{priority}{fit}, channel open for {}{clock}", p.address, span(connected))
}

/// When this node would take over: a Backup goes by the Active Router's interval (RFC 9568 §6.1).
fn by_adverts(s: &Snapshot) -> String {
    let active = s.routers.iter().find(|r| Some(r.address.to_string()) == s.vrrp.active_router);
    let interval = active.map_or(s.vrrp.advert_interval_ms, |r| r.advert_interval_ms);
    let interval = u16::try_from(interval / 10).ok().and_then(|cs| Centiseconds::new(cs).ok());
    let Some(interval) = interval else { return "by adverts".into() };
    let down = interval.active_down_interval(s.vrrp.priority).as_secs_f64();
    format!("by adverts, {} after the last one", span(down))
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
            let total = traffic.values().fold(0, |total: u64, t| total.saturating_add(t.bytes));
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::status::example;

    /// 2026-03-01 03:14:15 UTC
    const NIGHT: Duration = Duration::from_secs(1_772_334_855);

    fn same_as_golden(name: &str, got: &str) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, got).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), got, "{name}");
    }

    #[test]
    fn tables_are_as_agreed() {
        let now = SystemTime::UNIX_EPOCH + NIGHT;
        for (name, snapshot) in [
            ("status-active.txt", example::active()),
            ("status-backup.txt", example::backup()),
            ("status-fault.txt", example::fault()),
        ] {
            same_as_golden(name, &table(&snapshot, now));
        }
    }

    #[test]
    fn the_second_line_says_whether_the_other_side_is_heard() {
        let mut s = example::backup();
        let said = |s: &Snapshot| other_side(s);
        s.routers[0].heard_ms_ago = 399.0;
        assert!(said(&s).starts_with("Active is fe80::3: heard 399 ms ago"), "{}", said(&s));
        s.routers[0].heard_ms_ago = 401.0;
        assert!(said(&s).starts_with("Active was fe80::3, but it is SILENT"), "{}", said(&s));
        s.routers[0].heard_ms_ago = 1.0;
        s.routers[0].priority = 0;
        assert!(said(&s).starts_with("Active was fe80::3, but it has RESIGNED"), "{}", said(&s));
        let mut s = example::active();
        (s.routers[0].heard_ms_ago, s.routers[0].priority) = (20.0, 99);
        assert!(said(&s).starts_with("fe80::4 CLAIMS THE ROLE TOO"), "{}", said(&s));
        s.routers[0].priority = 0;
        assert!(said(&s).starts_with("No other router claims the role"), "{}", said(&s));
        s.vrrp.active_router = Some("fe80::9".into());
        assert_eq!(said(&s), "Active is fe80::9.");
        s.vrrp.active_router = None;
        assert_eq!(said(&s), "No Active Router is heard.");
    }

    #[test]
    fn health_is_no_problem_and_no_fault() {
        assert!(example::active().is_healthy() && example::backup().is_healthy());
        let unknown_fault = Snapshot { problems: vec![], ..example::fault() };
        let troubled = Snapshot { problems: vec!["no carrier".into()], ..example::active() };
        assert!(!unknown_fault.is_healthy() && !troubled.is_healthy());
    }

    #[test]
    fn a_snapshot_with_nonsense_is_shown_all_the_same() {
        let mut s = example::active();
        s.role_since_s = f64::MAX;
        s.vrrp.advert_interval_ms = u32::MAX;
        s.lease.remaining_ms = Some(-1.0);
        s.uptime_s = f64::MAX;
        for traffic in s.wireguard.traffic.values_mut().flat_map(|kinds| kinds.values_mut()) {
            traffic.bytes = u64::MAX;
        }
        assert!(table(&s, SystemTime::UNIX_EPOCH).starts_with("ACTIVE ("));
        s.role_since_s = 1e10;
        assert!(table(&s, SystemTime::now()).starts_with("ACTIVE ("), "since before there was a clock");
    }

    #[test]
    fn what_holds_a_server_back_is_shown() {
        let mut s = example::backup();
        s.vrrp.held_back = Some("it has not been told where the clients are".into());
        let shown = virtual_router(&s);
        assert!(
            shown.ends_with("preempts, HELD BACK: it has not been told where the clients are"),
            "{shown}"
        );
    }

    #[test]
    fn events_are_aligned() {
        let event = |kind: &str, what: &str, detail: &str, since_evidence_us| Event {
            seq: 1,
            at_ns: 1,
            time: "2026-03-01T03:14:15.000016Z".into(),
            kind: kind.into(),
            what: what.into(),
            detail: detail.into(),
            since_evidence_us,
        };
        let events = [
            event("input", "started", "", None),
            event("role", "active", "no advert from fe80::3 in time", Some(361_204)),
            event("effect", "tunnel_raised", "ok", Some(363_051)),
        ];
        let lines: Vec<_> = events.iter().map(event_line).collect();
        assert_eq!(
            lines,
            [
                "2026-03-01T03:14:15.000016Z                  input   started",
                "2026-03-01T03:14:15.000016Z     +361.204 ms  role    active          no advert from fe80::3 in time",
                "2026-03-01T03:14:15.000016Z     +363.051 ms  effect  tunnel_raised   ok",
            ]
        );
    }
}

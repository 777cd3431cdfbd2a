//! One fault as a table: what happened on A and on B, in milliseconds since.

use std::time::Duration;

use wgha_tests::Which;

use super::{
    recording::{Event, Fault, Recording},
    words::{self, Paint, column, duration, paint},
};

/// Width of a server's column.
const WIDTH: usize = 46;
/// WireGuard's KEEPALIVE_TIMEOUT and REKEY_TIMEOUT: what a client waits before it tries another handshake.
const REHANDSHAKE: Duration = Duration::from_secs(15);

/// Prints it.
pub fn print(number: usize, recording: &Recording, fault: &Fault) {
    words::heading(&format!("{number}. {}", fault.title));
    println!("{:>9}   {}  server B", "ms", column("server A", WIDTH));
    for event in helpful(recording, fault) {
        let ms = words::millis(event.at_ns - fault.at_ns);
        let told = tell(&event);
        let (a, b) = if event.node == Which::A { (told.as_str(), "") } else { ("", told.as_str()) };
        println!("{ms:>9.1}   {}  {}", column(a, WIDTH), column(b, WIDTH).trim_end());
    }
    println!("{}", verdict(recording, fault));
}

/// In a sentence, how the tunnel fared.
fn verdict(recording: &Recording, fault: &Fault) -> String {
    let vip = recording.vip_moved(fault);
    let vip = vip.map_or("the VIP did not move".to_owned(), |d| {
        format!("VIP on {} after {}", fault.expected, duration(d))
    });
    let (tunnel, good) = match (fault.silence(), fault.recovered()) {
        (None, _) => ("the tunnel is still silent".to_owned(), false),
        (Some(_), false) => (format!("the tunnel does not answer from {}", fault.expected), false),
        (Some(Duration::ZERO), true) => ("not one ping lost".to_owned(), true),
        (Some(silent), true) => {
            let lost = fault.outage.map_or(0, |o| o.lost);
            let why = if silent >= REHANDSHAKE { ": WireGuard's own timers" } else { "" };
            (format!("tunnel silent for {}{why} ({lost} pings of 5 ms lost)", duration(silent)), true)
        }
    };
    let mark = if good { paint(Paint::Green, "✔") } else { paint(Paint::Red, "✘") };
    format!("{:>9} {mark} {vip}; {tunnel}", "")
}

/// Without repetitions, echoes of what was just done, and what nobody could see.
fn helpful(recording: &Recording, fault: &Fault) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in recording.events_of(fault) {
        if event.is("input", "started") {
            // A daemon that starts looks around first.
            kept.retain(|e| e.node != event.node || e.kind != "input");
        }
        let announced_to_nobody = event.what == "announced" && recording.is_cut_off(event.node, event.at_ns);
        if !announced_to_nobody && !kept.iter().any(|before| makes_superfluous(before, event)) {
            kept.push(event.clone());
        }
    }
    kept
}

fn makes_superfluous(before: &Event, event: &Event) -> bool {
    let same = before.what == event.what && (before.detail == event.detail || event.what == "advert_heard");
    let echo = event.what == "tunnel_changed" && matches!(&*before.what, "tunnel_raised" | "tunnel_lowered");
    before.node == event.node && event.kind != "role" && (same || echo)
}

/// An event in words that need no manual.
pub fn tell(event: &Event) -> String {
    let Event { kind, what, detail, .. } = event;
    if kind == "role" {
        return format!("→ {}: {detail}", role(what));
    }
    if kind == "process" {
        return format!("{}: {detail}", role(what));
    }
    let done = match what.as_str() {
        "vip_held" => "has the VIP",
        "vip_released" => "has given the VIP up",
        "announced" => "has told the neighbours",
        "tunnel_raised" => "has raised wg1",
        "tunnel_lowered" => "has lowered wg1",
        "uplink_changed" => "sees eno1",
        "tunnel_changed" => "sees wg1",
        "advert_heard" => "hears",
        "lease_revoked" => "loses its lease",
        "stop_requested" => "is asked to stop",
        "started" => "has started",
        "vip_lost" => "has lost the VIP",
        _ => what,
    };
    if detail.is_empty() || detail == "ok" { done.to_owned() } else { format!("{done}: {detail}") }
}

/// The role as RFC 9568 writes it.
pub fn role(what: &str) -> &str {
    match what {
        "active" => "Active",
        "claiming" => "claiming",
        "backup" => "Backup",
        "fault" => "Fault",
        "stopping" => "stopping",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ns: u64, kind: &str, what: &str, detail: &str) -> Event {
        Event { at_ns, node: Which::B, kind: kind.into(), what: what.into(), detail: detail.into() }
    }

    #[test]
    fn repetitions_and_echoes_are_left_out_but_roles_never() {
        let events = vec![
            event(1, "input", "uplink_changed", "running"),
            event(2, "input", "started", ""),
            event(3, "role", "backup", "started"),
            event(4, "effect", "announced", ""),
            event(5, "effect", "announced", ""),
            event(6, "role", "backup", "started"),
            event(7, "input", "tunnel_changed", "up"),
            event(8, "effect", "tunnel_lowered", ""),
            event(9, "input", "tunnel_changed", "down"),
            event(10, "process", "cut off", ""),
            event(11, "effect", "announced", "late"),
        ];
        let recording = Recording { events, ..Recording::default() };
        let fault =
            Fault { title: "", at_ns: 0, until_ns: 20, expected: Which::B, served_by: None, outage: None };
        let kept: Vec<_> = helpful(&recording, &fault).iter().map(|e| e.at_ns).collect();
        assert_eq!(kept, [2, 3, 4, 6, 7, 8, 10]);
    }

    #[test]
    fn a_failed_effect_shows_why() {
        assert_eq!(tell(&event(0, "effect", "vip_held", "")), "has the VIP");
        assert_eq!(tell(&event(0, "effect", "vip_held", "no route")), "has the VIP: no route");
        assert_eq!(tell(&event(0, "role", "active", "B resigned")), "→ Active: B resigned");
    }
}

//! The end of the demo: every fault in a line.

use super::{
    recording::{Fault, Recording},
    words::{self, Paint, column, duration, paint},
};

/// Prints it.
pub fn print(recording: &Recording) {
    words::heading("All of it");
    println!(
        "{}  {}  {}  served by",
        column("what was done", 34),
        column("VIP moved after", 16),
        column("tunnel silent for", 18)
    );
    for fault in &recording.faults {
        let vip = recording.vip_moved(fault).map_or("–".to_owned(), duration);
        println!(
            "{}  {}  {}  {}",
            column(fault.title, 34),
            column(&vip, 16),
            column(&silence(fault), 18),
            server(fault)
        );
    }
    println!("{}", paint(Paint::Dim, &recording.setting));
    if let Some(line) = recording.seed_ping.first() {
        println!("{}", paint(Paint::Dim, &format!("ping -i0.2 says: {line}")));
    }
}

/// How long the tunnel was silent, as a table says it.
pub fn silence(fault: &Fault) -> String {
    match fault.silence() {
        Some(d) if d.is_zero() => "no ping lost".to_owned(),
        Some(d) => duration(d),
        None => "not back".to_owned(),
    }
}

fn server(fault: &Fault) -> String {
    let name = fault.served_by.map_or("nobody".to_owned(), |which| which.to_string());
    if fault.recovered() {
        paint(Paint::Green, &name)
    } else {
        paint(Paint::Red, &format!("{name}, not {}", fault.expected))
    }
}

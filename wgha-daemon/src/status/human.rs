//! Numbers as people say them.

use std::time::Duration;

/// A span in at most two units: `43 ms`, `12.3 s`, `2h 3m`.
pub(super) fn span(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s => {
            // Whole minutes: who asks for more than a minute does not ask for its seconds, except in the first hour.
            let grain = if s < 3600.0 { 1 } else { 60 };
            let whole = (s as u64) / grain * grain;
            let words = humantime::format_duration(Duration::from_secs(whole)).to_string();
            words.split(' ').take(2).collect::<Vec<_>>().join(" ")
        }
    }
}

/// Milliseconds, as a [`span`].
pub(super) fn millis(ms: f64) -> String {
    span(ms / 1e3)
}

/// A number in groups of three digits: `12 345`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes with a decimal prefix: `1.2 MB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `1 peer`, `2 peers`.
pub(super) fn plural(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_the_grain_of_their_size() {
        for (seconds, want) in [
            (0.0, "0 ms"),
            (0.0432, "43 ms"),
            (12.34, "12.3 s"),
            (61.9, "1m 1s"),
            (3600.0, "1h"),
            (7385.0, "2h 3m"),
            (200_000.0, "2days 7h"),
            (-1.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ] {
            assert_eq!(span(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!([count(7), count(999), count(1000), count(1_234_567)], ["7", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [bytes(0), bytes(999), bytes(1000), bytes(999_949), bytes(999_950)],
            ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB"]
        );
        assert_eq!([plural(0, "peer"), plural(1, "peer")], ["0 peers", "1 peer"]);
    }
}

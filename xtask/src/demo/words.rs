//! How the demo speaks: durations, and steps on a terminal.

use std::{
    fmt::Write as _,
    io::{IsTerminal, stdout},
    time::Duration,
};

/// A time of something that people compare: three digits.
pub fn duration(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1e3;
    match ms {
        ..1.0 => format!("{ms:.2} ms"),
        ..10.0 => format!("{ms:.1} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        ..10_000.0 => format!("{:.2} s", ms / 1e3),
        _ => format!("{:.1} s", ms / 1e3),
    }
}

/// Milliseconds of nanoseconds.
pub fn millis(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e3
}

/// Says what is being done now.
pub fn step(text: &str) {
    println!("{} {text}", paint(Paint::Dim, "·"));
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n{}", paint(Paint::Bold, text));
}

/// How a word looks on a terminal.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Headings.
    Bold,
    /// What one may skip.
    Dim,
    /// Good.
    Green,
    /// Bad.
    Red,
}

/// The text, painted if somebody looks at it on a terminal that wants colours.
pub fn paint(paint: Paint, text: &str) -> String {
    if !stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    let code = match paint {
        Paint::Bold => 1,
        Paint::Dim => 2,
        Paint::Green => 32,
        Paint::Red => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The text in a column of this width: cut, or filled with spaces.
pub fn column(text: &str, width: usize) -> String {
    let mut out = String::new();
    let cut = text.chars().count() > width;
    out.extend(text.chars().take(if cut { width.saturating_sub(1) } else { width }));
    if cut {
        out.push('…');
    }
    let missing = width.saturating_sub(out.chars().count());
    // Writing to a String does not fail.
    let _ = write!(out, "{:missing$}", "");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (micros, words) in [
            (430, "0.43 ms"),
            (4_300, "4.3 ms"),
            (430_000, "430 ms"),
            (4_300_000, "4.30 s"),
            (15_300_000, "15.3 s"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), words);
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_say() {
        assert_eq!(column("abc", 5), "abc  ");
        assert_eq!(column("abcdef", 5), "abcd…");
        assert_eq!(column("übergibt", 8), "übergibt");
    }
}

//! What the host took from this machine, which no scheduling class prevents.

use std::fs;

/// Ticks (1/100 s) for which some core of this machine wanted to run and the host ran something else, since boot.
///
/// Zero where the kernel does not tell.
#[must_use]
pub fn ticks() -> u64 {
    fs::read_to_string("/proc/stat").ok().as_deref().and_then(read).unwrap_or(0)
}

/// The eighth figure of the first line: `cpu user nice system idle iowait irq softirq steal …`.
fn read(stat: &str) -> Option<u64> {
    stat.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_figure() {
        assert_eq!(read("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1"), Some(88));
        assert_eq!(read("cpu  1 2 3"), None);
    }
}

//! What Rust's test harness prints, added up.

use std::{
    fmt,
    io::{BufRead, BufReader},
    iter::Sum,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::run;

/// How many tests ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// They passed.
    pub passed: u32,
    /// They failed.
    pub failed: u32,
    /// They did not run.
    pub ignored: u32,
}

impl Counts {
    /// Of one line: `test result: ok. 14 passed; 0 failed; 0 ignored; …`
    fn of_line(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let number = |of: &str| {
            let part = numbers.split("; ").find_map(|part| part.strip_suffix(of))?;
            part.trim().parse().ok()
        };
        Some(Self { passed: number(" passed")?, failed: number(" failed")?, ignored: number(" ignored")? })
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |a, b| Self {
            passed: a.passed + b.passed,
            failed: a.failed + b.failed,
            ignored: a.ignored + b.ignored,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 { write!(f, ", {} ignored", self.ignored) } else { Ok(()) }
    }
}

/// Runs `cargo test …` with its output shown, and adds up what it says. Also whether it ended well.
///
/// # Errors
/// It cannot be started.
pub fn run(command: &mut Command) -> Result<(Counts, bool)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", run::typed(command)))?;
    let mut counts = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            println!("{line}");
            counts.extend(Counts::of_line(&line));
        }
    }
    Ok((counts.into_iter().sum(), child.wait()?.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read() {
        let line = "test result: FAILED. 14 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(Counts::of_line(line), Some(Counts { passed: 14, failed: 2, ignored: 1 }));
        assert_eq!(Counts::of_line("test result_is_ok ... ok"), None);
        assert_eq!(Counts::of_line("running 3 tests"), None);
    }

    #[test]
    fn counts_add_up() {
        let one = Counts { passed: 1, failed: 2, ignored: 3 };
        assert_eq!([one, one].into_iter().sum::<Counts>().to_string(), "2 passed, 4 failed, 6 ignored");
    }
}

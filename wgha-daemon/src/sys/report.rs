//! What a look at the system has found.

use std::fmt;

/// How much a [`Finding`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know; not in the way.
    Note,
    /// In the way.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What was looked at, in a word or two: `uplink eno1`, `capabilities`.
    pub what: String,
    /// What was found, and what would be right.
    pub detail: String,
}

/// What `wgha check` has found. Prints as an aligned table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Adds what is as it should be.
    pub fn ok(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Level::Ok, what, detail);
    }

    /// Adds what is good to know.
    pub fn note(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Level::Note, what, detail);
    }

    /// Adds what is in the way.
    pub fn problem(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.add(Level::Problem, what, detail);
    }

    /// Whether anything is in the way.
    #[must_use]
    pub fn has_problem(&self) -> bool {
        self.problems().next().is_some()
    }

    /// What is in the way.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level == Level::Problem)
    }

    fn add(&mut self, level: Level, what: impl Into<String>, detail: impl Into<String>) {
        self.findings.push(Finding { level, what: what.into(), detail: detail.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
        for Finding { level, what, detail } in &self.findings {
            let level = match level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Problem => "PROBLEM",
            };
            let mut lines = detail.lines();
            writeln!(f, "{level:7}  {what:width$}  {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(f, "{:7}  {:width$}  {line}", "", "")?;
            }
        }
        match self.problems().count() {
            0 => writeln!(f, "Nothing is in the way."),
            1 => writeln!(f, "1 problem is in the way."),
            n => writeln!(f, "{n} problems are in the way."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_problems_counted() {
        let mut report = Report::default();
        report.ok("uplink eno1", "running");
        assert!(!report.has_problem());
        assert!(report.to_string().ends_with("Nothing is in the way.\n"));
        report.note("pins", "first\nsecond");
        report.problem("capabilities", "CAP_BPF is missing");
        assert!(report.has_problem());
        let want = "\
ok       uplink eno1   running
note     pins          first
                       second
PROBLEM  capabilities  CAP_BPF is missing
1 problem is in the way.
";
        assert_eq!(report.to_string(), want);
    }
}

//! Which test ended how on which kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// How a test ended, after how long by the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed(Duration),
    /// It passed, but the machine does not have all that it asks for.
    Partly(Duration),
    /// It failed.
    Failed(Duration),
    /// It was killed, as it took too long.
    Late(Duration),
    /// The machine died of it, or has not come so far.
    Died,
}

impl Outcome {
    /// The same of a test that has left something out.
    pub const fn in_part(self) -> Self {
        match self {
            Self::Passed(took) => Self::Partly(took),
            other => other,
        }
    }

    /// Whether it passed.
    pub const fn is_passed(self) -> bool {
        matches!(self, Self::Passed(_) | Self::Partly(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Passed(took) => format!("ok {:.0} s", took.as_secs_f64()),
            Self::Partly(took) => format!("part {:.0} s", took.as_secs_f64()),
            Self::Failed(took) => format!("FAILED {:.0} s", took.as_secs_f64()),
            Self::Late(took) => format!("LATE {:.0} s", took.as_secs_f64()),
            Self::Died => "DIED".to_owned(),
        };
        f.pad(&text)
    }
}

/// The table: a row for each test, a column for each kernel and mode. Below it, why some are there in part only.
#[derive(Debug, Default)]
pub struct Matrix {
    columns: Vec<String>,
    rows: BTreeMap<String, Vec<Option<Outcome>>>,
    lacks: BTreeMap<String, BTreeSet<String>>,
}

impl Matrix {
    /// Adds a column, and returns its number.
    pub fn column(&mut self, name: String) -> usize {
        self.columns.push(name);
        self.columns.len() - 1
    }

    /// Enters an outcome in a column.
    pub fn enter(&mut self, column: usize, test: String, outcome: Outcome) {
        let row = self.rows.entry(test).or_default();
        row.resize(self.columns.len(), None);
        if let Some(place) = row.get_mut(column) {
            *place = Some(outcome);
        }
    }

    /// Enters why a test has left something out.
    pub fn lacks(&mut self, test: String, why: String) {
        self.lacks.entry(why).or_default().insert(test);
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.rows.values().flatten().flatten().filter(|outcome| outcome.is_passed()).count()
    }

    /// How many did not pass.
    pub fn failures(&self) -> usize {
        self.rows.values().flatten().flatten().filter(|outcome| !outcome.is_passed()).count()
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0);
        write!(f, "{:<width$}", "test")?;
        self.columns.iter().try_for_each(|column| write!(f, "  {column:<18}"))?;
        for (test, row) in &self.rows {
            write!(f, "\n{test:<width$}")?;
            for outcome in (0..self.columns.len()).map(|column| row.get(column).copied().flatten()) {
                match outcome {
                    Some(outcome) => write!(f, "  {outcome:<18}")?,
                    None => write!(f, "  {:<18}", "-")?,
                }
            }
        }
        write!(f, "\n{:<width$}", "passed")?;
        for column in 0..self.columns.len() {
            let outcomes = self.rows.values().filter_map(|row| row.get(column).copied().flatten());
            let (mut passed, mut all) = (0, 0);
            outcomes.for_each(|outcome| {
                passed += usize::from(outcome.is_passed());
                all += 1;
            });
            write!(f, "  {:<18}", format!("{passed} of {all}"))?;
        }
        for (why, tests) in &self.lacks {
            write!(f, "\npart: {why}")?;
            tests.iter().try_for_each(|test| write!(f, "\n  {test}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_has_a_place_in_every_column() {
        let mut matrix = Matrix::default();
        let seconds = Duration::from_secs;
        let older = matrix.column("6.1".to_owned());
        let newer = matrix.column("6.12".to_owned());
        matrix.enter(newer, "b".to_owned(), Outcome::Passed(seconds(4)));
        matrix.enter(older, "a".to_owned(), Outcome::Passed(seconds(3)));
        matrix.enter(older, "b".to_owned(), Outcome::Late(seconds(60)));
        matrix.enter(newer, "c".to_owned(), Outcome::Died);
        matrix.enter(older, "d".to_owned(), Outcome::Partly(seconds(0)));
        matrix.lacks("d".to_owned(), "it has no TCX".to_owned());
        let lines = matrix.to_string();
        let words = lines
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>();
        let expected = [
            "test 6.1 6.12",
            "a ok 3 s -",
            "b LATE 60 s ok 4 s",
            "c - DIED",
            "d part 0 s -",
            "passed 2 of 3 1 of 2",
            "part: it has no TCX",
            "d",
        ];
        assert_eq!(words, expected);
        assert_eq!((matrix.passed(), matrix.failures()), (3, 2));
    }
}

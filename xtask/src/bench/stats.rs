//! Medians of few values, some of which are "longer than was waited for".

use std::time::Duration;

/// A measured value; none: it did not end.
pub type Measured = Option<f64>;

/// The middle of some values, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// The middle one; of an even number, the mean of both.
    pub median: Measured,
    /// The least.
    pub min: Measured,
    /// The greatest.
    pub max: Measured,
}

impl Summary {
    /// Of at least one value.
    pub fn of(values: &[Measured]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::INFINITY)).collect();
        sorted.sort_by(f64::total_cmp);
        let ended = |value: f64| value.is_finite().then_some(value);
        let middle = |sorted: &[f64]| (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
        Some(Self {
            count: sorted.len(),
            min: ended(*sorted.first()?),
            median: ended(middle(&sorted)),
            max: ended(*sorted.last()?),
        })
    }
}

/// Milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_is_longest() {
        let summary = Summary::of(&[Some(3.0), None, Some(1.0)]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (Some(1.0), Some(3.0), None));
        let summary = Summary::of(&[Some(3.0), Some(1.0)]).unwrap();
        assert_eq!((summary.count, summary.median), (2, Some(2.0)));
        assert_eq!(Summary::of(&[Some(3.0), None]).unwrap().median, None);
        assert_eq!(Summary::of(&[]), None);
    }
}

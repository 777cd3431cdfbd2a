//! What is claimed, beside what was found.

use super::{
    report::Table,
    stats::{Measured, Summary},
};

/// A table of claims; none without any.
pub fn table(title: &str, rows: Vec<Vec<String>>) -> Option<Table> {
    let head = vec!["claim", "median", "min", "max", "is so"];
    (!rows.is_empty()).then(|| Table { title: title.to_owned(), head, rows })
}

/// What was found for a claim, and whether it holds; none: it was not measured.
pub fn row(claim: String, found: &[Measured], holds: impl Fn(&Summary) -> bool) -> Option<Vec<String>> {
    let summary = Summary::of(found)?;
    let words = |value: Measured| {
        value.map_or_else(
            || "∞".to_owned(),
            |v| if v >= 100.0 { format!("{v:.0}") } else { format!("{v:.2}") },
        )
    };
    let mut row = vec![claim];
    row.extend([summary.median, summary.min, summary.max].map(words));
    row.push(if holds(&summary) { "yes" } else { "NO" }.to_owned());
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_end_is_no_figure() {
        let at_most = |limit: f64| move |s: &Summary| s.max.is_some_and(|max| max <= limit);
        let found = |values: &[Measured], limit| row("c".into(), values, at_most(limit)).unwrap().join(" ");
        assert_eq!(found(&[Some(1.0), Some(120.4)], 121.0), "c 60.70 1.00 120 yes");
        assert_eq!(found(&[Some(1.0), None], 121.0), "c ∞ 1.00 ∞ NO");
        assert_eq!(row("c".into(), &[], |_| true), None);
    }
}

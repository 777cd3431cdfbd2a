//! "Did you mean …?"

/// The one of `known` that `typed` most likely stands for, if one is near. Capitals do not count.
pub(super) fn suggest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    let typed = &typed.to_lowercase();
    let nearest = known.iter().map(|k| (distance(typed, k), *k)).min()?;
    (nearest.0 <= (nearest.1.len() / 3).max(1)).then_some(nearest.1)
}

/// How many characters must be changed, added or left out to make `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["priority", "preempt", "preempt_delay", "id"];
        for (typed, meant) in [
            ("prioritiy", Some("priority")),
            ("Preempt", Some("preempt")),
            ("ID", Some("id")),
            ("preempt-delay", Some("preempt_delay")),
            ("di", None),
            ("vrid", None),
            ("colour", None),
        ] {
            assert_eq!(suggest(typed, &known), meant, "{typed}");
        }
    }
}

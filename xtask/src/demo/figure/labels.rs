//! Labels that hang from points of an axis without touching each other.

/// A text to hang below a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Where its line comes down.
    pub x: f64,
    /// How wide its text is.
    pub width: f64,
}

/// Where a text hangs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Left end of the text.
    pub left: f64,
    /// 0 is the uppermost row.
    pub row: usize,
}

/// Between two texts of a row.
const GAP: f64 = 10.0;

/// Places labels that are sorted by x.
///
/// From the right to the left, each in the uppermost row where it ends before the texts that are there
/// and before the lines that pass. So no line crosses a text on its way down.
pub fn place(labels: &[Label], right: f64) -> Vec<Place> {
    let mut rows: Vec<f64> = Vec::new();
    let mut places = Vec::with_capacity(labels.len());
    for label in labels.iter().rev() {
        // At the right end a text lies on the other side of its line.
        let left = if label.x + label.width <= right { label.x } else { label.x - label.width };
        // Lines of deeper rows come down through this one, so its end counts for them too.
        let row =
            rows.iter().rposition(|begins| left + label.width + GAP > *begins).map_or(0, |taken| taken + 1);
        match rows.get_mut(row) {
            Some(begins) => *begins = left,
            None => rows.push(left),
        }
        places.push(Place { left, row });
    }
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(x: f64, width: f64) -> Label {
        Label { x, width }
    }

    #[test]
    fn texts_share_a_row_only_when_they_do_not_touch() {
        let labels = [label(0.0, 50.0), label(20.0, 50.0), label(100.0, 50.0), label(100.0, 50.0)];
        let places = place(&labels, 1000.0);
        let rows: Vec<_> = places.iter().map(|p| p.row).collect();
        assert_eq!(rows, [1, 0, 1, 0]);
        assert_eq!(places[0].left, 0.0);
    }

    #[test]
    fn no_line_crosses_a_text() {
        let labels: Vec<_> = (0..40u32).map(|i| label(f64::from(i * i % 97) * 4.0, 60.0)).collect();
        let mut labels = labels;
        labels.sort_by(|a, b| a.x.total_cmp(&b.x));
        let places = place(&labels, 10_000.0);
        for (i, line) in labels.iter().enumerate() {
            for (j, text) in places.iter().enumerate() {
                let passes =
                    text.row < places[i].row && text.left < line.x && line.x < text.left + labels[j].width;
                assert!(!passes, "{i} through {j}");
            }
        }
    }

    #[test]
    fn a_text_at_the_right_end_lies_left_of_its_line() {
        assert_eq!(place(&[label(90.0, 50.0)], 100.0), [Place { left: 40.0, row: 0 }]);
    }
}

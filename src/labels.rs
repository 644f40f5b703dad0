//! Class labels: names against dense codes `0..C`, and counts by class.

use serde::{Deserialize, Serialize};

/// Code of a label that the [`LabelMap`] does not hold (seen only in validation, test or prediction data).
pub const UNSEEN: u32 = u32::MAX;

/// Type the labels had in their file; predictions are written back in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelKind {
    /// Whole numbers (also floats without fractions).
    Int,
    /// `true` / `false`.
    Bool,
    /// Anything else.
    Text,
}

/// Class names in code order: code `c` is `names[c]`. Numbers are in numeric order, text in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelMap {
    /// Type the labels had.
    pub kind: LabelKind,
    /// One name a class, unique.
    pub names: Vec<String>,
}

impl LabelMap {
    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.names.len()
    }

    /// A look-up table from name to code.
    pub fn index(&self) -> std::collections::HashMap<&str, u32> {
        self.names.iter().enumerate().map(|(code, name)| (name.as_str(), code as u32)).collect()
    }
}

/// Rows by class, or sums of row weights by class, indexed by code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Number of rows of each class.
    pub rows: Vec<u64>,
    /// Sum of row weights of each class; equals `rows` where no row weights are given.
    pub weighted: Vec<f64>,
}

impl ClassCounts {
    /// Counts `labels` (codes; [`UNSEEN`] is passed over), weighted by `row_weights` where given.
    pub fn of(labels: &[u32], row_weights: Option<&[f64]>, classes: usize) -> Self {
        let mut counts = ClassCounts { rows: vec![0; classes], weighted: vec![0.0; classes] };
        for (row, &label) in labels.iter().enumerate() {
            if let Some(n) = counts.rows.get_mut(label as usize) {
                *n += 1;
                counts.weighted[label as usize] += row_weights.map_or(1.0, |w| w[row]);
            }
        }
        counts
    }

    /// Counts that are already known, one a class.
    pub fn from_rows(rows: Vec<u64>) -> Self {
        let weighted = rows.iter().map(|&n| n as f64).collect();
        ClassCounts { rows, weighted }
    }

    /// Number of classes, empty ones included.
    pub fn classes(&self) -> usize {
        self.rows.len()
    }

    /// Smallest and largest weighted count of the classes that have rows; `None` where no class has.
    pub fn extremes(&self) -> Option<(f64, f64)> {
        let present = self.weighted.iter().copied().filter(|&n| n > 0.0);
        present.fold(None, |seen: Option<(f64, f64)>, n| {
            Some(seen.map_or((n, n), |(smallest, largest)| (smallest.min(n), largest.max(n))))
        })
    }

    /// Largest count over smallest count of the classes that have rows: the imbalance factor of Cui et al. 2019.
    /// NaN where no class has rows.
    pub fn imbalance_factor(&self) -> f64 {
        self.extremes().map_or(f64::NAN, |(smallest, largest)| largest / smallest)
    }
}

/// The whole number a float stands for; `None` for fractions, infinities and numbers i64 cannot hold.
#[cfg(any(feature = "files", feature = "polars"))]
pub(crate) fn whole_number(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9.2e18;
    (value.fract() == 0.0 && value.abs() < LIMIT).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_labels_are_not_counted_and_weights_add_up() {
        let counts = ClassCounts::of(&[0, 1, 1, UNSEEN], Some(&[1.0, 0.5, 2.0, 9.0]), 3);
        assert_eq!(counts.rows, [1, 2, 0]);
        assert_eq!(counts.weighted, [1.0, 2.5, 0.0]);
        assert_eq!(counts.imbalance_factor(), 2.5);
    }

    #[test]
    fn extremes_are_those_of_classes_with_rows() {
        assert_eq!(ClassCounts::from_rows(vec![7, 0, 2, 30]).extremes(), Some((2.0, 30.0)));
        assert_eq!(ClassCounts::from_rows(vec![0, 4]).extremes(), Some((4.0, 4.0)));
        let empty = ClassCounts::from_rows(vec![0, 0]);
        assert_eq!(empty.extremes(), None);
        assert!(empty.imbalance_factor().is_nan());
    }
}

//! Parts of the rows: a stratified hold-out, or the parts a column names.

use crate::rng::CounterRng;
use crate::{Error, Result};

/// The part of the data a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Fitted on.
    Train,
    /// Chosen on.
    Valid,
    /// Scored at the end.
    Test,
}

impl Part {
    /// Reads `train`, `val`, `valid`, `validation`, `dev` or `test`, in any case.
    ///
    /// # Errors
    /// [`Error::BadSplit`] with the file, the column and the row (from 1) for anything else.
    pub fn parse(text: &str, file: &str, column: &str, row: u64) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "train" => Ok(Part::Train),
            "val" | "valid" | "validation" | "dev" => Ok(Part::Valid),
            "test" => Ok(Part::Test),
            _ => Err(Error::BadSplit { file: file.into(), column: column.into(), value: text.into(), row }),
        }
    }
}

/// A stratified split of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StratifiedSplit {
    /// Rows to fit on, ascending.
    pub train: Vec<usize>,
    /// Rows held out, ascending.
    pub valid: Vec<usize>,
    /// Classes too small to give a row away, ascending by code.
    pub kept_classes: Vec<u32>,
}

/// Holds out about `fraction` (in `[0, 1)`) of the rows of each of `classes` classes: `n * fraction` rounded to the
/// nearest number, never the last row of a class. Which rows depends on `seed` and the class alone.
pub fn stratified_split(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> StratifiedSplit {
    let mut by_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (row, &label) in labels.iter().enumerate() {
        if let Some(rows) = by_class.get_mut(label as usize) {
            rows.push(row);
        }
    }
    let mut split = StratifiedSplit { train: Vec::new(), valid: Vec::new(), kept_classes: Vec::new() };
    for (class, mut rows) in by_class.into_iter().enumerate() {
        let wanted = (rows.len() as f64 * fraction).round() as usize;
        let held_out = wanted.min(rows.len().saturating_sub(1));
        if held_out == 0 && fraction > 0.0 && !rows.is_empty() {
            split.kept_classes.push(class as u32);
        }
        CounterRng::new(seed, class as u64).shuffle(&mut rows);
        split.valid.extend_from_slice(&rows[..held_out]);
        split.train.extend_from_slice(&rows[held_out..]);
    }
    split.train.sort_unstable();
    split.valid.sort_unstable();
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_class_gives_its_share_and_small_ones_stay() {
        // 100, 10, 5, 4 and 1 rows, interleaved.
        let mut labels = vec![0; 100];
        for (class, n) in [(1, 10), (2, 5), (3, 4), (4, 1)] {
            for i in 0..n {
                labels.insert(i * 2, class);
            }
        }
        let split = stratified_split(&labels, 5, 0.1, 7);
        let held = |class| split.valid.iter().filter(|&&row| labels[row] == class).count();
        assert_eq!([0, 1, 2, 3, 4].map(held), [10, 1, 1, 0, 0]);
        assert_eq!(split.kept_classes, [3, 4]);
        assert_eq!(split, stratified_split(&labels, 5, 0.1, 7));
        assert_ne!(split, stratified_split(&labels, 5, 0.1, 8));
    }

    #[test]
    fn parts_have_several_spellings() {
        let parse = |text| Part::parse(text, "a.csv", "split", 3);
        for text in ["val", "Valid", "validation", "dev"] {
            assert_eq!(parse(text).unwrap(), Part::Valid);
        }
        assert_eq!(parse("holdout").unwrap_err().code(), "E0319");
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_part_and_no_class_leaves_training(
            labels in prop::collection::vec(0u32..6, 1..200), fraction in 0.0..0.99f64, seed in 0u64..50,
        ) {
            let split = stratified_split(&labels, 6, fraction, seed);
            let mut all: Vec<usize> = split.train.iter().chain(&split.valid).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            for class in &labels {
                prop_assert!(split.train.iter().any(|&row| labels[row] == *class));
            }
        }
    }
}

//! Which rows are trained on and which are held out.

use super::columns::Spelled;
use super::finite::Origin;
use super::table::ColumnBuffer;
use crate::rng::CounterRng;
use crate::{Error, Result};

/// A hold-out that takes the same share of every class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StratifiedSplit {
    /// Rows to train on, ascending.
    pub train: Vec<usize>,
    /// Rows held out, ascending.
    pub valid: Vec<usize>,
    /// Classes with rows that are too small to give one, ascending.
    pub kept_classes: Vec<u32>,
}

impl StratifiedSplit {
    /// Holds out `fraction` of the rows of every class, drawn by `(seed, class)`. A class of n rows gives
    /// n x fraction rounded to the nearest whole number, halves up, but never its last row; a class with
    /// n x fraction < 1/2 or a single row gives none. Rows with a label outside `0..classes` are trained on.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a fraction outside (0, 1).
    pub fn new(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> Result<Self> {
        if !(fraction > 0.0 && fraction < 1.0) {
            let help = "a tenth is --valid-fraction 0.1";
            return Err(Error::bad_value(
                "--valid-fraction",
                fraction.to_string(),
                "is not within 0 and 1",
                help,
            ));
        }
        let mut rows_of = vec![Vec::new(); classes];
        for (row, &label) in labels.iter().enumerate() {
            if let Some(rows) = rows_of.get_mut(label as usize) {
                rows.push(row);
            }
        }
        let mut held_out = vec![false; labels.len()];
        let mut kept_classes = Vec::new();
        for (class, mut rows) in rows_of.into_iter().enumerate() {
            let given = held_out_rows(rows.len(), fraction);
            if given == 0 {
                if !rows.is_empty() {
                    kept_classes.push(class as u32);
                }
                continue;
            }
            CounterRng::new(seed, class as u64).shuffle(&mut rows);
            rows[..given].iter().for_each(|&row| held_out[row] = true);
        }
        let (valid, train) = (0..labels.len()).partition(|&row| held_out[row]);
        Ok(StratifiedSplit { train, valid, kept_classes })
    }
}

fn held_out_rows(rows: usize, fraction: f64) -> usize {
    let wanted = (rows as f64 * fraction).round() as usize;
    wanted.min(rows.saturating_sub(1))
}

/// The part of a data set that a split column assigns a row to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `train`.
    Train,
    /// `val`, `valid`, `validation` or `dev`.
    Valid,
    /// `test`.
    Test,
}

impl Part {
    /// The part a value of a split column stands for, whatever its case.
    pub fn of(value: &str) -> Option<Part> {
        match value.to_lowercase().as_str() {
            "train" => Some(Part::Train),
            "val" | "valid" | "validation" | "dev" => Some(Part::Valid),
            "test" => Some(Part::Test),
            _ => None,
        }
    }
}

/// The parts that the values of a split column stand for.
pub(super) fn parse_parts(origin: &Origin<'_>, column: &str, values: &ColumnBuffer) -> Result<Vec<Part>> {
    let texts = Spelled::of(values);
    let parse = |row: usize| {
        let value = texts.get(row).unwrap_or_default();
        Part::of(&value).ok_or_else(|| Error::BadSplit {
            file: origin.file.to_owned(),
            column: column.to_owned(),
            value: value.into_owned(),
            row: origin.row(row),
        })
    };
    (0..values.rows()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tiny_classes_stay_in_train() {
        // 20, 4, 1 and 0 rows; a tenth of 4 is less than half a row.
        let mut labels = vec![0; 20];
        labels.extend([1, 1, 1, 1, 2, 9]);
        let split = StratifiedSplit::new(&labels, 4, 0.1, 0).unwrap();
        assert_eq!((split.valid.len(), split.train.len()), (2, 24));
        assert_eq!(split.kept_classes, [1, 2]);
        let most = StratifiedSplit::new(&[0, 0, 1], 2, 0.9, 0).unwrap();
        assert_eq!((most.valid.len(), most.kept_classes), (1, vec![1]));
    }

    #[test]
    fn fractions_outside_0_and_1_are_refused() {
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            assert_eq!(StratifiedSplit::new(&[0, 1], 2, fraction, 0).unwrap_err().code(), "E0208");
        }
    }

    #[test]
    fn parts_have_many_names() {
        assert_eq!(
            ["TRAIN", "dev", "test", "holdout"].map(Part::of),
            [Some(Part::Train), Some(Part::Valid), Some(Part::Test), None]
        );
    }

    proptest! {
        #[test]
        fn every_row_once_and_every_class_trained(
            labels in prop::collection::vec(0u32..6, 1..300),
            fraction in 0.01f64..0.99,
            seed: u64,
        ) {
            let split = StratifiedSplit::new(&labels, 6, fraction, seed).unwrap();
            prop_assert_eq!(&split, &StratifiedSplit::new(&labels, 6, fraction, seed).unwrap());
            let mut all = [split.train.clone(), split.valid.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            prop_assert!(split.train.is_sorted() && split.valid.is_sorted());
            let rows_in = |rows: &[usize], class| rows.iter().filter(|&&row| labels[row] == class).count();
            for class in 0..6u32 {
                let (train, valid) = (rows_in(&split.train, class), rows_in(&split.valid, class));
                prop_assert!(train > 0 || valid == 0);
                prop_assert_eq!(split.kept_classes.contains(&class), train > 0 && valid == 0);
                let expected = (train + valid) as f64 * fraction;
                prop_assert!((valid as f64 - expected).abs() <= 0.5 || train == 1);
            }
        }
    }
}

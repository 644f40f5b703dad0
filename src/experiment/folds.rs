//! Stratified folds that survive classes of a few rows.

use crate::rng::CounterRng;
use crate::{Error, Result};

/// Most folds: the fold of a row is kept in a byte.
pub const MOST_FOLDS: usize = 250;

const ALWAYS_TRAINED: u8 = u8::MAX;

/// Every row of a class with two rows or more is held out in exactly one fold, and each fold leaves at least one row of
/// each class to train on. Classes of one row are never held out. Classes with fewer rows than folds are held out in
/// some folds only, so scores are taken over the rows of all folds together, not fold by fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folds {
    folds: usize,
    fold_of: Vec<u8>,
    kept_classes: Vec<u32>,
}

impl Folds {
    /// Deals the rows of each class out over `folds`, in an order drawn by `(seed, repeat, class)`. A class begins where
    /// the one before it ended, so folds differ by one row at most.
    ///
    /// # Errors
    /// [`Error::BadValue`] for fewer than 2 or more than [`MOST_FOLDS`] folds; [`Error::NoRows`] where no class has two
    /// rows.
    pub fn new(labels: &[u32], classes: usize, folds: usize, seed: u64, repeat: u64) -> Result<Self> {
        if !(2..=MOST_FOLDS).contains(&folds) {
            let why = format!("is not within 2 and {MOST_FOLDS}");
            return Err(Error::bad_value("--folds", folds.to_string(), why, "5 or 10 folds are usual"));
        }
        let mut rows_of = vec![Vec::new(); classes];
        for (row, &label) in labels.iter().enumerate() {
            if let Some(rows) = rows_of.get_mut(label as usize) {
                rows.push(row);
            }
        }
        let mut fold_of = vec![ALWAYS_TRAINED; labels.len()];
        let mut kept_classes = Vec::new();
        let mut next = 0;
        for (class, mut rows) in rows_of.into_iter().enumerate() {
            if rows.len() < 2 {
                kept_classes.extend((!rows.is_empty()).then_some(class as u32));
                continue;
            }
            let stream = (repeat << 32) | class as u64;
            CounterRng::new(seed, stream).shuffle(&mut rows);
            for row in rows {
                fold_of[row] = next as u8;
                next = (next + 1) % folds;
            }
        }
        if fold_of.iter().all(|&fold| fold == ALWAYS_TRAINED) {
            let why = " to hold out: no class has two rows".into();
            return Err(Error::NoRows { file: "the data".into(), why });
        }
        Ok(Folds { folds, fold_of, kept_classes })
    }

    /// Number of folds.
    pub fn folds(&self) -> usize {
        self.folds
    }

    /// The first `folds` folds, two at least: rows that only later ones hold out are held out by none.
    pub fn first(mut self, folds: usize) -> Self {
        self.folds = self.folds.min(folds.max(2));
        for fold in &mut self.fold_of {
            if usize::from(*fold) >= self.folds {
                *fold = ALWAYS_TRAINED;
            }
        }
        self
    }

    /// The fold that holds `row` out; `None` for a row of a class of one.
    pub fn fold_of(&self, row: usize) -> Option<usize> {
        self.fold_of.get(row).filter(|&&fold| fold != ALWAYS_TRAINED).map(|&fold| usize::from(fold))
    }

    /// Rows to train on and rows held out of `fold`, both ascending.
    pub fn split(&self, fold: usize) -> (Vec<usize>, Vec<usize>) {
        (0..self.fold_of.len()).partition(|&row| self.fold_of(row) != Some(fold))
    }

    /// Rows that some fold holds out, ascending.
    pub fn scored(&self) -> Vec<usize> {
        (0..self.fold_of.len()).filter(|&row| self.fold_of(row).is_some()).collect()
    }

    /// Classes of one row, ascending.
    pub fn kept_classes(&self) -> &[u32] {
        &self.kept_classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_held_out_once_and_every_class_stays_in_training(
            counts in prop::collection::vec(0usize..40, 2..12), folds in 2usize..8, seed in 0u64..50,
        ) {
            prop_assume!(counts.iter().any(|&n| n > 1));
            let labels: Vec<u32> =
                (0..).zip(&counts).flat_map(|(class, &n)| std::iter::repeat_n(class, n)).collect();
            let cut = Folds::new(&labels, counts.len(), folds, seed, 1).unwrap();
            let mut held_out = vec![0; labels.len()];
            let mut sizes = Vec::new();
            for fold in 0..folds {
                let (train, held) = cut.split(fold);
                prop_assert_eq!(train.len() + held.len(), labels.len());
                sizes.push(held.len());
                held.iter().for_each(|&row| held_out[row] += 1);
                for (class, &n) in counts.iter().enumerate() {
                    let trained = train.iter().filter(|&&row| labels[row] as usize == class).count();
                    prop_assert!(trained >= n.min(1));
                    // Stratified: within one row of an equal share.
                    prop_assert!(n < 2 || (n - trained).abs_diff(n / folds) <= 1);
                }
            }
            for (row, &times) in held_out.iter().enumerate() {
                prop_assert_eq!(times, usize::from(counts[labels[row] as usize] > 1));
            }
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            prop_assert_eq!(cut.kept_classes().len(), counts.iter().filter(|&&n| n == 1).count());
        }
    }

    #[test]
    fn repeats_and_seeds_draw_other_folds() {
        let labels = vec![0; 50];
        let draw = |seed, repeat| Folds::new(&labels, 1, 5, seed, repeat).unwrap();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn impossible_folds_are_refused() {
        assert_eq!(Folds::new(&[0, 0], 1, 1, 0, 0).unwrap_err().code(), "E0208");
        assert!(matches!(Folds::new(&[0, 1], 2, 2, 0, 0), Err(Error::NoRows { .. })));
    }
}

//! Recall and calibration of frequent, medium and rare classes, by their count in training.

use serde::Serialize;

use super::recall::{ClassTally, mean_of_defined};

/// More training rows than this make a class "many".
const MANY_ABOVE: u64 = 100;
/// Fewer training rows than this make a class "few".
const FEW_BELOW: u64 = 20;

/// Scores of the classes whose training count lies in one range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Band {
    /// `many`, `medium`, `few`, or `head`, `middle`, `tail` for terciles.
    pub name: &'static str,
    /// Smallest training count of its classes; `None` in an empty band.
    pub min_train_rows: Option<u64>,
    /// Largest training count of its classes.
    pub max_train_rows: Option<u64>,
    /// Classes in the band.
    pub classes: usize,
    /// Classes in the band that have rows to score.
    pub present: usize,
    /// Rows of these classes.
    pub rows: u64,
    /// Mean recall over the classes present; NaN (null in JSON) where there are none.
    pub recall: f64,
    /// Share of the rows that belong to the band.
    pub true_share: f64,
    /// Share of the rows predicted to belong to it.
    pub predicted_share: f64,
    /// Calibration error of the most probable class over the rows where that class is of this band; NaN (null in JSON)
    /// where there are none.
    pub ece: f64,
}

/// Calibration error of the rows whose most probable class is among these.
type BandError<'e> = dyn Fn(&[usize]) -> f64 + 'e;

/// Many (> 100 training rows), medium (20 to 100) and few (< 20), in this order.
pub(super) fn bands(
    tallies: &[ClassTally],
    train_rows: &[u64],
    total_weight: f64,
    error: &BandError<'_>,
) -> Vec<Band> {
    let of = |(place, name)| {
        let members = (0..tallies.len()).filter(|&c| place_of(train_rows[c]) == place).collect::<Vec<_>>();
        band(name, &members, tallies, train_rows, total_weight, error)
    };
    ["many", "medium", "few"].into_iter().enumerate().map(of).collect()
}

/// Place in [`bands`] of a class with `train_rows` training rows.
pub(super) fn place_of(train_rows: u64) -> usize {
    match train_rows {
        n if n > MANY_ABOVE => 0,
        n if n < FEW_BELOW => 2,
        _ => 1,
    }
}

/// The classes with training rows in three groups of equal size by training count (equal counts in class order):
/// head, middle, tail.
pub(super) fn terciles(
    tallies: &[ClassTally],
    train_rows: &[u64],
    total_weight: f64,
    error: &BandError<'_>,
) -> Vec<Band> {
    let mut order: Vec<usize> = (0..tallies.len()).filter(|&c| train_rows[c] > 0).collect();
    order.sort_by_key(|&c| (std::cmp::Reverse(train_rows[c]), c));
    let cut = |third: usize| (order.len() * third).div_ceil(3);
    ["head", "middle", "tail"]
        .iter()
        .enumerate()
        .map(|(third, name)| {
            band(name, &order[cut(third)..cut(third + 1)], tallies, train_rows, total_weight, error)
        })
        .collect()
}

fn band(
    name: &'static str,
    members: &[usize],
    tallies: &[ClassTally],
    train_rows: &[u64],
    total_weight: f64,
    error: &BandError<'_>,
) -> Band {
    let present = || members.iter().map(|&c| &tallies[c]).filter(|t| t.is_present());
    // From 0.0, because an empty `sum` is -0.0, which would be printed.
    let share =
        |f: fn(&ClassTally) -> f64| members.iter().fold(0.0, |sum, &c| sum + f(&tallies[c])) / total_weight;
    Band {
        name,
        min_train_rows: members.iter().map(|&c| train_rows[c]).min(),
        max_train_rows: members.iter().map(|&c| train_rows[c]).max(),
        classes: members.len(),
        present: present().count(),
        rows: present().map(|t| t.rows).sum(),
        recall: mean_of_defined(present().map(ClassTally::recall)),
        true_share: share(|t| t.truth),
        predicted_share: share(|t| t.predicted),
        ece: error(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(rows: u64, hits: f64) -> ClassTally {
        ClassTally { rows, truth: rows as f64, truth_squares: rows as f64, hits, ..ClassTally::default() }
    }

    #[test]
    fn bands_are_cut_by_training_count_at_20_and_100() {
        let tallies = [class(4, 4.0), class(4, 2.0), class(4, 1.0), class(4, 3.0), class(0, 0.0)];
        let bands = bands(&tallies, &[101, 100, 20, 19, 0], 16.0, &|members| members.len() as f64);
        let seen: Vec<_> = bands.iter().map(|b| (b.name, b.classes, b.present, b.recall)).collect();
        assert_eq!(seen, [("many", 1, 1, 1.0), ("medium", 2, 2, 0.375), ("few", 2, 1, 0.75)]);
        assert_eq!((bands[1].min_train_rows, bands[1].max_train_rows), (Some(20), Some(100)));
        assert_eq!((bands[1].true_share, bands[1].ece), (0.5, 2.0));
    }

    #[test]
    fn an_empty_band_has_no_recall() {
        let bands = bands(&[class(4, 4.0)], &[500], 4.0, &|_| f64::NAN);
        assert!(bands[1].recall.is_nan() && bands[1].min_train_rows.is_none());
        assert!(bands[1].true_share.is_sign_positive());
        assert!(serde_json::to_string(&bands[2]).unwrap().contains("\"recall\":null"));
    }

    #[test]
    fn terciles_split_the_trained_classes_evenly() {
        let tallies = vec![class(1, 1.0); 8];
        let terciles = terciles(&tallies, &[5, 9, 7, 7, 0, 3, 1, 2], 8.0, &|_| 0.0);
        assert_eq!(terciles.iter().map(|t| t.classes).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(terciles[0].min_train_rows, Some(7));
        assert_eq!(terciles[2].max_train_rows, Some(2));
    }
}

//! Rows with the same bins and label as one row: they have the same score forever, so their weights add up.
//!
//! Trees see bins only, so that more rows are equal than in the values: of KDD Cup 1999, 76 % repeat others, of the credit
//! card transactions of ULB, 19 %.

use std::borrow::Cow;

use super::binned::BinnedMatrix;

/// Share of the rows that must repeat others for one of each to be worth its copy.
const LEAST_SAVING: f64 = 0.1;

/// One in so many rows tells whether rows repeat, chosen by what is in them: equal rows are chosen together.
const SAMPLE: u64 = 32;

/// Fewest sampled rows that say anything.
const FEWEST: usize = 256;

/// What a tree is grown on: the rows of a fit, each standing for as many as are equal.
#[derive(Debug)]
pub(super) struct DistinctRows<'a> {
    pub features: Cow<'a, BinnedMatrix>,
    pub labels: Cow<'a, [u32]>,
    /// Sums over the rows that each stands for.
    pub weights: Vec<f32>,
    /// Rows that each stands for; empty where that is one.
    pub counts: Vec<u32>,
    /// Row that stands for each row of the fit; empty where that is itself.
    place: Vec<u32>,
}

impl<'a> DistinctRows<'a> {
    /// Every row by itself.
    pub(super) fn all(features: &'a BinnedMatrix, labels: &'a [u32], weights: Vec<f32>) -> Self {
        DistinctRows {
            features: Cow::Borrowed(features),
            labels: Cow::Borrowed(labels),
            weights,
            counts: Vec::new(),
            place: Vec::new(),
        }
    }

    /// Rows that differ in bins or label, in the order of their first occurrence, where they are few enough to be worth it;
    /// else every row.
    pub(super) fn of(features: &'a BinnedMatrix, labels: &'a [u32], weights: Vec<f32>) -> Self {
        let hashes = hashes(features, labels);
        let distinct = promises_savings(&hashes).then(|| first_rows(features, labels, &hashes));
        match distinct {
            Some((rows, place)) if is_worth(rows.len(), labels.len()) && !features.is_stopped() => {
                let (mut sums, mut counts) = (vec![0.0f64; rows.len()], vec![0; rows.len()]);
                for (&place, &weight) in place.iter().zip(&weights) {
                    sums[place as usize] += f64::from(weight);
                    counts[place as usize] += 1;
                }
                DistinctRows {
                    features: Cow::Owned(features.chosen(&rows)),
                    labels: rows.iter().map(|&row| labels[row]).collect(),
                    weights: sums.into_iter().map(|sum| sum as f32).collect(),
                    counts,
                    place,
                }
            }
            _ => Self::all(features, labels, weights),
        }
    }

    /// Numbers of all rows of the fit, `width` each, from those of these rows.
    pub(super) fn spread(&self, values: Vec<f32>, width: usize) -> Vec<f32> {
        if self.place.is_empty() {
            return values;
        }
        let row = |&place: &u32| &values[place as usize * width..][..width];
        self.place.iter().flat_map(row).copied().collect()
    }
}

fn is_worth(distinct: usize, rows: usize) -> bool {
    distinct as f64 <= (1.0 - LEAST_SAVING) * rows as f64
}

/// Whether a sample repeats rows.
fn promises_savings(hashes: &[u64]) -> bool {
    let mut sample: Vec<u64> = hashes.iter().copied().filter(|hash| hash.is_multiple_of(SAMPLE)).collect();
    let rows = sample.len();
    sample.sort_unstable();
    sample.dedup();
    // Half of what is asked for in the end: a sample errs.
    rows >= FEWEST && sample.len() as f64 <= (1.0 - 0.5 * LEAST_SAVING) * rows as f64
}

fn hashes(features: &BinnedMatrix, labels: &[u32]) -> Vec<u64> {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
        (product as u64) ^ (product >> 64) as u64
    };
    let mut hashes: Vec<u64> = labels.iter().map(|&label| mixed(MULTIPLIER, u64::from(label))).collect();
    for block in features.blocks() {
        for (hash, bins) in hashes.iter_mut().zip(&block.bins) {
            let bins = u128::from_le_bytes(*bins);
            *hash = mixed(mixed(*hash, bins as u64), (bins >> 64) as u64);
        }
    }
    hashes
}

/// First rows of their kind, ascending, and of each row the place of its kind among them.
fn first_rows(features: &BinnedMatrix, labels: &[u32], hashes: &[u64]) -> (Vec<usize>, Vec<u32>) {
    const EMPTY: u32 = u32::MAX;
    let is_equal = |a: usize, b: usize| {
        labels[a] == labels[b] && features.blocks().iter().all(|block| block.bins[a] == block.bins[b])
    };
    // Twice as many slots as rows: a search ends soon.
    let mask = (2 * hashes.len()).next_power_of_two() - 1;
    let mut kinds = vec![EMPTY; mask + 1];
    let (mut first, mut place) = (Vec::new(), Vec::with_capacity(hashes.len()));
    for (row, &hash) in hashes.iter().enumerate() {
        let mut slot = hash as usize & mask;
        while kinds[slot] != EMPTY && !is_equal(first[kinds[slot] as usize], row) {
            slot = (slot + 1) & mask;
        }
        if kinds[slot] == EMPTY {
            kinds[slot] = first.len() as u32;
            first.push(row);
        }
        place.push(kinds[slot]);
    }
    (first, place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boost::binning::{Binner, BinningOptions};
    use crate::boost::model::BoostedTree;
    use crate::boost::options::BoostOptions;
    use crate::boost::problem::BoostProblem;
    use crate::boost::start::Init;
    use crate::boost::trainer::Trainer;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;
    use crate::simd::Kernels;

    /// Rows of twenty features, each one of `kinds`.
    fn repeated(rows: usize, kinds: usize) -> (BinnedMatrix, Vec<u32>) {
        let mut rng = CounterRng::new(9, 0);
        let kind: Vec<usize> = (0..rows).map(|_| rng.below(kinds)).collect();
        let bin = |feature: u64, kind: usize| CounterRng::new(kind as u64, feature).below(253) as u8 + 1;
        let columns: Vec<Vec<u8>> =
            (0..20).map(|feature| kind.iter().map(|&kind| bin(feature, kind)).collect()).collect();
        let labels = kind.iter().map(|kind| (kind / 3 % 2) as u32).collect();
        (BinnedMatrix::from_columns(&columns), labels)
    }

    #[test]
    fn equal_rows_are_one_and_come_back_in_their_places() {
        let (features, labels) = repeated(20_000, 3000);
        let weights: Vec<f32> = (0..20_000).map(|row| (row % 4) as f32).collect();
        let distinct = DistinctRows::of(&features, &labels, weights.clone());
        assert!(distinct.labels.len() <= 3000 && distinct.labels.len() > 2000);
        assert_eq!(distinct.counts.iter().sum::<u32>(), 20_000);
        assert_eq!(distinct.weights.iter().sum::<f32>(), weights.iter().sum::<f32>());
        let labels_back = distinct.spread(distinct.labels.iter().map(|&label| label as f32).collect(), 1);
        assert!(labels_back.iter().zip(&labels).all(|(&back, &label)| back == label as f32));
        for feature in [0, 19] {
            let bins = (0..distinct.labels.len()).map(|row| f32::from(distinct.features.bin(row, feature)));
            let back = distinct.spread(bins.collect(), 1);
            assert!((0..20_000).all(|row| back[row] == f32::from(features.bin(row, feature))));
        }
    }

    #[test]
    fn a_fit_of_equal_rows_is_that_of_every_row() {
        let mut rng = CounterRng::new(10, 0);
        let (rows, classes) = (12_000, 3);
        let kind: Vec<usize> = (0..rows).map(|_| rng.below(60) * rng.below(60)).collect();
        let values =
            kind.iter().flat_map(|&kind| (0..5).map(move |f| (kind * (f + 3) % 101) as f32)).collect();
        let labels: Vec<u32> = kind.iter().map(|&kind| (kind % 101 / 34) as u32).collect();
        let matrix = Matrix::from_f32(values, 5);
        let binner = Binner::fit(&matrix, &labels, &BinningOptions::default()).unwrap();
        let features = binner.bin(&matrix).unwrap();
        let weights: Vec<f32> = labels.iter().map(|&label| [1.0, 2.5, 0.5][label as usize]).collect();
        let problem = BoostProblem {
            features: &features,
            binner: &binner,
            labels: &labels,
            weights: &weights,
            classes,
            loss: Loss::Softmax,
            offsets: None,
            start: None,
        };
        assert!(DistinctRows::of(&features, &labels, weights.clone()).labels.len() < rows / 4);
        let options =
            BoostOptions { init: Init::Zero, min_rows: 50, max_leaves: 8, ..BoostOptions::default() };
        // Rows that start from logits of their own are not put together.
        let start = vec![0.0; rows * classes];
        let every = BoostProblem { start: Some(&start), ..problem };
        let fit = |problem| {
            let mut trainer = Trainer::new(problem, &options, Kernels::best()).unwrap();
            let losses: Vec<f64> = (0..6).map(|_| trainer.round().loss).collect();
            (losses, trainer.logits(), trainer.into_model())
        };
        let ((losses, logits, model), (losses_of_every, logits_of_every, model_of_every)) =
            (fit(problem), fit(every));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
        assert!(losses.iter().zip(losses_of_every).all(|(&a, b)| near(a, b)));
        assert!(logits.iter().zip(&logits_of_every).all(|(&a, &b)| near(a.into(), b.into())));
        assert_eq!(logits, model.logits(&matrix).unwrap());
        for (one, other) in model.trees.iter().zip(&model_of_every.trees) {
            let covers = |tree: &BoostedTree| {
                tree.tree.nodes.iter().map(|node| (node.cover, node.left_cover)).collect::<Vec<_>>()
            };
            assert_eq!(covers(one), covers(other));
            assert!(covers(one).iter().all(|&(cover, left)| left >= 50 && cover - left >= 50));
        }
    }

    #[test]
    fn rows_that_differ_stay_as_they_are() {
        for kinds in [20_000_000, 150_000] {
            let (features, labels) = repeated(20_000, kinds);
            let distinct = DistinctRows::of(&features, &labels, vec![1.0; 20_000]);
            assert!(distinct.counts.is_empty() && matches!(distinct.features, Cow::Borrowed(_)));
            assert_eq!(distinct.spread(vec![1.5; 20_000], 1), vec![1.5; 20_000]);
        }
        let (features, labels) = repeated(100, 2);
        assert!(DistinctRows::of(&features, &labels, vec![1.0; 100]).counts.is_empty());
    }
}

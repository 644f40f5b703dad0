//! What a set of class weights amounts to: the numbers printed with every fit.

use serde::Serialize;

use super::{Beta, ClassWeights, Normalisation, Scheme};
use crate::labels::ClassCounts;

/// All weights within this ratio of one another count as equal.
const EQUAL_RATIO: f64 = 1.01;
/// Relative distance to inverse frequency below which beta is said to be saturated.
const SATURATED: f64 = 0.05;

/// Scale, spread and cost of class weights on the rows they were made for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightSummary {
    /// Name of the scheme, with its beta.
    pub scheme: String,
    /// Largest over smallest weight in force.
    pub max_min_ratio: f64,
    /// The same ratio under inverse frequency: the imbalance factor.
    pub inverse_ratio: f64,
    /// The same ratio under inverse square root.
    pub sqrt_ratio: f64,
    /// Factor from raw weights to mean row weight one (before any cap).
    pub samples_factor: f64,
    /// Factor from raw weights to mean class weight one (before any cap).
    pub classes_factor: f64,
    /// Sum over rows of row weight times class weight.
    pub total_weight: f64,
    /// Kish's effective sample size `(sum w)^2 / sum w^2` over rows, in rows.
    pub kish_effective_size: f64,
    /// Number of classes held at the cap.
    pub capped: usize,
    /// All weights are within 1 % of one another: the same as no weighting.
    pub does_nothing: bool,
    /// The effective-number weights are within 5 % of inverse frequency for every class, both at mean row weight one.
    pub saturated: bool,
    /// The largest beta of .9, .99, .999, ... below a saturated one that is itself not saturated.
    pub suggestion: Option<Beta>,
}

impl WeightSummary {
    /// Summary of `weights` on the `counts` they were made from. Where rows have weights of their own, `rows` gives
    /// their labels and weights (equal lengths); they enter Kish's effective size row by row.
    pub fn new(weights: &ClassWeights, counts: &ClassCounts, rows: Option<(&[u32], &[f64])>) -> Self {
        let raw_factor = |normalisation| {
            let plain = ClassWeights::new(&weights.scheme, counts, normalisation, None);
            plain.map_or(f64::NAN, |plain| factor(&plain))
        };
        let saturated = is_saturated(&weights.scheme, counts);
        let max_min_ratio = spread(&weights.alpha);
        let (relative_total, squares) = weight_sums(&weights.alpha, counts, rows);
        WeightSummary {
            scheme: weights.scheme.to_string(),
            max_min_ratio,
            inverse_ratio: counts.imbalance_factor(),
            sqrt_ratio: counts.imbalance_factor().sqrt(),
            samples_factor: raw_factor(Normalisation::Samples),
            classes_factor: raw_factor(Normalisation::Classes),
            total_weight: weights.alpha.iter().zip(&counts.weighted).map(|(a, n)| a * n).sum(),
            kish_effective_size: relative_total * (relative_total / squares),
            capped: weights.capped,
            does_nothing: max_min_ratio <= EQUAL_RATIO,
            saturated,
            suggestion: if saturated { milder_beta(&weights.scheme, counts) } else { None },
        }
    }
}

fn factor(weights: &ClassWeights) -> f64 {
    let pair = weights.alpha.iter().zip(&weights.raw).find(|(_, raw)| **raw > 0.0);
    pair.map_or(f64::NAN, |(alpha, raw)| alpha / raw)
}

/// Largest over smallest of the weights of classes with rows; NaN where there are none.
pub fn spread(alpha: &[f64]) -> f64 {
    let present = || alpha.iter().copied().filter(|&a| a > 0.0);
    present().fold(f64::NAN, f64::max) / present().fold(f64::NAN, f64::min)
}

/// Sum and sum of squares of the row weights, with the mean of the given ones as their unit: no square overflows.
fn weight_sums(alpha: &[f64], counts: &ClassCounts, rows: Option<(&[u32], &[f64])>) -> (f64, f64) {
    let mean = counts.weighted.iter().sum::<f64>() / counts.rows.iter().sum::<u64>() as f64;
    let weighed = || alpha.iter().zip(counts.weighted.iter().map(|n| n / mean));
    let total = weighed().map(|(a, n)| a * n).sum();
    let squares = match rows {
        None => weighed().map(|(a, n)| a * a * n).sum(),
        Some((labels, row_weights)) => {
            let weighed = labels.iter().zip(row_weights);
            weighed.map(|(&y, w)| alpha.get(y as usize).map_or(0.0, |a| (a * (w / mean)).powi(2))).sum()
        }
    };
    (total, squares)
}

fn is_saturated(scheme: &Scheme, counts: &ClassCounts) -> bool {
    if !matches!(scheme, Scheme::Effective(_)) || counts.imbalance_factor() <= EQUAL_RATIO {
        return false;
    }
    let at_mean_one = |scheme: &Scheme| ClassWeights::new(scheme, counts, Normalisation::Samples, None);
    let (Ok(these), Ok(inverse)) = (at_mean_one(scheme), at_mean_one(&Scheme::Inverse)) else {
        return false;
    };
    let mut pairs = these.alpha.iter().zip(&inverse.alpha).filter(|(_, inverse)| **inverse > 0.0);
    pairs.all(|(this, inverse)| (this / inverse - 1.0).abs() <= SATURATED)
}

fn milder_beta(scheme: &Scheme, counts: &ClassCounts) -> Option<Beta> {
    let Scheme::Effective(beta) = scheme else { return None };
    (1..=16)
        .rev()
        .filter_map(|nines| Beta::parse(&format!("1-1e-{nines}")).ok())
        .filter(|milder| milder.eps() > beta.eps())
        .find(|milder| !is_saturated(&Scheme::Effective(*milder), counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long-tailed profile of Cui et al. 2019.
    fn long_tail(n_max: f64, classes: usize, imbalance: f64) -> ClassCounts {
        let share = |c: usize| (1.0 / imbalance).powf(c as f64 / (classes - 1) as f64);
        ClassCounts::from_rows((0..classes).map(|c| (n_max * share(c)) as u64).collect())
    }

    fn summary(beta: &str, counts: &ClassCounts, normalisation: Normalisation) -> WeightSummary {
        let scheme = Scheme::Effective(Beta::parse(beta).unwrap());
        WeightSummary::new(&ClassWeights::new(&scheme, counts, normalisation, None).unwrap(), counts, None)
    }

    #[test]
    fn ratios_on_long_tailed_cifar_are_those_of_the_paper() {
        let cifar10 = long_tail(5000.0, 10, 100.0);
        assert_eq!(cifar10.rows, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
        let ratio = |beta, counts| summary(beta, counts, Normalisation::Samples).max_min_ratio;
        for (beta, expected) in [("0.9", 1.01), ("0.99", 2.5), ("0.999", 20.0), ("0.9999", 79.0)] {
            assert!(
                (ratio(beta, &cifar10) / expected - 1.0).abs() < 0.02,
                "{beta}: {}",
                ratio(beta, &cifar10)
            );
        }
        let cifar100 = long_tail(500.0, 100, 100.0);
        for (beta, expected) in [("0.9", 2.4), ("0.99", 20.0), ("0.999", 79.0), ("0.9999", 98.0)] {
            assert!((ratio(beta, &cifar100) / expected - 1.0).abs() < 0.03, "{beta}");
        }
    }

    #[test]
    fn normalising_by_classes_shrinks_the_total_weight() {
        let counts = long_tail(5000.0, 10, 100.0);
        let paper = summary("0.9999", &counts, Normalisation::Classes);
        let mean_one = summary("0.9999", &counts, Normalisation::Samples);
        let shrink = paper.total_weight / 12_406.0;
        assert!((0.17..0.31).contains(&shrink), "{shrink}");
        assert!((mean_one.total_weight / 12_406.0 - 1.0).abs() < 1e-12);
        assert!((paper.classes_factor / paper.samples_factor - shrink).abs() < 1e-12);
    }

    #[test]
    fn saturation_is_seen_and_a_milder_beta_suggested() {
        let counts = ClassCounts::from_rows((2..=1000).collect());
        let seen = summary("0.9999", &counts, Normalisation::Samples);
        assert!(seen.saturated && !seen.does_nothing);
        assert_eq!(seen.max_min_ratio.round(), 476.0);
        assert_eq!((seen.inverse_ratio, seen.sqrt_ratio.round()), (500.0, 22.0));
        assert_eq!(seen.suggestion.unwrap().to_string(), "0.999");
        let milder = summary("0.999", &counts, Normalisation::Samples);
        assert_eq!((milder.max_min_ratio.round(), milder.saturated, milder.suggestion), (316.0, false, None));
    }

    #[test]
    fn a_beta_that_does_nothing_is_seen() {
        let counts = ClassCounts::from_rows(vec![50_000, 500]);
        let seen = summary("0.9", &counts, Normalisation::Samples);
        assert!(seen.does_nothing && !seen.saturated);
        let balanced = ClassCounts::from_rows(vec![70, 70]);
        let seen = summary("0.9999", &balanced, Normalisation::Samples);
        assert!(seen.does_nothing && !seen.saturated && seen.suggestion.is_none());
    }

    #[test]
    fn kish_size_counts_rows() {
        let labels = [0, 0, 0, 1];
        let counts = ClassCounts::of(&labels, None, 2);
        let inverse = ClassWeights::new(&Scheme::Inverse, &counts, Normalisation::Samples, None).unwrap();
        // Weights 2/3 three times and 2 once: 16 / (3 * 4/9 + 4) = 3.
        let plain = WeightSummary::new(&inverse, &counts, None);
        assert!((plain.kish_effective_size - 3.0).abs() < 1e-12);
        let ones = WeightSummary::new(&inverse, &counts, Some((&labels, &[1.0; 4])));
        assert!((ones.kish_effective_size - 3.0).abs() < 1e-12);

        let row_weights = [1.0, 1.0, 1.0, 3.0];
        let counts = ClassCounts::of(&labels, Some(&row_weights), 2);
        let flat = ClassWeights::new(&Scheme::None, &counts, Normalisation::Samples, None).unwrap();
        // 36 / (1 + 1 + 1 + 9) = 3 rows.
        let weighted = WeightSummary::new(&flat, &counts, Some((&labels, &row_weights)));
        assert!((weighted.kish_effective_size - 3.0).abs() < 1e-12);
        for scale in [1e-200, 1e200] {
            let row_weights = row_weights.map(|w| w * scale);
            let counts = ClassCounts::of(&labels, Some(&row_weights), 2);
            let flat = ClassWeights::new(&Scheme::None, &counts, Normalisation::Samples, None).unwrap();
            let scaled = WeightSummary::new(&flat, &counts, Some((&labels, &row_weights)));
            assert!((scaled.kish_effective_size - 3.0).abs() < 1e-12);
            assert!((scaled.total_weight / scale - 6.0).abs() < 1e-12);
        }
    }
}

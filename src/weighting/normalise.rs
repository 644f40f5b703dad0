//! The scale of class weights, their cap, and the weight of each row.

use serde::{Deserialize, Serialize};

use super::Scheme;
use crate::labels::ClassCounts;
use crate::{Error, Result};

/// What the class weights alpha add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalisation {
    /// `sum_i alpha_{y_i} = n`: the mean row weighs one.
    Samples,
    /// `sum_c alpha_c = C`, counting the classes with rows: the choice of Cui et al. 2019.
    Classes,
    /// Raw weights.
    None,
}

impl Normalisation {
    /// `samples`, `classes` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Normalisation::Samples => "samples",
            Normalisation::Classes => "classes",
            Normalisation::None => "none",
        }
    }
}

/// Weights of all classes, ready to multiply row losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassWeights {
    /// Rule the weights come from.
    pub scheme: Scheme,
    /// What `alpha` adds up to.
    pub normalisation: Normalisation,
    /// Upper bound on `alpha`, if any.
    pub max_weight: Option<f64>,
    /// Weight by class before normalisation and cap; 0 for a class without rows.
    pub raw: Vec<f64>,
    /// Weight by class in force; 0 for a class without rows.
    pub alpha: Vec<f64>,
    /// Number of classes held at `max_weight`.
    pub capped: usize,
}

impl ClassWeights {
    /// Weights by the inverse effective number of samples (Cui et al., CVPR 2019) for the rows of each class, where the mean
    /// row weighs one.
    ///
    /// # Errors
    /// [`Error::BadBeta`] outside `[0, 1)`, [`Error::BadCounts`] where no class has rows.
    pub fn effective(counts: &[u64], beta: f64) -> Result<Self> {
        Self::of(Scheme::effective(beta)?, counts)
    }

    /// By effective numbers, the beta being the one whose largest weight is `ratio` times its smallest.
    ///
    /// # Errors
    /// Those of [`Scheme::with_ratio`], [`Error::BadCounts`].
    pub fn with_ratio(counts: &[u64], ratio: f64) -> Result<Self> {
        Self::of(Scheme::with_ratio(ratio, &ClassCounts::from_rows(counts.to_vec()))?, counts)
    }

    /// By inverse counts.
    ///
    /// # Errors
    /// [`Error::BadCounts`].
    pub fn inverse(counts: &[u64]) -> Result<Self> {
        Self::of(Scheme::Inverse, counts)
    }

    /// By the inverse square roots of the counts.
    ///
    /// # Errors
    /// [`Error::BadCounts`].
    pub fn sqrt(counts: &[u64]) -> Result<Self> {
        Self::of(Scheme::Sqrt, counts)
    }

    fn of(scheme: Scheme, counts: &[u64]) -> Result<Self> {
        ClassWeights::new(&scheme, &ClassCounts::from_rows(counts.to_vec()), Normalisation::Samples, None)
    }

    /// Weights of `scheme` on `counts` (the counts of the rows trained on).
    ///
    /// `max_weight` bounds the normalised weights, and the normalisation holds for the bounded ones: what the cap
    /// takes away is shared out in proportion among the classes below it. The mean weight being one, a cap below 1
    /// is impossible under `samples` and `classes` ([`Error::BadValue`]); other errors as [`Scheme::class_weights`].
    pub fn new(
        scheme: &Scheme,
        counts: &ClassCounts,
        normalisation: Normalisation,
        max_weight: Option<f64>,
    ) -> Result<Self> {
        let raw = scheme.class_weights(counts)?;
        if let Some(cap) = max_weight {
            check_cap(cap, normalisation)?;
        }
        let cap = max_weight.unwrap_or(f64::INFINITY);
        let scale = match class_masses(normalisation, counts) {
            Some(masses) => capped_scale(&raw, &masses, cap),
            None => 1.0,
        };
        // Where every class reaches the cap the scale is infinite, and 0 * inf would be NaN.
        let alpha: Vec<f64> = raw.iter().map(|&a| if a > 0.0 { (a * scale).min(cap) } else { 0.0 }).collect();
        let capped = raw.iter().filter(|&&a| a > 0.0 && a * scale > cap).count();
        let overflow = alpha.iter().position(|a| !a.is_finite());
        if let Some(class) = overflow {
            return Err(Error::BadWeight {
                place: "class weights".into(),
                detail: format!("the weight of class {class} (by code) overflows when normalised"),
            });
        }
        Ok(ClassWeights { scheme: scheme.clone(), normalisation, max_weight, raw, alpha, capped })
    }

    /// Multiplies the weight of each class by its `factors`, keeping no promise of the normalisation.
    pub(crate) fn tilt(&mut self, factors: &[f64]) {
        for values in [&mut self.raw, &mut self.alpha] {
            values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
    }

    /// `row_weight_i * alpha_{y_i}` for each row; 0 for a label without class. `row_weights`, where given, has one
    /// positive entry a label.
    ///
    /// The given weights are divided by their mean over the rows with a class first. The objective divides by the sum
    /// of all weights, so their scale has no effect on it; here it decides whether they fit f32, and whether the mean
    /// row weighs one under [`Normalisation::Samples`].
    pub fn row_weights(&self, labels: &[u32], row_weights: Option<&[f64]>) -> Vec<f32> {
        let alpha = |label: u32| self.alpha.get(label as usize).copied().unwrap_or(0.0);
        let Some(given) = row_weights else {
            return labels.iter().map(|&label| alpha(label) as f32).collect();
        };
        let weighed = || labels.iter().zip(given).filter(|(label, _)| alpha(**label) > 0.0);
        // Relative to the largest, because the sum of all may overflow.
        let largest = weighed().fold(0.0, |largest: f64, (_, &w)| largest.max(w));
        let mean = weighed().map(|(_, w)| w / largest).sum::<f64>() / weighed().count() as f64;
        let scaled = |(&label, w): (&u32, &f64)| match alpha(label) {
            0.0 => 0.0,
            alpha => (w / largest / mean * alpha) as f32,
        };
        labels.iter().zip(given).map(scaled).collect()
    }
}

/// Refuses a largest class weight that no weights of this normalisation can keep to.
pub(crate) fn check_cap(cap: f64, normalisation: Normalisation) -> Result<()> {
    let bad = |why, help| Err(Error::bad_value("--max-weight", cap.to_string(), why, help));
    if !(cap.is_finite() && cap > 0.0) {
        return bad("is not a positive number", "give the largest weight a class may have, such as 20");
    }
    if normalisation != Normalisation::None && cap < 1.0 {
        return bad("is below the mean weight, which is one", "give a cap of at least 1");
    }
    Ok(())
}

/// What one unit of weight of each class adds to the normalised sum; `None` where nothing is normalised.
fn class_masses(normalisation: Normalisation, counts: &ClassCounts) -> Option<Vec<f64>> {
    match normalisation {
        Normalisation::Samples => Some(counts.weighted.clone()),
        Normalisation::Classes => {
            Some(counts.weighted.iter().map(|&n| if n > 0.0 { 1.0 } else { 0.0 }).collect())
        }
        Normalisation::None => None,
    }
}

/// The factor s with `sum_c mass_c * min(s * raw_c, cap) = sum_c mass_c`: classes reach the cap in the order of
/// their raw weight, so it is enough to try the heaviest 0, 1, 2, ... of them as capped.
fn capped_scale(raw: &[f64], masses: &[f64], cap: f64) -> f64 {
    let total: f64 = masses.iter().sum();
    let uncapped_sum: f64 = raw.iter().zip(masses).map(|(a, m)| a * m).sum();
    let plain = total / uncapped_sum;
    let mut heaviest: Vec<usize> = (0..raw.len()).filter(|&c| raw[c] > 0.0).collect();
    if heaviest.iter().all(|&c| raw[c] * plain <= cap) {
        return plain;
    }
    heaviest.sort_by(|&a, &b| raw[b].total_cmp(&raw[a]).then(a.cmp(&b)));
    // Summed from the lightest class up, because subtracting the heavy ones would cancel.
    let mut sum_from: Vec<f64> = heaviest
        .iter()
        .rev()
        .scan(0.0, |sum, &c| {
            *sum += raw[c] * masses[c];
            Some(*sum)
        })
        .collect();
    sum_from.reverse();
    let mut remaining = total;
    for (&class, &sum) in heaviest.iter().zip(&sum_from) {
        let scale = remaining / sum;
        if scale * raw[class] <= cap {
            return scale;
        }
        remaining -= cap * masses[class];
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weighting::Beta;
    use proptest::prelude::*;

    fn effective(beta: &str) -> Scheme {
        Scheme::Effective(Beta::parse(beta).unwrap())
    }

    fn sum_samples(weights: &ClassWeights, counts: &ClassCounts) -> f64 {
        weights.alpha.iter().zip(&counts.weighted).map(|(a, n)| a * n).sum()
    }

    #[test]
    fn normalisations_add_up() {
        let counts = ClassCounts::from_rows(vec![5000, 0, 70, 1]);
        for scheme in [Scheme::None, Scheme::Inverse, Scheme::Sqrt, effective("0.999")] {
            let samples = ClassWeights::new(&scheme, &counts, Normalisation::Samples, None).unwrap();
            assert!((sum_samples(&samples, &counts) - 5071.0).abs() < 1e-9);
            let classes = ClassWeights::new(&scheme, &counts, Normalisation::Classes, None).unwrap();
            assert!((classes.alpha.iter().sum::<f64>() - 3.0).abs() < 1e-12);
            assert_eq!(classes.alpha[1], 0.0);
            let none = ClassWeights::new(&scheme, &counts, Normalisation::None, None).unwrap();
            assert_eq!(none.alpha, none.raw);
        }
    }

    #[test]
    fn an_integer_row_weight_equals_repeated_rows() {
        let labels = [0, 0, 0, 1, 1, 2];
        let times = [1.0, 3.0, 2.0, 5.0, 1.0, 2.0];
        let repeated: Vec<u32> =
            labels.iter().zip(times).flat_map(|(&y, k)| std::iter::repeat_n(y, k as usize)).collect();
        for scheme in [Scheme::Inverse, Scheme::Sqrt, effective("0.9"), Scheme::Custom(vec![1.0, 2.0, 7.0])] {
            for normalisation in [Normalisation::Samples, Normalisation::Classes, Normalisation::None] {
                let weighted_counts = ClassCounts::of(&labels, Some(&times), 3);
                let weighted =
                    ClassWeights::new(&scheme, &weighted_counts, normalisation, Some(3.0)).unwrap();
                let repeated_counts = ClassCounts::of(&repeated, None, 3);
                let plain = ClassWeights::new(&scheme, &repeated_counts, normalisation, Some(3.0)).unwrap();
                assert_eq!(weighted.alpha, plain.alpha);
                let by_weight = weighted.row_weights(&labels, Some(&times));
                let mean = times.iter().sum::<f64>() / 6.0;
                for (row, &label) in labels.iter().enumerate() {
                    let once = f64::from(plain.row_weights(&[label], None)[0]);
                    let expected = times[row] * once / mean;
                    assert!((f64::from(by_weight[row]) - expected).abs() < 1e-6 * expected);
                }
            }
        }
    }

    #[test]
    fn the_scale_of_row_weights_has_no_effect_and_the_mean_row_weighs_one() {
        let labels = [0, 0, 0, 1, crate::labels::UNSEEN];
        for scale in [1.0, 1e-60, 1e300] {
            let given = [1.0, 2.0, 4.0, 5.0, 3.0].map(|w| w * scale);
            let counts = ClassCounts::of(&labels, Some(&given), 2);
            for scheme in [Scheme::None, Scheme::Inverse, Scheme::Sqrt] {
                let weights = ClassWeights::new(&scheme, &counts, Normalisation::Samples, None).unwrap();
                let of_rows = weights.row_weights(&labels, Some(&given));
                let mean = of_rows.iter().map(|&w| f64::from(w)).sum::<f64>() / 4.0;
                assert!((mean - 1.0).abs() < 1e-6, "{} at {scale}: {of_rows:?}", scheme.name());
                assert!((of_rows[1] / of_rows[0] - 2.0).abs() < 1e-6 && of_rows[4] == 0.0, "{of_rows:?}");
            }
        }
    }

    #[test]
    fn labels_without_class_weigh_nothing() {
        let counts = ClassCounts::from_rows(vec![1, 3]);
        let weights = ClassWeights::new(&Scheme::None, &counts, Normalisation::Samples, None).unwrap();
        assert_eq!(weights.row_weights(&[1, crate::labels::UNSEEN, 0], None), [1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_cap_that_cannot_hold_is_refused() {
        let counts = ClassCounts::from_rows(vec![1, 3]);
        for (cap, normalisation) in [
            (0.5, Normalisation::Samples),
            (0.99, Normalisation::Classes),
            (0.0, Normalisation::None),
            (f64::NAN, Normalisation::Samples),
        ] {
            let error = ClassWeights::new(&Scheme::Inverse, &counts, normalisation, Some(cap)).unwrap_err();
            assert_eq!(error.code(), "E0208");
        }
        let flat = ClassWeights::new(&Scheme::Inverse, &counts, Normalisation::Samples, Some(1.0)).unwrap();
        assert_eq!(flat.alpha, [1.0, 1.0]);
    }

    proptest! {
        #[test]
        fn the_cap_holds_and_so_does_the_sum(
            rows in prop::collection::vec(0u64..10_000, 1..40), cap in 1.0..50.0f64, by_class in any::<bool>(),
        ) {
            prop_assume!(rows.iter().any(|&n| n > 0));
            let counts = ClassCounts::from_rows(rows);
            let normalisation = if by_class { Normalisation::Classes } else { Normalisation::Samples };
            let weights = ClassWeights::new(&Scheme::Inverse, &counts, normalisation, Some(cap)).unwrap();
            prop_assert!(weights.alpha.iter().all(|&a| (0.0..=cap).contains(&a)));
            let (sum, total) = if by_class {
                (weights.alpha.iter().sum::<f64>(), counts.rows.iter().filter(|&&n| n > 0).count() as f64)
            } else {
                (sum_samples(&weights, &counts), counts.weighted.iter().sum::<f64>())
            };
            prop_assert!((sum / total - 1.0).abs() < 1e-9, "{} against {}", sum, total);
            // Below the cap, weights keep their ratio.
            let free: Vec<f64> = (0..counts.classes())
                .filter(|&c| weights.alpha[c] > 0.0 && weights.alpha[c] < cap)
                .map(|c| weights.alpha[c] / weights.raw[c])
                .collect();
            prop_assert!(free.iter().all(|&f| (f / free[0] - 1.0).abs() < 1e-9));
            let at_cap = weights.alpha.iter().filter(|&&a| a == cap).count();
            prop_assert!(weights.capped <= at_cap);
        }
    }

    #[test]
    fn the_mean_row_weighs_one_by_every_rule() {
        let counts = [400, 0, 100, 4];
        let of = |scheme: Scheme| {
            let counts = ClassCounts::from_rows(counts.to_vec());
            ClassWeights::new(&scheme, &counts, Normalisation::Samples, None).unwrap()
        };
        assert_eq!(ClassWeights::inverse(&counts).unwrap(), of(Scheme::Inverse));
        assert_eq!(ClassWeights::sqrt(&counts).unwrap(), of(Scheme::Sqrt));
        assert_eq!(ClassWeights::effective(&counts, 0.99).unwrap(), of(effective("0.99")));
        let found = ClassWeights::with_ratio(&counts, 5.0).unwrap();
        assert!((found.alpha[3] / found.alpha[0] - 5.0).abs() < 1e-9, "{found:?}");
        assert!((sum_samples(&found, &ClassCounts::from_rows(counts.to_vec())) - 504.0).abs() < 1e-9);
        assert_eq!(ClassWeights::effective(&counts, 1.0).unwrap_err().code(), "E0207");
        assert_eq!(ClassWeights::inverse(&[0, 0]).unwrap_err().code(), "E0317");
    }

    #[test]
    fn a_tilt_multiplies_what_was_and_what_is() {
        let counts = ClassCounts::from_rows(vec![8, 2]);
        let mut weights = ClassWeights::new(&Scheme::Inverse, &counts, Normalisation::Samples, None).unwrap();
        let before = weights.clone();
        weights.tilt(&[2.0, 0.5]);
        assert_eq!(weights.raw, [before.raw[0] * 2.0, before.raw[1] * 0.5]);
        assert_eq!(weights.alpha, [before.alpha[0] * 2.0, before.alpha[1] * 0.5]);
    }

    #[test]
    fn rules_have_their_names() {
        let names = [Normalisation::Samples, Normalisation::Classes, Normalisation::None].map(|n| n.name());
        assert_eq!(names, ["samples", "classes", "none"]);
    }
}

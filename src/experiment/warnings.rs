//! What the data make doubtful, each with its number.

use super::treatment::Treatment;
use crate::Result;
use crate::labels::ClassCounts;
use crate::weighting::{ClassWeights, Normalisation, Scheme, WeightSummary};

/// Share of the rows that Kish's effective size falls below before it is worth a warning.
const SMALL_EFFECTIVE_SHARE: f64 = 0.1;
/// Scored rows below which a class says little.
const FEW_ROWS: u64 = 10;
/// Accuracy on the training rows from which they count as separated.
const SEPARATED: f64 = 0.9995;

/// Warnings about the class weights of `treatments` on these counts.
///
/// # Errors
/// Those of [`ClassWeights::new`].
pub fn about_weights(
    treatments: &[Treatment],
    counts: &ClassCounts,
    max_weight: Option<f64>,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let rows: u64 = counts.rows.iter().sum();
    for treatment in treatments
        .iter()
        .filter(|other| (other.learner, other.loss) == (treatments[0].learner, treatments[0].loss))
    {
        let weights = ClassWeights::new(&treatment.scheme, counts, Normalisation::Samples, max_weight)?;
        let summary = WeightSummary::new(&weights, counts, None);
        let ratio = summary.max_min_ratio;
        if let Scheme::Effective(_) = treatment.scheme {
            if summary.does_nothing {
                warnings.push(format!(
                    "{treatment} does nothing: its weights differ by {ratio:.3} times at most"
                ));
            } else if summary.saturated {
                warnings.push(format!("{treatment} is saturated: within 5 % of inverse for every class"));
            }
        }
        let share = summary.kish_effective_size / rows as f64;
        if share < SMALL_EFFECTIVE_SHARE {
            warnings.push(format!(
                "{treatment} leaves an effective sample of {:.0} of {rows} rows ({:.1} %): its fits are noisy",
                summary.kish_effective_size,
                100.0 * share
            ));
        }
    }
    Ok(warnings)
}

/// A warning where many classes have too few scored rows to tell candidates apart. `error` is the standard error of the
/// difference between the baseline and the best candidate in the deciding metric.
pub fn about_power(counts: &ClassCounts, metric: &str, error: f64) -> Option<String> {
    let scored = counts.rows.iter().filter(|&&n| n > 1).count();
    let small = counts.rows.iter().filter(|&&n| n > 1 && n < FEW_ROWS).count();
    (small * 4 > scored).then(|| {
        format!(
            "{small} of {scored} classes have fewer than {FEW_ROWS} rows: differences in {metric} below {:.3} cannot be told from chance here",
            1.96 * error
        )
    })
}

/// A warning where the unweighted fit at the chosen `l2` is right on (nearly) all its training rows.
pub fn about_separation(accuracy: f64, l2: f64) -> Option<String> {
    (accuracy >= SEPARATED).then(|| {
        format!(
            "the training rows are separated ({:.2} % right at l2 {l2:e}): there class weights lose their effect as l2 falls; vector scaling, adjustment after training or more l2 keep theirs",
            100.0 * accuracy
        )
    })
}

/// A warning about rows that have a near twin elsewhere: `pairs` rows out of `rows` across folds, `conflicting` of them
/// with another label.
pub fn about_twins(twins: u64, conflicting: u64, rows: u64) -> Option<String> {
    (twins > 0).then(|| {
        format!(
            "{twins} of {rows} rows ({:.2} %) have a near twin, {conflicting} of them one with another label: held-out scores are too good where twins are trained on",
            100.0 * twins as f64 / rows as f64
        )
    })
}

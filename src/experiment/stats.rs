//! Tests over folds and over many candidates.

use super::student::{two_sided, two_sided_quantile};

/// Result of a t-test of a mean difference against 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TTest {
    /// Mean of the differences.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// `mean / standard_error`.
    pub t: f64,
    /// Degrees of freedom.
    pub degrees: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// Lower end of the 95 % interval of the mean.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Corrected resampled t-test (Nadeau & Bengio 2003) of J `differences`, one for each fold and repeat, whose fits
/// were trained on `train_rows` and scored on `test_rows` each: training sets overlap, so the variance of the mean is
/// `(1/J + test_rows/train_rows)` times that of one difference instead of `1/J`. All but the mean are NaN for fewer
/// than two differences or for one that is NaN.
pub fn corrected_t(differences: &[f64], train_rows: f64, test_rows: f64) -> TTest {
    let (mean, sd) = mean_sd(differences);
    let count = differences.len() as f64;
    let degrees = if count >= 2.0 { count - 1.0 } else { f64::NAN };
    let standard_error = sd * (1.0 / count + test_rows / train_rows).sqrt();
    // Differences that are all 0 are no evidence; 0/0 would be NaN.
    let t = if mean == 0.0 && standard_error == 0.0 { 0.0 } else { mean / standard_error };
    let half = two_sided_quantile(0.05, degrees) * standard_error;
    let p = two_sided(t, degrees);
    TTest { mean, standard_error, t, degrees, p, low: mean - half, high: mean + half }
}

/// Holm's adjusted p-values (Holm 1979) in the order of `p`: rejecting those below alpha keeps the chance of any false
/// rejection below alpha. NaN stays NaN and is no member of the family.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut largest = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (order.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

/// Mean and standard deviation (of a sample: divisor `n - 1`); the mean of no value and the deviation of one are NaN.
pub fn mean_sd(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, if values.len() < 2 { f64::NAN } else { (squares / (count - 1.0)).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(part: &str) -> Vec<serde_json::Value> {
        let all: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/statistics.json")).unwrap();
        all[part].as_array().unwrap().clone()
    }

    fn numbers(values: &serde_json::Value) -> Vec<f64> {
        values.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    #[test]
    fn the_corrected_t_is_that_of_scipy() {
        for case in golden("corrected_t") {
            let number = |key: &str| case[key].as_f64().unwrap();
            let test = corrected_t(&numbers(&case["differences"]), number("train_rows"), number("test_rows"));
            for (key, found) in [
                ("mean", test.mean),
                ("standard_error", test.standard_error),
                ("t", test.t),
                ("degrees", test.degrees),
                ("p", test.p),
                ("low", test.low),
                ("high", test.high),
            ] {
                assert!((found - number(key)).abs() <= 1e-12 * number(key).abs().max(0.1), "{key}: {test:?}");
            }
        }
    }

    #[test]
    fn too_few_or_equal_differences_have_no_evidence() {
        let one = corrected_t(&[0.5], 80.0, 20.0);
        assert!(one.mean == 0.5 && one.p.is_nan() && one.low.is_nan());
        assert!(corrected_t(&[], 80.0, 20.0).p.is_nan());
        assert!(corrected_t(&[0.1, f64::NAN], 80.0, 20.0).p.is_nan());
        assert_eq!(corrected_t(&[0.0; 5], 80.0, 20.0).p, 1.0);
    }

    #[test]
    fn holm_is_that_of_statsmodels() {
        for case in golden("holm") {
            for (found, wanted) in holm(&numbers(&case["p"])).iter().zip(numbers(&case["adjusted"])) {
                assert!((found - wanted).abs() <= 1e-15, "{case}");
            }
        }
    }

    #[test]
    fn undefined_p_values_are_not_counted() {
        let adjusted = holm(&[0.02, f64::NAN, 0.01]);
        assert_eq!((adjusted[0], adjusted[2]), (0.02, 0.02));
        assert!(adjusted[1].is_nan() && holm(&[]).is_empty());
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_sd(&[1.0, 2.0, 3.0, 4.0]), (2.5, (5.0_f64 / 3.0).sqrt()));
        assert!(mean_sd(&[1.0]).1.is_nan() && mean_sd(&[]).0.is_nan());
    }
}

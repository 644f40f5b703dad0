//! How settings stand against each other on rows they were not fitted on.

use super::{Evaluation, Metric};

/// Standard errors of macro recall within which settings count as equal, so that the smoother measure decides.
const NOISE: f64 = 0.5;

/// How a setting stands among others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The choosing metric, signed so that more is better; minus infinity where it is undefined.
    pub metric: f64,
    /// Differences of the metric that are noise.
    pub noise: f64,
    /// Mean log-loss over classes under the uniform prior: a smooth measure of balanced performance that means the same
    /// for every loss and weighting. Infinite where it cannot be had.
    pub balanced_log_loss: f64,
}

impl Standing {
    /// Where `metric` has the value `value`, macro recall the standard error `macro_recall_error`.
    pub fn new(metric: Metric, value: f64, macro_recall_error: f64, balanced_log_loss: f64) -> Self {
        let signed = match (value.is_nan(), metric.higher_is_better()) {
            (true, _) => f64::NEG_INFINITY,
            (_, true) => value,
            (_, false) => -value,
        };
        let noise = if metric == Metric::MacroRecall { NOISE * macro_recall_error } else { 0.0 };
        Standing {
            metric: signed,
            noise: if noise.is_finite() { noise } else { 0.0 },
            balanced_log_loss: if balanced_log_loss.is_nan() { f64::INFINITY } else { balanced_log_loss },
        }
    }

    /// From the scores of `evaluation`.
    pub fn of(metric: Metric, evaluation: &Evaluation, balanced_log_loss: f64) -> Self {
        Self::new(metric, metric.value(evaluation), evaluation.macro_recall_error, balanced_log_loss)
    }

    /// Whether it is within the noise of `top`, the highest.
    pub fn is_level_with(&self, top: &Standing) -> bool {
        self.metric >= top.metric - top.noise
    }

    /// Place of the highest metric, the first of equal ones; `None` of nothing.
    pub fn highest(standings: &[Standing]) -> Option<usize> {
        let places = 0..standings.len();
        places.reduce(|top, place| if standings[place].metric > standings[top].metric { place } else { top })
    }

    /// Place of the setting to choose: within the noise of the highest metric the lowest balanced log-loss, the first of
    /// equal ones; `None` of nothing.
    pub fn choose(standings: &[Standing]) -> Option<usize> {
        let top = standings[Self::highest(standings)?];
        let level = (0..standings.len()).filter(|&place| standings[place].is_level_with(&top));
        level.reduce(|best, place| {
            let is_better = standings[place].balanced_log_loss < standings[best].balanced_log_loss;
            if is_better { place } else { best }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_the_noise_the_smoother_measure_decides() {
        let of = |value, loss| Standing::new(Metric::MacroRecall, value, 0.02, loss);
        // .79 is within .5 * .02 of .80, .78 is not.
        let standings = [of(0.78, 0.1), of(0.80, 0.9), of(0.79, 0.5), of(0.795, 0.5)];
        assert_eq!(Standing::highest(&standings), Some(1));
        assert_eq!(Standing::choose(&standings), Some(2));
        assert_eq!(Standing::choose(&[]), None);
        // Other metrics have no noise.
        let of = |value| Standing::new(Metric::Top1, value, 0.02, 0.0);
        assert_eq!(Standing::choose(&[of(0.5), of(0.6), of(f64::NAN)]), Some(1));
    }

    #[test]
    fn losses_are_better_lower_and_what_is_undefined_comes_last() {
        let of = |value| Standing::new(Metric::LogLoss, value, 0.0, f64::NAN);
        assert_eq!(Standing::choose(&[of(0.5), of(0.4), of(f64::NAN)]), Some(1));
        assert_eq!(of(f64::NAN).metric, f64::NEG_INFINITY);
        assert_eq!(of(1.0).balanced_log_loss, f64::INFINITY);
    }

    #[test]
    fn a_standing_is_that_of_the_scores() {
        let p = [0.7, 0.3, 0.4, 0.6, 0.8, 0.2];
        let counts = crate::labels::ClassCounts::from_rows(vec![50, 50]);
        let scores = super::super::evaluate(&p, &[0, 1, 1], &counts, None).unwrap();
        let found = Standing::of(Metric::MacroRecall, &scores, 0.6);
        assert_eq!(found, Standing::new(Metric::MacroRecall, 0.75, scores.macro_recall_error, 0.6));
        assert!(found.noise > 0.0);
    }
}

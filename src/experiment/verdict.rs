//! What a comparison means, in a sentence.

use super::treatment::Treatment;
use crate::metrics::Metric;
use crate::model::Learner;

/// Significance level of the verdict, after Holm's correction.
pub const LEVEL: f64 = 0.05;

/// What the verdict is drawn from, one a candidate; the first is the baseline.
#[derive(Debug, Clone)]
pub struct Standpoint {
    /// Name as the table has it.
    pub name: String,
    /// Whether it is the unweighted fit as trained.
    pub is_plain: bool,
    /// Whether it is the unweighted fit adjusted after training.
    pub is_adjusted: bool,
    /// What fits it.
    pub learner: Learner,
    /// The deciding metric, signed so that more is better.
    pub value: f64,
    /// Difference from the baseline with its interval and Holm's p; `None` for the baseline.
    pub against_baseline: Option<Gap>,
    /// Difference from the best; `None` for the best.
    pub against_best: Option<Gap>,
}

/// A paired difference, positive where the candidate is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// Difference of the metric.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// p-value after Holm's correction.
    pub p_holm: f64,
}

/// The finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Place of the recommended candidate.
    pub recommended: usize,
    /// Place of the candidate with the highest value.
    pub best: usize,
    /// One or two sentences.
    pub sentence: String,
}

impl Gap {
    /// Whether the candidate lies more than a standard error (a quarter of the interval) behind. A test would do worse here:
    /// over 41 data sets (`benches/verdicts.py`), to take the simplest until it is refuted at 5 % was right on 22, this on 27.
    fn is_behind(&self) -> bool {
        self.value < -(self.high - self.low) / 4.0
    }

    fn is_chance(&self) -> bool {
        self.p_holm >= LEVEL
    }
}

/// The simplest candidate within a standard error of the best (Breiman et al. 1984): the unweighted fit, then the unweighted fit
/// adjusted after training, which keeps its probabilities, then the others from the best down. `metric` is named in the
/// sentence. `None` without candidates.
pub fn find(standpoints: &[Standpoint], metric: Metric) -> Option<Finding> {
    let best = best(standpoints)?;
    let simplicity = |s: &Standpoint| (!s.is_plain, !s.is_adjusted);
    let level =
        (0..standpoints.len()).filter(|&at| !standpoints[at].against_best.is_some_and(|g| g.is_behind()));
    let recommended = level.min_by(|&a, &b| {
        let order = simplicity(&standpoints[a]).cmp(&simplicity(&standpoints[b]));
        order.then(standpoints[b].value.total_cmp(&standpoints[a].value))
    })?;
    let sentence = Words::of(metric).sentence(standpoints, recommended, best);
    Some(Finding { recommended, best, sentence })
}

/// Place of the highest value, the first of equal ones.
pub fn best(standpoints: &[Standpoint]) -> Option<usize> {
    (0..standpoints.len())
        .reduce(|best, at| if standpoints[at].value > standpoints[best].value { at } else { best })
}

/// How differences of a metric are spoken of.
struct Words {
    metric: &'static str,
    more: &'static str,
    less: &'static str,
    most: &'static str,
}

impl Words {
    fn of(metric: Metric) -> Self {
        let (more, less, most) = if metric.higher_is_better() {
            ("higher", "lower", "highest")
        } else {
            ("better", "worse", "best")
        };
        Words { metric: metric.name(), more, less, most }
    }

    fn sentence(&self, standpoints: &[Standpoint], recommended: usize, best: usize) -> String {
        let Words { metric, more, most, .. } = self;
        let (chosen, top) = (&standpoints[recommended], &standpoints[best]);
        if standpoints.iter().any(|s| s.learner != standpoints[0].learner) {
            return self.sentence_of_learners(standpoints, recommended);
        }
        if chosen.is_plain {
            return match &top.against_baseline {
                None => {
                    format!(
                        "weighting does not help here: no candidate has a {more} {metric} than {}",
                        top.name
                    )
                }
                Some(gap) => format!(
                    "weighting does not demonstrably help here: the {most} {metric}, that of {}, is {} than without weights, no more than chance",
                    top.name,
                    self.gap_text(gap)
                ),
            };
        }
        let gain = chosen.against_baseline.map_or(String::new(), |gap| {
            let doubt = if gap.is_chance() { ", which may be chance" } else { "" };
            format!("is {} than without weights{doubt}", self.gap_text(&gap))
        });
        if chosen.is_adjusted {
            let weighted = (0..standpoints.len())
                .filter(|&at| !standpoints[at].is_plain && !standpoints[at].is_adjusted)
                .reduce(|a, b| if standpoints[b].value > standpoints[a].value { b } else { a });
            let rest = match weighted {
                Some(at) if recommended == best => {
                    format!("; no weighting does better (the best of them: {})", standpoints[at].name)
                }
                Some(at) => format!("; the best weighting, {}, does as well", standpoints[at].name),
                None => String::new(),
            };
            return format!(
                "weighting is not needed here: {metric} of the unweighted model, adjusted after training, {gain}{rest}"
            );
        }
        let rest = match standpoints
            .iter()
            .find(|s| s.is_adjusted && s.against_best.is_some_and(|gap| gap.is_behind()))
        {
            Some(adjusted) => match adjusted.against_best {
                Some(gap) if recommended == best => {
                    let more = Gap { value: -gap.value, low: -gap.high, high: -gap.low, ..gap };
                    format!(", and {} than that of {}", self.gap_text(&more), adjusted.name)
                }
                _ => format!(", more than {} reaches", adjusted.name),
            },
            None => String::new(),
        };
        let helps = match chosen.against_baseline.is_some_and(|gap| gap.is_chance()) {
            true => "does best here, if anything",
            false => "helps here",
        };
        format!("{} {helps}: its {metric} {gain}{rest}", chosen.name)
    }

    /// Where learners differ there are two questions: how far the recommended candidate is from the baseline, and whether it
    /// owes that to a weighting.
    fn sentence_of_learners(&self, standpoints: &[Standpoint], recommended: usize) -> String {
        let metric = self.metric;
        let (chosen, baseline) = (&standpoints[recommended], &standpoints[0]);
        let distance = chosen.against_baseline.map_or_else(
            || "no candidate is more than a standard error above it".into(),
            |gap| {
                let doubt = if gap.is_chance() { ", which may be chance" } else { "" };
                let gap = self.gap_text(&gap);
                format!("its {metric} is {gap} than that of {}{doubt}", baseline.name)
            },
        );
        let unweighted =
            standpoints.iter().filter(|s| s.learner == chosen.learner && (s.is_plain || s.is_adjusted));
        let others: Vec<String> = unweighted
            .filter(|s| s.name != chosen.name)
            .map(|s| format!("{} has {:.3}", s.name, s.value.abs()))
            .collect();
        let weighting = match (chosen.is_plain || chosen.is_adjusted, others.join(", ")) {
            (_, others) if others.is_empty() => String::new(),
            (true, _) => {
                format!("; no weighting of {} does better by more than a standard error", chosen.learner)
            }
            (false, others) => format!(" ({:.3}; {others})", chosen.value.abs()),
        };
        format!("{} is recommended: {distance}{weighting}", chosen.name)
    }

    fn gap_text(&self, gap: &Gap) -> String {
        let word = if gap.value < 0.0 { self.less } else { self.more };
        let (low, high) = if gap.value < 0.0 { (-gap.high, -gap.low) } else { (gap.low, gap.high) };
        format!("{:.3} {word} (95 % interval {low:+.3} to {high:+.3})", gap.value.abs())
    }
}

impl Standpoint {
    /// Name and kind of `candidate`.
    pub fn new(name: String, candidate: &Treatment, value: f64) -> Self {
        Standpoint {
            name,
            is_plain: candidate.is_plain(),
            is_adjusted: candidate.is_plain_but_adjusted(),
            learner: candidate.learner,
            value,
            against_baseline: None,
            against_best: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::weighting::Scheme;

    fn gap(value: f64, width: f64, p_holm: f64) -> Option<Gap> {
        Some(Gap { value, low: value - width, high: value + width, p_holm })
    }

    /// None, none + adjust and inverse with these values; `p` of the differences from none, then from the best.
    fn standpoints(values: [f64; 3], p_none: f64, p_best: f64) -> Vec<Standpoint> {
        let loss = Loss::Softmax;
        let treatments =
            [Treatment::plain(loss), Treatment::adjusted(loss), Treatment::weighted(loss, Scheme::Inverse)];
        let mut all: Vec<Standpoint> = treatments
            .iter()
            .zip(values)
            .map(|(treatment, value)| Standpoint::new(treatment.to_string(), treatment, value))
            .collect();
        let top = best(&all).unwrap();
        for at in 0..3 {
            all[at].against_baseline = if at == 0 { None } else { gap(values[at] - values[0], 0.01, p_none) };
            all[at].against_best = if at == top { None } else { gap(values[at] - values[top], 0.01, p_best) };
        }
        all
    }

    #[test]
    fn what_chance_explains_recommends_no_weights() {
        let found = find(&standpoints([0.60, 0.603, 0.604], 0.4, 0.3), Metric::MacroRecall).unwrap();
        assert_eq!((found.recommended, found.best), (0, 2));
        assert!(
            found.sentence.starts_with("weighting does not demonstrably help here"),
            "{}",
            found.sentence
        );
        assert!(
            found.sentence.contains("0.004 higher (95 % interval -0.006 to +0.014)"),
            "{}",
            found.sentence
        );
        let found = find(&standpoints([0.61, 0.605, 0.608], 0.4, 0.3), Metric::MacroRecall).unwrap();
        assert_eq!((found.recommended, found.best), (0, 0));
        assert!(found.sentence.contains("no candidate has a higher macro_recall"), "{}", found.sentence);
    }

    #[test]
    fn an_adjustment_that_does_as_well_spares_the_weights() {
        // A standard error is a quarter of the interval, .005.
        let found = find(&standpoints([0.5, 0.697, 0.70], 0.001, 0.6), Metric::MacroRecall).unwrap();
        assert_eq!((found.recommended, found.best), (1, 2));
        assert!(found.sentence.starts_with("weighting is not needed here"), "{}", found.sentence);
        assert!(found.sentence.contains("the best weighting, inverse, does as well"), "{}", found.sentence);
        assert!(!found.sentence.contains("chance"), "{}", found.sentence);
        let found = find(&standpoints([0.68, 0.697, 0.70], 0.2, 0.6), Metric::MacroRecall).unwrap();
        assert_eq!(found.recommended, 1);
        assert!(found.sentence.contains("which may be chance"), "{}", found.sentence);
    }

    #[test]
    fn weights_are_recommended_where_nothing_simpler_keeps_up() {
        let found = find(&standpoints([0.5, 0.65, 0.70], 0.001, 0.001), Metric::MacroRecall).unwrap();
        assert_eq!((found.recommended, found.best), (2, 2));
        assert!(found.sentence.starts_with("inverse helps here"), "{}", found.sentence);
        assert!(
            found
                .sentence
                .contains("0.050 higher (95 % interval +0.040 to +0.060) than that of none + adjust"),
            "{}",
            found.sentence
        );
        assert_eq!(find(&[], Metric::MacroRecall), None);
        let found = find(&standpoints([0.68, 0.683, 0.70], 0.2, 0.001), Metric::MacroRecall).unwrap();
        assert_eq!(found.recommended, 2);
        assert!(found.sentence.starts_with("inverse does best here, if anything: "), "{}", found.sentence);
        assert!(found.sentence.contains("which may be chance"), "{}", found.sentence);
    }

    #[test]
    fn losses_are_better_or_worse_and_learners_are_named() {
        let found = find(&standpoints([-0.28, -0.29, -0.30], 0.4, 0.3), Metric::LogLoss).unwrap();
        assert!(
            found.sentence.contains("no candidate has a better log_loss than none"),
            "{}",
            found.sentence
        );
        let mut mixed = standpoints([0.5, 0.6, 0.7], 0.001, 0.001);
        for (standpoint, name) in mixed.iter_mut().zip(["linear none", "boost none", "boost inverse"]) {
            standpoint.name = name.into();
        }
        mixed[1].is_plain = true;
        mixed[1].learner = Learner::Boost;
        mixed[2].learner = Learner::Boost;
        let found = find(&mixed, Metric::MacroRecall).unwrap();
        let wanted = "boost inverse is recommended: its macro_recall is 0.200 higher (95 % interval +0.190 to +0.210) \
                      than that of linear none (0.700; boost none has 0.600)";
        assert_eq!(found.sentence, wanted);
    }
}

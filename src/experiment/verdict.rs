//! What a comparison means, in a sentence.

use super::treatment::Treatment;

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
    fn is_loss(&self) -> bool {
        self.value < 0.0 && self.p_holm < LEVEL
    }
}

/// The simplest candidate that is not significantly worse than the best: the unweighted fit, then the unweighted fit
/// adjusted after training, which keeps its probabilities, then the others from the best down. `metric` is named in the
/// sentence. `None` without candidates.
pub fn find(standpoints: &[Standpoint], metric: &str) -> Option<Finding> {
    let best = best(standpoints)?;
    let simplicity = |s: &Standpoint| (!s.is_plain, !s.is_adjusted);
    let level =
        (0..standpoints.len()).filter(|&at| !standpoints[at].against_best.is_some_and(|g| g.is_loss()));
    let recommended = level.min_by(|&a, &b| {
        let order = simplicity(&standpoints[a]).cmp(&simplicity(&standpoints[b]));
        order.then(standpoints[b].value.total_cmp(&standpoints[a].value))
    })?;
    let sentence = sentence(standpoints, recommended, best, metric);
    Some(Finding { recommended, best, sentence })
}

/// Place of the highest value, the first of equal ones.
pub fn best(standpoints: &[Standpoint]) -> Option<usize> {
    (0..standpoints.len())
        .reduce(|best, at| if standpoints[at].value > standpoints[best].value { at } else { best })
}

fn sentence(standpoints: &[Standpoint], recommended: usize, best: usize, metric: &str) -> String {
    let (chosen, top) = (&standpoints[recommended], &standpoints[best]);
    if chosen.is_plain {
        return match &top.against_baseline {
            None => {
                format!("weighting does not help here: no candidate has a higher {metric} than {}", top.name)
            }
            Some(gap) => format!(
                "weighting does not help here: the highest {metric}, that of {}, is {} than without weights, which chance explains",
                top.name,
                gap_text(gap, "higher", "lower")
            ),
        };
    }
    let gain = chosen.against_baseline.map_or(String::new(), |gap| {
        format!("is {} than without weights", gap_text(&gap, "higher", "lower"))
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
    let rest =
        match standpoints.iter().find(|s| s.is_adjusted && s.against_best.is_some_and(|gap| gap.is_loss())) {
            Some(adjusted) => match adjusted.against_best {
                Some(gap) if recommended == best => {
                    let more = Gap { value: -gap.value, low: -gap.high, high: -gap.low, ..gap };
                    format!(" and {} than that of {}", gap_text(&more, "higher", "lower"), adjusted.name)
                }
                _ => format!(", more than {} reaches", adjusted.name),
            },
            None => String::new(),
        };
    format!("{} helps here: its {metric} {gain}{rest}", chosen.name)
}

fn gap_text(gap: &Gap, higher: &str, lower: &str) -> String {
    let word = if gap.value < 0.0 { lower } else { higher };
    let (low, high) = if gap.value < 0.0 { (-gap.high, -gap.low) } else { (gap.low, gap.high) };
    format!("{:.3} {word} (95 % interval {low:+.3} to {high:+.3})", gap.value.abs())
}

impl Standpoint {
    /// Name and kind of `candidate`.
    pub fn new(name: String, candidate: &Treatment, value: f64) -> Self {
        Standpoint {
            name,
            is_plain: candidate.is_plain(),
            is_adjusted: *candidate == Treatment::adjusted(candidate.loss),
            value,
            against_baseline: None,
            against_best: None,
        }
    }
}

//! Decisions that maximise macro recall or macro F1: the class of the largest `l_c + o_c`, l the log posterior under the
//! natural prior and o one offset a class.
//!
//! `o = -tau log pi` is the post-hoc logit adjustment (Menon et al., ICLR 2021), tau = 1 the Bayes rule of macro recall
//! for a posterior that is exact. From the best tau of a grid on, coordinate ascent sets one offset at a time to the best
//! of all values, which is found exactly by sorting the rows by the offset at which each changes its class.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What the decisions are to be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetMetric {
    /// Mean recall over the classes with rows.
    MacroRecall,
    /// Mean F1 over the classes that have rows or are predicted.
    MacroF1,
}

impl OffsetMetric {
    /// `macro_recall` or `macro_f1`.
    pub fn name(self) -> &'static str {
        match self {
            OffsetMetric::MacroRecall => "macro_recall",
            OffsetMetric::MacroF1 => "macro_f1",
        }
    }
}

/// Offsets of the log posterior under the natural prior that decide a model's labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsets {
    /// What they were fitted for.
    pub metric: OffsetMetric,
    /// The best tau of the grid, where the ascent began.
    pub tau: f64,
    /// One a class.
    pub offset: Vec<f64>,
}

/// Sweeps over all classes; the ascent ends earlier where a sweep gains less than [`LEAST_GAIN`].
const MOST_SWEEPS: usize = 20;
/// Gain of the metric below which nothing is changed: it also keeps rounding from leading the ascent around.
const LEAST_GAIN: f64 = 1e-9;
/// Half the width of the grid of tau in steps of a tenth: 0 to 2.
const TAU_STEPS: usize = 20;

/// The values of tau that are tried: 0, 0.1, ..., 2.
pub fn tau_grid() -> Vec<f64> {
    (0..=TAU_STEPS).map(|step| step as f64 / 10.0).collect()
}

/// The tau of `grid` whose decisions `argmax_c l_c - tau log pi_c` have the highest `metric` on rows of the classes
/// `labels`, and that value; of equal ones the first. `log_posterior` is rows x C under the natural prior, `log_shares`
/// has C values; classes of share 0 are left where they are.
pub fn choose_tau(
    log_posterior: &[f64],
    labels: &[u32],
    classes: usize,
    log_shares: &[f64],
    metric: OffsetMetric,
    grid: &[f64],
) -> (f64, f64) {
    let rows = Rows { log_posterior, labels, row_weights: None, classes };
    rows.choose_tau(log_shares, metric, grid)
}

/// The `metric` of the classes `predicted` for rows of the classes `labels`, all codes below `classes`, weighted by
/// `row_weights`.
pub fn value_of(
    labels: &[u32],
    predicted: &[u32],
    row_weights: Option<&[f64]>,
    classes: usize,
    metric: OffsetMetric,
) -> f64 {
    Tally::of(&Rows { log_posterior: &[], labels, row_weights, classes }, predicted).value(metric)
}

/// The class of the largest `l_c + o_c` of each row of `log_posterior` (rows x C), the first among equals.
pub fn decide(log_posterior: &[f64], offset: &[f64]) -> Vec<u32> {
    let classes = offset.len().max(1);
    log_posterior
        .par_chunks_exact(classes)
        .map(|row| {
            let score = |c: usize| row[c] + offset[c];
            (1..classes).fold(0, |best, c| if score(c) > score(best) { c } else { best }) as u32
        })
        .collect()
}

impl Offsets {
    /// Offsets for `metric`, at least as good on these rows as every tau of [`tau_grid`]. `log_posterior` is rows x C
    /// (minus infinity for probability 0), labels lie below C, `log_shares` are the logarithms of the training shares.
    /// The ascent takes the classes from the rarest on, and ends after a sweep that gained less than 1e-9 or after 20. A
    /// class without rows here keeps the offset of tau: rows of other classes alone would see to it that it is never
    /// predicted.
    pub fn fit(
        log_posterior: &[f64],
        labels: &[u32],
        row_weights: Option<&[f64]>,
        log_shares: &[f64],
        metric: OffsetMetric,
    ) -> Self {
        let classes = log_shares.len();
        let rows = Rows { log_posterior, labels, row_weights, classes };
        let (tau, _) = rows.choose_tau(log_shares, metric, &tau_grid());
        let mut ascent = Ascent::new(&rows, metric, adjustment(log_shares, tau));
        let mut has_rows = vec![false; classes];
        labels.iter().for_each(|&label| has_rows[label as usize] = true);
        let mut order: Vec<usize> = (0..classes).filter(|&c| has_rows[c]).collect();
        order.sort_by(|a, b| log_shares[*a].total_cmp(&log_shares[*b]).then(a.cmp(b)));
        for _ in 0..MOST_SWEEPS {
            let before = ascent.value();
            order.iter().for_each(|&class| ascent.improve(class));
            if ascent.value() < before + LEAST_GAIN {
                break;
            }
        }
        Offsets { metric, tau, offset: ascent.offset }
    }

    /// The same as far as tau goes: `-tau log pi` alone, 0 for classes without rows.
    pub fn of_tau_alone(&self, log_shares: &[f64]) -> Self {
        Offsets { offset: adjustment(log_shares, self.tau), ..*self }
    }

    /// The first thing wrong with offsets for `classes` classes that were read from a file, in words.
    pub fn fault(&self, classes: usize) -> Option<String> {
        let fits =
            self.offset.len() == classes && self.offset.iter().chain([&self.tau]).all(|o| o.is_finite());
        (!fits).then(|| format!("its offsets are not {classes} finite numbers"))
    }
}

/// Offsets of the logit adjustment; 0 for classes without rows.
fn adjustment(log_shares: &[f64], tau: f64) -> Vec<f64> {
    log_shares.iter().map(|log| if log.is_finite() { -tau * log } else { 0.0 }).collect()
}

/// Rows to decide on.
struct Rows<'a> {
    log_posterior: &'a [f64],
    labels: &'a [u32],
    row_weights: Option<&'a [f64]>,
    classes: usize,
}

impl Rows<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.row_weights.map_or(1.0, |weights| weights[row])
    }

    fn choose_tau(&self, log_shares: &[f64], metric: OffsetMetric, grid: &[f64]) -> (f64, f64) {
        let value = |tau: f64| {
            let predicted = decide(self.log_posterior, &adjustment(log_shares, tau));
            Tally::of(self, &predicted).value(metric)
        };
        let mut tried = grid.iter().map(|&tau| (tau, value(tau)));
        let first = tried.next().unwrap_or((0.0, f64::NAN));
        tried.fold(first, |best, next| if next.1 > best.1 { next } else { best })
    }
}

/// Weights by class: of its rows, of the rows predicted as it, of those that are both.
#[derive(Clone)]
struct Tally {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    hits: Vec<f64>,
    present: f64,
}

impl Tally {
    fn of(rows: &Rows<'_>, predicted: &[u32]) -> Self {
        let zeros = vec![0.0; rows.classes];
        let mut tally = Tally { truth: zeros.clone(), predicted: zeros.clone(), hits: zeros, present: 0.0 };
        for (row, (&label, &predicted)) in rows.labels.iter().zip(predicted).enumerate() {
            tally.truth[label as usize] += rows.weight(row);
            tally.predicted[predicted as usize] += rows.weight(row);
            if label == predicted {
                tally.hits[label as usize] += rows.weight(row);
            }
        }
        tally.present = tally.truth.iter().filter(|truth| **truth > 0.0).count() as f64;
        tally
    }

    fn value(&self, metric: OffsetMetric) -> f64 {
        let scores = (0..self.truth.len()).filter_map(|c| self.score(c, metric));
        let (sum, n) = scores.fold((0.0, 0.0), |(sum, n), score| (sum + score, n + 1.0));
        sum / n
    }

    /// Recall or F1 of a class; `None` for a class that takes no part in the mean.
    fn score(&self, class: usize, metric: OffsetMetric) -> Option<f64> {
        let (truth, predicted) = (self.truth[class], self.predicted[class]);
        match metric {
            OffsetMetric::MacroRecall => (truth > 0.0).then(|| self.hits[class] / truth),
            // Moving weights about leaves rounding errors where nothing is predicted any more.
            OffsetMetric::MacroF1 => {
                (truth > 0.0 || predicted > 1e-9).then(|| 2.0 * self.hits[class] / (truth + predicted))
            }
        }
    }

    fn move_row(&mut self, label: usize, from: usize, to: usize, weight: f64) {
        self.predicted[from] -= weight;
        self.predicted[to] += weight;
        if label == from {
            self.hits[from] -= weight;
        }
        if label == to {
            self.hits[to] += weight;
        }
    }
}

/// Coordinate ascent on the offsets.
struct Ascent<'a> {
    rows: &'a Rows<'a>,
    metric: OffsetMetric,
    offset: Vec<f64>,
    /// The two best classes of each row with their scores; minus infinity where there is no second.
    leaders: Vec<[(u32, f64); 2]>,
}

impl<'a> Ascent<'a> {
    fn new(rows: &'a Rows<'a>, metric: OffsetMetric, offset: Vec<f64>) -> Self {
        let leaders =
            rows.log_posterior.par_chunks_exact(rows.classes).map(|row| two_best(row, &offset)).collect();
        Ascent { rows, metric, offset, leaders }
    }

    fn predicted(&self) -> Vec<u32> {
        self.leaders.iter().map(|[first, _]| first.0).collect()
    }

    fn value(&self) -> f64 {
        Tally::of(self.rows, &self.predicted()).value(self.metric)
    }

    /// Sets the offset of `class` to the best of all values, where that is better than the present one.
    fn improve(&mut self, class: usize) {
        let classes = self.rows.classes;
        // The offset at which a row becomes one of `class`, and the class it leaves.
        let mut changes: Vec<(f64, usize, usize)> = Vec::with_capacity(self.leaders.len());
        let mut without = Vec::with_capacity(self.leaders.len());
        for (row, [first, second]) in self.leaders.iter().enumerate() {
            let rival = if first.0 as usize == class { second } else { first };
            without.push(rival.0);
            let at = rival.1 - self.rows.log_posterior[row * classes + class];
            if at.is_finite() {
                changes.push((at, row, rival.0 as usize));
            }
        }
        changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some(best) = self.best_cut(class, &changes, &without) else { return };
        let below = changes.get(best.wrapping_sub(1)).map(|change| change.0);
        let above = changes.get(best).map(|change| change.0);
        let offset = match (below, above) {
            (Some(below), Some(above)) => 0.5 * (below + above),
            (None, Some(above)) => above - 1.0,
            (Some(below), None) => below + 1.0,
            (None, None) => return,
        };
        let before = self.value();
        let kept = (self.offset[class], self.leaders.clone());
        self.set(class, offset);
        // The cut was found by adding and taking away; the value itself has the last word.
        if self.value() < before + LEAST_GAIN {
            (self.offset[class], self.leaders) = kept;
        }
    }

    /// How many of `changes`, lowest first, the best offset of `class` makes; `None` where no cut is possible. `without`
    /// are the predictions where its offset is minus infinity.
    fn best_cut(&self, class: usize, changes: &[(f64, usize, usize)], without: &[u32]) -> Option<usize> {
        let mut tally = Tally::of(self.rows, without);
        let mut best: Option<(f64, usize)> = None;
        let part = |tally: &Tally, c: usize| tally.score(c, self.metric);
        let (mut sum, mut n) = (0.0, 0.0);
        for score in (0..self.rows.classes).filter_map(|c| part(&tally, c)) {
            (sum, n) = (sum + score, n + 1.0);
        }
        for made in 0..=changes.len() {
            // Rows that change at the same offset change together.
            let is_cut = made == 0 || made == changes.len() || changes[made - 1].0 < changes[made].0;
            if is_cut && best.is_none_or(|(value, _)| sum / n > value + LEAST_GAIN) {
                best = Some((sum / n, made));
            }
            let Some(&(_, row, from)) = changes.get(made) else { break };
            for sign in [-1.0, 1.0] {
                if sign > 0.0 {
                    let label = self.rows.labels[row] as usize;
                    tally.move_row(label, from, class, self.rows.weight(row));
                }
                for score in [from, class].into_iter().filter_map(|c| part(&tally, c)) {
                    (sum, n) = (sum + sign * score, n + sign);
                }
            }
        }
        best.map(|(_, made)| made)
    }

    fn set(&mut self, class: usize, offset: f64) {
        let was = std::mem::replace(&mut self.offset[class], offset);
        let (rows, offsets) = (self.rows, &self.offset);
        self.leaders.par_iter_mut().enumerate().for_each(|(row, leaders)| {
            let values = &rows.log_posterior[row * rows.classes..(row + 1) * rows.classes];
            let leads = leaders.iter().any(|leader| leader.0 as usize == class);
            // A class that neither led nor rises above the second changes nothing.
            if leads || (offset > was && values[class] + offset >= leaders[1].1) {
                *leaders = two_best(values, offsets);
            }
        });
    }
}

/// The two classes of the largest `l_c + o_c` with these scores, the first among equals first.
fn two_best(row: &[f64], offset: &[f64]) -> [(u32, f64); 2] {
    let mut best = [(0, f64::NEG_INFINITY); 2];
    for (c, (l, o)) in row.iter().zip(offset).enumerate() {
        let score = l + o;
        if score > best[0].1 || c == 0 {
            best = [(c as u32, score), best[0]];
        } else if score > best[1].1 || c == 1 {
            best[1] = (c as u32, score);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;
    use proptest::prelude::*;

    /// Log posteriors of a long tail, on a grid of eighths so that ties occur, labels and log shares.
    fn tail(rows: usize, classes: usize, seed: u64) -> (Vec<f64>, Vec<u32>, Vec<f64>) {
        let mut rng = CounterRng::new(seed, 0);
        let shares: Vec<f64> = (0..classes).map(|c| 0.5f64.powi(c as i32)).collect();
        let total: f64 = shares.iter().sum();
        let log_shares: Vec<f64> = shares.iter().map(|share| (share / total).ln()).collect();
        let (mut logs, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let mut left = rng.next_f64() * total;
            let label = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            let label = label.unwrap_or(0);
            let score =
                |c: usize, noise: f64| log_shares[c] + 2.0 * noise + if c == label { 1.5 } else { 0.0 };
            logs.extend((0..classes).map(|c| (8.0 * score(c, rng.next_f64())).round() / 8.0));
            labels.push(label as u32);
        }
        (logs, labels, log_shares)
    }

    fn value(
        logs: &[f64],
        labels: &[u32],
        weights: Option<&[f64]>,
        offset: &[f64],
        metric: OffsetMetric,
    ) -> f64 {
        value_of(labels, &decide(logs, offset), weights, offset.len(), metric)
    }

    #[test]
    fn values_are_those_of_the_metrics() {
        let (logs, labels, log_shares) = tail(300, 5, 2);
        let offset = adjustment(&log_shares, 0.7);
        let p: Vec<f32> = logs
            .chunks(5)
            .flat_map(|row| {
                let mut p = row.to_vec();
                crate::weighting::prior::exponentiate(&mut p);
                p.into_iter().map(|p| p as f32).collect::<Vec<_>>()
            })
            .collect();
        let weights: Vec<f64> = (0..300).map(|row| 1.0 + (row % 3) as f64).collect();
        let counts = crate::labels::ClassCounts::from_rows(vec![10; 5]);
        let decisions = decide(&logs, &offset);
        let seen =
            crate::metrics::evaluate_decisions(&p, &labels, &counts, Some(&weights), &decisions).unwrap();
        let of = |metric| value(&logs, &labels, Some(&weights), &offset, metric);
        assert!((of(OffsetMetric::MacroRecall) - seen.macro_recall).abs() < 1e-12);
        assert!((of(OffsetMetric::MacroF1) - seen.macro_f1).abs() < 1e-12);
    }

    #[test]
    fn the_best_offset_of_two_classes_is_found() {
        // Class 1 beats class 0 by -3, -2, -1, 1; its rows are those of -2 and 1. From an offset between 2 and 3 on three
        // rows are taken for class 1: recalls 1/2 and 1. Between 1 and 2: 1/2 and 1/2.
        let logs = [0.0, -3.0, 0.0, -2.0, 0.0, -1.0, 0.0, 1.0];
        let labels = [0, 1, 0, 1];
        let log_shares = [0.5f64.ln(); 2];
        let found = Offsets::fit(&logs, &labels, None, &log_shares, OffsetMetric::MacroRecall);
        assert_eq!(value(&logs, &labels, None, &found.offset, OffsetMetric::MacroRecall), 0.75);
        let margin = found.offset[1] - found.offset[0];
        assert!((margin > 2.0 && margin < 3.0) || (margin > -1.0 && margin < 1.0), "{:?}", found.offset);
        assert_eq!(found.fault(2), None);
        assert!(found.fault(3).is_some());
    }

    #[test]
    fn tau_is_the_first_of_the_best() {
        let logs = [0.9f64.ln(), 0.1f64.ln(), 0.6f64.ln(), 0.4f64.ln()];
        let log_shares = [0.8f64.ln(), 0.2f64.ln()];
        let choose =
            |grid: &[f64]| choose_tau(&logs, &[0, 1], 2, &log_shares, OffsetMetric::MacroRecall, grid);
        assert_eq!(choose(&tau_grid()), (0.3, 1.0));
        assert_eq!(choose(&[0.0, 0.1]), (0.0, 0.5));
        let empty = choose(&[]);
        assert!(empty.0 == 0.0 && empty.1.is_nan());
    }

    proptest! {
        #[test]
        fn the_ascent_is_never_worse_than_any_tau(
            rows in 1usize..120, classes in 2usize..7, seed in any::<u64>(), weighted: bool, f1: bool,
        ) {
            let (logs, labels, log_shares) = tail(rows, classes, seed);
            let weights: Vec<f64> = (0..rows).map(|row| 0.25 + (row % 5) as f64).collect();
            let weights = weighted.then_some(weights.as_slice());
            let metric = if f1 { OffsetMetric::MacroF1 } else { OffsetMetric::MacroRecall };
            let found = Offsets::fit(&logs, &labels, weights, &log_shares, metric);
            let reached = value(&logs, &labels, weights, &found.offset, metric);
            for tau in tau_grid() {
                let alone = value(&logs, &labels, weights, &adjustment(&log_shares, tau), metric);
                prop_assert!(reached >= alone - 1e-12, "{} below {} of tau {}", reached, alone, tau);
            }
            // A sweep over one class tries every value there is.
            let absent = (0..classes).filter(|&class| !labels.contains(&(class as u32)));
            for class in absent {
                prop_assert_eq!(found.offset[class], adjustment(&log_shares, found.tau)[class]);
            }
            for class in (0..classes).filter(|&class| labels.contains(&(class as u32))) {
                for shift in [-0.97, -0.31, 0.31, 0.97] {
                    let mut other = found.offset.clone();
                    other[class] += shift;
                    prop_assert!(value(&logs, &labels, weights, &other, metric) <= reached + 1e-6);
                }
            }
        }
    }
}

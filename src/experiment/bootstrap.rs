//! Paired bootstrap of metrics, stratified by class: how sure a difference between candidates is.
//!
//! Each replicate draws rows anew within every class, the same rows for all candidates and repeats; the standard error
//! is the deviation of the metric over replicates. Two things make this more than the textbook's bootstrap, because
//! in a long tail the classes of 2 or 3 rows carry most of the variance of a mean over classes:
//!
//! - A class of `n` rows has `n - 1` drawn, each counting `n/(n - 1)`, where `n` is at least 3 (Rao & Wu 1988): drawing
//!   `n` gives `(n - 1)/n` of the variance.
//! - Two rows that happen to agree have no variance to resample, and one row never has. So each draw is, with
//!   probability `1/n`, of a pool instead: up to three rows of each class, taken as rows of the class that draws by
//!   exchange of the names of the two classes. That is one row of prior knowledge a class, as in the moderated
//!   variances of Smyth (2004); a class of one row draws from the pool alone, and the rest draw from it ever more rarely
//!   as they grow. Classes of one or two rows draw as many rows as they have.
//!
//! The interval is the difference plus or minus its standard error times a quantile of Student's t. Its degrees of
//! freedom are Satterthwaite's over classes, each class with its `n - 1` and the one of the prior. Ends of the
//! distribution of replicates are not used: where few rows decide, the 2.5 % quantile is a handful of atoms.
//!
//! How often the 95 % interval of macro recall covers the truth is simulated in `tests/experiment_coverage.rs`. What it
//! cannot mend: where a candidate gains in the tail alone, or all classes have two rows, 93 to 94 % are covered; where
//! candidates differ much in the head and hardly in the tail, the interval is up to 1.7 times too wide. The error of `worst_class`, `worst_decile` and `g_mean` is only indicative, because they hang
//! on few classes and are not smooth.

use rayon::prelude::*;

use super::outcomes::{Outcomes, needs_probabilities};
use super::sheet::{Sheet, Stratum};
use super::stats::mean_sd;
use super::student::{two_sided, two_sided_quantile};
use crate::labels::{ClassCounts, UNSEEN};
use crate::metrics::{Metric, Tallied};
use crate::rng::CounterRng;
use crate::{Error, Result};

/// Fewest replicates: below, the standard error itself is uncertain by 7 % and more.
pub const FEWEST_REPLICATES: usize = 100;
/// Most replicates.
pub const MOST_REPLICATES: usize = 1_000_000;

/// Rows that one class adds to the pool; more would make it a pool of the large classes, which the rare are unlike.
const POOL_ROWS: usize = 3;

/// The metric of all candidates on the data and on resampled rows.
#[derive(Debug, Clone)]
pub struct Replicates {
    metric: Metric,
    sheet: Sheet,
    train_rows: Vec<u64>,
    points: Vec<f64>,
    /// Replicates x candidates.
    values: Vec<Vec<f64>>,
}

/// A difference with its 95 % interval; all NaN where the metric is undefined for one of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// On the data as they are.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Two-sided p-value: below .05 where the interval leaves out 0; at least `1/(replicates + 1)`.
    pub p: f64,
}

/// Resamples rows for all `candidates` at once, each a list of repeats whose metric is averaged. `labels` are codes
/// (those at or above C are unseen), `train_counts` the C class counts that cut the bands.
///
/// # Errors
/// [`Error::BadValue`] for a metric that needs all probabilities and for replicates outside [`FEWEST_REPLICATES`] and
/// [`MOST_REPLICATES`]; [`Error::NoRows`] without rows, or for a candidate without repeats; [`Error::LengthMismatch`]
/// for outcomes of another number of rows; [`Error::TooLarge`] above 2^32 - 1 rows.
pub fn bootstrap(
    candidates: &[Vec<Outcomes>],
    labels: &[u32],
    train_counts: &ClassCounts,
    metric: Metric,
    replicates: usize,
    seed: u64,
) -> Result<Replicates> {
    check(candidates, labels, metric, replicates)?;
    let sheet = Sheet::new(candidates, labels, train_counts.classes(), metric);
    let train_rows = train_counts.rows.clone();
    let resampler = Resampler::new(&sheet, &train_rows, metric);
    let points = resampler.points();
    let values = (0..replicates as u64)
        .into_par_iter()
        .map_init(
            || Scratch::new(&sheet, train_rows.len()),
            |scratch, replicate| {
                scratch.draw(&resampler, CounterRng::new(seed, replicate));
                resampler.values(scratch)
            },
        )
        .collect();
    Ok(Replicates { metric, points, values, sheet, train_rows })
}

fn check(candidates: &[Vec<Outcomes>], labels: &[u32], metric: Metric, replicates: usize) -> Result<()> {
    if !metric.is_tallied() {
        return Err(needs_probabilities(metric));
    }
    if !(FEWEST_REPLICATES..=MOST_REPLICATES).contains(&replicates) {
        let why = format!("is not within {FEWEST_REPLICATES} and {MOST_REPLICATES}");
        return Err(Error::bad_value("bootstrap replicates", replicates.to_string(), why, "2000 are usual"));
    }
    if labels.is_empty() || candidates.iter().any(Vec::is_empty) {
        return Err(Error::NoRows { file: "comparison".into(), why: " to compare on".into() });
    }
    if u32::try_from(labels.len()).is_err() {
        let limit = u64::from(u32::MAX);
        return Err(Error::TooLarge {
            what: "bootstrap of all rows".into(),
            need: labels.len() as u64,
            limit,
        });
    }
    candidates.iter().flatten().try_for_each(|outcomes| outcomes.check_rows(labels))
}

/// Rows drawn of a class of `rows`, see the head of this file.
fn draws(rows: usize) -> usize {
    if rows < 3 { rows } else { rows - 1 }
}

struct Resampler<'a> {
    sheet: &'a Sheet,
    train_rows: &'a [u64],
    metric: Metric,
    /// Strata to borrow a row of, each as often as it has rows in the pool.
    lenders: Vec<usize>,
}

/// A row that a stratum drew from the pool.
struct Borrowed {
    borrower: usize,
    lender: usize,
    kind: usize,
}

/// What one replicate drew.
struct Scratch {
    /// Draws of each kind by its own class.
    counts: Vec<u32>,
    borrowed: Vec<Borrowed>,
    tallied: Tallied,
}

impl Scratch {
    fn new(sheet: &Sheet, classes: usize) -> Self {
        let counts = vec![0; sheet.rows_of_kind.len()];
        Scratch { counts, borrowed: Vec::new(), tallied: Tallied::new(classes) }
    }

    fn draw(&mut self, resampler: &Resampler<'_>, mut rng: CounterRng) {
        let (sheet, lenders) = (resampler.sheet, &resampler.lenders);
        self.counts.fill(0);
        self.borrowed.clear();
        for (borrower, stratum) in sheet.strata.iter().enumerate() {
            let kinds = &sheet.kind_of[stratum.rows.clone()];
            let borrow_below = if stratum.label == UNSEEN { 0 } else { u64::MAX / kinds.len() as u64 };
            for _ in 0..draws(kinds.len()) {
                // Multiply-shift as in `CounterRng::below`: the high half is the row. The low half is uniform given
                // the row and decides whether to borrow, which spares a second number for each of many draws.
                let wide = u128::from(rng.next_u64()) * kinds.len() as u128;
                if wide as u64 >= borrow_below {
                    self.counts[kinds[(wide >> 64) as usize] as usize] += 1;
                    continue;
                }
                let lender = lenders[rng.below(lenders.len())];
                let lent = &sheet.kind_of[sheet.strata[lender].rows.clone()];
                let kind = lent[rng.below(lent.len())] as usize;
                self.borrowed.push(Borrowed { borrower, lender, kind });
            }
        }
    }
}

impl<'a> Resampler<'a> {
    fn new(sheet: &'a Sheet, train_rows: &'a [u64], metric: Metric) -> Self {
        let known = sheet.strata.iter().enumerate().filter(|(_, stratum)| stratum.label != UNSEEN);
        let lenders = known.flat_map(|(place, s)| std::iter::repeat_n(place, s.rows.len().min(POOL_ROWS)));
        Resampler { sheet, train_rows, metric, lenders: lenders.collect() }
    }

    /// Values on the rows as they are.
    fn points(&self) -> Vec<f64> {
        let mut scratch = Scratch::new(self.sheet, self.train_rows.len());
        scratch.counts.copy_from_slice(&self.sheet.rows_of_kind);
        self.values_with(&mut scratch, |_| 1.0)
    }

    /// Values of all candidates on drawn rows.
    fn values(&self, scratch: &mut Scratch) -> Vec<f64> {
        self.values_with(scratch, |rows| rows as f64 / draws(rows) as f64)
    }

    fn values_with(&self, scratch: &mut Scratch, row_weight: impl Fn(usize) -> f64) -> Vec<f64> {
        let weight_in = |stratum: &Stratum| row_weight(stratum.rows.len());
        let Scratch { counts, borrowed, tallied } = scratch;
        let mut value = |column: usize| {
            tallied.clear();
            for stratum in &self.sheet.strata {
                let (weight, own) = (weight_in(stratum), [stratum.label; 2]);
                for kind in stratum.kinds.clone().filter(|&kind| counts[kind] > 0) {
                    self.sheet.add(tallied, column, kind, own, f64::from(counts[kind]) * weight);
                }
            }
            for row in borrowed.iter() {
                let (to, from) = (&self.sheet.strata[row.borrower], &self.sheet.strata[row.lender]);
                self.sheet.add(tallied, column, row.kind, [from.label, to.label], weight_in(to));
            }
            tallied.value(self.metric, self.train_rows).unwrap_or(f64::NAN)
        };
        let candidates = (0..self.sheet.candidates()).map(|candidate| {
            let columns = self.sheet.columns_of(candidate);
            let repeats = columns.len() as f64;
            columns.map(&mut value).sum::<f64>() / repeats
        });
        candidates.collect()
    }
}

impl Replicates {
    /// The metric of each candidate on the data as they are, mean over repeats.
    pub fn values(&self) -> &[f64] {
        &self.points
    }

    /// Standard error of the metric of `candidate`; NaN where the metric is undefined and for a candidate that is none.
    pub fn standard_error(&self, candidate: usize) -> f64 {
        self.deviation(|values| values.get(candidate).copied().unwrap_or(f64::NAN))
    }

    /// How much better candidate `a` is than candidate `b`: the difference of the metric, its sign turned where lower
    /// values are better. NaN for a candidate that is none.
    pub fn difference(&self, a: usize, b: usize) -> Interval {
        let sign = if self.metric.higher_is_better() { 1.0 } else { -1.0 };
        let difference = |values: &[f64]| match (values.get(a), values.get(b)) {
            (Some(a), Some(b)) => sign * (a - b),
            _ => f64::NAN,
        };
        let value = difference(&self.points);
        if value.is_nan() {
            return Interval { value, low: value, high: value, p: value };
        }
        let error = self.deviation(difference);
        let degrees = self.degrees(a, b);
        let half = two_sided_quantile(0.05, degrees) * error;
        let p = if value == 0.0 { 1.0 } else { two_sided(value / error, degrees) };
        Interval {
            value,
            low: value - half,
            high: value + half,
            p: p.max(1.0 / (self.values.len() + 1) as f64),
        }
    }

    fn deviation(&self, of: impl Fn(&[f64]) -> f64) -> f64 {
        let drawn: Vec<f64> = self.values.iter().map(|values| of(values)).collect();
        mean_sd(&drawn).1
    }

    /// Satterthwaite's degrees of freedom of the difference of two candidates: `V^2 / sum_c V_c^2 / f_c`, `V_c` being
    /// what class c adds to the variance V and `f_c = n_c` its degrees, the prior's one included.
    fn degrees(&self, a: usize, b: usize) -> f64 {
        let known = || self.sheet.strata.iter().filter(|stratum| stratum.label != UNSEEN);
        let moments: Vec<(f64, f64)> = known().map(|stratum| self.moments(stratum, a, b)).collect();
        let lent = |s: &Stratum| s.rows.len().min(POOL_ROWS) as f64;
        let pool: f64 = known().map(lent).sum();
        let in_pool = |f: &dyn Fn(&(f64, f64)) -> f64| {
            known().zip(&moments).map(|(stratum, m)| lent(stratum) * f(m)).sum::<f64>() / pool
        };
        let pool_mean = in_pool(&|m| m.0);
        let pool_variance = in_pool(&|m| m.1 + (m.0 - pool_mean).powi(2));
        let (mut total, mut squares) = (0.0, 0.0);
        for (stratum, (mean, variance)) in known().zip(&moments) {
            let rows = stratum.rows.len();
            let borrow = 1.0 / rows as f64;
            let between = borrow * (1.0 - borrow) * (mean - pool_mean).powi(2);
            let of_draw = (1.0 - borrow) * variance + borrow * pool_variance + between;
            let share = self.metric.class_share(rows, self.train_rows[stratum.label as usize]);
            let part = share * share * of_draw / draws(rows) as f64;
            total += part;
            squares += part * part / rows as f64;
        }
        // Candidates that hit the same rows can still differ in which class they take the others for.
        let all_rows = self.sheet.kind_of.len() as f64;
        if total > 0.0 { total * (total / squares) } else { all_rows }
    }

    /// Mean and variance (divisor n) over the rows of a class of the difference of the scores of two candidates.
    fn moments(&self, stratum: &Stratum, a: usize, b: usize) -> (f64, f64) {
        let rows = stratum.rows.len() as f64;
        let mean_of = |f: &dyn Fn(f64) -> f64| {
            let scored = stratum.kinds.clone().map(|kind| {
                let score = |candidate| self.sheet.score(candidate, kind, stratum.label);
                f64::from(self.sheet.rows_of_kind[kind]) * f(score(a) - score(b))
            });
            scored.sum::<f64>() / rows
        };
        let mean = mean_of(&|d| d);
        (mean, mean_of(&|d| (d - mean).powi(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::evaluate;

    const ROWS: [usize; 7] = [60, 30, 12, 6, 3, 2, 1];
    const TRAINED: [u64; 7] = [600, 300, 120, 60, 30, 8, 4];

    /// Probabilities of noisy candidates, each with two repeats, and labels that leave some rows unseen.
    fn problem(candidates: usize) -> (Vec<Vec<Vec<f32>>>, Vec<u32>) {
        let rows = (0..).zip(ROWS).flat_map(|(class, n)| std::iter::repeat_n(class, n));
        let labels: Vec<u32> = rows.chain([UNSEEN; 4]).collect();
        let mut rng = CounterRng::new(8, 0);
        let mut repeat = |strength: usize| {
            let mut p = Vec::with_capacity(labels.len() * ROWS.len());
            for &label in &labels {
                let raw: Vec<f64> = (0..ROWS.len() as u32)
                    .map(|class| rng.next_f64() + if class == label { 0.1 * strength as f64 } else { 0.0 })
                    .collect();
                let sum: f64 = raw.iter().sum();
                p.extend(raw.iter().map(|v| (v / sum) as f32));
            }
            p
        };
        ((0..candidates).map(|c| vec![repeat(2 + c), repeat(2 + c)]).collect(), labels)
    }

    fn outcomes(probabilities: &[Vec<Vec<f32>>], labels: &[u32]) -> Vec<Vec<Outcomes>> {
        let of = |p: &Vec<f32>| Outcomes::of(p, labels, ROWS.len()).unwrap();
        probabilities.iter().map(|repeats| repeats.iter().map(of).collect()).collect()
    }

    fn tallied_metrics() -> impl Iterator<Item = Metric> {
        Metric::names().map(|name| Metric::parse(name).unwrap()).filter(|metric| metric.is_tallied())
    }

    #[test]
    fn points_are_the_mean_evaluation_of_the_repeats() {
        let (p, labels) = problem(3);
        let counts = ClassCounts::from_rows(TRAINED.to_vec());
        for metric in tallied_metrics() {
            let seen = bootstrap(&outcomes(&p, &labels), &labels, &counts, metric, 100, 1).unwrap();
            for (repeats, found) in p.iter().zip(seen.values()) {
                let whole = |p: &Vec<f32>| metric.value(&evaluate(p, &labels, &counts, None).unwrap());
                let wanted = repeats.iter().map(whole).sum::<f64>() / 2.0;
                assert!((found - wanted).abs() < 1e-12, "{metric}: {found} against {wanted}");
            }
        }
    }

    #[test]
    fn threads_and_the_order_of_candidates_change_no_bit() {
        let (p, labels) = problem(3);
        let counts = ClassCounts::from_rows(TRAINED.to_vec());
        let candidates = outcomes(&p, &labels);
        let turned = vec![candidates[2].clone(), candidates[0].clone(), candidates[1].clone()];
        for metric in [Metric::MacroF1, Metric::MacroRecall, Metric::BalancedLogLoss] {
            let with = |threads: usize, candidates: &[Vec<Outcomes>]| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| bootstrap(candidates, &labels, &counts, metric, 150, 5).unwrap())
            };
            let (one, three, other) = (with(1, &candidates), with(3, &candidates), with(2, &turned));
            assert_eq!(one.values, three.values);
            for (a, b, turned_a, turned_b) in [(0, 1, 1, 2), (2, 0, 0, 1)] {
                assert_eq!(one.difference(a, b), other.difference(turned_a, turned_b), "{metric}");
                assert_eq!(one.standard_error(a), other.standard_error(turned_a));
                let (forth, back) = (one.difference(a, b), one.difference(b, a));
                assert_eq!((forth.value, forth.low, forth.p), (-back.value, -back.high, back.p));
            }
            assert_ne!(one.values, bootstrap(&candidates, &labels, &counts, metric, 150, 6).unwrap().values);
        }
    }

    /// Outcomes of classes of `rows` rows with the first `hits` of them right.
    fn hits(rows: &[usize], hits: &[usize]) -> (Outcomes, Vec<u32>) {
        let (mut predicted, mut labels) = (Vec::new(), Vec::new());
        for (class, (&n, &right)) in (0..).zip(rows.iter().zip(hits)) {
            labels.extend(std::iter::repeat_n(class, n));
            predicted.extend((0..n).map(|row| if row < right { class } else { class ^ 1 }));
        }
        (Outcomes::of_predictions(predicted), labels)
    }

    #[test]
    fn the_error_of_large_classes_is_the_binomial_one() {
        let (outcomes, labels) = hits(&[4_000, 900], &[3_000, 300]);
        let counts = ClassCounts::from_rows(vec![4_000, 900]);
        let error = |metric| {
            bootstrap(&[vec![outcomes.clone()]], &labels, &counts, metric, 4_000, 2)
                .unwrap()
                .standard_error(0)
        };
        let variance = |r: f64, n: f64| r * (1.0 - r) / n;
        let (first, second) = (variance(0.75, 4_000.0), variance(1.0 / 3.0, 900.0));
        let macro_recall = 0.5 * (first + second).sqrt();
        let top1 = (first * 4_000.0 * 4_000.0 + second * 900.0 * 900.0).sqrt() / 4_900.0;
        // The deviation of 4,000 draws is known to 1.1 %: four of that.
        assert!((error(Metric::MacroRecall) / macro_recall - 1.0).abs() < 0.045);
        assert!((error(Metric::Top1) / top1 - 1.0).abs() < 0.045);
    }

    #[test]
    fn classes_of_one_row_have_an_error_and_equal_candidates_no_difference() {
        let (first, labels) = hits(&[1; 12], &[1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let second = hits(&[1; 12], &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0;
        let counts = ClassCounts::from_rows(vec![1; 12]);
        let candidates = [vec![first.clone()], vec![second], vec![first.clone(), first]];
        let seen = bootstrap(&candidates, &labels, &counts, Metric::MacroRecall, 2_000, 2).unwrap();
        // Hits of a third of twelve classes, each of them a draw.
        assert!((seen.standard_error(0) / (2.0 / 9.0 / 12.0_f64).sqrt() - 1.0).abs() < 0.07);
        let difference = seen.difference(0, 1);
        assert!((difference.value - 2.0 / 12.0).abs() < 1e-12 && difference.low < 0.0 && difference.p > 0.05);
        assert_eq!(seen.difference(0, 2), Interval { value: 0.0, low: 0.0, high: 0.0, p: 1.0 });
    }

    #[test]
    fn lower_losses_are_better_and_p_is_never_zero() {
        let labels: Vec<u32> = (0..600).map(|row| row % 2).collect();
        let sure = |p: f32| -> Vec<f32> {
            labels.iter().flat_map(|&y| [[p, 1.0 - p], [1.0 - p, p]][y as usize]).collect()
        };
        let of = |p| vec![Outcomes::of(&sure(p), &labels, 2).unwrap()];
        let counts = ClassCounts::from_rows(vec![300, 300]);
        let seen = bootstrap(&[of(0.9), of(0.6)], &labels, &counts, Metric::LogLoss, 199, 2).unwrap();
        let difference = seen.difference(0, 1);
        assert!((difference.value - 1.5_f64.ln()).abs() < 1e-6 && difference.low > 0.0);
        assert_eq!(difference.p, 1.0 / 200.0);
    }

    #[test]
    fn p_and_interval_agree_on_what_is_significant() {
        let (p, labels) = problem(6);
        let counts = ClassCounts::from_rows(TRAINED.to_vec());
        let mut significant = 0;
        for metric in tallied_metrics().filter(|&metric| metric != Metric::GMean) {
            let seen = bootstrap(&outcomes(&p, &labels), &labels, &counts, metric, 300, 1).unwrap();
            for (a, b) in [(5, 0), (1, 0), (0, 3), (4, 3)] {
                let Interval { value, low, high, p } = seen.difference(a, b);
                assert!(low <= value && value <= high && p > 0.0 && p <= 1.0, "{metric}");
                assert_eq!(p < 0.05, low > 0.0 || high < 0.0, "{metric}: {p} {low} {high}");
                significant += usize::from(p < 0.05);
            }
        }
        assert!((5..40).contains(&significant), "{significant}");
    }

    #[test]
    fn what_is_undefined_is_nan_and_bad_input_is_refused() {
        let (outcomes, labels) = hits(&[5, 4], &[3, 2]);
        let counts = ClassCounts::from_rows(vec![500, 400]);
        let both = [vec![outcomes.clone()], vec![outcomes]];
        for metric in [Metric::Few, Metric::Brier] {
            let seen = bootstrap(&both, &labels, &counts, metric, 100, 1).unwrap();
            assert!(seen.values()[0].is_nan() && seen.standard_error(0).is_nan());
            assert!(seen.difference(0, 1).value.is_nan() && seen.difference(0, 1).p.is_nan());
        }
        let seen = bootstrap(&both, &labels, &counts, Metric::Top1, 100, 1).unwrap();
        assert!(seen.difference(0, 7).p.is_nan() && seen.standard_error(7).is_nan());
        let code = |candidates: &[Vec<Outcomes>], labels: &[u32], metric, replicates| {
            bootstrap(candidates, labels, &counts, metric, replicates, 1).unwrap_err().code()
        };
        assert_eq!(code(&both, &labels, Metric::Ece, 100), "E0208");
        assert_eq!(code(&both, &labels, Metric::Top1, 99), "E0208");
        assert_eq!(code(&both, &labels[1..], Metric::Top1, 100), "E0315");
        assert_eq!(code(&[vec![]], &labels, Metric::Top1, 100), "E0301");
        assert_eq!(code(&[], &[], Metric::Top1, 100), "E0301");
    }
}

//! The metric L-BFGS starts from: a model of the Hessian that is inverted exactly.
//!
//! Two models: `class_metric`, cheap and good where the rows of all classes have like second moments, as embeddings
//! do, and the rows that each class is in doubt about are counted one by one; and where the parameters are few,
//! `newton`, the Hessian itself at the point of its renewal.

use super::class_metric::ClassMetric;
use super::newton::NewtonMetric;
use super::second_moments::{Form, MOST_FEATURES};
use super::{work_of, work_of_a_pass};
use crate::checkpoint::codec::{Stored, store_fields};
use crate::linear::objective::Objective;
use crate::linear::problem::Problem;
use crate::loss::Loss;
use crate::simd::Kernels;

/// Curvature of a class relative to that of a constant classifier. Between .1 and 1 the number of iterations hardly
/// changes on embeddings.
const START_SCALE: f64 = 0.3;
/// Share of the curvature at the start that is kept when the metric is renewed: where rows are saturated now, the next
/// step may bring them back.
const KEPT: f64 = 0.1;
/// The same where the rows in doubt are known one by one. On clinc150imb, banking77 and cifar10_lt100 a share of .1 takes
/// up to half as many passes again; below .01 nothing changes.
const KEPT_BESIDE_HARD_ROWS: f64 = 0.01;

/// Second moments of the features and curvatures of the classes; what a metric is made of for any l2.
#[derive(Debug)]
pub(super) struct Curvature {
    /// Row weights of the second moments, sum 1, for the rows at `positions`.
    pub(super) weights: Vec<f32>,
    pub(super) positions: Vec<usize>,
    /// Curvature of each class.
    pub(super) classes: Vec<f64>,
}
store_fields!(Curvature { weights, positions, classes });

impl Curvature {
    /// Before anything is known of the fit: all rows by their weight, classes by their share `p (1 - p)`.
    pub(super) fn at_start(objective: &Objective<'_>) -> Self {
        let (positions, weights) = sample(objective);
        Curvature { weights, positions, classes: class_curvatures(objective) }
    }

    /// At the parameters `theta` (coordinates of the objective), with a part of the curvature at the start.
    fn at(objective: &Objective<'_>, theta: &[f32], start: &Curvature) -> Self {
        let (positions, row_weights) = (&start.positions, &start.weights);
        let (rows, mut classes) = objective.curvatures(theta, positions, row_weights);
        let kept: Vec<f64> = start.classes.iter().map(|c| KEPT * c).collect();
        let kept_total: f64 = kept.iter().sum();
        let total = rows.iter().map(|&r| f64::from(r)).sum::<f64>() + kept_total;
        let weights = rows
            .iter()
            .zip(row_weights)
            .map(|(&row, &weight)| ((f64::from(row) + kept_total * f64::from(weight)) / total) as f32)
            .collect();
        classes.iter_mut().zip(kept).for_each(|(class, kept)| *class += kept);
        Curvature { weights, positions: positions.clone(), classes }
    }
}

/// Curvature of each class where a constant classifier stands, scaled.
fn class_curvatures(objective: &Objective<'_>) -> Vec<f64> {
    let scale = START_SCALE * objective.problem().loss.relative_curvature();
    objective.moments().class_share.iter().map(|p| scale * (p * (1.0 - p)).max(1e-12)).collect()
}

/// Rows that the second moments are taken from, with weights of sum 1: all, or where they are many every so-manieth of
/// the total weight.
fn sample(objective: &Objective<'_>) -> (Vec<usize>, Vec<f32>) {
    let problem = objective.problem();
    let total = objective.moments().total_weight;
    let most = Form::of(&problem.rows).rows();
    if problem.rows.len() <= most {
        let weights = problem.weights.iter().map(|&w| (f64::from(w) / total) as f32).collect();
        return ((0..problem.rows.len()).collect(), weights);
    }
    let mut positions = Vec::with_capacity(most);
    let mut passed = 0.0;
    for (row, &weight) in problem.weights.iter().enumerate() {
        passed += f64::from(weight);
        while positions.len() < most && passed * most as f64 > (positions.len() as f64 + 0.5) * total {
            positions.push(row);
        }
    }
    let weights = vec![1.0 / positions.len() as f32; positions.len()];
    (positions, weights)
}

/// Passes that a metric serves at least: before, the fit has not settled which rows are hard. On clinc150imb, banking77 and
/// cifar10_lt100 10 to 14 of them make no difference, 8 cost some.
const LIFETIME: usize = 12;
/// Factor between the lifetimes of the class metrics of one fit.
const LONGER_LIFE: usize = 4;
/// Factor between the shares of a class up to which what is known of the curvature is that under other weights as well.
const MOST_OTHER_SHARE: f64 = 2.0;

/// The metric of a fit, kept for the next fit over the same rows or most of them.
#[derive(Debug, Default)]
pub struct Preconditioner {
    class_share: Vec<f64>,
    l2_factors: Option<Vec<f64>>,
    rows: usize,
    start: Option<Curvature>,
    metric: Option<Metric>,
    /// Passes made in this metric, and how many it is to serve.
    passes: usize,
    lifetime: usize,
    /// Passes made since a Hessian was last taken, and how many pay for another, where one is taken at all.
    passes_without_newton: usize,
    newton_after: Option<usize>,
    /// Shares of the classes in the weights of the rows that the second moments of a class metric were taken from.
    share_of_moments: Vec<f64>,
}

store_fields!(Preconditioner {
    class_share,
    l2_factors,
    rows,
    start,
    metric,
    passes,
    lifetime,
    passes_without_newton,
    newton_after,
    share_of_moments,
});

#[derive(Debug)]
enum Metric {
    OfClasses(ClassMetric),
    OfParameters(NewtonMetric),
}

/// Without its factors, which depend on l2 besides: [`Preconditioner::make_ready`].
impl Stored for Metric {
    fn store(&self, out: &mut Vec<u8>) {
        matches!(self, Metric::OfParameters(_)).store(out);
        match self {
            Metric::OfClasses(metric) => metric.store(out),
            Metric::OfParameters(metric) => metric.store(out),
        }
    }

    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(match bool::load(from)? {
            false => Metric::OfClasses(ClassMetric::load(from)?),
            true => Metric::OfParameters(NewtonMetric::load(from)?),
        })
    }
}

impl Preconditioner {
    /// The best metric at a fit's end `theta` (coordinates of the objective): the Hessian where the parameters are few.
    pub(in crate::linear) fn at_optimum(objective: &Objective<'_>, theta: &[f32]) -> Self {
        let mut preconditioner = Preconditioner::default();
        preconditioner.prepare(objective, theta);
        if let Some(passes) = preconditioner.newton_after {
            preconditioner.passes_without_newton = passes;
            preconditioner.renew(objective, theta);
        }
        preconditioner
    }

    /// Makes the metric ready for the objective and its l2, the first time from the curvature at `theta` (coordinates of
    /// the objective).
    pub fn prepare(&mut self, objective: &Objective<'_>, theta: &[f32]) {
        let problem = objective.problem();
        let rows = problem.rows.len();
        let is_the_same = self.start.is_some()
            && rows == self.rows
            && self.class_share == objective.moments().class_share
            && self.l2_factors.as_deref() == problem.l2_factors;
        if !is_the_same {
            self.rows = rows;
            self.l2_factors = problem.l2_factors.map(<[f64]>::to_vec);
            self.class_share.clone_from(&objective.moments().class_share);
            self.start = Some(Curvature::at_start(objective));
        }
        // Second moments under other weights, or of most of the rows, still serve; the curvatures of the classes do not, nor
        // do those of a fit's end at the start of another.
        let is_settled = is_the_same && !is_at_start(objective, theta);
        if let (Some(Metric::OfClasses(metric)), Some(start), false) =
            (&mut self.metric, &self.start, is_settled)
        {
            metric.set_classes(&start.classes, objective);
        }
        self.lifetime = self.passes_a_class_metric_costs(objective).max(LIFETIME);
        self.newton_after = has_hessian(problem)
            .then(|| passes_of(NewtonMetric::most_work(problem), objective).max(LIFETIME));
        match &mut self.metric {
            None => self.renew(objective, theta),
            Some(metric) => metric.set_l2(objective),
        }
        self.forget_if_stopped(objective);
    }

    /// What was made of rows that are stopped must not serve a fit.
    fn forget_if_stopped(&mut self, objective: &Objective<'_>) {
        if objective.is_stopped() {
            *self = Preconditioner::default();
        }
    }

    /// Whether this can have been made for fits of the classes and features of `objective`.
    pub(in crate::linear) fn fits(&self, objective: &Objective<'_>) -> bool {
        let problem = objective.problem();
        let (classes, features) = (problem.classes, problem.rows.features());
        let is_curvature = |start: &Curvature| {
            start.classes.len() == classes
                && start.weights.len() == start.positions.len()
                && start.positions.iter().all(|&row| row < self.rows)
        };
        let is_metric = |metric: &Metric| match metric {
            Metric::OfClasses(metric) => {
                let hard_rows = most_hard_rows(problem.loss, classes, features, self.rows);
                metric.fits(classes, features, self.rows, hard_rows)
            }
            Metric::OfParameters(metric) => metric.fits(problem),
        };
        self.start.as_ref().is_none_or(is_curvature) && self.metric.as_ref().is_none_or(is_metric)
    }

    /// Rows of the fit that it was last made ready for.
    pub(in crate::linear) fn rows(&self) -> usize {
        self.rows
    }

    /// Makes what was stored ready for the fit of `objective` that it was stored in.
    pub(in crate::linear) fn make_ready(&mut self, objective: &Objective<'_>) {
        if let Some(metric) = &mut self.metric {
            metric.set_l2(objective);
        }
    }

    /// Lets go of what is large and soon made anew.
    pub(in crate::linear) fn rest(&mut self) {
        match &mut self.metric {
            Some(Metric::OfClasses(metric)) => metric.rest(),
            Some(Metric::OfParameters(metric)) => metric.forget_l2(),
            None => {}
        }
    }

    /// Counts `passes` made in this metric and says whether they have paid for another.
    pub fn is_worn_out_by(&mut self, passes: usize) -> bool {
        self.passes += passes;
        self.passes_without_newton += passes;
        match &self.metric {
            Some(Metric::OfParameters(_)) => self.pays_for_newton(),
            _ => self.passes >= self.lifetime || self.pays_for_newton(),
        }
    }

    fn pays_for_newton(&self) -> bool {
        self.newton_after.is_some_and(|passes| self.passes_without_newton >= passes)
    }

    /// Renews the metric from the curvature at `theta` (coordinates of the objective).
    pub fn renew(&mut self, objective: &Objective<'_>, theta: &[f32]) {
        let Some(start) = &self.start else { return };
        let hard_rows = hard_rows_of(objective.problem());
        // Of the old one stays what the new one may be made of; the rest makes room.
        let old = match self.metric.take() {
            Some(Metric::OfClasses(metric))
                if hard_rows > 0 && weigh_alike(&self.class_share, &self.share_of_moments) =>
            {
                Some(metric)
            }
            _ => None,
        };
        let newton = if self.pays_for_newton() { NewtonMetric::at(objective, theta) } else { None };
        let mut metric = match newton {
            Some(newton) => {
                self.passes_without_newton = 0;
                self.newton_after = Some(passes_of(newton.work(), objective).max(LIFETIME));
                Metric::OfParameters(newton)
            }
            None => {
                let is_at_start = is_at_start(objective, theta);
                if !is_at_start {
                    self.lifetime *= LONGER_LIFE;
                }
                if old.is_none() || is_at_start {
                    self.share_of_moments.clone_from(&self.class_share);
                }
                Metric::OfClasses(if is_at_start {
                    ClassMetric::new(objective, start)
                } else if hard_rows > 0 {
                    let mut metric = old.unwrap_or_else(|| ClassMetric::new(objective, start));
                    let kept: Vec<f64> = start.classes.iter().map(|c| KEPT_BESIDE_HARD_ROWS * c).collect();
                    metric.take_hard_rows(objective, theta, hard_rows, &kept);
                    metric
                } else {
                    ClassMetric::new(objective, &Curvature::at(objective, theta, start))
                })
            }
        };
        metric.set_l2(objective);
        self.metric = Some(metric);
        self.passes = 0;
        self.forget_if_stopped(objective);
    }

    /// What a class metric costs in passes over the rows, by their floating-point operations.
    fn passes_a_class_metric_costs(&self, objective: &Objective<'_>) -> usize {
        let rows = &objective.problem().rows;
        let (stored, classes) = (rows.entries_a_row(), objective.problem().classes as f64);
        let sampled = self.start.as_ref().map_or(0, |start| start.positions.len()) as f64;
        let size = Form::of(rows).size() as f64;
        let levels = match &self.metric {
            Some(Metric::OfClasses(metric)) => metric.levels() as f64,
            _ => 1.0,
        };
        let hard_rows = hard_rows_of(objective.problem()) as f64;
        if hard_rows > 0.0 {
            let whitening = hard_rows * classes * size * size;
            let forward = 0.5 * work_of_a_pass(objective.problem());
            return passes_of(forward + levels * size.powi(3) + whitening, objective);
        }
        // A row meets every feature (row) of the products, of sparse rows every entry of its own.
        let partners = if rows.is_sparse() { stored } else { size };
        let work = 2.0 * sampled * stored * (partners + classes) + levels * size.powi(3);
        passes_of(work, objective)
    }

    /// Replaces a gradient (`C x D` weights, then C biases) by the inverse metric times it.
    pub fn solve(&self, gradient: &mut [f32], kernels: &Kernels) {
        match &self.metric {
            Some(Metric::OfClasses(metric)) => metric.solve(gradient, kernels),
            Some(Metric::OfParameters(metric)) => metric.solve(gradient),
            None => {}
        }
    }
}

impl Metric {
    fn set_l2(&mut self, objective: &Objective<'_>) {
        match self {
            Metric::OfClasses(metric) => metric.set_l2(objective),
            Metric::OfParameters(metric) => metric.set_l2(objective),
        }
    }
}

/// Whether the Hessian of a problem in all parameters becomes its metric.
pub(in crate::linear) fn has_hessian(problem: &Problem<'_>) -> bool {
    NewtonMetric::is_taken(problem.loss, problem.classes, problem.parameters())
}

/// Rows of each class whose curvature a class metric takes one by one: 0 where none pay. On clinc150imb and banking77 64 of
/// them save two more passes of 20 to 30 and cost one.
const MOST_HARD_ROWS: usize = 32;
const FEWEST_HARD_ROWS: usize = 4;
/// Values that those of all classes may hold together: 16 MiB, or of larger features a sixteenth, up to 256 MiB.
const HARD_VALUES: usize = 1 << 22;
const MOST_HARD_VALUES: usize = 1 << 26;

/// Rows of each class that the metric of a problem of this shape counts one by one. None of a loss that is not convex, nor of
/// wide rows, nor where the Hessian itself becomes the metric.
fn most_hard_rows(loss: Loss, classes: usize, features: usize, rows: usize) -> usize {
    let parameters = classes.saturating_mul(features.saturating_add(1)).max(1);
    let values = (rows.saturating_mul(features) / 16).clamp(HARD_VALUES, MOST_HARD_VALUES);
    let pays =
        loss.is_convex() && features <= MOST_FEATURES && !NewtonMetric::is_taken(loss, classes, parameters);
    let affordable = values / parameters;
    if pays && affordable >= FEWEST_HARD_ROWS { affordable.min(MOST_HARD_ROWS) } else { 0 }
}

/// Bytes that the hard rows of such a metric take.
pub fn hard_row_bytes(loss: Loss, classes: usize, features: usize, rows: usize) -> u64 {
    let values = most_hard_rows(loss, classes, features, rows) * classes * (features + 1);
    (values * size_of::<f32>()) as u64
}

/// Bytes that the Hessian of a problem with so many dense rows takes at least while it is made a metric, 0 where no fit may
/// come so far.
pub fn hessian_bytes(loss: Loss, classes: usize, features: usize, rows: usize) -> u64 {
    let parameters = classes.saturating_mul(features.saturating_add(1));
    let pass = work_of(rows, features as f64, classes);
    match NewtonMetric::is_taken(loss, classes, parameters) && NewtonMetric::is_soon_paid(pass, parameters) {
        true => NewtonMetric::bytes(parameters),
        false => 0,
    }
}

fn hard_rows_of(problem: &Problem<'_>) -> usize {
    most_hard_rows(problem.loss, problem.classes, problem.rows.features(), problem.rows.len())
}

/// Whether the shares of the classes are about the same.
pub(super) fn weigh_alike(these: &[f64], those: &[f64]) -> bool {
    these.len() == those.len()
        && these.iter().zip(those).all(|(a, b)| a.max(*b) <= MOST_OTHER_SHARE * a.min(*b))
}

/// Whether `theta` is where nothing is known: no class is drawn to any feature.
pub(super) fn is_at_start(objective: &Objective<'_>, theta: &[f32]) -> bool {
    theta[..theta.len() - objective.problem().classes].iter().all(|&w| w == 0.0)
}

fn passes_of(work: f64, objective: &Objective<'_>) -> usize {
    (work / work_of_a_pass(objective.problem()).max(1.0)).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_rows_are_taken_where_they_fit_in_beside_the_features() {
        let softmax = |classes, features, rows| most_hard_rows(Loss::Softmax, classes, features, rows);
        assert_eq!(softmax(151, 384, 10_625), MOST_HARD_ROWS);
        assert_eq!(softmax(1000, 1024, 1_281_167), MOST_HARD_ROWS);
        assert_eq!(softmax(1000, 768, 10_000), 5);
        assert_eq!(softmax(8142, 1024, 60_000), 0, "less than FEWEST_HARD_ROWS are affordable");
        assert_eq!(softmax(10, 100, 10_000), 0, "the Hessian becomes the metric");
        assert_eq!(softmax(10, 20_000, 10_000), 0, "the metric is one of rows");
        assert_eq!(most_hard_rows(Loss::Focal { gamma: 2.0 }, 151, 384, 10_625), 0, "not convex");
    }

    #[test]
    fn a_hessian_is_counted_where_a_search_will_take_it() {
        assert_eq!(hessian_bytes(Loss::Softmax, 6, 256, 1_000_000), 10 * 1542 * 1542);
        assert_eq!(hessian_bytes(Loss::Softmax, 4, 1023, 800), 0, "its factor costs thousands of passes");
        assert_eq!(hessian_bytes(Loss::Softmax, 6, 1000, 1_000_000), 0, "too many parameters");
        assert_eq!(hessian_bytes(Loss::Focal { gamma: 2.0 }, 6, 256, 1_000_000), 0, "not convex");
    }
}

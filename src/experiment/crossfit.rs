//! Out-of-fold logits: every row scored by a model of the same setting that was not fitted on it.

use std::ops::ControlFlow;

use super::boost_fits::FoldBins;
use super::folds::Folds;
use crate::Result;
use crate::boost::binning::BinningOptions;
use crate::boost::kept::kept_rounds;
use crate::boost::options::BoostOptions;
use crate::boost::trainer::Trainer;
use crate::checkpoint::journal::Journal;
use crate::linear::classifier::Classifier;
use crate::linear::fit::Optimizer;
use crate::linear::heads;
use crate::linear::objective::Objective;
use crate::linear::rows::Rows;
use crate::linear::series::FitSeries;
use crate::linear::weighted::{Recipe, Sample, WeightedSample};
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::weighting::prior::{Prior, PriorCorrection};

/// One setting to fit on every fold.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// N rows.
    pub sample: Sample<'a>,
    /// Class weighting; the weights are those of the counts of each fold's training rows.
    pub scheme: &'a Scheme,
    /// What is fitted.
    pub estimator: Estimator<'a>,
    /// The rest; its optimizer, decay and what boosting has none of are for linear functions alone.
    pub recipe: &'a Recipe,
}

/// What is fitted on every fold.
#[derive(Debug, Clone, Copy)]
pub enum Estimator<'a> {
    /// Linear functions.
    Linear(LinearEstimator),
    /// Sums of trees.
    Boost {
        /// Rounds of boosting.
        rounds: usize,
        /// Settings of the fit.
        options: &'a BoostOptions,
        /// Settings of the bins, categorical columns included.
        binning: &'a BinningOptions,
    },
}

/// Linear functions to fit on every fold.
#[derive(Debug, Clone, Copy)]
pub struct LinearEstimator {
    /// Strength of the penalty; `None` for closed forms, which minimise no loss.
    pub l2: Option<f64>,
    /// What the head leaves open; `None` for the minimum of the loss itself.
    pub head: Option<heads::Setting>,
    /// Where minibatches stop; L-BFGS runs to its tolerance.
    pub last_epoch: Option<usize>,
}

/// Follows the fits: the fold, and epochs, iterations or rounds done; `Break` ends them all.
pub type FoldWatch<'w> = dyn FnMut(usize, usize) -> ControlFlow<()> + 'w;

/// Logits of rows that their model was not fitted on.
#[derive(Debug, Clone)]
pub struct OutOfFold {
    /// N x C, row-major; NaN in rows that no fold holds out.
    pub logits: Vec<f32>,
    /// Which fold holds which row out.
    pub folds: Folds,
    classes: usize,
    /// One a fold, by its own class weights and counts: to probabilities as trained, and to natural ones.
    corrections: Vec<(PriorCorrection, PriorCorrection)>,
}

/// Fits `setting` on the training rows of each of `folds` and predicts the rows held out. Every fit starts cold: one
/// that started at a fit of all rows and stopped within a tolerance would still know the rows held out. What folds share
/// is the metric of the optimizer, which changes the way to an optimum and not the optimum. `journal` keeps the fits, where
/// there is one. `None` where `watch` broke.
///
/// # Errors
/// Those of the weighting, of the fits and of the journal.
pub fn cross_fit(
    setting: &Setting<'_>,
    folds: Folds,
    journal: Option<&Journal>,
    kernels: &'static Kernels,
    watch: &mut FoldWatch<'_>,
) -> Result<Option<OutOfFold>> {
    let classes = setting.sample.classes;
    let mut logits = vec![f32::NAN; setting.sample.labels.len() * classes];
    let mut fits = FitSeries::new(journal);
    let mut corrections = Vec::with_capacity(folds.folds());
    for fold in 0..folds.folds() {
        let (train, held) = folds.split(fold);
        let chosen = Chosen::of(&setting.sample, &train);
        let weighted = WeightedSample::new(chosen.view(&setting.sample), setting.scheme, setting.recipe)?;
        let rows: Vec<usize> = held.iter().map(|&row| setting.sample.rows.matrix_row(row)).collect();
        let held_rows = Rows::chosen(setting.sample.rows.matrix(), &rows);
        let mut stopped = false;
        let mut watch = |step: usize| {
            let flow = watch(fold, step);
            stopped |= flow.is_break();
            flow
        };
        let (predicted, conditions) = match setting.estimator {
            Estimator::Linear(linear) => {
                let fits = &mut fits;
                let classifier = fit_linear(&linear, &weighted, setting.recipe, fits, kernels, &mut watch)?;
                (classifier.model.logits_of(held_rows, kernels), classifier.conditions)
            }
            Estimator::Boost { rounds, options, binning } => {
                let sample = &weighted.sample;
                let bins = FoldBins::new(sample.rows, sample.labels, None, binning)?;
                let problem = bins.problem(&weighted, setting.recipe.loss, None);
                let mut trainer = Trainer::new(problem, options, kernels)?;
                kept_rounds(journal, &mut trainer, rounds, &mut watch)?;
                let logits = trainer.into_model().logits(&held_rows.matrix().select_rows(&rows))?;
                (logits, weighted.conditions(setting.recipe))
            }
        };
        if stopped {
            return Ok(None);
        }
        for (&row, values) in held.iter().zip(predicted.chunks_exact(classes)) {
            logits[row * classes..(row + 1) * classes].copy_from_slice(values);
        }
        corrections
            .push((conditions.correction(&Prior::AsTrained)?, conditions.correction(&Prior::Natural)?));
    }
    Ok(Some(OutOfFold { logits, folds, classes, corrections }))
}

fn fit_linear(
    linear: &LinearEstimator,
    weighted: &WeightedSample<'_>,
    recipe: &Recipe,
    fits: &mut FitSeries<'_>,
    kernels: &'static Kernels,
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Classifier> {
    let built = |base: Option<&Classifier>| {
        let builder = heads::Builder::new(weighted, base, kernels);
        linear.head.map_or_else(|| builder.base().cloned(), |head| builder.build(head))
    };
    let Some(l2) = linear.l2 else { return built(None) };
    let mut objective = Objective::new(weighted.problem(recipe, l2), kernels);
    let start = objective.problem().start();
    let is_minibatch = matches!(recipe.optimizer, Optimizer::Minibatch { .. });
    let last_epoch = linear.last_epoch.filter(|_| is_minibatch);
    let fitted = fits.fit(&mut objective, &start, &recipe.optimizer, None, &mut |progress| {
        let flow = watch(progress.step);
        let enough = last_epoch.is_some_and(|last| progress.step >= last);
        if enough { ControlFlow::Break(()) } else { flow }
    })?;
    built(Some(&weighted.classifier(&fitted.theta, recipe)))
}

/// Some rows of a sample with their labels and weights.
struct Chosen {
    rows: Vec<usize>,
    labels: Vec<u32>,
    row_weights: Option<Vec<f64>>,
}

impl Chosen {
    fn of(sample: &Sample<'_>, positions: &[usize]) -> Self {
        Chosen {
            rows: positions.iter().map(|&row| sample.rows.matrix_row(row)).collect(),
            labels: positions.iter().map(|&row| sample.labels[row]).collect(),
            row_weights: sample.row_weights.map(|w| positions.iter().map(|&row| w[row]).collect()),
        }
    }

    fn view<'c>(&'c self, sample: &Sample<'c>) -> Sample<'c> {
        Sample {
            rows: Rows::chosen(sample.rows.matrix(), &self.rows),
            labels: &self.labels,
            row_weights: self.row_weights.as_deref(),
            classes: sample.classes,
        }
    }
}

impl OutOfFold {
    /// Log posteriors as trained of the rows [`Folds::scored`], in that order: rows x C. Each fold's logits are read by the
    /// class weights and counts its model was fitted with.
    pub fn trained_log_posteriors(&self) -> Vec<f64> {
        self.log_posteriors(|(trained, _)| trained)
    }

    /// The same under the natural prior.
    pub fn natural_log_posteriors(&self) -> Vec<f64> {
        self.log_posteriors(|(_, natural)| natural)
    }

    fn log_posteriors(
        &self,
        choose: impl Fn(&(PriorCorrection, PriorCorrection)) -> &PriorCorrection,
    ) -> Vec<f64> {
        let scored = self.folds.scored();
        let mut logs = vec![0.0; scored.len() * self.classes];
        let mut wide = vec![0.0; self.classes];
        for (&row, out) in scored.iter().zip(logs.chunks_exact_mut(self.classes)) {
            let logits = &self.logits[row * self.classes..(row + 1) * self.classes];
            wide.iter_mut().zip(logits).for_each(|(wide, z)| *wide = f64::from(*z));
            if let Some(both) = self.folds.fold_of(row).and_then(|fold| self.corrections.get(fold)) {
                choose(both).log_posterior(&wide, out);
            }
        }
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::fit::fit;
    use crate::linear::problem::Decay;
    use crate::linear::solver::memory::Memory;
    use crate::linear::weighted::model_of;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;

    fn recipe() -> Recipe {
        Recipe {
            loss: Loss::Softmax,
            logit_adjust: 0.0,
            vs_gamma: 0.0,
            ldam: 0.0,
            resampling: None,
            decay: Decay::Weights,
            max_weight: None,
            optimizer: Optimizer::Lbfgs { tolerance: 1e-6, max_iterations: 200, certified: true },
        }
    }

    /// Two classes of 20 and 9 rows on a line, and one row of a third.
    fn line(seed: u64) -> (Matrix<'static>, Vec<u32>) {
        let labels: Vec<u32> = [vec![0; 20], vec![1; 9], vec![2]].concat();
        let mut rng = CounterRng::new(seed, 0);
        let values = labels.iter().map(|&label| (f64::from(label) + 2.0 * rng.next_f64()) as f32).collect();
        (Matrix::from_f32(values, 1), labels)
    }

    fn crossed(matrix: &Matrix, labels: &[u32], watch: &mut FoldWatch<'_>) -> Option<OutOfFold> {
        let sample = Sample { rows: Rows::all(matrix), labels, row_weights: None, classes: 3 };
        let recipe = recipe();
        let setting = Setting {
            sample,
            scheme: &Scheme::Inverse,
            estimator: Estimator::Linear(LinearEstimator { l2: Some(1e-2), head: None, last_epoch: None }),
            recipe: &recipe,
        };
        let folds = Folds::new(labels, 3, 5, 1, 0).unwrap();
        cross_fit(&setting, folds, None, Kernels::best(), watch).unwrap()
    }

    #[test]
    fn each_row_is_predicted_by_the_fit_of_the_other_folds() {
        let (matrix, labels) = line(3);
        let oof = crossed(&matrix, &labels, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert!(oof.logits[29 * 3..].iter().all(|z| z.is_nan()));
        assert!(oof.logits[..29 * 3].iter().all(|z| z.is_finite()));
        // The third fold alone, fitted by hand on a copy of its rows.
        let (train, held) = oof.folds.split(2);
        let part = matrix.select_rows(&train);
        let part_labels: Vec<u32> = train.iter().map(|&row| labels[row]).collect();
        let sample = Sample { rows: Rows::all(&part), labels: &part_labels, row_weights: None, classes: 3 };
        let recipe = recipe();
        let weighted = WeightedSample::new(sample, &Scheme::Inverse, &recipe).unwrap();
        let kernels = Kernels::best();
        let mut objective = Objective::new(weighted.problem(&recipe, 1e-2), kernels);
        let start = objective.problem().start();
        let alone = fit(&mut objective, &mut Memory::default(), &start, &recipe.optimizer, None, &mut |_| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let logits = model_of(&alone.theta, 1, Loss::Softmax).logits(&matrix.select_rows(&held), kernels);
        for (&row, expected) in held.iter().zip(logits.chunks(3)) {
            // A constant for all classes is free in softmax.
            for class in 1..3 {
                let found = oof.logits[row * 3 + class] - oof.logits[row * 3];
                let gap = (found - (expected[class] - expected[0])).abs();
                assert!(gap < 0.02, "row {row}, class {class}: {gap}");
            }
        }
        let logs = oof.natural_log_posteriors();
        assert_eq!(logs.len(), 29 * 3);
        assert!(logs.chunks(3).all(|row| (row.iter().map(|l| l.exp()).sum::<f64>() - 1.0).abs() < 1e-12));
    }

    #[test]
    fn what_a_row_holds_does_not_reach_its_own_prediction() {
        // Another label of a held row changes no logit of its own fold as long as the folds stay the same.
        let (matrix, labels) = line(5);
        let oof = crossed(&matrix, &labels, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let (train, held) = oof.folds.split(0);
        let mut moved = matrix.clone();
        if let crate::matrix::Storage::F32(values) = moved.storage_mut() {
            held.iter().for_each(|&row| values[row] += 1.0);
        }
        let other = crossed(&moved, &labels, &mut |_, _| ControlFlow::Continue(())).unwrap();
        // The slope and intercept of fold 0 from two of its own predictions are those of before.
        let of = |oof: &OutOfFold, row: usize| oof.logits[row * 3] - oof.logits[row * 3 + 1];
        let line = |oof: &OutOfFold, x: &Matrix| {
            let (a, b) = (held[0], held[1]);
            let slope = (of(oof, a) - of(oof, b)) / (x.get(a, 0) - x.get(b, 0));
            (slope, of(oof, a) - slope * x.get(a, 0))
        };
        let (before, after) = (line(&oof, &matrix), line(&other, &moved));
        assert!(
            (before.0 - after.0).abs() < 0.02 && (before.1 - after.1).abs() < 0.05,
            "{before:?} {after:?}"
        );
        assert!(!train.is_empty());
    }

    #[test]
    fn a_watch_that_breaks_ends_all_folds() {
        let (matrix, labels) = line(3);
        let mut seen = Vec::new();
        let ended = crossed(&matrix, &labels, &mut |fold, _| {
            seen.push(fold);
            if fold == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(ended.is_none());
        assert_eq!(seen.last(), Some(&1));
    }
}

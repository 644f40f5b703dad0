//! Fitting the linear functions that trees start from.

use std::ops::ControlFlow;

use super::model::mirrored;
use crate::Result;
use crate::checkpoint::journal::Journal;
use crate::experiment::crossfit::{Estimator, LinearEstimator, Setting, cross_fit};
use crate::experiment::folds::Folds;
use crate::linear::fit::Progress;
use crate::linear::model::LinearModel;
use crate::linear::objective::Objective;
use crate::linear::search::{Grid, Recipe, Sample, SearchWatch, Validation, WeightedSample, search};
use crate::linear::series::FitSeries;
use crate::simd::Kernels;
use crate::weighting::Scheme;

/// With fewer rows a feature, trees start from logits of functions that were fitted to other rows: the functions know the
/// labels of their own rows, and leave the trees less than they will leave on new ones. Log-loss of a quarter of the rows
/// held out, out of fold against in sample (splits and flags of `benches/hybrid.py`): below 50 rows a feature lower on 8 of
/// 9 splits of page-blocks-1-3_vs_4, vehicle1 and vehicle3, by .015 on average, and within .002 on embeddings (Banking77,
/// CIFAR-10-LT, CLINC150), where trees add little; from 50 to 200 level over 15 splits of pima, yeast1, haberman, yeast and
/// winequality (6 lower, 5 higher, 4 equal); above, no lower on covertype_20k, adult and shuttle, at up to five times the time.
const ROWS_A_FEATURE: usize = 50;

/// Folds of these rows.
const FOLDS: usize = 5;

/// Linear functions, and what they say of the rows they were fitted to.
#[derive(Debug, Clone, PartialEq)]
pub struct StartFit {
    /// The functions.
    pub model: LinearModel,
    /// Strength of their penalty.
    pub l2: f64,
    /// `N x C` logits of the rows of the sample for trees to start from.
    pub logits: Vec<f32>,
}

/// What is fitted to which rows.
#[derive(Debug, Clone, Copy)]
pub struct StartProblem<'a> {
    /// N rows of linear features.
    pub sample: Sample<'a>,
    /// Weighting of their classes.
    pub scheme: &'a Scheme,
    /// Loss, adjustment, solver.
    pub recipe: &'a Recipe,
    /// Key of the folds.
    pub seed: u64,
    /// Keeps the fits, where something does.
    pub journal: Option<&'a Journal>,
    /// Products of numbers.
    pub kernels: &'static Kernels,
}

/// Follows the fits by the epochs or iterations done; `Break` ends them with what was reached.
pub type StartWatch<'w> = dyn FnMut(usize) -> ControlFlow<()> + 'w;

impl StartProblem<'_> {
    /// The l2 that serves the linear functions best on `validation`: the search of the linear learner.
    ///
    /// # Errors
    /// Those of [`search`].
    pub fn choose_l2(&self, validation: &Validation<'_>, watch: &mut dyn SearchWatch) -> Result<f64> {
        let grid = Grid { schemes: vec![self.scheme.clone()], l2: None };
        let loose = Recipe { optimizer: self.recipe.optimizer.for_choosing(), ..*self.recipe };
        let mut fits = FitSeries::new(self.journal);
        let best = search(self.sample, &loose, &grid, validation, self.kernels, &mut fits, watch)?;
        Ok(best.map_or(0.0, |trial| trial.l2))
    }

    /// The functions of all rows at `l2`, and logits of each row.
    ///
    /// # Errors
    /// Those of the weighting and of the fits.
    pub fn fit(&self, l2: f64, watch: &mut StartWatch<'_>) -> Result<StartFit> {
        let weighted = WeightedSample::new(self.sample, self.scheme, self.recipe)?;
        let mut objective = Objective::new(weighted.problem(self.recipe, l2), self.kernels);
        let cold = objective.problem().start();
        let optimizer = &self.recipe.optimizer;
        let mut follow = |progress: &Progress| watch(progress.step);
        let fitted = FitSeries::new(self.journal).fit(&mut objective, &cold, optimizer, None, &mut follow)?;
        let model = mirrored(weighted.classifier(&fitted.theta, self.recipe).model);
        let logits = self.start_logits(&model, l2, watch)?;
        Ok(StartFit { model, l2, logits })
    }

    /// Logits of each row: of `model`, or where rows are few by functions that were not fitted to it.
    fn start_logits(&self, model: &LinearModel, l2: f64, watch: &mut StartWatch<'_>) -> Result<Vec<f32>> {
        let mut logits = model.logits_of(self.sample.rows, self.kernels);
        let Sample { rows, labels, classes, .. } = self.sample;
        if rows.len() >= ROWS_A_FEATURE.saturating_mul(rows.features()) {
            return Ok(logits);
        }
        let Ok(folds) = Folds::new(labels, classes, FOLDS, self.seed, 0) else { return Ok(logits) };
        let setting = Setting {
            sample: self.sample,
            scheme: self.scheme,
            estimator: Estimator::Linear(LinearEstimator { l2: Some(l2), head: None, last_epoch: None }),
            recipe: self.recipe,
        };
        let crossed = cross_fit(&setting, folds, self.journal, self.kernels, &mut |_, step| watch(step))?;
        if let Some(crossed) = crossed {
            for (logit, held) in logits.iter_mut().zip(crossed.logits) {
                if !held.is_nan() {
                    *logit = held;
                }
            }
        }
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::fit::Optimizer;
    use crate::linear::problem::Decay;
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;

    /// Logits to start from, and those of the functions themselves, for `rows` rows of four numbers.
    fn starts(rows: usize) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let mut rng = CounterRng::new(5, 0);
        let values: Vec<f32> = (0..4 * rows).map(|_| rng.next_f64() as f32).collect();
        let labels: Vec<u32> =
            values.chunks(4).map(|x| u32::from(f64::from(x[0]) + rng.next_f64() > 1.0)).collect();
        let matrix = Matrix::from_f32(values, 4);
        let all: Vec<usize> = (0..rows).collect();
        let sample =
            Sample { rows: Rows::chosen(&matrix, &all), labels: &labels, row_weights: None, classes: 2 };
        let recipe = Recipe {
            loss: Loss::Softmax,
            logit_adjust: 0.0,
            vs_gamma: 0.0,
            ldam: 0.0,
            resampling: None,
            decay: Decay::Weights,
            max_weight: None,
            optimizer: Optimizer::Lbfgs { tolerance: 1e-4, max_iterations: 200, certified: false },
        };
        let (scheme, kernels) = (&Scheme::None, Kernels::best());
        let problem = StartProblem { sample, scheme, recipe: &recipe, seed: 0, journal: None, kernels };
        let fitted = problem.fit(1e-3, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(fitted.model.weights_of(0)[0], -fitted.model.weights_of(1)[0]);
        let own = fitted.model.logits_of(sample.rows, kernels);
        (fitted.logits, own, labels)
    }

    fn loss(logits: &[f32], labels: &[u32]) -> f64 {
        let of_row = |(z, &y): (&[f32], &u32)| {
            let margin = f64::from(z[y as usize] - z[1 - y as usize]);
            (-margin).exp().ln_1p()
        };
        logits.chunks(2).zip(labels).map(of_row).sum()
    }

    #[test]
    fn few_rows_are_scored_out_of_fold_and_many_are_not() {
        let (start, own, labels) = starts(60);
        assert!(loss(&start, &labels) > loss(&own, &labels), "functions know their own rows");
        let apart = start.iter().zip(&own).filter(|(a, b)| a != b).count();
        assert_eq!(apart, start.len());
        let (start, own, _) = starts(200);
        assert_eq!(start, own);
    }
}

//! Fitting the linear functions that trees start from.

use std::ops::ControlFlow;

use super::model::mirrored;
use crate::Result;
use crate::experiment::crossfit::{Estimator, LinearEstimator, Setting, cross_fit};
use crate::experiment::folds::Folds;
use crate::linear::fit::{Progress, fit};
use crate::linear::model::LinearModel;
use crate::linear::objective::Objective;
use crate::linear::search::{Grid, Recipe, Sample, SearchWatch, Validation, WeightedSample, search};
use crate::linear::solver::metric::Preconditioner;
use crate::simd::Kernels;
use crate::weighting::Scheme;

/// Folds of the rows whose logits trees start from.
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
        let loose = Recipe { optimizer: self.recipe.optimizer.loosened(), ..*self.recipe };
        let mut preconditioner = Preconditioner::default();
        let best = search(self.sample, &loose, &grid, validation, self.kernels, &mut preconditioner, watch)?;
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
        let mut preconditioner = Preconditioner::default();
        let mut follow = |progress: &Progress| watch(progress.step);
        let fitted = fit(&mut objective, &mut preconditioner, &cold, optimizer, None, &mut follow)?;
        let model = mirrored(weighted.classifier(&fitted.theta, self.recipe).model);
        let logits = self.start_logits(&model, l2, watch)?;
        Ok(StartFit { model, l2, logits })
    }

    /// Logits of each row by functions that were not fitted to it; by `model` for rows that no fold holds out.
    fn start_logits(&self, model: &LinearModel, l2: f64, watch: &mut StartWatch<'_>) -> Result<Vec<f32>> {
        let mut logits = model.logits_of(self.sample.rows, self.kernels);
        let labels = self.sample.labels;
        let Ok(folds) = Folds::new(labels, self.sample.classes, FOLDS, self.seed, 0) else {
            return Ok(logits);
        };
        let setting = Setting {
            sample: self.sample,
            scheme: self.scheme,
            estimator: Estimator::Linear(LinearEstimator { l2: Some(l2), head: None, last_epoch: None }),
            recipe: self.recipe,
        };
        let crossed = cross_fit(&setting, folds, self.kernels, &mut |_, step| watch(step))?;
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

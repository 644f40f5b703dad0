//! Linear classifiers.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::coding::{check_lengths, coded};
use super::features::Features;
use super::fitted::{FitReport, Fitted};
use super::request::{Request, Step};
use super::{Weighting, check_gamma, refuse};
use crate::data::check_finite;
use crate::data::scale::{Scale, Scaler};
use crate::data::split::StratifiedSplit;
use crate::labels::ClassCounts;
use crate::linear::fit::{Optimizer, Progress};
use crate::linear::objective::Objective;
use crate::linear::problem::Decay;
use crate::linear::rows::Rows;
use crate::linear::search::{Grid, SearchWatch, Trial, Validation, search};
use crate::linear::series::FitSeries;
use crate::linear::weighted::{Recipe, Sample, WeightedSample};
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::model::Model;
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::{Error, Result};

/// A linear classifier to be fitted: the minimum of
/// `sum_i w_i loss(W x_i + b, y_i) / sum_i w_i + l2/2 ||W||^2`, where `w_i` is the weight of the row times that of its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    loss: Loss,
    weighting: Weighting,
    l2: Option<f64>,
    logit_adjust: f64,
    standardize: bool,
    tolerance: f64,
    max_iterations: usize,
    metric: Metric,
    valid_fraction: f64,
    seed: u64,
}

impl Linear {
    /// Multinomial logistic regression.
    pub fn softmax() -> Self {
        Linear::new(Loss::Softmax)
    }

    /// A logistic regression of each class against the others, solved together.
    pub fn sigmoid() -> Self {
        Linear::new(Loss::Sigmoid)
    }

    /// One-vs-rest focal loss (Lin et al., ICCV 2017) with exponent `gamma`, at least 0.
    pub fn focal(gamma: f64) -> Self {
        Linear::new(Loss::Focal { gamma })
    }

    /// With another of the losses.
    pub fn new(loss: Loss) -> Self {
        Linear {
            loss,
            weighting: Weighting::none(),
            l2: None,
            logit_adjust: 0.0,
            standardize: false,
            tolerance: 1e-3,
            max_iterations: 1000,
            metric: Metric::MacroRecall,
            valid_fraction: 0.1,
            seed: 0,
        }
    }

    /// How classes are weighted; by default alike.
    pub fn weighting(self, weighting: Weighting) -> Self {
        Linear { weighting, ..self }
    }

    /// Strength of the penalty, at least 0; by default chosen on held-out rows along a warm-started path, then fitted to all rows.
    pub fn l2(self, l2: f64) -> Self {
        Linear { l2: Some(l2), ..self }
    }

    /// tau of the logit adjustment inside the loss (Menon et al., ICLR 2021); by default 0: none.
    pub fn logit_adjust(self, tau: f64) -> Self {
        Linear { logit_adjust: tau, ..self }
    }

    /// Whether features are standardised by the rows fitted; by default no.
    pub fn standardize(self, standardize: bool) -> Self {
        Linear { standardize, ..self }
    }

    /// Relative gap of the objective to come within, certified for convex losses; by default 1e-3.
    pub fn tolerance(self, tolerance: f64) -> Self {
        Linear { tolerance, ..self }
    }

    /// Iterations at most; by default 1000.
    pub fn max_iterations(self, max_iterations: usize) -> Self {
        Linear { max_iterations, ..self }
    }

    /// What chooses l2; by default macro recall.
    pub fn metric(self, metric: Metric) -> Self {
        Linear { metric, ..self }
    }

    /// Share of each class that is held out to choose l2; by default 0.1.
    pub fn valid_fraction(self, valid_fraction: f64) -> Self {
        Linear { valid_fraction, ..self }
    }

    /// Key of the draws: equal keys and data give equal models, on any number of threads; by default 0.
    pub fn seed(self, seed: u64) -> Self {
        Linear { seed, ..self }
    }

    /// Fits rows `x` with labels `y`.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a setting out of its range, [`Error::LengthMismatch`], [`Error::NotFinite`],
    /// [`Error::NoRows`], [`Error::OneClass`], [`Error::Diverged`].
    pub fn fit<L: Ord + Clone>(&self, x: &impl Features, y: &[L]) -> Result<Fitted<L>> {
        self.fit_with(x, y, Request::default())
    }

    /// The same with more to it.
    ///
    /// # Errors
    /// Those of [`Linear::fit`]; [`Error::BadValue`] for weights that are not positive, [`Error::FeatureMismatch`] for a start
    /// of other classes or features.
    pub fn fit_with<L: Ord + Clone>(
        &self,
        x: &impl Features,
        y: &[L],
        mut request: Request<'_, L>,
    ) -> Result<Fitted<L>> {
        self.check()?;
        let given = request.may_stop(x.matrix()?);
        check_lengths(given.rows(), y.len(), request.sample_weight)?;
        check_finite(&given, true)?;
        let (classes, codes) = coded(y)?;
        let (features, mut scaler) = self.scaled(given, request.sample_weight);
        if features.is_stopped() {
            // It may be that of some of the rows; what the fit ends with is where it started.
            scaler = request.warm_start.map_or_else(Scaler::none, |model| model.scaler.clone());
        }
        let sample = Sample {
            rows: Rows::all(&features),
            labels: &codes,
            row_weights: request.sample_weight,
            classes: classes.len(),
        };
        let scheme = self.weighting.scheme(&ClassCounts::of(&codes, sample.row_weights, classes.len()))?;
        let mut start =
            request.warm_start.map(|model| self.start(model, &classes, &scaler)).transpose()?.flatten();
        let recipe = self.recipe();
        let mut fits = FitSeries::default();
        let mut searched = 0;
        let l2 = match self.l2 {
            Some(l2) => l2,
            None => {
                let found = self.search(sample, &scheme, &mut fits, &mut request)?;
                let l2 = found.as_ref().map_or(0.0, |found| found.l2);
                searched = found.as_ref().map_or(0, |found| found.fit.steps);
                start = start.or(found.map(|found| found.fit.theta));
                l2
            }
        };
        let weighted = WeightedSample::new(sample, &scheme, &recipe)?;
        let mut objective = Objective::new(weighted.problem(&recipe, l2), Kernels::best());
        let start = start.unwrap_or_else(|| objective.problem().start());
        let fitted = fits.fit(&mut objective, &start, &recipe.optimizer, None, &mut |progress| {
            request.tell(&step_of(progress))
        })?;
        let classifier = weighted.classifier(&fitted.theta, &recipe);
        let report = FitReport {
            scheme,
            l2,
            // A fit that was cut before its first step is the one of the search.
            steps: if objective.is_stopped() && fitted.steps == 0 { searched } else { fitted.steps },
            converged: fitted.converged,
            relative_gap: fitted.certificate.relative_gap,
        };
        let model = Model::Linear(classifier.model);
        Ok(Fitted::of_fit(classes, model, scaler, classifier.conditions, report))
    }

    /// Refuses settings out of their range.
    ///
    /// # Errors
    /// [`Error::BadValue`].
    pub fn check(&self) -> Result<()> {
        let amount = |value: f64| value >= 0.0 && value.is_finite();
        check_gamma(self.loss)?;
        match self {
            _ if self.l2.is_some_and(|l2| !amount(l2)) => {
                Err(refuse("l2", self.l2.unwrap_or(f64::NAN), "at least 0"))
            }
            Linear { tolerance, .. } if tolerance.is_nan() || *tolerance <= 0.0 => {
                Err(refuse("tolerance", tolerance, "above 0"))
            }
            Linear { max_iterations: 0, .. } => Err(refuse("max_iterations", 0, "at least 1")),
            Linear { logit_adjust, .. } if !logit_adjust.is_finite() => {
                Err(refuse("logit_adjust", logit_adjust, "finite"))
            }
            _ => Ok(()),
        }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            loss: self.loss,
            logit_adjust: self.logit_adjust,
            vs_gamma: 0.0,
            ldam: 0.0,
            resampling: None,
            decay: Decay::Weights,
            max_weight: None,
            optimizer: Optimizer::Lbfgs {
                tolerance: self.tolerance,
                max_iterations: self.max_iterations,
                certified: true,
            },
        }
    }

    fn scaled<'m>(&self, given: Matrix<'m>, weights: Option<&[f64]>) -> (Matrix<'m>, Scaler) {
        if !self.standardize {
            return (given, Scaler::none());
        }
        let rows: Vec<usize> = (0..given.rows()).collect();
        let (scaler, _) = Scaler::fit(Scale::Standard, &given, &rows, weights);
        let mut scaled = given;
        scaler.apply(&mut scaled);
        (scaled, scaler)
    }

    /// The l2 of the highest metric on rows held out; `None` where the rows are stopped before one was scored.
    fn search<L>(
        &self,
        sample: Sample<'_>,
        scheme: &Scheme,
        fits: &mut FitSeries<'_>,
        request: &mut Request<'_, L>,
    ) -> Result<Option<Trial>> {
        let split = StratifiedSplit::new(sample.labels, sample.classes, self.valid_fraction, self.seed)?;
        let of = |rows: &[usize]| -> Vec<u32> { rows.iter().map(|&row| sample.labels[row]).collect() };
        let (labels, held) = (of(&split.train), of(&split.valid));
        if held.is_empty() {
            let why = " can be held out to choose l2: give it".into();
            return Err(Error::NoRows { file: "y".into(), why });
        }
        let weights: Option<Vec<f64>> =
            sample.row_weights.map(|weights| split.train.iter().map(|&row| weights[row]).collect());
        let part = Sample {
            rows: Rows::chosen(sample.rows.matrix(), &split.train),
            labels: &labels,
            row_weights: weights.as_deref(),
            classes: sample.classes,
        };
        let rows = Rows::chosen(sample.rows.matrix(), &split.valid);
        let validation = Validation { rows, labels: &held, metric: self.metric };
        let recipe = Recipe { optimizer: self.recipe().optimizer.for_choosing(), ..self.recipe() };
        let grid = Grid { schemes: vec![scheme.clone()], l2: None };
        let mut watch = Told { request };
        let kernels = Kernels::best();
        let best = search(part, &recipe, &grid, &validation, kernels, fits, &mut watch)?;
        if best.is_none() && !part.rows.is_stopped() {
            return Err(refuse("weighting", "", "one scheme"));
        }
        Ok(best)
    }

    /// Parameters of an earlier model, over features as this fit scales them.
    fn start<L: Ord>(&self, model: &Fitted<L>, classes: &[L], scaler: &Scaler) -> Result<Option<Vec<f32>>> {
        let same = model.classes == classes && model.scaler == *scaler;
        match &model.model {
            // Of a fit that was cancelled before it had a scale there is nothing to go on with.
            Model::Linear(linear)
                if self.standardize
                    && model.scaler.scale == Scale::None
                    && linear.weight.iter().all(|&w| w == 0.0) =>
            {
                Ok(None)
            }
            Model::Linear(linear) if same && linear.loss == self.loss => {
                Ok(Some([&linear.weight[..], &linear.bias[..]].concat()))
            }
            _ => Err(Error::FeatureMismatch {
                file: "warm_start".into(),
                detail: "a model of other classes, loss or scaling".into(),
            }),
        }
    }
}

fn step_of(progress: &Progress) -> Step {
    Step { done: progress.step, at_most: progress.steps, objective: progress.objective }
}

/// Passes steps of a search on.
struct Told<'t, 'r, L> {
    request: &'t mut Request<'r, L>,
}

impl<L> SearchWatch for Told<'_, '_, L> {
    fn begin(&mut self, _: &Scheme, _: f64) {}

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.request.tell(&step_of(progress))
    }

    fn trial(&mut self, _: &Trial, _: bool) {}
}

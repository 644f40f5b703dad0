//! Boosted trees.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::coding::{check_lengths, coded};
use super::features::Features;
use super::fitted::{FitReport, Fitted};
use super::request::{Request, Step};
use super::{Weighting, check_gamma, refuse};
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::options::{BoostOptions, Trees};
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::data::check_finite;
use crate::data::scale::Scaler;
use crate::labels::ClassCounts;
use crate::linear::fit::Optimizer;
use crate::linear::problem::Decay;
use crate::linear::rows::Rows;
use crate::linear::weighted::{Recipe, Sample, WeightedSample};
use crate::loss::Loss;
use crate::model::Model;
use crate::simd::Kernels;
use crate::{Error, Result};

/// Histogram gradient boosting to be fitted: trees on class-balanced gradients, missing values (NaN) as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Boost {
    loss: Loss,
    weighting: Weighting,
    rounds: usize,
    logit_adjust: f64,
    options: BoostOptions,
    max_bins: usize,
    categorical: Vec<usize>,
}

impl Boost {
    /// Trees for the softmax of all classes; of two classes one score.
    pub fn softmax() -> Self {
        Boost::new(Loss::Softmax)
    }

    /// Trees for each class against the others.
    pub fn sigmoid() -> Self {
        Boost::new(Loss::Sigmoid)
    }

    /// One-vs-rest focal loss with exponent `gamma`, at least 0.
    pub fn focal(gamma: f64) -> Self {
        Boost::new(Loss::Focal { gamma })
    }

    /// With another of the losses.
    pub fn new(loss: Loss) -> Self {
        Boost {
            loss,
            weighting: Weighting::none(),
            rounds: 100,
            logit_adjust: 0.0,
            options: BoostOptions::default(),
            max_bins: BinningOptions::default().max_bins,
            categorical: Vec::new(),
        }
    }

    /// How classes are weighted; by default alike.
    pub fn weighting(self, weighting: Weighting) -> Self {
        Boost { weighting, ..self }
    }

    /// Rounds, at least 1; by default 100.
    pub fn rounds(self, rounds: usize) -> Self {
        Boost { rounds, ..self }
    }

    /// Share of each step that is taken, in (0, 1]; by default 0.1.
    pub fn learning_rate(mut self, learning_rate: f64) -> Self {
        self.options.learning_rate = learning_rate;
        self
    }

    /// Most leaves of a tree, at least 2; by default 31.
    pub fn max_leaves(mut self, max_leaves: usize) -> Self {
        self.options.max_leaves = max_leaves;
        self
    }

    /// Fewest training rows of a leaf, at least 1; by default 20, and at most half of the rows of a class.
    pub fn min_rows(mut self, min_rows: usize) -> Self {
        self.options.min_rows = min_rows;
        self
    }

    /// Added to the Hessian of a leaf, in average rows; by default 16, with trees for all classes 1.
    pub fn l2(mut self, l2: f64) -> Self {
        self.options.l2 = Some(l2);
        self
    }

    /// Trees a round; by default one a class, from eight classes on one for all.
    pub fn trees(mut self, trees: Trees) -> Self {
        self.options.trees = trees;
        self
    }

    /// Key of the draws; by default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// All other settings.
    pub fn options(self, options: BoostOptions) -> Self {
        Boost { options, ..self }
    }

    /// Bins of a feature, at most 254; by default 254.
    pub fn max_bins(self, max_bins: usize) -> Self {
        Boost { max_bins, ..self }
    }

    /// Features whose values are names and have no order.
    pub fn categorical(self, categorical: Vec<usize>) -> Self {
        Boost { categorical, ..self }
    }

    /// tau of the logit adjustment inside the loss (Menon et al., ICLR 2021); by default 0: none.
    pub fn logit_adjust(self, tau: f64) -> Self {
        Boost { logit_adjust: tau, ..self }
    }

    /// Fits rows `x` with labels `y`.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a setting out of its range, [`Error::LengthMismatch`], [`Error::NotFinite`] for infinite
    /// values, [`Error::NoRows`], [`Error::OneClass`].
    pub fn fit<L: Ord + Clone>(&self, x: &impl Features, y: &[L]) -> Result<Fitted<L>> {
        self.fit_with(x, y, Request::default())
    }

    /// The same with more to it.
    ///
    /// # Errors
    /// Those of [`Boost::fit`]; [`Error::BadValue`] for weights that are not positive, [`Error::FeatureMismatch`] for a model
    /// of other classes, loss or features to go on with.
    pub fn fit_with<L: Ord + Clone>(
        &self,
        x: &impl Features,
        y: &[L],
        mut request: Request<'_, L>,
    ) -> Result<Fitted<L>> {
        self.check()?;
        let features = request.may_stop(x.matrix()?);
        check_lengths(features.rows(), y.len(), request.sample_weight)?;
        check_finite(&features, false)?;
        let (classes, codes) = coded(y)?;
        let earlier = request.warm_start.map(|model| earlier(model, &classes)).transpose()?;
        if earlier.is_some_and(|trees| trees.binner.columns() != features.cols()) {
            return Err(mismatch("a model of other features"));
        }
        // Of a fit that was cancelled before it had bins there is nothing to go on with.
        let earlier = earlier.filter(|trees| trees.rounds() > 0 || !trees.binner.features().is_empty());
        let binner = match earlier {
            Some(trees) => trees.binner.clone(),
            None => {
                let (max_bins, categorical) = (self.max_bins, self.categorical.clone());
                let binning = BinningOptions { max_bins, categorical, ..BinningOptions::default() };
                Binner::fit(&features, &codes, &binning)?
            }
        };
        let binned = binner.bin(&features)?;
        let sample = Sample {
            rows: Rows::all(&features),
            labels: &codes,
            row_weights: request.sample_weight,
            classes: classes.len(),
        };
        let scheme = self.weighting.scheme(&ClassCounts::of(&codes, sample.row_weights, classes.len()))?;
        let recipe = self.recipe();
        let weighted = WeightedSample::new(sample, &scheme, &recipe)?;
        let problem = BoostProblem {
            features: &binned,
            binner: &binner,
            labels: &codes,
            weights: weighted.row_weights(),
            classes: classes.len(),
            loss: self.loss,
            offsets: weighted.offsets(),
            start: None,
        };
        let kernels = Kernels::best();
        let mut trainer = match earlier {
            Some(trees) => Trainer::resume(problem, &self.options, kernels, trees.clone())?,
            None => Trainer::new(problem, &self.options, kernels)?,
        };
        let mut made = 0;
        while made < self.rounds {
            let Some(round) = trainer.whole_round() else { break };
            made += 1;
            let step = Step { done: made, at_most: self.rounds, objective: round.loss };
            if request.tell(&step) == ControlFlow::Break(()) {
                break;
            }
        }
        let conditions = weighted.conditions(&recipe);
        let model = trainer.into_model();
        let report = FitReport {
            scheme,
            l2: self.options.l2(classes.len()),
            steps: model.rounds(),
            converged: made == self.rounds,
            relative_gap: None,
        };
        Ok(Fitted::of_fit(classes, Model::Boost(model), Scaler::none(), conditions, report))
    }

    /// Refuses settings out of their range.
    ///
    /// # Errors
    /// [`Error::BadValue`].
    pub fn check(&self) -> Result<()> {
        if self.rounds == 0 {
            return Err(refuse("rounds", 0, "at least 1"));
        }
        check_gamma(self.loss)?;
        self.options.check()
    }

    /// What weights depend on.
    fn recipe(&self) -> Recipe {
        Recipe {
            loss: self.loss,
            logit_adjust: self.logit_adjust,
            vs_gamma: 0.0,
            ldam: 0.0,
            resampling: None,
            decay: Decay::None,
            max_weight: None,
            optimizer: Optimizer::Lbfgs { tolerance: 1.0, max_iterations: 1, certified: false },
        }
    }
}

fn earlier<'m, L: Ord>(model: &'m Fitted<L>, classes: &[L]) -> Result<&'m crate::boost::model::BoostModel> {
    match &model.model {
        Model::Boost(trees) if model.classes == classes => Ok(trees),
        // Going on without the linear functions would boost on other logits than the model's.
        Model::Hybrid(_) => {
            Err(mismatch("trees that start from linear functions: cbfit --init-model goes on with them"))
        }
        _ => Err(mismatch("a model of other classes, or a linear one")),
    }
}

fn mismatch(detail: &str) -> Error {
    Error::FeatureMismatch { file: "warm_start".into(), detail: detail.into() }
}

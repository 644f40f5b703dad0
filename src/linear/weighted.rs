//! Rows to fit on under a weighting, a resampling and what the loss does to the logits by class.

use std::sync::OnceLock;

use super::classifier::Classifier;
use super::fit::Optimizer;
use super::merge::{Merged, equal_rows};
use super::model::LinearModel;
use super::problem::{Decay, Problem};
use super::rows::Rows;
use crate::labels::ClassCounts;
use crate::loss::{Loss, ldam_margins, logit_adjustment, vector_scaling};
use crate::weighting::prior::training_shares;
use crate::weighting::{ClassWeights, FitConditions, LogitLink, Normalisation, Resampling, Scheme};
use crate::{Error, Result};

/// Rows to fit on, with their labels and weights in the order of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// N rows of D features.
    pub rows: Rows<'a>,
    /// Class code of each row, below `classes`.
    pub labels: &'a [u32],
    /// Weight of each row; `None`: all 1.
    pub row_weights: Option<&'a [f64]>,
    /// Number of classes C, each with at least one row.
    pub classes: usize,
}

impl Sample<'_> {
    /// Weight of the row at `position`.
    pub fn row_weight(&self, position: usize) -> f64 {
        self.row_weights.map_or(1.0, |weights| weights[position])
    }
}

/// What is fitted, apart from the weighting scheme and l2.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Pointwise loss.
    pub loss: Loss,
    /// tau of the logit adjustment inside the loss; 0 for none.
    pub logit_adjust: f64,
    /// gamma of vector scaling inside the loss; 0 for none.
    pub vs_gamma: f64,
    /// Margin of the smallest class inside the loss (LDAM), in logits; 0 for none. For a softmax or sigmoid loss.
    pub ldam: f64,
    /// How the rows are resampled before they are weighed, and the key of the draws.
    pub resampling: Option<(Resampling, u64)>,
    /// What the penalty falls on.
    pub decay: Decay,
    /// Largest class weight where the mean over rows is 1.
    pub max_weight: Option<f64>,
    /// How each fit is solved.
    pub optimizer: Optimizer,
}

/// A sample under one weighting scheme: counts, class weights, row weights and logit offsets of exactly these rows.
#[derive(Debug, Clone)]
pub struct WeightedSample<'a> {
    /// The rows.
    pub sample: Sample<'a>,
    /// Rows of each class, before any resampling.
    pub counts: ClassCounts,
    /// Class weights with mean row weight 1. Where rows were resampled, those of the scheme times the ratio of each class's
    /// resampled to its original share: what the classes weigh in all, and what a prior correction has to undo.
    pub class_weights: ClassWeights,
    row_weights: Vec<f32>,
    offsets: Option<Vec<f32>>,
    margins: Option<Vec<f32>>,
    /// Factors of the logits in vector scaling, and of l2 in the problem that stands for it.
    logit_factors: Option<Vec<f64>>,
    l2_factors: Option<Vec<f64>>,
    /// The rows that resampling has drawn.
    drawn: Option<Merged>,
    /// Found when a full-batch fit first asks for the problem.
    merged: OnceLock<Option<Merged>>,
}

impl<'a> WeightedSample<'a> {
    /// Counts the rows and weighs them by `scheme`.
    ///
    /// # Errors
    /// Those of [`ClassWeights::new`]; [`Error::BadValue`] for a margin in a focal loss.
    pub fn new(sample: Sample<'a>, scheme: &Scheme, recipe: &Recipe) -> Result<Self> {
        let counts = ClassCounts::of(sample.labels, sample.row_weights, sample.classes);
        let mut class_weights =
            ClassWeights::new(scheme, &counts, Normalisation::Samples, recipe.max_weight)?;
        let (mut row_weights, mut drawn) = (Vec::new(), None);
        if let Some((resampling, seed)) = recipe.resampling {
            let found = Drawn::of(&sample, &class_weights, resampling, seed);
            class_weights.tilt(&found.tilt(&counts));
            drawn = Some(found.rows);
        } else {
            row_weights = class_weights.row_weights(sample.labels, sample.row_weights);
        }
        if recipe.ldam != 0.0 && !recipe.loss.is_convex() {
            let help = "take the softmax or the sigmoid loss";
            return Err(Error::bad_value("--ldam", recipe.ldam.to_string(), "is not for focal losses", help));
        }
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        let logit_factors = (recipe.vs_gamma != 0.0).then(|| vector_scaling(&counts, recipe.vs_gamma));
        Ok(WeightedSample {
            offsets: (recipe.logit_adjust != 0.0).then(|| logit_adjustment(&counts, recipe.logit_adjust)),
            margins: (recipe.ldam != 0.0).then(|| narrow(ldam_margins(&counts, recipe.ldam))),
            l2_factors: logit_factors.as_ref().map(|factors| factors.iter().map(|f| f.powi(-2)).collect()),
            logit_factors,
            sample,
            counts,
            class_weights,
            row_weights,
            drawn,
            merged: OnceLock::new(),
        })
    }

    /// Weight of each row, that of its class included; without any where rows were resampled.
    pub fn row_weights(&self) -> &[f32] {
        &self.row_weights
    }

    /// What the loss adds to the logits of each class, if anything.
    pub fn offsets(&self) -> Option<&[f32]> {
        self.offsets.as_deref()
    }

    /// Rows fitted: fewer than given where resampling left some out.
    pub fn rows(&self) -> usize {
        self.drawn.as_ref().map_or(self.sample.labels.len(), |drawn| drawn.labels.len())
    }

    /// The objective of these rows; for a full-batch fit equal rows are merged, which leaves it the same. Under vector
    /// scaling it is stated in the scaled parameters: [`WeightedSample::classifier`] takes them back.
    pub fn problem(&self, recipe: &Recipe, l2: f64) -> Problem<'_> {
        let Sample { rows, labels, classes, .. } = self.sample;
        let (rows, labels, weights) = match &self.drawn {
            Some(drawn) => (Rows::chosen(rows.matrix(), &drawn.index), &drawn.labels[..], &drawn.weights),
            None => (rows, labels, &self.row_weights),
        };
        // Minibatches draw rows one by one: merged, their weights and the length of an epoch would be others.
        let merged = match recipe.optimizer {
            Optimizer::Lbfgs { .. } => {
                self.merged.get_or_init(|| equal_rows(&rows, labels, weights)).as_ref()
            }
            Optimizer::Minibatch { .. } => None,
        };
        let (rows, labels, weights) = match merged {
            Some(merged) => (Rows::chosen(rows.matrix(), &merged.index), &merged.labels[..], &merged.weights),
            None => (rows, labels, weights),
        };
        Problem {
            rows,
            labels,
            weights,
            classes,
            loss: recipe.loss,
            offsets: self.offsets.as_deref(),
            margins: self.margins.as_deref(),
            l2,
            l2_factors: self.l2_factors.as_deref(),
            decay: recipe.decay,
        }
    }

    /// The classifier of parameters that fit [`WeightedSample::problem`] (`C x D` weights, then C biases).
    pub fn classifier(&self, theta: &[f32], recipe: &Recipe) -> Classifier {
        let mut model = model_of(theta, self.sample.rows.features(), recipe.loss);
        if let Some(factors) = &self.logit_factors {
            let unscaled = |w: &mut f32, factor: f64| *w = (f64::from(*w) / factor) as f32;
            let rows = model.weight.chunks_exact_mut(model.features.max(1));
            rows.zip(factors).for_each(|(row, &factor)| row.iter_mut().for_each(|w| unscaled(w, factor)));
            model.bias.iter_mut().zip(factors).for_each(|(b, &factor)| unscaled(b, factor));
        }
        Classifier { model, conditions: self.conditions(recipe) }
    }

    /// What the probabilities of a fit of these rows depend on.
    pub fn conditions(&self, recipe: &Recipe) -> FitConditions {
        FitConditions {
            loss: recipe.loss,
            counts: self.counts.clone(),
            alpha: self.class_weights.alpha.clone(),
            logit_adjust: recipe.logit_adjust,
            link: LogitLink {
                scale: self.logit_factors.clone().unwrap_or_default(),
                margins: self.margins.iter().flatten().map(|&margin| f64::from(margin)).collect(),
                ..LogitLink::default()
            },
        }
    }
}

/// The rows that a resampling has drawn, as rows of the matrix with the number of draws in their weights.
struct Drawn {
    rows: Merged,
    /// Weight of each class over the rows drawn, before class weights.
    counts: ClassCounts,
}

impl Drawn {
    fn of(sample: &Sample<'_>, class_weights: &ClassWeights, resampling: Resampling, seed: u64) -> Self {
        let mut times = resampling.multiplicities(sample.labels, sample.classes, seed);
        times.iter_mut().enumerate().for_each(|(position, times)| *times *= sample.row_weight(position));
        let weights = class_weights.row_weights(sample.labels, Some(&times));
        let kept: Vec<usize> = (0..times.len()).filter(|&position| times[position] > 0.0).collect();
        let rows = Merged {
            index: kept.iter().map(|&position| sample.rows.matrix_row(position)).collect(),
            labels: kept.iter().map(|&position| sample.labels[position]).collect(),
            weights: kept.iter().map(|&position| weights[position]).collect(),
        };
        Drawn { rows, counts: ClassCounts::of(sample.labels, Some(&times), sample.classes) }
    }

    /// Resampled share over original share of each class.
    fn tilt(&self, original: &ClassCounts) -> Vec<f64> {
        let (now, before) = (training_shares(&self.counts), training_shares(original));
        now.iter().zip(before).map(|(now, before)| if before > 0.0 { now / before } else { 0.0 }).collect()
    }
}

/// The model of parameters over raw features (`C x D` weights, then C biases).
pub fn model_of(theta: &[f32], features: usize, loss: Loss) -> LinearModel {
    let classes = theta.len() / (features + 1);
    let (weight, bias) = theta.split_at(classes * features);
    LinearModel { weight: weight.to_vec(), bias: bias.to_vec(), features, loss }
}

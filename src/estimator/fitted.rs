//! A fitted classifier.

use serde::{Deserialize, Serialize};

use super::features::Features;
use crate::boost::model::BoostModel;
use crate::data::check_finite;
use crate::data::scale::{Scale, Scaler};
use crate::error::same_length;
use crate::linear::model::LinearModel;
use crate::linear::rows::Rows;
use crate::simd::Kernels;
use crate::weighting::prior::Prior;
use crate::weighting::{FitConditions, Scheme};
use crate::{Error, Result};

/// How a fit went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// The rule that weighted the classes.
    pub scheme: Scheme,
    /// Strength of the penalty; 0 where a linear fit was cancelled before one was chosen.
    pub l2: f64,
    /// Iterations, epochs or rounds that led to the model.
    pub steps: usize,
    /// Whether a linear fit came within its tolerance of the optimum, and a boosted one made the rounds it was asked for or
    /// stopped gaining.
    pub converged: bool,
    /// Certified bound on the distance of J from its minimum, relative to it, of a convex linear fit; none where it was
    /// cancelled before the certificate.
    pub relative_gap: Option<f64>,
}

/// The scores of classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Scores {
    Linear(LinearModel),
    Boost(BoostModel),
}

/// A classifier of C classes named by `L`, ascending.
///
/// It can be sent to and shared between threads, and stored with serde.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted<L> {
    pub(super) classes: Vec<L>,
    pub(super) scores: Scores,
    pub(super) conditions: FitConditions,
    pub(super) scaler: Option<Scaler>,
    pub(super) report: FitReport,
}

impl<L> Fitted<L> {
    /// The C classes, in the order of all values by class.
    pub fn classes(&self) -> &[L] {
        &self.classes
    }

    /// The same classifier with other names of its classes, ascending, so many as it has.
    ///
    /// # Errors
    /// [`Error::BadValue`] for names that do not ascend, [`Error::LengthMismatch`] for another number of them.
    pub fn with_classes<M: Ord>(self, classes: Vec<M>) -> Result<Fitted<M>> {
        same_length("class names", classes.len(), "classes", self.classes.len())?;
        if !classes.is_sorted_by(|a, b| a < b) {
            return Err(super::refuse("classes", "", "names in ascending order, each of them once"));
        }
        let Fitted { scores, conditions, scaler, report, .. } = self;
        Ok(Fitted { classes, scores, conditions, scaler, report })
    }

    /// What its probabilities depend on besides its logits.
    pub fn conditions(&self) -> &FitConditions {
        &self.conditions
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        match &self.scores {
            Scores::Linear(model) => model.features,
            Scores::Boost(model) => model.binner.columns(),
        }
    }

    /// Weight of a row of each class in the fit, where the mean over rows is 1.
    pub fn class_weights(&self) -> &[f64] {
        &self.conditions.alpha
    }

    /// How the fit went.
    pub fn report(&self) -> &FitReport {
        &self.report
    }

    /// Weights (`C x D`) and biases (C) of a linear classifier over the features as they are given; `None` of trees, and of a
    /// model file whose rows are scaled to length 1, which no weights over the features do.
    pub fn coefficients(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let Scores::Linear(model) = &self.scores else { return None };
        match &self.scaler {
            None => Some((model.weight.clone(), model.bias.clone())),
            Some(scaler) if scaler.scale == Scale::L2 => None,
            Some(scaler) => Some(unscaled(model, scaler)),
        }
    }

    /// The linear functions, over scaled features where the fit has standardised them.
    pub fn linear(&self) -> Option<&LinearModel> {
        if let Scores::Linear(model) = &self.scores { Some(model) } else { None }
    }

    /// The trees.
    pub fn trees(&self) -> Option<&BoostModel> {
        if let Scores::Boost(model) = &self.scores { Some(model) } else { None }
    }

    /// Logits, `N x C`, row-major.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] for another number of features, [`Error::NotFinite`] for values that a fit refuses.
    pub fn decision_function(&self, x: &impl Features) -> Result<Vec<f32>> {
        let features = x.matrix()?;
        if features.cols() != self.features() {
            return Err(Error::FeatureMismatch {
                file: "features".into(),
                detail: format!("{} a row, not {}", features.cols(), self.features()),
            });
        }
        check_finite(&features, matches!(self.scores, Scores::Linear(_)))?;
        match &self.scores {
            Scores::Boost(model) => model.logits(&features),
            Scores::Linear(model) => {
                let kernels = Kernels::best();
                Ok(match &self.scaler {
                    None => model.logits_of(Rows::all(&features), kernels),
                    Some(scaler) => {
                        let mut scaled = features;
                        scaler.apply(&mut scaled);
                        model.logits_of(Rows::all(&scaled), kernels)
                    }
                })
            }
        }
    }

    /// Probabilities as the fit left them, `N x C`, row-major: tilted by the class weights towards the rare classes.
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`].
    pub fn predict_proba(&self, x: &impl Features) -> Result<Vec<f32>> {
        self.predict_proba_under(x, &Prior::AsTrained)
    }

    /// Probabilities under a prior, `N x C`, row-major: [`Prior::Natural`] undoes the tilt of the weights, under
    /// [`Prior::Uniform`] the most probable class is the one that maximises balanced accuracy.
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`]; [`Error::BadPrior`].
    pub fn predict_proba_under(&self, x: &impl Features, prior: &Prior) -> Result<Vec<f32>> {
        let mut values = self.decision_function(x)?;
        self.conditions.correction(prior)?.posteriors_in_place(&mut values);
        Ok(values)
    }
}

impl<L: Clone> Fitted<L> {
    /// The most probable class of each row as the fit left it.
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`].
    pub fn predict(&self, x: &impl Features) -> Result<Vec<L>> {
        self.predict_under(x, &Prior::AsTrained)
    }

    /// The most probable class of each row under a prior.
    ///
    /// # Errors
    /// Those of [`Fitted::predict_proba_under`].
    pub fn predict_under(&self, x: &impl Features, prior: &Prior) -> Result<Vec<L>> {
        self.predict_proba_under(x, prior).map(|probabilities| self.most_probable(&probabilities))
    }

    /// The class of the largest of each C probabilities.
    pub(crate) fn most_probable(&self, probabilities: &[f32]) -> Vec<L> {
        let best =
            |row: &[f32]| (1..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best });
        let rows = probabilities.chunks_exact(self.classes.len());
        rows.map(|row| self.classes[best(row)].clone()).collect()
    }
}

/// Weights and biases over features before they were standardised.
fn unscaled(model: &LinearModel, scaler: &Scaler) -> (Vec<f32>, Vec<f32>) {
    let (weight, bias) = scaler.unscaled(model.features, &model.weight, &model.bias);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (narrow(weight), narrow(bias))
}

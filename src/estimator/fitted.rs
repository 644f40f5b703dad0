//! A fitted classifier.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::features::Features;
use crate::boost::model::BoostModel;
use crate::calibrate::decisions::{Decisions, own_prior};
use crate::calibrate::offsets::Offsets;
use crate::calibrate::{Calibration, Posterior};
use crate::data::check_finite;
use crate::data::encode::FeatureEncoder;
use crate::data::missing::Missing;
use crate::data::scale::{Scale, Scaler};
use crate::error::same_length;
use crate::linear::model::LinearModel;
use crate::model::{Learner, Model};
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

/// What a model file tells of its fit besides; nothing where there was no file. It travels on to the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) config: Value,
    pub(super) data_fingerprint: String,
    pub(super) metrics: Value,
    pub(super) certificate: Value,
    pub(super) history: Value,
    /// Strength of the penalty of the linear functions that trees start from.
    pub(super) start_l2: f64,
}

/// A classifier of C classes named by `L`, ascending.
///
/// It can be sent to and shared between threads, and stored with serde.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted<L> {
    pub(super) classes: Vec<L>,
    pub(super) model: Model,
    pub(super) encoder: FeatureEncoder,
    pub(super) scaler: Scaler,
    pub(super) conditions: FitConditions,
    pub(super) calibration: Option<Calibration>,
    pub(super) offsets: Option<Offsets>,
    pub(super) report: FitReport,
    pub(super) record: Record,
}

impl<L> Fitted<L> {
    /// The classifier of a fit to rows of numbers. Linear functions have no use for missing ones.
    pub(super) fn of_fit(
        classes: Vec<L>,
        model: Model,
        scaler: Scaler,
        conditions: FitConditions,
        report: FitReport,
    ) -> Self {
        let missing = match model.learner() {
            Learner::Linear => Missing::Error,
            Learner::Boost => Missing::Keep,
        };
        Fitted {
            encoder: FeatureEncoder::of_vector(model.features(), missing),
            classes,
            model,
            scaler,
            conditions,
            calibration: None,
            offsets: None,
            report,
            record: Record::default(),
        }
    }

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
        let Fitted { model, encoder, scaler, conditions, calibration, offsets, report, record, .. } = self;
        Ok(Fitted { classes, model, encoder, scaler, conditions, calibration, offsets, report, record })
    }

    /// What its probabilities depend on besides its logits.
    pub fn conditions(&self) -> &FitConditions {
        &self.conditions
    }

    /// The map of its natural posterior that a model file came with.
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// The offsets that decide its labels, which a model file came with.
    pub fn offsets(&self) -> Option<&Offsets> {
        self.offsets.as_ref()
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        self.model.features()
    }

    /// What its features are called, and what is done about missing ones.
    pub fn encoder(&self) -> &FeatureEncoder {
        &self.encoder
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
        let model = self.linear()?;
        match self.scaler.scale {
            Scale::None => Some((model.weight.clone(), model.bias.clone())),
            Scale::L2 => None,
            Scale::Standard => Some(unscaled(model, &self.scaler)),
        }
    }

    /// The model behind it, over scaled features where the fit has standardised them.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The linear functions of a linear classifier, over scaled features where the fit has standardised them.
    pub fn linear(&self) -> Option<&LinearModel> {
        self.model.linear()
    }

    /// The trees; of trees that start from linear functions ([`Model::Hybrid`]) without these.
    pub fn trees(&self) -> Option<&BoostModel> {
        self.model.trees()
    }

    /// Logits, `N x C`, row-major.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] for another number of features, [`Error::NotFinite`] for values that a fit refuses.
    pub fn decision_function(&self, x: &impl Features) -> Result<Vec<f32>> {
        let mut features = x.matrix()?;
        if features.cols() != self.features() {
            return Err(Error::FeatureMismatch {
                file: "features".into(),
                detail: format!("{} a row, not {}", features.cols(), self.features()),
            });
        }
        let missing_is_error = match self.encoder.missing {
            Missing::Error => true,
            Missing::Mean | Missing::Zero => false,
            Missing::Keep => self.linear().is_some(),
        };
        if check_finite(&features, missing_is_error)? > 0 {
            self.encoder.fill_missing(&mut features);
        }
        self.scaler.apply(&mut features);
        self.model.logits(&features, Kernels::best())
    }

    /// The prior that it predicts under where none is asked for: natural where it is calibrated, else as the fit left it.
    pub fn own_prior(&self) -> Prior {
        own_prior(self.calibration.as_ref())
    }

    /// The way from its logits to probabilities under a prior, through its calibration where it has one.
    ///
    /// # Errors
    /// [`Error::BadPrior`].
    pub fn posterior(&self, prior: &Prior) -> Result<Posterior> {
        Posterior::new(&self.conditions, prior, self.calibration.as_ref())
    }

    /// Probabilities under [`Fitted::own_prior`], `N x C`, row-major: as the fit left them, tilted by the class weights
    /// towards the rare classes, unless a calibration has put that right.
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`].
    pub fn predict_proba(&self, x: &impl Features) -> Result<Vec<f32>> {
        self.predict_proba_under(x, &self.own_prior())
    }

    /// Probabilities under a prior, `N x C`, row-major: [`Prior::Natural`] undoes the tilt of the weights, under
    /// [`Prior::Uniform`] the most probable class is the one that maximises balanced accuracy.
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`]; [`Error::BadPrior`].
    pub fn predict_proba_under(&self, x: &impl Features, prior: &Prior) -> Result<Vec<f32>> {
        let mut values = self.decision_function(x)?;
        self.posterior(prior)?.posteriors_in_place(&mut values);
        Ok(values)
    }

    /// Places of the classes decided for, and the probabilities under a prior.
    pub(crate) fn decided_under(&self, x: &impl Features, prior: &Prior) -> Result<(Vec<u32>, Vec<f32>)> {
        let mut values = self.decision_function(x)?;
        let decisions = Decisions::of_model(self.offsets.as_ref(), |prior| self.posterior(prior))?;
        let decided = decisions.of(&self.posterior(prior)?, &mut values);
        Ok((decided, values))
    }
}

impl<L: Clone> Fitted<L> {
    /// The class of each row under [`Fitted::own_prior`].
    ///
    /// # Errors
    /// Those of [`Fitted::decision_function`].
    pub fn predict(&self, x: &impl Features) -> Result<Vec<L>> {
        self.predict_under(x, &self.own_prior())
    }

    /// The most probable class of each row under a prior. [`Fitted::offsets`] decide whatever the prior.
    ///
    /// # Errors
    /// Those of [`Fitted::predict_proba_under`].
    pub fn predict_under(&self, x: &impl Features, prior: &Prior) -> Result<Vec<L>> {
        self.decided_under(x, prior).map(|(decided, _)| self.names_of(&decided))
    }

    /// The classes at these places.
    pub(crate) fn names_of(&self, places: &[u32]) -> Vec<L> {
        places.iter().map(|&place| self.classes[place as usize].clone()).collect()
    }
}

/// Weights and biases over features before they were standardised.
fn unscaled(model: &LinearModel, scaler: &Scaler) -> (Vec<f32>, Vec<f32>) {
    let (weight, bias) = scaler.unscaled(model.features, &model.weight, &model.bias);
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (narrow(weight), narrow(bias))
}

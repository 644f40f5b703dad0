//! Heads by name, and the choice of what each of them leaves open on validation rows.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::lda::{Lda, LdaPrior, Shrinkage};
use super::lws::lws;
use super::means::ClassMeans;
use super::tau_norm::{norms, tau_norm};
use crate::linear::classifier::Classifier;
use crate::linear::model::LinearModel;
use crate::linear::search::Validation;
use crate::linear::weighted::WeightedSample;
use crate::metrics::Evaluation;
use crate::simd::Kernels;
use crate::weighting::prior::training_shares;
use crate::weighting::{ClassWeights, FitConditions, LogitLink, Normalisation, Scheme};
use crate::{Error, Result};

/// How the linear functions come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The minimum of a loss.
    Linear,
    /// A fit, tau-normalised.
    TauNorm,
    /// A fit with scales of its own for each class.
    Lws,
    /// Nearest class mean.
    Ncm,
    /// Discriminant analysis.
    Lda,
}

/// What the nearest mean is nearest in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// Euclidean distance.
    Euclidean,
    /// Angle to the row.
    Cosine,
}

/// What a head leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setting {
    /// Exponent of [`tau_norm`].
    Tau(f64),
    /// Ridge of [`lws`].
    Ridge(f64),
    /// Distance of the class means.
    Distance(Distance),
    /// Shrinkage of [`Lda`].
    Shrinkage(Shrinkage),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Tau(value) | Setting::Ridge(value) | Setting::Shrinkage(Shrinkage::Given(value)) => {
                write!(f, "{value}")
            }
            Setting::Shrinkage(Shrinkage::LedoitWolf) => f.write_str("auto"),
            Setting::Distance(Distance::Euclidean) => f.write_str("euclidean"),
            Setting::Distance(Distance::Cosine) => f.write_str("cosine"),
        }
    }
}

impl Head {
    /// All heads.
    pub const ALL: [Head; 5] = [Head::Linear, Head::TauNorm, Head::Lws, Head::Ncm, Head::Lda];

    /// `"linear"`, `"tau-norm"`, `"lws"`, `"ncm"` or `"lda"`.
    pub fn name(self) -> &'static str {
        match self {
            Head::Linear => "linear",
            Head::TauNorm => "tau-norm",
            Head::Lws => "lws",
            Head::Ncm => "ncm",
            Head::Lda => "lda",
        }
    }

    /// Whether it starts from the minimum of a loss; the others are closed forms.
    pub fn is_fitted(self) -> bool {
        matches!(self, Head::Linear | Head::TauNorm | Head::Lws)
    }

    /// The settings to choose from, the mildest first; none where nothing is left open.
    pub fn settings(self) -> Vec<Setting> {
        match self {
            Head::Linear => Vec::new(),
            Head::TauNorm => (0..=10).map(|tenths| Setting::Tau(f64::from(tenths) / 10.0)).collect(),
            Head::Lws => [1e-1, 1e-2, 1e-3, 1e-4].map(Setting::Ridge).to_vec(),
            Head::Ncm => [Distance::Euclidean, Distance::Cosine].map(Setting::Distance).to_vec(),
            Head::Lda => {
                let given = [0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7].map(Shrinkage::Given);
                std::iter::once(Shrinkage::LedoitWolf).chain(given).map(Setting::Shrinkage).collect()
            }
        }
    }

    /// A setting as users write it: a number, for [`Head::Lda`] also `auto`, for [`Head::Ncm`] `euclidean` or `cosine`.
    ///
    /// # Errors
    /// [`Error::BadValue`] about `flag`.
    pub fn parse_setting(self, flag: &str, text: &str) -> Result<Setting> {
        let bad = |why: &str, help: &str| {
            Err(Error::bad_value(flag, format!("{}:{text}", self.name()), why.to_owned(), help.to_owned()))
        };
        let number = text.parse::<f64>().ok().filter(|value| value.is_finite());
        match (self, number) {
            (Head::TauNorm, Some(tau)) if (0.0..=1.0).contains(&tau) => Ok(Setting::Tau(tau)),
            (Head::TauNorm, _) => bad("tau is a number from 0 to 1", "write tau-norm:0.5"),
            (Head::Lws, Some(ridge)) if ridge >= 0.0 => Ok(Setting::Ridge(ridge)),
            (Head::Lws, _) => bad("the ridge is a number of at least 0", "write lws:1e-3"),
            (Head::Ncm, _) if text == "euclidean" => Ok(Setting::Distance(Distance::Euclidean)),
            (Head::Ncm, _) if text == "cosine" => Ok(Setting::Distance(Distance::Cosine)),
            (Head::Ncm, _) => bad("is no distance", "write ncm:euclidean or ncm:cosine"),
            (Head::Lda, _) if text == "auto" => Ok(Setting::Shrinkage(Shrinkage::LedoitWolf)),
            (Head::Lda, Some(share)) if (0.0..=1.0).contains(&share) => {
                Ok(Setting::Shrinkage(Shrinkage::Given(share)))
            }
            (Head::Lda, _) => {
                bad("the shrinkage is auto or a number from 0 to 1", "write lda:auto or lda:0.3")
            }
            (Head::Linear, _) => bad("leaves nothing open", "write linear, or name another head"),
        }
    }
}

/// Makes the classifiers of all settings from the same rows.
pub struct Builder<'a> {
    weighted: &'a WeightedSample<'a>,
    /// The fit that a map starts from.
    base: Option<&'a Classifier>,
    kernels: &'static Kernels,
    means: OnceLock<ClassMeans>,
    lda: OnceLock<Lda<'a>>,
}

/// A setting that was chosen.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The setting.
    pub setting: Setting,
    /// What it gave on the rows of the search.
    pub classifier: Classifier,
    /// Its scores on the validation rows.
    pub evaluation: Evaluation,
}

impl<'a> Builder<'a> {
    /// For the rows of `weighted`, whose class weights are the prior of [`Lda`] relative to the shares of the rows;
    /// `base` is a fit of them, for the heads that are maps of one.
    pub fn new(
        weighted: &'a WeightedSample<'a>,
        base: Option<&'a Classifier>,
        kernels: &'static Kernels,
    ) -> Self {
        Builder { weighted, base, kernels, means: OnceLock::new(), lda: OnceLock::new() }
    }

    /// The classifier of a setting. Its probabilities as trained are the softmax of its own logits; the weights that it
    /// records lead from them to the natural posterior.
    ///
    /// # Errors
    /// Those of [`lws`] and [`Lda`]; [`Error::BadValue`] for a map without a fit to start from.
    pub fn build(&self, setting: Setting) -> Result<Classifier> {
        let sample = &self.weighted.sample;
        Ok(match setting {
            Setting::Tau(tau) => tau_normed(self.base()?, tau),
            Setting::Ridge(ridge) => {
                let model = lws(&self.base()?.model, sample, ridge, self.kernels)?;
                self.under_equal_priors(model)?
            }
            Setting::Distance(distance) => {
                let means = self.means.get_or_init(|| ClassMeans::of(sample));
                self.under_equal_priors(match distance {
                    Distance::Euclidean => means.nearest_mean(),
                    Distance::Cosine => means.nearest_direction(),
                })?
            }
            Setting::Shrinkage(shrinkage) => {
                let model = self.lda()?.model(shrinkage)?;
                self.classifier(model, self.weighted.class_weights.alpha.clone())
            }
        })
    }

    /// The setting with the best metric of `validation`; where that is macro recall, the lowest balanced log-loss among
    /// those within half a standard error. Neither serves tau, which rescales all logits: there the metric decides alone.
    /// Among equals the earlier of `settings`.
    ///
    /// # Errors
    /// Those of [`Builder::build`] and of the evaluation; settings of discriminant analysis that leave the covariance
    /// singular are passed over as long as another does not. [`Error::BadValue`] for no settings at all.
    pub fn choose(&self, settings: &[Setting], validation: &Validation<'_>) -> Result<Chosen> {
        let mut tried = Vec::with_capacity(settings.len());
        let mut refused = Error::bad_value("--head", "", "leaves nothing to choose", "name another head");
        for &setting in settings {
            let classifier = match (self.build(setting), setting) {
                (Ok(classifier), _) => classifier,
                (Err(error @ Error::BadValue { .. }), Setting::Shrinkage(_)) => {
                    refused = error;
                    continue;
                }
                (Err(error), _) => return Err(error),
            };
            let evaluation = validation.evaluate(&classifier, self.kernels, false)?;
            let loss = validation.balanced_log_loss(&classifier, self.kernels);
            let standing = validation.standing(&evaluation, loss);
            tried.push((standing, setting, classifier));
        }
        let top = tried
            .iter()
            .map(|(standing, ..)| *standing)
            .reduce(|top, standing| if standing.metric > top.metric { standing } else { top });
        let Some(top) = top else { return Err(refused) };
        let leading = tried.into_iter().filter(|(standing, setting, _)| match setting {
            Setting::Tau(_) => standing.metric == top.metric,
            _ => standing.is_level_with(&top),
        });
        let best = leading.reduce(|best, other| {
            let is_tau = matches!(other.1, Setting::Tau(_));
            if !is_tau && other.0.balanced_log_loss < best.0.balanced_log_loss { other } else { best }
        });
        let Some((_, setting, classifier)) = best else { return Err(refused) };
        let evaluation = validation.evaluate(&classifier, self.kernels, true)?;
        Ok(Chosen { setting, classifier, evaluation })
    }

    /// The fit that a map starts from.
    ///
    /// # Errors
    /// [`Error::BadValue`] where there is none.
    pub fn base(&self) -> Result<&'a Classifier> {
        self.base.ok_or_else(|| {
            Error::bad_value("--head", "", "needs a fit to start from", "fit a linear head first")
        })
    }

    fn lda(&self) -> Result<&Lda<'a>> {
        if let Some(lda) = self.lda.get() {
            return Ok(lda);
        }
        let shares = training_shares(&self.weighted.counts);
        let alpha = &self.weighted.class_weights.alpha;
        let prior = LdaPrior::Given(shares.iter().zip(alpha).map(|(share, alpha)| share * alpha).collect());
        let lda = Lda::new(self.weighted.sample, &prior, self.kernels)?;
        Ok(self.lda.get_or_init(|| lda))
    }

    /// A model whose softmax is a posterior under equal priors.
    fn under_equal_priors(&self, model: LinearModel) -> Result<Classifier> {
        let counts = &self.weighted.counts;
        let balanced = ClassWeights::new(&Scheme::Inverse, counts, Normalisation::Samples, None)?;
        Ok(self.classifier(model, balanced.alpha))
    }

    fn classifier(&self, model: LinearModel, alpha: Vec<f64>) -> Classifier {
        let (loss, counts) = (model.loss, self.weighted.counts.clone());
        let link = LogitLink::default();
        Classifier { model, conditions: FitConditions { loss, counts, alpha, logit_adjust: 0.0, link } }
    }
}

/// [`tau_norm`] of a fit. What it divided by and dropped is kept, so that the natural posterior stays that of the fit.
fn tau_normed(base: &Classifier, tau: f64) -> Classifier {
    let mut link = base.conditions.link.clone();
    let classes = base.model.classes();
    let scale_before = if link.scale.is_empty() { vec![1.0; classes] } else { link.scale };
    let shift_before = if link.shift.is_empty() { vec![0.0; classes] } else { link.shift };
    let bias = base.model.bias.iter().map(|&b| f64::from(b));
    link.shift = bias.zip(&scale_before).zip(shift_before).map(|((b, s), shift)| s * b + shift).collect();
    let divided_by = norms(&base.model).into_iter().map(|norm| if norm > 0.0 { norm.powf(tau) } else { 1.0 });
    link.scale = divided_by.zip(scale_before).map(|(norm, scale)| norm * scale).collect();
    let conditions = FitConditions { link, ..base.conditions.clone() };
    Classifier { model: tau_norm(&base.model, tau), conditions }
}

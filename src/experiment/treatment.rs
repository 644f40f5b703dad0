//! Ways to treat an imbalance, as they are set side by side.

use std::fmt;

use super::linear_fits::LinearSettings;
use crate::Result;
use crate::labels::ClassCounts;
use crate::linear::heads::{Head, Setting};
use crate::linear::weighted::Recipe;
use crate::loss::Loss;
use crate::model::Learner;
use crate::weighting::{Resampling, Scheme, distinct_betas};

/// Strengths of the adjustment after training among which folds choose.
pub const TAUS: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0];

/// What is fitted, apart from how much it may bend.
#[derive(Debug, Clone, PartialEq)]
pub struct Treatment {
    /// What fits it.
    pub learner: Learner,
    /// Pointwise loss.
    pub loss: Loss,
    /// Class weights.
    pub scheme: Scheme,
    /// tau of the logit adjustment inside the loss; 0 for none.
    pub logit_adjust: f64,
    /// gamma of vector scaling inside the loss; 0 for none.
    pub vs_gamma: f64,
    /// Largest margin inside the loss (LDAM), in logits; 0 for none.
    pub ldam: f64,
    /// How the rows are resampled.
    pub resampling: Option<Resampling>,
    /// How the linear functions come about.
    pub head: Head,
    /// Whether decisions subtract `tau log pi` from the natural log posterior (Menon et al. 2021), tau chosen out of fold.
    pub is_adjusted: bool,
}

impl Treatment {
    /// The linear minimum of `loss` without weights.
    pub fn plain(loss: Loss) -> Self {
        Treatment {
            learner: Learner::Linear,
            loss,
            scheme: Scheme::None,
            logit_adjust: 0.0,
            vs_gamma: 0.0,
            ldam: 0.0,
            resampling: None,
            head: Head::Linear,
            is_adjusted: false,
        }
    }

    /// The same, fitted by `learner`.
    pub fn by(self, learner: Learner) -> Self {
        Treatment { learner, ..self }
    }

    /// [`Treatment::plain`], decided for after an adjustment.
    pub fn adjusted(loss: Loss) -> Self {
        Treatment { is_adjusted: true, ..Treatment::plain(loss) }
    }

    /// The minimum of `loss` with class weights.
    pub fn weighted(loss: Loss, scheme: Scheme) -> Self {
        Treatment { scheme, ..Treatment::plain(loss) }
    }

    /// Whether it is [`Treatment::plain`].
    pub fn is_plain(&self) -> bool {
        *self == Treatment::plain(self.loss).by(self.learner)
    }

    /// Whether it is [`Treatment::adjusted`].
    pub fn is_plain_but_adjusted(&self) -> bool {
        *self == Treatment::adjusted(self.loss).by(self.learner)
    }

    /// Whether boosted trees can be fitted to it.
    pub fn suits_trees(&self) -> bool {
        let Treatment { vs_gamma, ldam, resampling, head, .. } = self;
        (*vs_gamma, *ldam, *resampling, *head) == (0.0, 0.0, None, Head::Linear)
    }

    /// How a fit of it is made, l2 or rounds apart; boosting takes no notice of `linear`.
    pub(super) fn recipe(&self, linear: &LinearSettings, max_weight: Option<f64>, seed: u64) -> Recipe {
        Recipe {
            loss: self.loss,
            logit_adjust: self.logit_adjust,
            vs_gamma: self.vs_gamma,
            ldam: self.ldam,
            resampling: self.resampling.map(|resampling| (resampling, seed)),
            decay: linear.decay,
            max_weight,
            optimizer: linear.optimizer,
        }
    }

    /// Whether only its class weights set it apart from [`Treatment::plain`].
    pub fn is_weighting(&self) -> bool {
        *self == Treatment::weighted(self.loss, self.scheme.clone()).by(self.learner)
    }

    /// The flags of `train` that fit it, l2 or rounds apart; `setting` is what its head leaves open.
    pub fn flags(&self, setting: Option<Setting>) -> String {
        let learner = if self.learner.is_linear() { "" } else { "--learner boost " };
        let mut flags = format!("{learner}--loss {}", self.loss.name());
        if let Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma } = self.loss {
            flags += &format!(" --gamma {gamma}");
        }
        if self.head != Head::Linear {
            let setting = setting.map_or(String::new(), |setting| format!(":{setting}"));
            flags = if self.head.is_fitted() { flags + " " } else { String::new() };
            flags += &format!("--head {}{setting}", self.head.name());
        }
        flags += &match &self.scheme {
            Scheme::Effective(beta) => format!(" --beta {beta}"),
            scheme => format!(" --weighting {}", scheme.name()),
        };
        let numbers =
            [("--logit-adjust", self.logit_adjust), ("--vs-gamma", self.vs_gamma), ("--ldam", self.ldam)];
        for (flag, value) in numbers.into_iter().filter(|(_, value)| *value != 0.0) {
            flags += &format!(" {flag} {value}");
        }
        if let Some(resampling) = self.resampling {
            flags += &format!(" --resample {}", resampling.name());
        }
        flags
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.head != Head::Linear {
            parts.push(self.head.name().to_owned());
        }
        if let Some(resampling) = self.resampling {
            parts.push(format!("{} sampling", resampling.name()));
        }
        if self.scheme != Scheme::None {
            parts.push(self.scheme.to_string());
        }
        let numbers =
            [("adjusted loss", self.logit_adjust), ("vector scaling", self.vs_gamma), ("ldam", self.ldam)];
        parts
            .extend(numbers.iter().filter(|(_, v)| *v != 0.0).map(|(name, value)| format!("{name} {value}")));
        let adjusted = if self.is_adjusted { " + adjust" } else { "" };
        write!(f, "{}{adjusted}", if parts.is_empty() { "none".into() } else { parts.join(", ") })
    }
}

/// Share of the imbalance factor that a ratio of weights stays below, or it stands for inverse frequency.
const SATURATED: f64 = 0.95;

/// What is compared where the user names nothing: no weights (as trained, and adjusted after training), square root,
/// effective number at the betas that differ on these counts from each other and from inverse, inverse frequency, and the logit-adjusted loss.
///
/// # Errors
/// [`crate::Error::BadBeta`] never in practice: the betas are constants.
pub fn standard_treatments(loss: Loss, counts: &ClassCounts) -> Result<Vec<Treatment>> {
    let plain = |scheme| Treatment::weighted(loss, scheme);
    let (n_min, n_max) = counts.extremes().unwrap_or((1.0, 1.0));
    let mut treatments = vec![plain(Scheme::None), Treatment::adjusted(loss), plain(Scheme::Sqrt)];
    let betas = distinct_betas(n_max, n_min)?;
    let betas = betas.into_iter().filter(|beta| beta.weight_ratio(n_max, n_min) < SATURATED * n_max / n_min);
    treatments.extend(betas.map(|beta| plain(Scheme::Effective(beta))));
    treatments.push(plain(Scheme::Inverse));
    treatments.push(Treatment { logit_adjust: 1.0, ..Treatment::plain(loss) });
    Ok(treatments)
}

//! Ways to treat an imbalance, as they are set side by side.

use std::fmt;

use crate::Result;
use crate::labels::ClassCounts;
use crate::loss::Loss;
use crate::weighting::{Scheme, distinct_betas};

/// What a fit minimises, apart from l2.
#[derive(Debug, Clone, PartialEq)]
pub struct Treatment {
    /// Pointwise loss.
    pub loss: Loss,
    /// Class weights.
    pub scheme: Scheme,
    /// tau of the logit adjustment inside the loss; 0 for none.
    pub logit_adjust: f64,
}

/// A treatment and how its fits are read: what a comparison has one line for.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Place of the treatment.
    pub treatment: usize,
    /// Whether decisions subtract `tau log pi` from the natural log posterior (Menon et al. 2021), tau chosen out of fold.
    pub is_adjusted: bool,
}

impl Treatment {
    /// Neither weights nor an adjusted loss.
    pub fn is_plain(&self) -> bool {
        self.scheme == Scheme::None && self.logit_adjust == 0.0
    }

    /// The flags of `train` that fit it, l2 apart.
    pub fn flags(&self) -> String {
        let mut flags = format!("--loss {}", self.loss.name());
        if let Loss::Focal { gamma } | Loss::SoftmaxFocal { gamma } = self.loss {
            flags += &format!(" --gamma {gamma}");
        }
        flags += &match &self.scheme {
            Scheme::Effective(beta) => format!(" --beta {beta}"),
            scheme => format!(" --weighting {}", scheme.name()),
        };
        if self.logit_adjust != 0.0 {
            flags += &format!(" --logit-adjust {}", self.logit_adjust);
        }
        flags
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.logit_adjust, &self.scheme) {
            (0.0, scheme) => scheme.fmt(f),
            (tau, Scheme::None) => write!(f, "adjusted loss {tau}"),
            (tau, scheme) => write!(f, "{scheme}, adjusted loss {tau}"),
        }
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
    let plain = |scheme| Treatment { loss, scheme, logit_adjust: 0.0 };
    let (n_min, n_max) = counts.extremes().unwrap_or((1.0, 1.0));
    let mut treatments = vec![plain(Scheme::None), plain(Scheme::Sqrt)];
    let betas = distinct_betas(n_max, n_min)?;
    let betas = betas.into_iter().filter(|beta| beta.weight_ratio(n_max, n_min) < SATURATED * n_max / n_min);
    treatments.extend(betas.map(|beta| plain(Scheme::Effective(beta))));
    treatments.push(plain(Scheme::Inverse));
    treatments.push(Treatment { loss, scheme: Scheme::None, logit_adjust: 1.0 });
    Ok(treatments)
}

/// The candidates of `treatments`: each as trained, the plain ones adjusted after training, too.
pub fn candidates(treatments: &[Treatment]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (place, treatment) in treatments.iter().enumerate() {
        candidates.push(Candidate { treatment: place, is_adjusted: false });
        if treatment.is_plain() {
            candidates.push(Candidate { treatment: place, is_adjusted: true });
        }
    }
    candidates
}

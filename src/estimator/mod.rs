//! The library by its front door: say what is fitted, fit it to features and labels, predict.
//!
//! [`Linear`] and [`Boost`] are descriptions of a fit that can be cloned, compared and stored. `fit` takes [`Features`] and labels
//! of any ordered type, and gives a [`Fitted`] classifier, which knows the names of its classes and the way back from
//! class-balanced weights to probabilities. Nothing here prints, reads files or keeps global state.

mod boost;
mod coding;
mod comparison;
mod features;
mod fitted;
mod linear;
mod request;
#[cfg(feature = "files")]
mod saved;

#[cfg(test)]
mod cancel_tests;
#[cfg(test)]
mod saved_tests;
#[cfg(test)]
mod tests;

pub use boost::Boost;
#[cfg(feature = "linfa")]
pub(crate) use coding::coded;
pub use comparison::{Candidate, Comparison, Contest, compare};
pub use features::Features;
pub use fitted::{FitReport, Fitted};
pub use linear::Linear;
pub use request::{Cancel, Request, Step};

use crate::loss::Loss;
use crate::weighting::Scheme;
use crate::{Error, Result};

/// How classes are weighted in a fit.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Weighting {
    /// By this rule.
    Scheme(Scheme),
    /// By effective numbers with the beta that makes the largest weight so many times the smallest.
    Ratio(f64),
}

impl Weighting {
    /// All classes alike.
    pub fn none() -> Self {
        Weighting::Scheme(Scheme::None)
    }

    /// By the inverse of the counts.
    pub fn inverse() -> Self {
        Weighting::Scheme(Scheme::Inverse)
    }

    /// By the inverse of the square root of the counts.
    pub fn sqrt() -> Self {
        Weighting::Scheme(Scheme::Sqrt)
    }

    /// By the inverse of the effective number of samples `(1 - beta^n) / (1 - beta)` (Cui et al., CVPR 2019).
    ///
    /// # Errors
    /// [`Error::BadBeta`] outside `[0, 1)`.
    pub fn effective(beta: f64) -> Result<Self> {
        Scheme::effective(beta).map(Weighting::Scheme)
    }

    /// The rule for classes of these counts.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a ratio that no weights of these counts have.
    pub fn scheme(&self, counts: &crate::labels::ClassCounts) -> Result<Scheme> {
        match self {
            Weighting::Scheme(scheme) => Ok(scheme.clone()),
            Weighting::Ratio(ratio) => Scheme::with_ratio(*ratio, counts),
        }
    }
}

/// What [`Linear`] and [`Boost`] have in common.
pub trait Estimator: Clone {
    /// Refuses settings out of their range.
    ///
    /// # Errors
    /// [`Error::BadValue`].
    fn check(&self) -> Result<()>;

    /// Fits rows `x` with labels `y`.
    ///
    /// # Errors
    /// Those of [`Linear::fit_with`] and [`Boost::fit_with`].
    fn fit_with<L: Ord + Clone>(
        &self,
        x: &impl Features,
        y: &[L],
        request: Request<'_, L>,
    ) -> Result<Fitted<L>>;
}

impl Estimator for Linear {
    fn check(&self) -> Result<()> {
        Linear::check(self)
    }

    fn fit_with<L: Ord + Clone>(
        &self,
        x: &impl Features,
        y: &[L],
        request: Request<'_, L>,
    ) -> Result<Fitted<L>> {
        Linear::fit_with(self, x, y, request)
    }
}

impl Estimator for Boost {
    fn check(&self) -> Result<()> {
        Boost::check(self)
    }

    fn fit_with<L: Ord + Clone>(
        &self,
        x: &impl Features,
        y: &[L],
        request: Request<'_, L>,
    ) -> Result<Fitted<L>> {
        Boost::fit_with(self, x, y, request)
    }
}

/// Refuses an exponent of a focal loss out of its range.
fn check_gamma(loss: Loss) -> Result<()> {
    let gamma = loss.gamma();
    if gamma >= 0.0 && gamma.is_finite() { Ok(()) } else { Err(refuse("gamma", gamma, "at least 0")) }
}

/// Refuses a setting out of its range.
fn refuse(setting: &str, value: impl ToString, range: &str) -> Error {
    Error::bad_value(setting, value.to_string(), format!("is not {range}"), format!("give a value {range}"))
}

//! Class counts to class weights to row weights, and the way back to natural probabilities.

pub mod beta;
pub mod conditions;
pub mod link;
pub mod normalise;
pub mod prior;
pub mod prior_shift;
pub mod resample;
pub mod scheme;
pub mod summary;

pub use beta::{Beta, distinct_betas};
pub use conditions::FitConditions;
pub use link::LogitLink;
pub use normalise::{ClassWeights, Normalisation};
pub use prior::{Prior, PriorCorrection, training_shares};
pub use prior_shift::{PriorEstimate, estimate_prior};
pub use resample::Resampling;
pub use scheme::Scheme;
pub use summary::WeightSummary;

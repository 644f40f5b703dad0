//! Heads that cost next to nothing beside a search: closed forms over class means, and maps of a model already fitted.
//!
//! | head | weights and bias of class c | its setting |
//! |---|---|---|
//! | [`ncm`](means::ClassMeans) | the mean of the class, or its direction | which of the two |
//! | [`lda`](fn@lda::lda) | `S^-1 mu_c`, `log prior_c - mu_c' S^-1 mu_c / 2` | shrinkage of S |
//! | [`tau_norm()`] | `w_c / ||w_c||^tau`, no bias | tau |
//! | [`lws()`] | `s_c w_c`, `b_c`: scales fitted under balanced classes | ridge that holds the scales at 1 |
//!
//! All give a [`LinearModel`](super::model::LinearModel) over the same features, dense or sparse. [`choice`] picks a
//! setting on validation rows. Deferred re-weighting (Cao et al. 2019) is no head of its own here: for a convex loss fitted
//! to convergence the weights of its last stage alone decide the optimum, so it is the plain weighted fit.

pub mod choice;
pub mod lda;
mod ledoit_wolf;
pub mod lws;
pub mod means;
mod tau_norm;

pub use choice::{Builder, Chosen, Distance, Head, Setting};
pub use lda::{Lda, LdaPrior, Shrinkage, lda};
pub use lws::lws;
pub use means::ClassMeans;
pub use tau_norm::{norms, tau_norm};

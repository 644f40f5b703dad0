//! Trees that start from a linear model: the logits of a row are `W l(x) + b` plus what the trees add.
//!
//! Trees say the linear part of a problem in steps, one cut after the other; linear functions say it exactly and at once,
//! and know nothing of interactions. Here both are fitted under one loss, one weighting and one logit adjustment: first
//! the linear functions ([`fit`]), over features that a small transform makes of the rows trees read ([`features`]), then
//! trees on what these leave ([`crate::boost::trainer::BoostProblem::start`]).

pub mod explain;
pub mod features;
pub mod fit;
pub mod model;

//! The linear learner: model, objective and solvers.
//!
//! [`problem::Problem`] says what is minimised, [`objective::Objective`] evaluates it, a [`solver`] walks to its
//! minimum, [`certificate`] says how near it came, [`search`] chooses settings on validation rows.

pub mod certificate;
pub mod fit;
pub mod model;
pub mod moments;
pub mod objective;
pub mod problem;
pub mod rows;
pub mod search;
pub mod solver;

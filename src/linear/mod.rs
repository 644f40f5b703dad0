//! The linear learner: model, objective and solvers.

pub mod model;

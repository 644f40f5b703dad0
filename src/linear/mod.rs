//! The linear learner: model, objective and solvers.

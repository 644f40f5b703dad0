//! Many fits under one budget: folds, out-of-fold predictions, paired statistics, and the comparison of weightings.

pub mod bootstrap;
pub mod folds;
pub mod outcomes;
mod sheet;
pub mod stats;
mod student;

//! Many fits under one budget: folds, out-of-fold predictions, paired statistics, and the comparison of weightings.

pub mod folds;
pub mod readings;
pub mod treatment;

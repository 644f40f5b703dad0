//! Many fits under one budget: folds, out-of-fold predictions, paired statistics, and the comparison of weightings.

pub mod calibrated;
pub mod crossfit;
pub mod folds;

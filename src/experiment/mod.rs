//! Many fits under one budget: folds, out-of-fold predictions, paired statistics, and the comparison of weightings.

pub mod boost_fits;
pub mod bootstrap;
pub mod calibrated;
pub mod compare;
pub mod crossfit;
pub mod fold_fits;
pub mod folds;
mod kept;
pub mod linear_fits;
pub mod outcomes;
mod pilot;
pub mod readings;
mod sheet;
pub mod stats;
pub mod strength;
mod student;
pub mod treatment;
pub mod tune;
pub mod twins;
pub mod verdict;
pub mod warnings;

//! Histogram gradient boosting: the second learner.
//!
//! A [`binned::BinnedMatrix`] holds features as bytes. A tree is grown leaf by leaf on integer histograms of
//! whatever the trees are fitted to (`statistics`), and kept in a [`tree::Tree`].
//!
//! With few classes each has a tree a round. From eight on they share one (`vector`): it is grown on random projections of
//! the residuals (`sketch`), so that its cost does not depend on the number of classes, and its leaves have a value for
//! each. Scores are passed over twice a round (`many`); nothing else of rows x classes is stored.
//!
//! Everything that decides about a tree is a sum of integers, which is the same in any order: one seed and one data set
//! give the same bytes for any number of threads and any instruction set.

pub mod binned;
pub mod binning;
mod categories;
mod category_cut;
mod category_order;
pub mod clock;
mod cuts;
pub mod fit;
pub mod gradient;
mod grower;
mod histogram;
mod leaves;
mod many;
pub mod model;
pub mod options;
mod partition;
mod predictor;
mod sampling;
mod scalar;
mod sketch;
pub mod start;
mod statistics;
pub mod trainer;
pub mod tree;
mod vector;

#[cfg(test)]
#[path = "reference_tests.rs"]
mod reference;

//! Histogram gradient boosting: the second learner.
//!
//! # How a fit goes
//!
//! 1. A [`binning::Binner`] cuts each column into at most 254 bins; a [`binned::BinnedMatrix`] holds them as bytes, sixteen
//!    side by side. Features that never differ from their usual bin together share a byte (`bundles`). Where trees are grown a
//!    class, rows of equal bins and label become one of their summed weight (`distinct`).
//! 2. Each round a [`trainer::Trainer`] derives the loss at the scores of all rows, and rounds gradient and Hessian to
//!    fixed point, in one word a row together with a count of one.
//! 3. A tree is grown for each output, leaf by leaf: rows are parted, the smaller child gets its histogram from its rows,
//!    the larger one by subtraction, and every bin of every feature is tried as a cut (`grower`). Threads share the trees of a
//!    round, and leaves of a tree ahead of their turn (`growth`).
//! 4. The values of the leaves are refitted in f64 to the derivatives as they are, and added to the scores.
//!
//! With few classes each has a tree a round. From eight on they share one (`vector`): it is grown on random projections of
//! the residuals (`sketch`), so that its cost does not depend on the number of classes, and its leaves have a value for
//! each. Scores are passed over twice a round (`many`); nothing else of rows x classes is stored.
//!
//! Everything that decides about a tree is a sum of integers, which is the same in any order: one seed and one data set
//! give the same bytes for any number of threads. Instruction sets differ in the last digits of exponentials alone.
//!
//! ```
//! use cbfit::boost::binning::{Binner, BinningOptions};
//! use cbfit::boost::options::BoostOptions;
//! use cbfit::boost::trainer::{BoostProblem, Trainer};
//! use cbfit::{loss::Loss, matrix::Matrix, simd::Kernels};
//!
//! # fn main() -> cbfit::Result<()> {
//! // Class 1 where the only feature is above 9, or missing.
//! let values: Vec<f32> = (0..60).map(|row| if row % 20 == 19 { f32::NAN } else { (row % 20) as f32 }).collect();
//! let labels: Vec<u32> = (0..60).map(|row| u32::from(row % 20 > 9)).collect();
//! let matrix = Matrix::from_f32(values, 1);
//! let binner = Binner::fit(&matrix, &labels, &BinningOptions::default())?;
//! let features = binner.bin(&matrix)?;
//! let problem = BoostProblem {
//!     features: &features,
//!     binner: &binner,
//!     labels: &labels,
//!     weights: &[1.0; 60],
//!     classes: 2,
//!     loss: Loss::Softmax,
//!     offsets: None,
//!     start: None,
//! };
//! let mut trainer = Trainer::new(problem, &BoostOptions::default(), Kernels::best())?;
//! while trainer.round().number < 20 {}
//! let logits = trainer.into_model().logits(&Matrix::from_f32(vec![3.0, 17.0, f32::NAN], 1))?;
//! assert!(logits[0] > logits[1] && logits[2] < logits[3] && logits[4] < logits[5]);
//! # Ok(())
//! # }
//! ```

pub mod binned;
pub mod binning;
mod bundles;
mod categories;
mod category_cut;
mod category_order;
pub mod clock;
mod columns;
mod cuts;
mod distinct;
pub mod dump;
mod fill;
pub mod fit;
pub mod gradient;
mod grower;
mod growth;
mod histogram;
pub mod kept;
mod leaves;
mod many;
pub mod model;
pub mod names;
pub mod options;
mod partition;
mod per_class;
mod predictor;
mod problem;
mod quadrature;
mod rounds;
mod sampling;
mod scalar;
pub mod shap;
mod sketch;
pub mod start;
mod statistics;
pub mod trainer;
pub mod tree;
mod vector;

#[cfg(test)]
#[path = "reference_tests.rs"]
mod reference;

//! cbfit fits classifiers on long-tailed data and says honestly what class-balanced weighting gained.
//!
//! A row of a file walks one way: [`data`] reads and encodes it, [`weighting`] turns label counts into row weights,
//! [`linear`] fits a model over blocks of rows with the kernels of [`simd`] and the pointwise losses of [`loss`], or
//! [`boost`] grows trees on the same weights and losses, [`hybrid`] has them start from a linear model,
//! [`metrics`] scores it, [`calibrate`] maps its probabilities and decisions to what held-out rows say, [`experiment`]
//! fits it fold by fold, [`model_file`] saves it, [`checkpoint`] keeps what is finished until then, [`report`] prints it. [`cli`] drives them; nothing imports it.

pub mod boost;
pub mod calibrate;
pub mod catalogue;
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg_attr(not(feature = "files"), allow(dead_code))] // What only readers use.
pub mod data;
pub mod error;
pub mod estimator;
pub mod experiment;
#[cfg(feature = "files")]
pub mod export;
pub mod hybrid;
pub mod interop;
pub mod labels;
pub mod linear;
pub mod loss;
pub mod matrix;
pub mod memory;
pub mod metrics;
pub mod model;
#[cfg(feature = "files")]
pub mod model_file;
pub mod output;
#[cfg_attr(not(feature = "files"), allow(dead_code))]
mod positioned;
#[cfg(feature = "files")]
pub mod report;
pub mod rng;
pub mod simd;
mod stop;
pub mod weighting;

pub use error::{Error, Result};
pub use estimator::{Boost, Contest, Fitted, Linear, Weighting, compare};
pub use matrix::Matrix;
pub use weighting::{ClassWeights, Prior};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

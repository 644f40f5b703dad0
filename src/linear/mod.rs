//! The linear learner: model, objective and solvers.
//!
//! [`problem::Problem`] says what is minimised, [`objective::Objective`] evaluates it, a [`solver`] walks to its
//! minimum, [`certificate`] says how near it came, [`search`] chooses settings on validation rows.
//!
//! # How a full-batch fit goes
//!
//! 1. Equal rows become one row with their summed weight ([`merge`]); tables often repeat rows.
//! 2. From 131,072 rows on, samples that grow eightfold are fitted first, each from the optimum of the last.
//! 3. The second moments of the features under the weights give a metric ([`solver::metric`]): `curvature_c S + l2 I` for
//!    class c, inverted exactly through one Cholesky factor for classes of like curvature; above 4,096 features through
//!    the products of 2,048 rows, or where these are sparse of the 2,048 features that vary most. L-BFGS walks in that
//!    metric, and renews it from the curvature of the rows once its passes have cost as much as another one: the rows that a
//!    class is in doubt about then count one by one. Up to 4,096 parameters that is in the end the Hessian in all of them,
//!    over the rows that carry it.
//! 4. A pass goes block by block through logits, loss, residuals and gradient, so that no rows x classes array is kept.
//!    Where the machine has tile registers and the classes are more than 16, products are taken in split floats. Sparse
//!    rows meet weights laid out feature by feature, and cost what they store.
//! 5. Where the model of the objective promises the gap asked for, Newton steps balance the biases, everything is
//!    evaluated in f32 once more, and [`certificate`] bounds the gap. Along a path of l2 fits start on the line through the last
//!    two optima ([`path`]), and keep the metric and the last steps ([`solver::memory`]).
//!
//! [`route`] tells which of these apply to a problem; `train` prints it.
//!
//! ```
//! use std::ops::ControlFlow;
//! use cbfit::linear::objective::Objective;
//! use cbfit::linear::problem::Problem;
//! use cbfit::linear::rows::Rows;
//! use cbfit::linear::solver::lbfgs::{LbfgsOptions, minimise};
//! use cbfit::linear::solver::memory::Memory;
//! use cbfit::{loss::Loss, matrix::Matrix, simd::Kernels};
//!
//! # fn main() -> cbfit::Result<()> {
//! // Four rows of two features; the row of class 1 weighs three times as much.
//! let features = Matrix::from_f32(vec![0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 2.0, 2.1], 2);
//! let problem = Problem::new(Rows::all(&features), &[0, 0, 0, 1], &[1.0, 1.0, 1.0, 3.0], 2, Loss::Softmax, 1e-2);
//! let mut objective = Objective::new(problem, Kernels::best());
//! let options = LbfgsOptions { tolerance: 1e-4, max_iterations: 100, certified: true };
//! let fit = minimise(&mut objective, &mut Memory::default(), &problem.start(), &options, &mut |_| ControlFlow::Continue(()))?;
//! assert!(fit.converged && fit.certificate.relative_gap.is_some_and(|gap| gap <= 1e-4));
//! # Ok(())
//! # }
//! ```

pub mod certificate;
pub mod classifier;
mod conjugate;
mod curvature;
pub mod fit;
pub mod gram;
mod hard_rows;
pub mod heads;
mod hessian;
mod importance;
pub mod influence;
pub mod merge;
pub mod model;
pub mod moments;
pub mod objective;
mod pass;
pub mod path;
mod precise;
pub mod problem;
mod products;
pub mod route;
pub mod rows;
mod sample;
pub mod search;
pub mod series;
mod slab;
pub mod solver;
mod stages;
pub mod weighted;

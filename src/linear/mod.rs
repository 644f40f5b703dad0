//! The linear learner: model, objective and solvers.
//!
//! [`problem::Problem`] says what is minimised, [`objective::Objective`] evaluates it, a [`solver`] walks to its
//! minimum, [`certificate`] says how near it came, [`search`] chooses settings on validation rows.
//!
//! ```
//! use std::ops::ControlFlow;
//! use cbfit::linear::objective::Objective;
//! use cbfit::linear::problem::{Decay, Problem};
//! use cbfit::linear::rows::Rows;
//! use cbfit::linear::solver::lbfgs::{LbfgsOptions, minimise};
//! use cbfit::linear::solver::metric::Preconditioner;
//! use cbfit::{loss::Loss, matrix::Matrix, simd::Kernels};
//!
//! # fn main() -> cbfit::Result<()> {
//! // Four rows of two features; the row of class 1 weighs three times as much.
//! let features = Matrix::from_f32(vec![0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 2.0, 2.1], 2);
//! let problem = Problem {
//!     rows: Rows::all(&features),
//!     labels: &[0, 0, 0, 1],
//!     weights: &[1.0, 1.0, 1.0, 3.0],
//!     classes: 2,
//!     loss: Loss::Softmax,
//!     offsets: None,
//!     l2: 1e-2,
//!     decay: Decay::Weights,
//! };
//! let mut objective = Objective::new(problem, Kernels::best());
//! let options = LbfgsOptions { tolerance: 1e-4, max_iterations: 100, certified: true };
//! let fit = minimise(&mut objective, &mut Preconditioner::default(), &problem.start(), &options, &mut |_| ControlFlow::Continue(()))?;
//! assert!(fit.converged && fit.certificate.relative_gap.is_some_and(|gap| gap <= 1e-4));
//! # Ok(())
//! # }
//! ```

pub mod certificate;
mod curvature;
pub mod fit;
pub mod gram;
pub mod merge;
pub mod model;
pub mod moments;
pub mod objective;
mod pass;
pub mod problem;
mod products;
pub mod route;
pub mod rows;
pub mod search;
pub mod solver;
mod stages;

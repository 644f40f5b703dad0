//! Which way a full-batch fit takes through its data: what is picked for a shape, and the sizes that decide.

use super::problem::Problem;
use super::products::Arithmetic;
use super::solver::second_moments::Form;
use super::stages;
use crate::simd::{Isa, Kernels};

/// The way of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Whether products are taken in split floats instead of f32.
    pub in_split_floats: bool,
    /// Instruction set.
    pub isa: Isa,
    /// What the metric is made of.
    pub metric: Form,
    /// Rows fitted: fewer than given where equal ones were merged.
    pub rows: usize,
    /// Rows of the samples that the fit starts on.
    pub samples: Vec<usize>,
}

impl Route {
    /// How `problem` is fitted from a cold start.
    pub fn of(problem: &Problem<'_>, kernels: &'static Kernels) -> Self {
        let rows = problem.rows.len();
        let arithmetic = Arithmetic::fastest(kernels, &problem.rows, problem.classes);
        Route {
            in_split_floats: !arithmetic.is_in_f32(),
            isa: kernels.isa(),
            metric: Form::of(&problem.rows),
            rows,
            samples: stages::sizes(rows),
        }
    }
}

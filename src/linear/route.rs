//! Which way a full-batch fit takes through its data: what is picked for a shape, and the sizes that decide.

use super::problem::Problem;
use super::products::Arithmetic;
use super::solver::metric::has_hessian;
use super::solver::second_moments::Form;
use super::stages;
use crate::simd::{Isa, Kernels};

/// The way of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// How products are taken: `"f32"`, `"split floats"` or `"f32 over sparse rows"`.
    pub products: &'static str,
    /// Instruction set.
    pub isa: Isa,
    /// What the metric is made of.
    pub metric: Form,
    /// Parameters whose Hessian is the metric once passes have paid for it; `None` where it never is.
    pub hessian: Option<usize>,
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
            products: match arithmetic {
                Arithmetic::Single(_) => "f32",
                Arithmetic::Tiles(..) => "split floats",
                Arithmetic::Sparse(_) => "f32 over sparse rows",
            },
            isa: kernels.isa(),
            metric: Form::of(&problem.rows),
            hessian: has_hessian(problem).then(|| problem.parameters()),
            rows,
            samples: stages::sizes(rows),
        }
    }
}

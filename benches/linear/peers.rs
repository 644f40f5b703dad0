//! linfa-logistic and smartcore on the unweighted problem: neither takes row weights. Both minimise the sum of losses plus
//! `alpha/2 ||W||^2` with an undecayed bias, so `alpha` is `l2` times the rows. Both compute in the type of the matrix.

use std::time::{Duration, Instant};

use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use linfa::traits::Fit;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, Array2};
use serde_json::json;
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

use crate::solver::{Case, objective_of};
use crate::{Outcome, emit};

/// These peers have the multinomial loss alone.
fn check(case: &Case<'_>) -> Outcome<()> {
    if case.loss != Loss::Softmax || case.weights.iter().any(|&weight| weight != 1.0) {
        return Err("linfa and smartcore have the unweighted multinomial loss alone".into());
    }
    Ok(())
}

fn values<T: From<f32>>(features: &Matrix) -> Vec<T> {
    let cols = features.cols();
    (0..features.rows()).flat_map(|row| (0..cols).map(move |col| T::from(features.get(row, col)))).collect()
}

/// Iteration limits: 5, then each `factor` times the one before.
fn limits(factor: f64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(5.0), move |limit: &f64| Some((limit * factor).max(limit + 1.0)))
        .map(|limit| limit as u64)
}

macro_rules! linfa {
    ($name:ident, $float:ty) => {
        /// linfa has no callback: it is run from the start with rising limits until one run reaches `target`, a higher
        /// limit changes nothing, or the next run could not end within `budget`. In f32 it may not leave the start: the
        /// smallest step of its line search, 3e-4, is too long for the gradient of a sum over many rows.
        pub fn $name(case: &Case<'_>, target: f64, factor: f64, budget: Duration) -> Outcome<Vec<f64>> {
            check(case)?;
            let features = &case.data.features;
            let (rows, cols) = (features.rows(), features.cols());
            let records = Array2::<$float>::from_shape_vec((rows, cols), values(features))?;
            let labels: Array1<usize> = case.data.labels.iter().map(|&label| label as usize).collect();
            let data = linfa::Dataset::new(records, labels);
            let alpha = (case.l2 * rows as f64) as $float;
            let (mut last, mut before) = (Vec::new(), f64::NAN);
            for limit in limits(factor) {
                let params = MultiLogisticRegression::<$float>::default()
                    .alpha(alpha)
                    .max_iterations(limit)
                    .gradient_tolerance(1e-12);
                let begun = Instant::now();
                let fitted = match params.fit(&data) {
                    Ok(fitted) => fitted,
                    Err(error) => {
                        emit(json!({ "event": "failed", "limit": limit, "why": error.to_string() }));
                        break;
                    }
                };
                let seconds = begun.elapsed().as_secs_f64();
                // One column a class.
                last = fitted.params().t().iter().map(|&w| f64::from(w)).collect();
                last.extend(fitted.intercept().iter().map(|&b| f64::from(b)));
                let value = objective_of(case, &last);
                emit(json!({ "event": "point", "seconds": seconds, "objective": value, "limit": limit }));
                let ended = if value <= target {
                    Some("target")
                } else if value == before {
                    Some("itself") // A higher limit changed nothing: linfa had stopped below the last one.
                } else {
                    (seconds * factor > budget.as_secs_f64()).then_some("budget")
                };
                if let Some(ended) = ended {
                    let end = json!({ "event": "end", "seconds": seconds, "objective": value, "ended": ended });
                    emit(end);
                    break;
                }
                before = value;
            }
            Ok(last)
        }
    };
}

linfa!(linfa_f32, f32);
linfa!(linfa_f64, f64);

macro_rules! smartcore {
    ($name:ident, $float:ty) => {
        /// smartcore has neither a callback nor a limit of iterations: it runs to its own end.
        pub fn $name(case: &Case<'_>) -> Outcome<Vec<f64>> {
            check(case)?;
            let features = &case.data.features;
            let (rows, cols) = (features.rows(), features.cols());
            // Row-major: its loops run along rows.
            let x = DenseMatrix::<$float>::new(rows, cols, values(features), false)?;
            let params = LogisticRegressionParameters::default().with_alpha((case.l2 * rows as f64) as $float);
            let begun = Instant::now();
            let fitted = LogisticRegression::fit(&x, &case.data.labels, params)?;
            let seconds = begun.elapsed().as_secs_f64();
            // Its classes are in ascending order, as the codes are.
            let both = [fitted.coefficients(), fitted.intercept()];
            let theta: Vec<f64> =
                both.iter().flat_map(|part| part.iterator(0).map(|&value| f64::from(value))).collect();
            let value = objective_of(case, &theta);
            emit(json!({ "event": "point", "seconds": seconds, "objective": value }));
            emit(json!({ "event": "end", "seconds": seconds, "objective": value, "ended": "itself" }));
            Ok(theta)
        }
    };
}

smartcore!(smartcore_f32, f32);
smartcore!(smartcore_f64, f64);

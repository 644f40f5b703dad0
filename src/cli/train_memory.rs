//! What a training run holds in memory besides the rows of features, held against the limit before hours of work.

use super::plan::TrainPlan;
use super::train_data::TrainData;
use crate::Result;
use crate::linear::fit::Optimizer;
use crate::linear::solver::metric::hessian_bytes;
use crate::report::format::{bytes, thousands};

/// Bytes that a row costs besides its features at least: label, weights, its place in the lists of rows.
const ROW_BYTES: u64 = 40;
/// Bytes of a row and class while trees grow: score, slope and curvature.
const GRADIENT_BYTES: u64 = 12;
/// Bytes of the score of a validation row and class: a logit and a probability.
const SCORE_BYTES: u64 = 8;

/// Vectors of parameters that L-BFGS holds at least: five pairs, points, gradients and directions.
const LBFGS_VECTORS: u64 = 16;
/// Those of minibatches: parameters, gradient, velocity.
const MINIBATCH_VECTORS: u64 = 3;

struct Part {
    what: String,
    bytes: u64,
    /// How to make do with less.
    mend: &'static str,
}

/// Refuses a run that cannot stay within the memory limit, features on disk or not. What is added up is certain to be
/// needed: it is less than the run will take.
///
/// # Errors
/// [`crate::Error::OverMemory`].
pub(super) fn check_memory(plan: &TrainPlan, data: &TrainData, optimizer: &Optimizer) -> Result<()> {
    let Some(memory) = &plan.read.memory else { return Ok(()) };
    let (rows, features) = (data.main.rows() as u64, data.main.features.cols() as u64);
    let classes = data.main.label_map.classes() as u64;
    let valid = data.valid_part().map_or(0, |part| part.labels.len()) as u64;
    let product =
        |factors: &[u64]| factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor));
    let mut parts = vec![
        Part {
            what: format!("{} rows without their features", thousands(rows)),
            bytes: product(&[rows, ROW_BYTES]),
            mend: "take fewer rows",
        },
        Part {
            what: format!("scores of {} validation rows", thousands(valid)),
            bytes: product(&[valid, classes, SCORE_BYTES]),
            mend: "hold out fewer rows with --valid-fraction",
        },
    ];
    if plan.boost.is_some() {
        parts.push(Part {
            what: "bins".into(),
            bytes: if data.main.features.is_in_file() { product(&[rows, features]) } else { 0 },
            mend: "select fewer features with --features",
        });
        parts.push(Part {
            what: format!("gradients of {} classes", thousands(classes)),
            bytes: product(&[rows, if classes == 2 { 1 } else { classes }, GRADIENT_BYTES]),
            mend: "take fewer rows or classes",
        });
    } else {
        let parameters = classes.saturating_mul(features + 1);
        let vectors = match optimizer {
            _ if !plan.head.head.is_fitted() => 1,
            Optimizer::Lbfgs { .. } => LBFGS_VECTORS,
            Optimizer::Minibatch { .. } => MINIBATCH_VECTORS,
        };
        parts.push(Part {
            what: format!("a model of {} classes with its solver", thousands(classes)),
            bytes: product(&[parameters, vectors, size_of::<f32>() as u64]),
            mend: "take fewer classes or features",
        });
        // One fit may end before it takes its Hessian; of the fits of a search, one hardly will not.
        if plan.head.head.is_fitted() && plan.l2.is_none() && matches!(optimizer, Optimizer::Lbfgs { .. }) {
            let features = data.main.features.cols();
            parts.push(Part {
                what: format!("the Hessian of {} parameters", thousands(parameters)),
                bytes: hessian_bytes(plan.loss, data.main.label_map.classes(), features, data.train.len()),
                mend: "give --l2",
            });
        }
    }
    let total = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let named: Vec<String> = (parts.iter().filter(|part| part.bytes * 20 > total))
        .map(|part| format!("{} ({})", part.what, bytes(part.bytes)))
        .collect();
    let mend = parts.first().map_or("", |part| part.mend);
    memory.check(named.join(", "), total, format!("raise --memory-limit, or {mend}"))
}

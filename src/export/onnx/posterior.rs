//! From logits to probabilities and labels, in ONNX operators: what [`crate::calibrate::Posterior`] does.

use super::graph::{Graph, integer};
use crate::calibrate::{Calibration, Posterior};
use crate::weighting::prior::{Link, PriorCorrection};
use crate::{Error, Result};

/// Log odds beyond which a sigmoid is 1 to the last bit of f32, while its complement is still a normal number.
const FAR: f32 = 60.0;

/// Log probabilities under `posterior` of the logits called `logits`, up to a constant of the row.
///
/// # Errors
/// [`Error::BadValue`] where the loss ties logits to the posterior in a way that is not written.
pub(super) fn log_posterior(graph: &mut Graph, posterior: &Posterior, logits: &str) -> Result<String> {
    let mut logs = log_joint(graph, posterior.correction(), logits)?;
    if let Some((map, offset)) = posterior.calibrated() {
        logs = graph.node("LogSoftmax", &[&logs], vec![integer("axis", 1)]);
        let scale = match map {
            Calibration::Prior => None,
            Calibration::Temperature { scale } => Some(vec![*scale; offset.len()]),
            Calibration::Vector { scale, .. } => Some(scale.clone()),
        };
        let moved = |calibrated: &[f64]| offset.iter().zip(calibrated).map(|(a, b)| a + b).collect();
        let shift: Vec<f64> = match map {
            Calibration::Vector { offset, .. } => moved(offset),
            _ => offset.to_vec(),
        };
        // A scale of 0 or below would lift classes that have no probability.
        let excluded = posterior.correction().formula().offset;
        let kept = |(&scale, &own): (&f64, &f64)| if own == f64::NEG_INFINITY { 1.0 } else { scale };
        let scale = scale.map(|scale| scale.iter().zip(excluded).map(kept).collect::<Vec<f64>>());
        logs = scaled(graph, logs, scale.as_deref().unwrap_or(&[]));
        logs = moved_by(graph, logs, &shift);
    }
    Ok(logs)
}

/// Log probabilities up to a constant of the row.
fn log_joint(graph: &mut Graph, correction: &PriorCorrection, logits: &str) -> Result<String> {
    let formula = correction.formula();
    let mut u = scaled(graph, logits.into(), formula.scale);
    u = moved_by(graph, u, &formula.shift);
    let margins = formula.margins;
    let log_q = match formula.link {
        Link::Softmax if margins.is_empty() => u,
        Link::Sigmoid if margins.is_empty() => {
            let other = graph.node("Neg", &[&u], vec![]);
            minus_softplus(graph, &other)
        }
        Link::Sigmoid => {
            let other = graph.node("Neg", &[&u], vec![]);
            let this = minus_softplus(graph, &other);
            let minus: Vec<f64> = margins.iter().map(|margin| -margin).collect();
            let beyond = moved_by(graph, u, &minus);
            let rest = minus_softplus(graph, &beyond);
            log_share(graph, &this, &rest)
        }
        Link::Focal(gamma) => focal(graph, &u, gamma),
        Link::Softmax | Link::SoftmaxFocal(_) => {
            let why = "this loss ties logits to other than its own probabilities in a way ONNX operators do not express";
            let help = "export --prior trained, and put the probabilities right afterwards";
            return Err(Error::bad_value("--to", "onnx", why, help));
        }
    };
    Ok(moved_by(graph, log_q, formula.offset))
}

/// `log q` of the focal link (see [`crate::weighting::prior`]) with `v = sigma(u)`:
/// `log h(v) = log v - (g-1) log(1-v) - log((1-v) - g v log v)` against the same of `1 - v`.
fn focal(graph: &mut Graph, u: &str, gamma: f64) -> String {
    let (low, high) = (graph.float(-FAR), graph.float(FAR));
    let near = graph.node("Clip", &[u, &low, &high], vec![]);
    let other = graph.node("Neg", &[&near], vec![]);
    let log_v = minus_softplus(graph, &other);
    let log_rest = minus_softplus(graph, &near);
    let this = log_focal_link(graph, &log_v, &log_rest, gamma);
    let rest = log_focal_link(graph, &log_rest, &log_v, gamma);
    log_share(graph, &this, &rest)
}

fn log_focal_link(graph: &mut Graph, log_v: &str, log_rest: &str, gamma: f64) -> String {
    if gamma == 0.0 {
        return log_v.into();
    }
    let (minus_gamma, less) = (graph.float(-gamma as f32), graph.float((gamma - 1.0) as f32));
    let (v, rest) = (graph.node("Exp", &[log_v], vec![]), graph.node("Exp", &[log_rest], vec![]));
    let entropy = graph.node("Mul", &[&v, log_v], vec![]);
    let entropy = graph.node("Mul", &[&entropy, &minus_gamma], vec![]);
    let bracket = graph.node("Add", &[&rest, &entropy], vec![]);
    let bracket = graph.node("Log", &[&bracket], vec![]);
    let powers = graph.node("Mul", &[log_rest, &less], vec![]);
    let difference = graph.node("Sub", &[log_v, &powers], vec![]);
    graph.node("Sub", &[&difference, &bracket], vec![])
}

/// `log(exp(a) / (exp(a) + exp(b)))`.
fn log_share(graph: &mut Graph, a: &str, b: &str) -> String {
    let against = graph.node("Sub", &[b, a], vec![]);
    minus_softplus(graph, &against)
}

/// `-log(1 + exp(x))`.
fn minus_softplus(graph: &mut Graph, x: &str) -> String {
    let softplus = graph.node("Softplus", &[x], vec![]);
    graph.node("Neg", &[&softplus], vec![])
}

/// `x` times a row of factors, where they are not all 1 or absent.
fn scaled(graph: &mut Graph, x: String, factors: &[f64]) -> String {
    if factors.iter().all(|&factor| factor == 1.0) {
        return x;
    }
    let factors = graph.row(factors);
    graph.node("Mul", &[&x, &factors], vec![])
}

/// `x` plus a row, where it is not all 0.
pub(super) fn moved_by(graph: &mut Graph, x: String, shift: &[f64]) -> String {
    if shift.iter().all(|&shift| shift == 0.0) {
        return x;
    }
    let shift = graph.row(shift);
    graph.node("Add", &[&x, &shift], vec![])
}

//! One scale for the log posteriors of all rows.

use super::HeldOut;
use crate::weighting::prior::exponentiate;

/// Temperatures between a hundredth and a hundred: rows that are all right, or all wrong, would have it go to 0 or on
/// without end.
const SCALES: (f64, f64) = (0.01, 100.0);
/// Steps of Newton or bisection; fewer than ten are usual.
const MOST_STEPS: usize = 200;
/// Relative change of the scale at which the search ends.
const TOLERANCE: f64 = 1e-13;

/// The scale of least mean log-loss. The loss is convex in it, so its slope rises and has one root: Newton's steps,
/// halved into the bracket where they leave it.
pub(super) fn fit(held: &HeldOut<'_>) -> f64 {
    let (mut low, mut high) = SCALES;
    let mut scale = 1.0;
    for _ in 0..MOST_STEPS {
        let (slope, curvature) = derivatives(held, scale);
        // Also where all log posteriors are equal, so that every scale is as good.
        if slope == 0.0 {
            break;
        }
        if slope > 0.0 {
            high = scale;
        } else {
            low = scale;
        }
        let newton = scale - slope / curvature;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        let step = (next - scale).abs();
        scale = next;
        if step <= TOLERANCE * scale {
            break;
        }
    }
    scale
}

/// First and second derivative of the mean log-loss: means over rows of `E[l] - l_y` and `Var[l]` under the scaled
/// posterior.
fn derivatives(held: &HeldOut<'_>, scale: f64) -> (f64, f64) {
    let sums = held.sum(2, |row, logs, p, sums| {
        p.iter_mut().zip(logs).for_each(|(p, l)| *p = scale * l);
        exponentiate(p);
        let own = logs[held.labels[row] as usize];
        let present = || p.iter().zip(logs).filter(|(p, _)| **p > 0.0);
        let mean: f64 = present().map(|(p, l)| p * (l - own)).sum();
        let variance: f64 = present().map(|(p, l)| p * (l - own - mean).powi(2)).sum();
        sums[0] += held.weight(row) * mean;
        sums[1] += held.weight(row) * variance;
    });
    (sums[0] / held.total_weight(), sums[1] / held.total_weight())
}

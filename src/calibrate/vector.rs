//! A scale and an offset for each class: `softmax(a_c l_c + b_c)`.
//!
//! With s the scale of [`super::temperature`], `a_c = s (1 + d_c)`, and the minimum is taken of
//!
//! ```text
//! mean log-loss + 1 / (2 n) * sum_c ( d_c^2 / SCALE_DEVIATION^2 + b_c^2 / OFFSET_DEVIATION^2 ),   n effective rows
//! ```
//!
//! which is convex. The ridge towards the identity on top of the shared scale is a normal prior of its deviations: a
//! class of a few held-out rows stays near the shared scale, one of hundreds is free, and nothing has to be tuned. A
//! class without held-out rows keeps the shared scale and offset 0: rows of other classes alone would push it away.

use super::minimise::minimise;
use super::{Calibration, HeldOut, temperature};
use crate::weighting::prior::exponentiate;

/// Standard deviation that the relative scale of a class has around 1 before any row is seen.
const SCALE_DEVIATION: f64 = 0.25;
/// Standard deviation that the offset of a class has around 0 before any row is seen: a factor of 1.65 of its odds.
const OFFSET_DEVIATION: f64 = 0.5;
/// Largest entry of the gradient of the mean at which the fit ends.
const TOLERANCE: f64 = 1e-10;

/// The map of least penalised log-loss.
pub(super) fn fit(held: &HeldOut<'_>) -> Calibration {
    let classes = held.classes;
    let shared = temperature::fit(held);
    let mut has_rows = vec![false; classes];
    held.labels.iter().for_each(|&label| has_rows[label as usize] = true);
    let n = held.effective_rows();
    let ridge = [SCALE_DEVIATION, OFFSET_DEVIATION].map(|deviation| 1.0 / (n * deviation * deviation));
    let problem = Problem { held, shared, has_rows, ridge };
    let curvature = problem.curvature();
    let parameters = minimise(vec![0.0; 2 * classes], &curvature, TOLERANCE, |at, gradient| {
        problem.gradient(at, gradient)
    });
    let (deviations, offset) = parameters.split_at(classes);
    Calibration::Vector {
        scale: deviations.iter().map(|d| shared * (1.0 + d)).collect(),
        offset: offset.to_vec(),
    }
}

struct Problem<'a> {
    held: &'a HeldOut<'a>,
    shared: f64,
    has_rows: Vec<bool>,
    /// Of deviations and of offsets.
    ridge: [f64; 2],
}

impl Problem<'_> {
    /// Gradient at `at`: C deviations, then C offsets.
    fn gradient(&self, at: &[f64], gradient: &mut [f64]) {
        let (deviations, offsets) = at.split_at(self.held.classes);
        let sums = self.held.sum(at.len(), |row, logs, p, sums| {
            for (c, p) in p.iter_mut().enumerate() {
                let shared = self.shared * logs[c];
                *p = if logs[c].is_finite() { shared * (1.0 + deviations[c]) + offsets[c] } else { logs[c] };
            }
            exponentiate(p);
            let own = self.held.labels[row] as usize;
            let (by_scale, by_offset) = sums.split_at_mut(p.len());
            for c in (0..p.len()).filter(|&c| logs[c].is_finite()) {
                let residual = self.held.weight(row) * (p[c] - if c == own { 1.0 } else { 0.0 });
                by_scale[c] += residual * self.shared * logs[c];
                by_offset[c] += residual;
            }
        });
        let (total, classes) = (self.held.total_weight(), self.held.classes);
        for (place, (slope, sum)) in gradient.iter_mut().zip(sums).enumerate() {
            let is_free = self.has_rows[place % classes];
            *slope = if is_free { sum / total + self.ridge[place / classes] * at[place] } else { 0.0 };
        }
    }

    /// Diagonal of the Hessian at the shared scale, the ridge included.
    fn curvature(&self) -> Vec<f64> {
        let classes = self.held.classes;
        let mut sums = self.held.sum(2 * classes, |row, logs, p, sums| {
            p.iter_mut().zip(logs).for_each(|(p, l)| *p = self.shared * l);
            exponentiate(p);
            for c in (0..p.len()).filter(|&c| logs[c].is_finite()) {
                let spread = self.held.weight(row) * p[c] * (1.0 - p[c]);
                sums[c] += spread * (self.shared * logs[c]).powi(2);
                sums[p.len() + c] += spread;
            }
        });
        let total = self.held.total_weight();
        for (place, sum) in sums.iter_mut().enumerate() {
            *sum = *sum / total + self.ridge[place / classes];
        }
        sums
    }
}

//! Coordinates in which solvers walk: features centred where the bias is free to absorb it.
//!
//! With an undecayed bias, `z = W (x - mean) + b'` and `b = b' - W mean` describe the same functions under the same
//! penalty, but the gradient in `(W, b')` no longer mixes the mean of the features into every direction: on features
//! that are never negative (after a ReLU) this removes the largest eigenvalue of the problem.

use crate::linear::objective::{Objective, Value};

/// The change of coordinates of one problem.
pub struct Space {
    mean: Option<Vec<f32>>,
    raw: Vec<f32>,
}

impl Space {
    /// Centred coordinates where the bias carries no penalty, the plain ones otherwise.
    pub fn of(objective: &Objective<'_>) -> Self {
        let problem = objective.problem();
        let mean = (!problem.decay.on_bias())
            .then(|| objective.moments().mean.iter().map(|&m| m as f32).collect::<Vec<f32>>());
        Space { mean, raw: vec![0.0; problem.parameters()] }
    }

    /// The mean that is subtracted from every row, if any.
    pub fn mean(&self) -> Option<&[f32]> {
        self.mean.as_deref()
    }

    /// `theta` in these coordinates, from `theta` over raw features.
    pub fn enter(&self, theta: &mut [f32]) {
        self.shift_bias(theta, 1.0);
    }

    /// `theta` over raw features, from these coordinates.
    pub fn leave(&self, theta: &mut [f32]) {
        self.shift_bias(theta, -1.0);
    }

    fn shift_bias(&self, theta: &mut [f32], sign: f64) {
        let Some(mean) = &self.mean else { return };
        let classes = theta.len() / (mean.len() + 1);
        let (weight, bias) = theta.split_at_mut(classes * mean.len());
        for (class, b) in bias.iter_mut().enumerate() {
            let w = &weight[class * mean.len()..(class + 1) * mean.len()];
            let shift: f64 = w.iter().zip(mean).map(|(&w, &m)| f64::from(w) * f64::from(m)).sum();
            *b = (f64::from(*b) + sign * shift) as f32;
        }
    }

    /// J and its gradient in these coordinates. The raw parameters and their gradient are left in
    /// [`Space::raw`] and `raw_gradient` for the certificate.
    pub fn evaluate(
        &mut self,
        objective: &mut Objective<'_>,
        theta: &[f32],
        raw_gradient: &mut Vec<f32>,
        gradient: &mut Vec<f32>,
    ) -> Value {
        let mut raw = std::mem::take(&mut self.raw);
        raw.copy_from_slice(theta);
        self.leave(&mut raw);
        raw_gradient.resize(theta.len(), 0.0);
        let value = objective.evaluate(&raw, raw_gradient);
        self.raw = raw;
        gradient.clear();
        gradient.extend_from_slice(raw_gradient);
        self.pull_back(gradient);
        value
    }

    /// Parameters over raw features of the last [`Space::evaluate`].
    pub fn raw(&self) -> &[f32] {
        &self.raw
    }

    /// Turns a gradient over raw features into one in these coordinates.
    pub fn pull_back(&self, gradient: &mut [f32]) {
        let Some(mean) = &self.mean else { return };
        let classes = gradient.len() / (mean.len() + 1);
        let (weight, bias) = gradient.split_at_mut(classes * mean.len());
        for (class, &b) in bias.iter().enumerate() {
            for (g, &m) in weight[class * mean.len()..(class + 1) * mean.len()].iter_mut().zip(mean) {
                *g -= b * m;
            }
        }
    }
}

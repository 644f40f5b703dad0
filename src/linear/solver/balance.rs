//! Newton steps in the biases alone, taken before a fit is certified.
//!
//! The dual point of the certificate needs predicted class shares equal to the true ones; what is missing is paid for in
//! first order, so that an otherwise exact fit would certify a gap a thousand times its own. One step in the biases,
//! from a Hessian of C x C, leaves only their second order.

use crate::linear::objective::Objective;

/// Classes up to which the Hessian of the biases is formed.
const MOST_CLASSES: usize = 1024;

/// A factored Hessian of the biases.
pub(super) struct BiasNewton {
    classes: usize,
    /// Lower Cholesky factor, row-major.
    factor: Vec<f64>,
}

impl BiasNewton {
    /// At `theta` (coordinates of the objective). `None` where there is nothing to gain (a decayed bias, a loss that is
    /// not convex) or the Hessian is too large.
    pub(super) fn at(objective: &Objective<'_>, theta: &[f32]) -> Option<Self> {
        let problem = objective.problem();
        let classes = problem.classes;
        if problem.decay.on_bias() || !problem.loss.is_convex() || classes > MOST_CLASSES {
            return None;
        }
        let mut factor = objective.bias_hessian(theta);
        // The softmax does not feel a shift of all biases: a ridge far below the curvatures makes up for it.
        let trace: f64 = (0..classes).map(|c| factor[c * classes + c]).sum();
        for c in 0..classes {
            factor[c * classes + c] = factor[c * classes + c] * (1.0 + 1e-6) + 1e-12 * trace;
        }
        cholesky(&mut factor, classes).then_some(BiasNewton { classes, factor })
    }

    /// Steps of the biases against their `gradient`.
    pub(super) fn step(&self, gradient: &[f32]) -> Vec<f32> {
        let (classes, factor) = (self.classes, &self.factor);
        let mut step: Vec<f64> = gradient.iter().map(|&g| -f64::from(g)).collect();
        for i in 0..classes {
            let inner: f64 = (0..i).map(|k| factor[i * classes + k] * step[k]).sum();
            step[i] = (step[i] - inner) / factor[i * classes + i];
        }
        for i in (0..classes).rev() {
            let inner: f64 = (i + 1..classes).map(|k| factor[k * classes + i] * step[k]).sum();
            step[i] = (step[i] - inner) / factor[i * classes + i];
        }
        step.into_iter().map(|s| s as f32).collect()
    }
}

/// Replaces the lower triangle by its Cholesky factor; `false` where the matrix is not positive definite.
fn cholesky(matrix: &mut [f64], size: usize) -> bool {
    for i in 0..size {
        let (above, row) = matrix.split_at_mut(i * size);
        for j in 0..i {
            let other = &above[j * size..][..=j];
            let inner: f64 = row.iter().zip(&other[..j]).map(|(a, b)| a * b).sum();
            row[j] = (row[j] - inner) / other[j];
        }
        let rest = row[i] - row[..i].iter().map(|v| v * v).sum::<f64>();
        if rest.is_nan() || rest <= 0.0 {
            return false;
        }
        row[i] = rest.sqrt();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_small_system() {
        let mut factor = vec![4.0, 2.0, 0.0, 2.0, 5.0, 1.0, 0.0, 1.0, 3.0];
        assert!(cholesky(&mut factor, 3));
        let step = BiasNewton { classes: 3, factor }.step(&[-2.0, 3.0, -7.0]);
        // 4a + 2b = 2, 2a + 5b + c = -3, b + 3c = 7
        let product =
            [4.0 * step[0] + 2.0 * step[1], 2.0 * step[0] + 5.0 * step[1] + step[2], step[1] + 3.0 * step[2]];
        for (got, expected) in product.into_iter().zip([2.0, -3.0, 7.0]) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
    }
}

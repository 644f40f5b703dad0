//! Newton steps in the biases alone, taken before a fit is certified.
//!
//! The dual point of the certificate needs predicted class shares equal to the true ones; what is missing is paid for in
//! first order, so that an otherwise exact fit would certify a gap a thousand times its own. One step in the biases,
//! from a Hessian of C x C, leaves only their second order. Where that is too large, the Hessian is held as its diagonal
//! and the largest probabilities of each row, and a step leaves a hundredth or so of the imbalance.

use crate::linear::curvature::LeadingHessian;
use crate::linear::objective::Objective;
use crate::loss::Loss;
use crate::stop::Stop;

/// Classes up to which the Hessian of the biases is formed.
const MOST_CLASSES: usize = 1024;

/// A Hessian of the biases that a gradient can be solved by.
pub(super) enum BiasNewton {
    /// Lower Cholesky factor, `C x C` row-major.
    Factored(Vec<f64>),
    /// Hessian times `total_weight`.
    Leading { hessian: LeadingHessian, total_weight: f64 },
}

impl BiasNewton {
    /// At `theta` (coordinates of the objective). `None` where there is nothing to gain: a decayed bias, or a loss that
    /// is not convex.
    pub(super) fn at(objective: &Objective<'_>, theta: &[f32]) -> Option<Self> {
        let problem = objective.problem();
        let classes = problem.classes;
        if problem.decay.on_bias() || !problem.loss.is_convex() {
            return None;
        }
        if classes > MOST_CLASSES {
            let mut hessian = objective.leading_bias_hessian(theta);
            let ridge = 1e-12 * hessian.diagonal.iter().sum::<f64>();
            hessian.diagonal.iter_mut().for_each(|d| *d = *d * (1.0 + 1e-6) + ridge);
            return Some(BiasNewton::Leading { hessian, total_weight: objective.moments().total_weight });
        }
        let hessian = objective.bias_hessian(theta);
        let stop = problem.rows.stop();
        let mut factored = factor(hessian.clone(), classes, stop);
        if factored.is_none() && problem.loss == Loss::Softmax {
            // Where classes are certain, rounding of `p - p^2` is larger than what is left of it.
            factored = factor(of_sums(hessian, classes), classes, stop);
        }
        factored.map(BiasNewton::Factored)
    }

    /// Steps of the biases against their `gradient`, short of that where `stop` is set.
    pub(super) fn step(&self, gradient: &[f32], stop: &Stop) -> Vec<f32> {
        let against = gradient.iter().map(|&g| -f64::from(g));
        let step = match self {
            BiasNewton::Factored(factor) => substitute(factor, against.collect()),
            BiasNewton::Leading { hessian, total_weight } => {
                conjugate_gradients(hessian, against.map(|g| g * total_weight).collect(), stop)
            }
        };
        step.into_iter().map(|s| s as f32).collect()
    }
}

/// The lower Cholesky factor of a Hessian of the biases.
fn factor(mut hessian: Vec<f64>, classes: usize, stop: &Stop) -> Option<Vec<f64>> {
    // The softmax does not feel a shift of all biases: a ridge far below the curvatures makes up for it.
    let trace: f64 = (0..classes).map(|c| hessian[c * classes + c]).sum();
    for c in 0..classes {
        hessian[c * classes + c] = hessian[c * classes + c] * (1.0 + 1e-6) + 1e-12 * trace;
    }
    cholesky(&mut hessian, classes, stop).then_some(hessian)
}

/// A Hessian of coupled classes, whose rows sum to zero, with the diagonal that its other values ask for: semi-definite
/// whatever the rounding.
fn of_sums(mut hessian: Vec<f64>, classes: usize) -> Vec<f64> {
    for (class, row) in hessian.chunks_exact_mut(classes).enumerate() {
        row[class] = 0.0;
        row[class] = -row.iter().sum::<f64>();
    }
    hessian
}

/// Solves `L L' x = step` for the lower factor L.
pub(super) fn substitute(factor: &[f64], mut step: Vec<f64>) -> Vec<f64> {
    let size = step.len();
    for i in 0..size {
        let inner: f64 = (0..i).map(|k| factor[i * size + k] * step[k]).sum();
        step[i] = (step[i] - inner) / factor[i * size + i];
    }
    for i in (0..size).rev() {
        let inner: f64 = (i + 1..size).map(|k| factor[k * size + i] * step[k]).sum();
        step[i] = (step[i] - inner) / factor[i * size + i];
    }
    step
}

/// Solves `hessian x = residual` by conjugate gradients (Hestenes & Stiefel 1952), scaled by the diagonal.
fn conjugate_gradients(hessian: &LeadingHessian, mut residual: Vec<f64>, stop: &Stop) -> Vec<f64> {
    const STEPS: usize = 200;
    const REDUCTION: f64 = 1e-6;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let scaled = |residual: &[f64]| -> Vec<f64> {
        residual.iter().zip(&hessian.diagonal).map(|(r, d)| if *d > 0.0 { r / d } else { 0.0 }).collect()
    };
    let mut x = vec![0.0; residual.len()];
    let mut direction = scaled(&residual);
    let mut size = dot(&residual, &direction);
    let enough = REDUCTION * REDUCTION * size;
    let mut product = vec![0.0; residual.len()];
    for _ in 0..STEPS {
        if stop.is_set() {
            break;
        }
        hessian.multiply(&direction, &mut product);
        let curvature = dot(&direction, &product);
        if size <= enough || curvature.is_nan() || curvature <= 0.0 {
            break;
        }
        let length = size / curvature;
        for ((x, r), (d, p)) in x.iter_mut().zip(&mut residual).zip(direction.iter().zip(&product)) {
            *x += length * d;
            *r -= length * p;
        }
        let next = scaled(&residual);
        let before = std::mem::replace(&mut size, dot(&residual, &next));
        direction.iter_mut().zip(next).for_each(|(d, n)| *d = n + size / before * *d);
    }
    x
}

/// Replaces the lower triangle by its Cholesky factor; `false` where the matrix is not positive definite, or `stop` is set.
pub(super) fn cholesky(matrix: &mut [f64], size: usize, stop: &Stop) -> bool {
    for i in 0..size {
        if stop.is_set() {
            return false;
        }
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
    use crate::linear::problem::Problem;
    use crate::linear::rows::Rows;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;
    use crate::simd::Kernels;

    #[test]
    fn solves_a_small_system() {
        let mut factor = vec![4.0, 2.0, 0.0, 2.0, 5.0, 1.0, 0.0, 1.0, 3.0];
        let never = Stop::default();
        assert!(cholesky(&mut factor, 3, &never));
        let step = BiasNewton::Factored(factor).step(&[-2.0, 3.0, -7.0], &never);
        // 4a + 2b = 2, 2a + 5b + c = -3, b + 3c = 7
        let product =
            [4.0 * step[0] + 2.0 * step[1], 2.0 * step[0] + 5.0 * step[1] + step[2], step[1] + 3.0 * step[2]];
        for (got, expected) in product.into_iter().zip([2.0, -3.0, 7.0]) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2, &never));
    }

    #[test]
    fn certain_classes_leave_a_hessian_that_factors() {
        // Rounding took more from the diagonal than the coupling of the classes left there.
        let hessian = vec![-1e-9, -2e-8, -1e-9, -2e-8, 1.9e-8, -1e-9, -1e-9, -1e-9, 2e-9];
        let never = Stop::default();
        assert!(factor(hessian.clone(), 3, &never).is_none());
        let sums = of_sums(hessian, 3);
        assert!(sums.chunks(3).all(|row| row.iter().sum::<f64>().abs() < 1e-20));
        assert!(factor(sums, 3, &never).is_some());
    }

    /// A step from the leading probabilities leaves a small part of what the exact one would take away.
    #[test]
    fn leading_probabilities_come_near_the_exact_step() {
        const ROWS: usize = 900;
        const CLASSES: usize = 40;
        let mut rng = CounterRng::new(5, 1);
        let mut values = |n: usize| (0..n).map(|_| (4.0 * rng.next_f64() - 2.0) as f32).collect::<Vec<f32>>();
        let matrix = Matrix::from_f32(values(ROWS * 6), 6);
        let labels: Vec<u32> = (0..ROWS as u32).map(|row| row * row % CLASSES as u32).collect();
        let weights: Vec<f32> = (0..ROWS).map(|row| 0.5 + (row % 4) as f32).collect();
        let theta = values(CLASSES * 7);
        for (loss, left) in [(Loss::Softmax, 0.2), (Loss::Sigmoid, 0.01)] {
            let problem = Problem::new(Rows::all(&matrix), &labels, &weights, CLASSES, loss, 0.1);
            let mut objective = Objective::new(problem, Kernels::best());
            let exact = BiasNewton::at(&objective, &theta).unwrap();
            let hessian = objective.leading_bias_hessian(&theta);
            let leading = BiasNewton::Leading { hessian, total_weight: objective.moments().total_weight };
            let mut gradient = vec![0.0; theta.len()];
            objective.evaluate(&theta, &mut gradient);
            let imbalance = &gradient[CLASSES * 6..];
            // In the model of the exact Hessian: how far is H x from -g?
            let full = objective.bias_hessian(&theta);
            let remaining = |newton: &BiasNewton| -> f64 {
                let step = newton.step(imbalance, &Stop::default());
                let rest = (0..CLASSES).map(|c| {
                    let row = &full[c * CLASSES..][..CLASSES];
                    let product: f64 = row.iter().zip(&step).map(|(h, &s)| h * f64::from(s)).sum();
                    (product + f64::from(imbalance[c])).powi(2)
                });
                rest.sum::<f64>().sqrt()
            };
            let size = imbalance.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!(remaining(&exact) < 1e-3 * size, "{loss:?}");
            let found = remaining(&leading);
            assert!(found < left * size, "{loss:?}: {found} of {size} is left");
        }
    }
}

//! L-BFGS for small convex problems in f64, from gradients alone.
//!
//! Along a line the slope of a convex function rises, so the line search looks for a slope that is nearly spent but not
//! yet positive: the function has fallen there all the way. It needs no function values, whose differences lose their
//! digits long before gradients do.

/// Pairs of steps and gradient changes kept.
const MEMORY: usize = 20;
const MOST_ITERATIONS: usize = 500;
const MOST_TRIALS: usize = 40;
/// Share of the slope at the start of a line that may be left at its end.
const SLOPE_LEFT: f64 = 0.7;

/// The minimiser of a convex function from `start`, where no entry of its gradient is above `tolerance`. `curvature`,
/// positive, is about the diagonal of the Hessian; `gradient` writes the gradient at its first argument to its second.
pub(super) fn minimise(
    start: Vec<f64>,
    curvature: &[f64],
    tolerance: f64,
    gradient: impl Fn(&[f64], &mut [f64]),
) -> Vec<f64> {
    let mut at = start;
    let mut slope = vec![0.0; at.len()];
    gradient(&at, &mut slope);
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..MOST_ITERATIONS {
        if slope.iter().all(|g| g.abs() <= tolerance) {
            break;
        }
        let direction = direction(&slope, &pairs, curvature);
        let Some((next, next_slope)) = search_line(&at, &slope, &direction, &gradient) else { break };
        let step: Vec<f64> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next_slope.iter().zip(&slope).map(|(a, b)| a - b).collect();
        let curved = dot(&step, &change);
        if curved > 0.0 {
            if pairs.len() == MEMORY {
                pairs.remove(0);
            }
            pairs.push(Pair { step, change, curved });
        }
        (at, slope) = (next, next_slope);
    }
    at
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// Their product, positive.
    curved: f64,
}

/// The two-loop recursion over the inverse of `curvature` (Nocedal & Wright, algorithm 7.4).
fn direction(slope: &[f64], pairs: &[Pair], curvature: &[f64]) -> Vec<f64> {
    let mut d: Vec<f64> = slope.iter().map(|g| -g).collect();
    let mut shares = vec![0.0; pairs.len()];
    for (share, pair) in shares.iter_mut().zip(pairs).rev() {
        *share = dot(&pair.step, &d) / pair.curved;
        add(&mut d, -*share, &pair.change);
    }
    d.iter_mut().zip(curvature).for_each(|(d, curvature)| *d /= curvature);
    for (share, pair) in shares.iter().zip(pairs) {
        let back = dot(&pair.change, &d) / pair.curved;
        add(&mut d, share - back, &pair.step);
    }
    d
}

/// A point on the line with its gradient; `None` where rounding leaves none that is lower.
fn search_line(
    at: &[f64],
    slope: &[f64],
    direction: &[f64],
    gradient: &impl Fn(&[f64], &mut [f64]),
) -> Option<(Vec<f64>, Vec<f64>)> {
    let first = dot(slope, direction);
    if first.is_nan() || first >= 0.0 {
        return None;
    }
    let (mut low, mut low_slope) = (0.0, first);
    let mut high: Option<(f64, f64)> = None;
    let mut length = 1.0;
    let mut there = slope.to_vec();
    for _ in 0..MOST_TRIALS {
        let point: Vec<f64> = at.iter().zip(direction).map(|(x, d)| x + length * d).collect();
        gradient(&point, &mut there);
        let left = dot(&there, direction);
        if left <= 0.0 && left >= SLOPE_LEFT * first {
            return Some((point, there));
        }
        if left > 0.0 || left.is_nan() {
            high = Some((length, left));
        } else {
            (low, low_slope) = (length, left);
        }
        length = match high {
            None => 2.0 * length,
            Some((high, high_slope)) => {
                // A little short of the root of the secant, where the slope is still negative.
                let root = low - low_slope * (high - low) / (high_slope - low_slope);
                let aimed = low + 0.9 * (root - low);
                let within = aimed > low && aimed < high;
                if within { aimed } else { 0.5 * (low + high) }
            }
        };
    }
    None
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ill_scaled_convex_function_is_minimised_to_the_last_digits() {
        // sum_i k_i (log cosh(x_i - i) + (x_i - x_0)^2 / 10): flat far out, steep near the end.
        let weight = |i: usize| 10f64.powi(i as i32 - 3);
        let gradient = |x: &[f64], g: &mut [f64]| {
            g.fill(0.0);
            for i in 0..x.len() {
                let pull = weight(i) * (x[i] - x[0]) / 5.0;
                g[i] += weight(i) * (x[i] - i as f64).tanh() + pull;
                g[0] -= pull;
            }
        };
        let curvature: Vec<f64> = (0..7).map(weight).collect();
        let found = minimise(vec![30.0; 7], &curvature, 1e-12, gradient);
        let mut left = vec![0.0; 7];
        gradient(&found, &mut left);
        assert!(left.iter().all(|g| g.abs() <= 1e-12), "{left:?}");
    }
}

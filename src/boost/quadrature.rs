//! Gauss-Legendre rules on the interval from 0 to 1.

/// Points side by side.
pub(super) const LANES: usize = 4;

/// Points and weights that integrate polynomials of degree up to `2 * points - 1` exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    points: Vec<[f64; LANES]>,
    weights: Vec<[f64; LANES]>,
    reciprocals: Vec<[f64; LANES]>,
}

impl Rule {
    /// The rule of `points` points, a multiple of [`LANES`].
    pub(super) fn new(points: usize) -> Self {
        let pairs: Vec<(f64, f64)> = (0..points).map(|at| point(at, points)).collect();
        let take = |value: fn(&(f64, f64)) -> f64| -> Vec<[f64; LANES]> {
            let values: Vec<f64> = pairs.iter().map(value).collect();
            values.as_chunks().0.to_vec()
        };
        Rule {
            points: take(|pair| pair.0),
            weights: take(|pair| pair.1),
            reciprocals: take(|pair| 1.0 / (1.0 - pair.0)),
        }
    }

    /// Number of points.
    pub(super) fn points(&self) -> usize {
        self.points.len() * LANES
    }

    /// The points t, all between 0 and 1.
    pub(super) fn lanes(&self) -> &[[f64; LANES]] {
        &self.points
    }

    /// Their weights, which sum to 1.
    pub(super) fn weights(&self) -> &[[f64; LANES]] {
        &self.weights
    }

    /// `1 / (1 - t)`.
    pub(super) fn reciprocals(&self) -> &[[f64; LANES]] {
        &self.reciprocals
    }
}

/// Point `at` of `count` with its weight: a root of the Legendre polynomial, by Newton steps from the usual cosine.
fn point(at: usize, count: usize) -> (f64, f64) {
    const STEPS: usize = 50;
    let n = count as f64;
    let mut x = (std::f64::consts::PI * (at as f64 + 0.75) / (n + 0.5)).cos();
    let mut slope = 1.0;
    for _ in 0..STEPS {
        let (mut before, mut value) = (1.0, x);
        for degree in 2..=count {
            let k = degree as f64;
            (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
        }
        slope = n * (x * value - before) / (x * x - 1.0);
        let step = value / slope;
        x -= step;
        if step.abs() < 1e-15 {
            break;
        }
    }
    // From the interval of the polynomials, -1 to 1, to 0 to 1.
    ((1.0 + x) / 2.0, 1.0 / ((1.0 - x * x) * slope * slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        for points in [4, 8, 12, 40, 256] {
            let rule = Rule::new(points);
            let pairs: Vec<(f64, f64)> = rule
                .lanes()
                .iter()
                .flatten()
                .copied()
                .zip(rule.weights().iter().flatten().copied())
                .collect();
            assert!(pairs.iter().all(|&(t, w)| t > 0.0 && t < 1.0 && w > 0.0));
            for degree in [0, 1, 2, 7, points as i32, 2 * points as i32 - 1] {
                let found: f64 = pairs.iter().map(|&(t, w)| w * t.powi(degree)).sum();
                let wanted = 1.0 / f64::from(degree + 1);
                assert!(
                    (found - wanted).abs() < 1e-14 + 1e-12 * wanted,
                    "{points} points, degree {degree}: {found}"
                );
            }
        }
    }
}

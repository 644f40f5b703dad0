//! What the hard rows of a class add to a factored metric, inverted by the Woodbury identity where the metric is the
//! identity: `(I + V' V)^-1 = I - V' (I + V V')^-1 V`.

use super::balance::cholesky;
use crate::simd::Kernels;
use crate::stop::Stop;

/// Squared length of a row at most. Of 32 rows along one line that leaves an eigenvalue of 8e-6 to the inverse, well above
/// the rounding of f32: it stays positive definite.
const MOST_SQUARED: f64 = 4096.0;

/// For one class `Q = L^-1 V` with `L L' = I + V V'`, so that the inverse is `I - Q' Q`.
#[derive(Debug)]
pub(super) struct Correction {
    /// `rows x D`.
    weights: Vec<f32>,
    /// Of each row in the coordinate of the bias.
    biases: Vec<f32>,
}

impl Correction {
    /// Of whitened rows (`rows x features`, and what each has in the bias).
    pub(super) fn new(
        mut weights: Vec<f32>,
        mut biases: Vec<f32>,
        features: usize,
        kernels: &Kernels,
    ) -> Self {
        let rows = biases.len();
        for (row, bias) in weights.chunks_exact_mut(features).zip(&mut biases) {
            let squared = kernels.dot(row, row) + f64::from(*bias) * f64::from(*bias);
            if squared > MOST_SQUARED {
                let scale = (MOST_SQUARED / squared).sqrt() as f32;
                row.iter_mut().chain([bias]).for_each(|x| *x *= scale);
            }
        }
        let mut products = vec![0.0; rows * rows];
        for (i, a) in weights.chunks_exact(features).enumerate() {
            for (j, b) in weights.chunks_exact(features).take(i + 1).enumerate() {
                products[i * rows + j] = kernels.dot(a, b) + f64::from(biases[i]) * f64::from(biases[j]);
            }
            products[i * rows + i] += 1.0;
        }
        if !cholesky(&mut products, rows, &Stop::default()) {
            return Correction { weights: Vec::new(), biases: Vec::new() };
        }
        for i in 0..rows {
            let (above, row) = weights.split_at_mut(i * features);
            let (row, factor) = (&mut row[..features], &products[i * rows..][..=i]);
            for (j, above) in above.chunks_exact(features).enumerate() {
                kernels.axpy(-factor[j] as f32, above, row);
                biases[i] -= factor[j] as f32 * biases[j];
            }
            let inverse = (1.0 / factor[i]) as f32;
            row.iter_mut().for_each(|x| *x *= inverse);
            biases[i] *= inverse;
        }
        Correction { weights, biases }
    }

    /// Values that it holds.
    pub(super) fn values(&self) -> usize {
        self.weights.len() + self.biases.len()
    }

    /// Replaces a vector of the whitened space by the inverse times it.
    pub(super) fn apply(&self, weights: &mut [f32], bias: &mut f32, kernels: &Kernels) {
        let along: Vec<f32> = self
            .weights
            .chunks_exact(weights.len())
            .zip(&self.biases)
            .map(|(row, b)| (kernels.dot(row, weights) + f64::from(b * *bias)) as f32)
            .collect();
        for ((row, b), along) in self.weights.chunks_exact(weights.len()).zip(&self.biases).zip(along) {
            kernels.axpy(-along, row, weights);
            *bias -= along * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that outweigh the metric by far more than f32 resolves leave a direction that descends.
    #[test]
    fn no_row_is_too_heavy() {
        let (features, kernels) = (5, Kernels::best());
        let row = [3e6f32, 1e6, -2e6, 5e5, 1e6];
        let correction = Correction::new(row.repeat(32), vec![1e6; 32], features, kernels);
        let (mut weights, mut bias) = (row, 1e6);
        correction.apply(&mut weights, &mut bias, kernels);
        let slope = kernels.dot(&weights, &row) + f64::from(bias) * 1e6;
        assert!(slope > 0.0 && slope < 1e-4 * kernels.dot(&row, &row), "{slope}");
        let across = [1.0, -3.0, 0.0, 0.0, 0.0];
        let (mut weights, mut bias) = (across, 0.0);
        correction.apply(&mut weights, &mut bias, kernels);
        assert!(weights.iter().zip(across).all(|(w, a)| (w - a).abs() < 1e-3), "{weights:?}");
    }
}

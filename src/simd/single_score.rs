//! Two classes with one score: value and gradient of `(1 - p)^gamma softplus(-z^t)`, `z^t` the score for rows of the second
//! class and its negative for the others.

use super::lanes::{Lanes, load_up_to, store_up_to};
use super::math::LOWEST;
use super::terms::one_vs_rest_term;

/// Rows of two classes, one entry a row in every slice.
#[derive(Debug)]
pub struct ScoreRows<'a> {
    /// Scores F.
    pub scores: &'a [f32],
    /// Added to every score.
    pub offset: f32,
    /// 1 for rows of the second class, -1 for the others.
    pub signs: &'a [f32],
    /// Row weights.
    pub weights: &'a [f32],
    /// Takes `weight * dloss/dF`.
    pub gradients: &'a mut [f32],
}

impl ScoreRows<'_> {
    pub(super) fn check(&self) {
        let rows = self.gradients.len();
        assert!(self.scores.len() == rows && self.signs.len() == rows && self.weights.len() == rows);
    }
}

/// Vectors summed in f32 before the sum moves on to f64.
const CHUNK: usize = 32;

/// Sum of `weight * loss`; see [`ScoreRows`]. `FOCAL = false` means `gamma = 0`.
///
/// # Safety
/// `rows` must have been checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn single_score<L: Lanes, const FOCAL: bool>(rows: &mut ScoreRows<'_>, gamma: f32) -> f64 {
    let count = rows.gradients.len();
    let mut value = 0.0;
    for start in (0..count).step_by(CHUNK * L::N) {
        let end = (start + CHUNK * L::N).min(count);
        // SAFETY: `at < end`, and all slices are `count` long.
        unsafe {
            let (zero, one, lowest) = (L::splat(0.0), L::splat(1.0), L::splat(LOWEST));
            let (gamma, offset) = (L::splat(gamma), L::splat(rows.offset));
            let mut sum = zero;
            for at in (start..end).step_by(L::N) {
                let n = end - at;
                let score = load_up_to(rows.scores.as_ptr().add(at), n, zero).add(offset);
                let sign = load_up_to(rows.signs.as_ptr().add(at), n, zero);
                let weight = load_up_to(rows.weights.as_ptr().add(at), n, zero);
                // Lanes beyond the rows have no weight; the largest finite negative number keeps them finite.
                let u = zero.sub(sign.mul(score)).max(lowest);
                let (term, slope) = one_vs_rest_term::<L, FOCAL>(u, gamma, zero, one);
                sum = weight.mul(term).add(sum);
                let gradient = zero.sub(sign.mul(weight.mul(slope)));
                store_up_to(gradient, rows.gradients.as_mut_ptr().add(at), n);
            }
            value += f64::from(sum.sum());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;
    use crate::simd::{Isa, Kernels, Layout, RowBlock};

    #[test]
    fn gradients_are_those_of_the_one_vs_rest_rows() {
        let mut rng = CounterRng::new(1, 0);
        for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
            for (count, gamma) in [(0, 0.0), (1, 0.0), (77, 2.0), (1000, 0.0), (1000, 0.5)] {
                let mut draw = |spread: f64| ((rng.next_f64() - 0.5) * spread) as f32;
                let scores: Vec<f32> = (0..count).map(|_| draw(30.0)).collect();
                let signs: Vec<f32> = (0..count).map(|_| draw(1.0).signum()).collect();
                let weights: Vec<f32> = (0..count).map(|_| draw(1.0).abs()).collect();
                let mut gradients = vec![0.0; count];
                let rows = ScoreRows {
                    scores: &scores,
                    offset: 0.5,
                    signs: &signs,
                    weights: &weights,
                    gradients: &mut gradients,
                };
                let value = kernels.single_score_rows(rows, gamma);
                let mut z: Vec<f32> = scores.iter().zip(&signs).map(|(z, sign)| sign * (z + 0.5)).collect();
                let labels = vec![0; count];
                let block = RowBlock {
                    z: &mut z,
                    layout: Layout::Rows { stride: 1 },
                    classes: 1,
                    labels: &labels,
                    weights: &weights,
                };
                let wanted = match gamma {
                    0.0 => kernels.sigmoid_rows(block),
                    _ => kernels.focal_rows(block, gamma),
                };
                assert!((value - wanted).abs() <= 1e-5 * wanted, "{value} {wanted}");
                for ((g, z), sign) in gradients.iter().zip(&z).zip(&signs) {
                    assert!((g - sign * z).abs() <= 1e-6 * z.abs(), "{g} {z}");
                }
            }
        }
    }
}

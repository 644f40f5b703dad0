//! Second derivatives of cross entropies from the first, and sums of both. Plain loops, compiled for every instruction set:
//! every one gives the same bits.

/// Sums of magnitudes of gradients and of Hessians, and the largest Hessian.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DerivativeSums {
    /// Sum of `|g|`.
    pub magnitudes: f64,
    /// Sum of the Hessians.
    pub hessians: f64,
    /// The largest of them, 0 of none.
    pub largest: f32,
}

/// [`super::Kernels::variances`].
///
/// # Safety
/// None; `unsafe` only to stand in a table with its neighbours.
#[inline(always)]
pub(super) unsafe fn variances(gradients: &[f32], weights: &[f32], factor: f32, hessians: &mut [f32]) {
    for ((hessian, &gradient), &weight) in hessians.iter_mut().zip(gradients).zip(weights) {
        let magnitude = gradient.abs();
        let value = factor * magnitude * (1.0 - magnitude / weight);
        // Rounding may leave the probability a little above one; a weight of zero makes it NaN.
        *hessian = if value > 0.0 { value } else { 0.0 };
    }
}

/// [`super::Kernels::derivative_sums`].
///
/// # Safety
/// None; `unsafe` only to stand in a table with its neighbours.
#[inline(always)]
pub(super) unsafe fn derivative_sums(gradients: &[f32], hessians: &[f32]) -> DerivativeSums {
    // So many that the processor need not wait for each addition, whatever the width of its vectors.
    const LANES: usize = 32;
    let (mut magnitudes, mut sums, mut largest) = ([0.0f64; LANES], [0.0f64; LANES], [0.0f32; LANES]);
    let mut add = |gradients: &[f32], hessians: &[f32]| {
        for lane in 0..gradients.len() {
            let hessian = hessians[lane];
            magnitudes[lane] += f64::from(gradients[lane].abs());
            sums[lane] += f64::from(hessian);
            largest[lane] = if hessian > largest[lane] { hessian } else { largest[lane] };
        }
    };
    let (whole, rest) = gradients.as_chunks::<LANES>();
    let (whole_hessians, rest_hessians) = hessians.as_chunks::<LANES>();
    whole.iter().zip(whole_hessians).for_each(|(gradients, hessians)| add(gradients, hessians));
    add(rest, rest_hessians);
    DerivativeSums {
        magnitudes: magnitudes.iter().sum(),
        hessians: sums.iter().sum(),
        largest: largest.into_iter().fold(0.0, |a, b| if b > a { b } else { a }),
    }
}

#[cfg(test)]
mod tests {
    use crate::rng::CounterRng;
    use crate::simd::{Isa, Kernels};

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let mut rng = CounterRng::new(2, 0);
        for rows in [0, 1, 31, 32, 33, 1000] {
            let weights: Vec<f32> =
                (0..rows).map(|row| if row % 9 == 4 { 0.0 } else { 0.5 + rng.next_f64() as f32 }).collect();
            let gradients: Vec<f32> =
                weights.iter().map(|&w| w * (rng.next_f64() as f32 * 2.0 - 1.0)).collect();
            let wanted: Vec<f32> = gradients
                .iter()
                .zip(&weights)
                .map(|(&g, &w)| {
                    let q = f64::from(g.abs() / w);
                    if w > 0.0 { (1.5 * f64::from(w) * q * (1.0 - q)) as f32 } else { 0.0 }
                })
                .collect();
            let of = |kernels: &Kernels| {
                let mut hessians = vec![f32::NAN; rows];
                kernels.variances(&gradients, &weights, 1.5, &mut hessians);
                let sums = kernels.derivative_sums(&gradients, &hessians);
                (hessians, sums)
            };
            let (hessians, sums) = of(Kernels::for_isa(Isa::Scalar).unwrap());
            assert!(hessians.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6));
            let exact: f64 = gradients.iter().map(|&g| f64::from(g.abs())).sum();
            let largest = wanted.iter().copied().fold(0.0, f32::max);
            assert!((sums.magnitudes - exact).abs() < 1e-9 && (sums.largest - largest).abs() < 1e-6);
            assert!((sums.hessians - hessians.iter().map(|&h| f64::from(h)).sum::<f64>()).abs() < 1e-9);
            assert!(
                Isa::ALL
                    .into_iter()
                    .filter_map(Kernels::for_isa)
                    .all(|kernels| of(kernels) == (hessians.clone(), sums))
            );
        }
    }
}

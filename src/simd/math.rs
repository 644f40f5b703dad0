//! Vector exponential and logarithm: own polynomials, so that results do not depend on the system's libm.
//!
//! Coefficients are minimax fits of the relative error, found with the Remez exchange and rounded to f32.

use super::lanes::Lanes;

/// Stands for "no logit here" in padding lanes: every loss and every exponential of it is zero, and unlike minus
/// infinity it leaves `x * 0` at zero.
pub(super) const LOWEST: f32 = f32::MIN;

/// Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number, ties to even, on every instruction set.
const ROUNDER: f32 = 12_582_912.0;

/// All lanes `value`. The first argument is the proof that the machine has the instruction set.
#[inline(always)]
pub(super) fn like<L: Lanes>(_: L, value: f32) -> L {
    // SAFETY: a value of type `L` exists only where its instruction set does.
    unsafe { L::splat(value) }
}

/// Exponentials of less, 4e-31, count as 0.
///
/// The processor stops for more than a hundred cycles at each subnormal result. The distance to the smallest normal
/// number, 1e-38, leaves room for the row weights and quotients that exponentials are multiplied by.
pub(super) const NEGLIGIBLE: f32 = -70.0;

/// `e^x`: relative error below 2e-7, 0 below [`NEGLIGIBLE`], infinity above 88.73, NaN for NaN.
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    let given = x;
    let x = like(x, NEGLIGIBLE).max(like(x, 89.0).min(x));
    let n = x.mul_add(like(x, std::f32::consts::LOG2_E), like(x, ROUNDER)).sub(like(x, ROUNDER));
    // ln 2 in two parts; the first has few enough bits for `n` times it to be exact without a fused multiply-add.
    let r = n.mul_add(like(x, 2.121_944_4e-4), n.mul_add(like(x, -0.693_359_4), x));
    let mut p = like(x, 0.001_381_432);
    for coefficient in [0.008_368_85, 0.041_668_4, 0.166_665_2, 0.499_999_94, 1.0, 1.0] {
        p = p.mul_add(r, like(x, coefficient));
    }
    given.if_less(like(x, NEGLIGIBLE), like(x, 0.0), p.scale_by_power_of_two(n))
}

/// `ln(1 + x)` for `0 <= x <= 1` with a relative error below 2e-7, also where `x` is tiny.
#[inline(always)]
pub(super) fn log1p_unit<L: Lanes>(x: L) -> L {
    let mut p = like(x, 0.005_364_827);
    for coefficient in [
        -0.030_065_803,
        0.079_204_55,
        -0.137_538_03,
        0.191_536_56,
        -0.248_571_63,
        0.333_213_24,
        -0.499_996_48,
    ] {
        p = p.mul_add(x, like(x, coefficient));
    }
    // x + x^2 p keeps the leading term exact.
    p.mul(x).mul_add(x, x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;
    use crate::simd::scalar::Scalar;

    /// `function` of every value, lane by lane.
    fn apply<L: Lanes>(values: &[f32], function: fn(L) -> L) -> Vec<f32> {
        let mut results = values.to_vec();
        for chunk in results.chunks_mut(L::N) {
            let n = chunk.len();
            // SAFETY: the tests call this for available instruction sets only; loads and stores keep to the chunk.
            unsafe {
                let lanes = crate::simd::lanes::load_up_to(chunk.as_ptr(), n, L::splat(0.0));
                crate::simd::lanes::store_up_to(function(lanes), chunk.as_mut_ptr(), n);
            }
        }
        results
    }

    /// `exp` and `log1p_unit` of `values` on every available instruction set.
    fn everywhere(values: &[f32]) -> Vec<(&'static str, Vec<f32>, Vec<f32>)> {
        let mut results = vec![("scalar", apply::<Scalar>(values, exp), apply::<Scalar>(values, log1p_unit))];
        #[cfg(target_arch = "x86_64")]
        {
            use crate::simd::{avx2::Avx2, avx512::Avx512};
            if Isa::Avx2.available() {
                results.push(("avx2", apply::<Avx2>(values, exp), apply::<Avx2>(values, log1p_unit)));
            }
            if Isa::Avx512.available() {
                results.push(("avx512", apply::<Avx512>(values, exp), apply::<Avx512>(values, log1p_unit)));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if Isa::Neon.available() {
            use crate::simd::neon::Neon;
            results.push(("neon", apply::<Neon>(values, exp), apply::<Neon>(values, log1p_unit)));
        }
        results
    }

    #[test]
    fn exp_is_exact_to_2e_7() {
        let values: Vec<f32> = (0..400_000).map(|i| -70.0 + 158.7 * i as f32 / 400_000.0).collect();
        for (isa, found, _) in everywhere(&values) {
            for (&x, found) in values.iter().zip(found) {
                let wanted = f64::from(x).exp();
                assert!(
                    (f64::from(found) / wanted - 1.0).abs() <= 2e-7,
                    "{isa}: exp({x}) = {found}, not {wanted}"
                );
            }
        }
    }

    #[test]
    fn exp_ends_in_zero_and_infinity_and_passes_nan() {
        let values = [
            f32::NEG_INFINITY,
            LOWEST,
            -1e4,
            -104.0,
            -70.01,
            0.0,
            -0.0,
            89.0,
            1e30,
            f32::INFINITY,
            f32::NAN,
            -f32::NAN,
        ];
        for (isa, found, _) in everywhere(&values) {
            assert_eq!(found[..7], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0], "{isa}");
            assert_eq!(found[7..10], [f32::INFINITY; 3], "{isa}");
            assert!(found[10].is_nan() && found[11].is_nan(), "{isa}");
        }
    }

    #[test]
    fn log1p_is_exact_to_2e_7_down_to_the_smallest_argument() {
        let mut values: Vec<f32> = (0..=200_000).map(|i| i as f32 / 200_000.0).collect();
        values.extend((0..2000).map(|i| (-f64::from(i) * 0.04).exp() as f32));
        for (isa, _, found) in everywhere(&values) {
            for (&x, found) in values.iter().zip(found) {
                let wanted = f64::from(x).ln_1p();
                assert!(
                    (f64::from(found) - wanted).abs() <= 2e-7 * wanted,
                    "{isa}: log1p({x}) = {found}, not {wanted}"
                );
            }
        }
    }
}

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
fn like<L: Lanes>(_: L, value: f32) -> L {
    // SAFETY: a value of type `L` exists only where its instruction set does.
    unsafe { L::splat(value) }
}

/// `e^x`: relative error below 2e-7, subnormal results rounded once, 0 from -104 down, infinity above 88.73, NaN for NaN.
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    let x = like(x, -104.0).max(like(x, 89.0).min(x));
    let n = x.mul_add(like(x, std::f32::consts::LOG2_E), like(x, ROUNDER)).sub(like(x, ROUNDER));
    // ln 2 in two parts; the first has few enough bits for `n` times it to be exact without a fused multiply-add.
    let r = n.mul_add(like(x, 2.121_944_4e-4), n.mul_add(like(x, -0.693_359_4), x));
    let mut p = like(x, 0.001_381_432_1);
    for coefficient in [0.008_368_85, 0.041_668_4, 0.166_665_2, 0.499_999_94, 1.0, 1.0] {
        p = p.mul_add(r, like(x, coefficient));
    }
    p.scale_by_power_of_two(n)
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

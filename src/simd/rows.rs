//! Pointwise losses over rows of logits, in place.
//!
//! The logit of the true class is treated apart without a branch in the vector loop: the one-vs-rest losses see it
//! with its sign turned, so that all classes share one formula in `u = -z^t`; the softmax losses see it replaced by
//! [`LOWEST`], so that the sum over the *other* classes comes out exactly and neither `1 - p_y` nor a small loss is
//! ever formed by subtraction.

use super::lanes::{Lanes, load_up_to, store_up_to};
use super::math::{LOWEST, exp};
use super::narrow_rows::{self, NARROW};
use super::terms::{SoftmaxEnd, one_vs_rest_term};
use super::{Layout, RowBlock};

/// Vectors summed in f32 before the sum moves on to f64.
const CHUNK: usize = 32;

/// Distance between rows that are taken one by one, along the row; `None` for those taken side by side.
fn stride_of_wide(block: &RowBlock<'_>) -> Option<usize> {
    match block.layout {
        Layout::Rows { stride } if block.classes > NARROW => Some(stride),
        _ => None,
    }
}

/// Sum of `weight * loss` for `-(1 - p_y)^gamma log p_y`; the logits become `weight * gradient`.
/// `gamma = 0` is the cross entropy.
///
/// # Safety
/// `block` must have been checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn softmax<L: Lanes>(block: &mut RowBlock<'_>, gamma: f64) -> f64 {
    let Some(stride) = stride_of_wide(block) else {
        // SAFETY: handed on from the caller.
        return unsafe { narrow_rows::softmax::<L>(block, gamma) };
    };
    let mut value = 0.0;
    for (row, (&label, &weight)) in block.labels.iter().zip(block.weights).enumerate() {
        let z = &mut block.z[row * stride..][..block.classes];
        if weight == 0.0 {
            z.fill(0.0);
            continue;
        }
        let own = std::mem::replace(&mut z[label as usize], LOWEST);
        // SAFETY: the caller vouches for the instruction set.
        let (peak, poison) = unsafe { largest_and_poison::<L>(z) };
        let peak = own.max(peak);
        // SAFETY: as above.
        let (others, own_exp) = unsafe { (exponentials::<L>(z, peak), exp(L::splat(own - peak)).largest()) };
        let end = SoftmaxEnd::new(own, peak, own_exp, others, gamma);
        value += f64::from(weight) * end.loss + f64::from(poison + own * 0.0);
        // SAFETY: as above.
        unsafe { scale::<L>(z, end.others_factor(weight)) };
        z[label as usize] = end.own_residual(weight);
    }
    value
}

/// Sum of `weight * loss` for `sum_c (1 - p_c^t)^gamma softplus(-z_c^t)`; the logits become `weight *
/// gradient`. `FOCAL = false` means `gamma = 0`, the sigmoid loss.
///
/// # Safety
/// `block` must have been checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn one_vs_rest<L: Lanes, const FOCAL: bool>(block: &mut RowBlock<'_>, gamma: f64) -> f64 {
    let Some(stride) = stride_of_wide(block) else {
        // SAFETY: handed on from the caller.
        return unsafe { narrow_rows::one_vs_rest::<L, FOCAL>(block, gamma as f32) };
    };
    let mut value = 0.0;
    for (row, (&label, &weight)) in block.labels.iter().zip(block.weights).enumerate() {
        let z = &mut block.z[row * stride..][..block.classes];
        if weight == 0.0 {
            z.fill(0.0);
            continue;
        }
        z[label as usize] = -z[label as usize];
        // SAFETY: the caller vouches for the instruction set.
        let loss = unsafe { one_vs_rest_row::<L, FOCAL>(z, gamma as f32, weight) };
        value += f64::from(weight) * loss;
        z[label as usize] = -z[label as usize];
    }
    value
}

/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
unsafe fn one_vs_rest_row<L: Lanes, const FOCAL: bool>(u: &mut [f32], gamma: f32, weight: f32) -> f64 {
    let mut loss = 0.0;
    for u in u.chunks_mut(CHUNK * L::N) {
        // SAFETY: every step stays within the chunk.
        unsafe {
            let (zero, one, lowest) = (L::splat(0.0), L::splat(1.0), L::splat(LOWEST));
            let (gamma, weight) = (L::splat(gamma), L::splat(weight));
            // A logit that is not finite makes its product with zero, and so the loss, NaN.
            let (mut sum, mut poison) = (zero, zero);
            let mut at = 0;
            while at < u.len() {
                let n = u.len() - at;
                let place = u.as_mut_ptr().add(at);
                let u = load_up_to(place, n, lowest);
                poison = u.mul_add(zero, poison);
                let (term, slope) = one_vs_rest_term::<L, FOCAL>(u, gamma, zero, one);
                sum = sum.add(term);
                store_up_to(weight.mul(slope), place, n);
                at += L::N;
            }
            loss += f64::from(sum.add(poison).sum());
        }
    }
    loss
}

/// The largest logit, and a sum that is zero where all logits are finite and NaN where one is not.
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
unsafe fn largest_and_poison<L: Lanes>(z: &[f32]) -> (f32, f32) {
    // SAFETY: every step stays within the row.
    unsafe {
        let zero = L::splat(0.0);
        let mut largest = L::splat(LOWEST);
        let mut poison = zero;
        let mut at = 0;
        while at < z.len() {
            let z = load_up_to(z.as_ptr().add(at), z.len() - at, L::splat(LOWEST));
            largest = z.max(largest);
            poison = z.mul_add(zero, poison);
            at += L::N;
        }
        (largest.largest(), poison.sum())
    }
}

/// Replaces each logit by `exp(z - peak)` and returns their sum.
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
unsafe fn exponentials<L: Lanes>(z: &mut [f32], peak: f32) -> f64 {
    let mut total = 0.0;
    for z in z.chunks_mut(CHUNK * L::N) {
        // SAFETY: every step stays within the chunk.
        unsafe {
            let peak = L::splat(peak);
            let mut sum = L::splat(0.0);
            let mut at = 0;
            while at < z.len() {
                let n = z.len() - at;
                let place = z.as_mut_ptr().add(at);
                let e = exp(load_up_to(place, n, L::splat(LOWEST)).sub(peak));
                sum = sum.add(e);
                store_up_to(e, place, n);
                at += L::N;
            }
            total += f64::from(sum.sum());
        }
    }
    total
}

/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
unsafe fn scale<L: Lanes>(z: &mut [f32], factor: f32) {
    // SAFETY: every step stays within the row.
    unsafe {
        let (zero, factor) = (L::splat(0.0), L::splat(factor));
        let mut at = 0;
        while at < z.len() {
            let n = z.len() - at;
            let place = z.as_mut_ptr().add(at);
            store_up_to(load_up_to(place, n, zero).mul(factor), place, n);
            at += L::N;
        }
    }
}

//! Kernels over plain vectors: products, optimizer updates, widening of stored values.

use super::lanes::{Lanes, load_up_to, store_up_to};
use super::{AdamStep, SgdStep};
use half::{bf16, f16};

/// Values summed in f32 before the sum moves on to f64.
const BLOCK: usize = 1024;

/// Chains of multiply-adds that [`multiply_adds`] runs side by side: enough for two units of five cycles.
pub(super) const CHAINS: usize = 12;

/// `rounds` multiply-adds in each of [`CHAINS`] vectors, from registers alone.
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn multiply_adds<L: Lanes>(rounds: usize) -> f32 {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let (factor, addend) = (L::splat(0.5), L::splat(0.25));
        // Each chain starts elsewhere, or the compiler would run one for all.
        let mut chains = [L::splat(1.0); CHAINS];
        for (start, chain) in chains.iter_mut().enumerate() {
            *chain = L::splat(start as f32);
        }
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = chain.mul_add(factor, addend);
            }
        }
        chains.iter().map(|chain| chain.sum()).sum()
    }
}

/// Inner product of two vectors of equal length (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn dot<L: Lanes>(a: &[f32], b: &[f32]) -> f64 {
    let mut total = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        // SAFETY: loads stay within the two chunks, which are equally long.
        unsafe {
            let zero = L::splat(0.0);
            let mut sums = [zero; 4];
            let mut at = 0;
            while at < a.len() {
                for (k, sum) in sums.iter_mut().enumerate() {
                    let from = at + k * L::N;
                    if from < a.len() {
                        let left = load_up_to(a.as_ptr().add(from), a.len() - from, zero);
                        let right = load_up_to(b.as_ptr().add(from), a.len() - from, zero);
                        *sum = left.mul_add(right, *sum);
                    }
                }
                at += 4 * L::N;
            }
            total += f64::from(sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum());
        }
    }
    total
}

/// `y += alpha * x` over equal lengths (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn axpy<L: Lanes>(alpha: f32, x: &[f32], y: &mut [f32]) {
    // SAFETY: every step stays within the common length.
    unsafe {
        let (zero, alpha) = (L::splat(0.0), L::splat(alpha));
        let mut at = 0;
        while at < y.len() {
            let n = y.len() - at;
            let to = y.as_mut_ptr().add(at);
            let sum = alpha.mul_add(load_up_to(x.as_ptr().add(at), n, zero), load_up_to(to, n, zero));
            store_up_to(sum, to, n);
            at += L::N;
        }
    }
}

/// One step of gradient descent with momentum over equal lengths (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn sgd_update<L: Lanes>(w: &mut [f32], g: &[f32], velocity: &mut [f32], step: SgdStep) {
    // SAFETY: every step stays within the common length.
    unsafe {
        let zero = L::splat(0.0);
        let (momentum, l2, minus_lr) = (L::splat(step.momentum), L::splat(step.l2), L::splat(-step.lr));
        let mut at = 0;
        while at < w.len() {
            let n = w.len() - at;
            let (to, to_velocity) = (w.as_mut_ptr().add(at), velocity.as_mut_ptr().add(at));
            let weight = load_up_to(to, n, zero);
            let gradient = l2.mul_add(weight, load_up_to(g.as_ptr().add(at), n, zero));
            let velocity = momentum.mul_add(load_up_to(to_velocity, n, zero), gradient);
            let direction = if step.nesterov { momentum.mul_add(velocity, gradient) } else { velocity };
            store_up_to(velocity, to_velocity, n);
            store_up_to(minus_lr.mul_add(direction, weight), to, n);
            at += L::N;
        }
    }
}

/// One step of AdamW over equal lengths (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn adamw_update<L: Lanes>(
    w: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: AdamStep,
) {
    // SAFETY: every step stays within the common length.
    unsafe {
        let zero = L::splat(0.0);
        let (beta1, rest1) = (L::splat(step.beta1), L::splat(1.0 - step.beta1));
        let (beta2, rest2) = (L::splat(step.beta2), L::splat(1.0 - step.beta2));
        let (scale1, scale2) = (L::splat(1.0 / step.correction1), L::splat(1.0 / step.correction2));
        let (eps, lr_decay, minus_lr) =
            (L::splat(step.eps), L::splat(step.lr * step.decay), L::splat(-step.lr));
        let mut at = 0;
        while at < w.len() {
            let n = w.len() - at;
            let (to, to_m, to_v) = (w.as_mut_ptr().add(at), m.as_mut_ptr().add(at), v.as_mut_ptr().add(at));
            let weight = load_up_to(to, n, zero);
            let gradient = load_up_to(g.as_ptr().add(at), n, zero);
            let first = beta1.mul_add(load_up_to(to_m, n, zero), rest1.mul(gradient));
            let second = beta2.mul_add(load_up_to(to_v, n, zero), rest2.mul(gradient.mul(gradient)));
            let scale = second.mul(scale2).sqrt().add(eps);
            // The decay is taken implicitly, at the new weight: stable however stiff it is against the gradient.
            let moved = minus_lr.mul_add(first.mul(scale1), weight.mul(scale));
            store_up_to(first, to_m, n);
            store_up_to(second, to_v, n);
            store_up_to(moved.div(lr_decay.add(scale)), to, n);
            at += L::N;
        }
    }
}

/// Differences of less count as 0: their products with small residuals would be subnormal, each of which stops the
/// processor for more than a hundred cycles. A dead feature of 1e-32 made passes over real embeddings five times slower.
const NO_DIFFERENCE: f32 = 1e-18;

/// `dst = a - b` over equal lengths (the caller checks it), 0 where that is below 1e-18.
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn minus<L: Lanes>(a: &[f32], b: &[f32], dst: &mut [f32]) {
    // SAFETY: every step stays within the common length.
    unsafe {
        let (zero, none) = (L::splat(0.0), L::splat(NO_DIFFERENCE));
        let mut at = 0;
        while at < dst.len() {
            let n = dst.len() - at;
            let difference =
                load_up_to(a.as_ptr().add(at), n, zero).sub(load_up_to(b.as_ptr().add(at), n, zero));
            let difference = difference.abs().if_less(none, zero, difference);
            store_up_to(difference, dst.as_mut_ptr().add(at), n);
            at += L::N;
        }
    }
}

/// Widens half-precision values and takes `centre` away; equal lengths (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn widen_f16_minus<L: Lanes>(src: &[f16], centre: &[f32], dst: &mut [f32]) {
    let whole = src.len() / L::N * L::N;
    for at in (0..whole).step_by(L::N) {
        // SAFETY: `at + N <= whole`, which is within all slices.
        unsafe {
            let centre = L::load(centre.as_ptr().add(at));
            L::load_f16(src.as_ptr().add(at)).sub(centre).store(dst.as_mut_ptr().add(at));
        }
    }
    for ((wide, &narrow), &centre) in dst[whole..].iter_mut().zip(&src[whole..]).zip(&centre[whole..]) {
        *wide = narrow.to_f32() - centre;
    }
}

/// Widens half-precision values; equal lengths (the caller checks it).
///
/// # Safety
/// The machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn widen_f16<L: Lanes>(src: &[f16], dst: &mut [f32]) {
    let whole = src.len() / L::N * L::N;
    for at in (0..whole).step_by(L::N) {
        // SAFETY: `at + N <= whole`, which is within both slices.
        unsafe { L::load_f16(src.as_ptr().add(at)).store(dst.as_mut_ptr().add(at)) };
    }
    for (wide, &narrow) in dst[whole..].iter_mut().zip(&src[whole..]) {
        *wide = narrow.to_f32();
    }
}

/// Widens bfloat16 values, which are the upper halves of f32; equal lengths (the caller checks it). Written
/// lane by lane: the compiler makes vectors of it.
///
/// # Safety
/// None; `unsafe` only to stand in a table with its neighbours.
#[inline(always)]
pub(super) unsafe fn widen_bf16<L: Lanes>(src: &[bf16], dst: &mut [f32]) {
    for (wide, narrow) in dst.iter_mut().zip(src) {
        *wide = f32::from_bits(u32::from(narrow.to_bits()) << 16);
    }
}

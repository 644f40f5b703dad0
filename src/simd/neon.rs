//! Four lanes of NEON.

use super::lanes::Lanes;
use half::f16;
use std::arch::aarch64::*;

/// One 128-bit register.
#[derive(Clone, Copy)]
pub(super) struct Neon(float32x4_t);

impl Lanes for Neon {
    const N: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: NEON is part of aarch64.
        Neon(unsafe { vdupq_n_f32(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees four readable values.
        Neon(unsafe { vld1q_f32(from) })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, rest: Self) -> Self {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller guarantees `n < 4` readable values.
        unsafe {
            rest.store(lanes.as_mut_ptr());
            for (lane, value) in lanes.iter_mut().enumerate().take(n) {
                *value = *from.add(lane);
            }
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        let mut lanes = [0.0f32; 4];
        for (lane, value) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller guarantees four readable values.
            *value = unsafe { *from.add(lane) }.to_f32();
        }
        // SAFETY: the array holds four values.
        unsafe { Self::load(lanes.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees room for four values.
        unsafe { vst1q_f32(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the caller guarantees room for `n < 4` values.
        unsafe {
            self.store(lanes.as_mut_ptr());
            for (lane, value) in lanes.iter().enumerate().take(n) {
                *to.add(lane) = *value;
            }
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: NEON is part of aarch64.
        Neon(unsafe { vaddq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vsubq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vmulq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vdivq_f32(self.0, other.0) })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vfmaq_f32(addend.0, self.0, factor.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as in `add`. Compare and select, because `vmaxq_f32` lets a NaN through from either side.
        Neon(unsafe { vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as in `add`; the select as in `max`.
        Neon(unsafe { vbslq_f32(vcltq_f32(self.0, other.0), self.0, other.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vsqrtq_f32(self.0) })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vabsq_f32(self.0) })
    }
    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as in `add`.
        Neon(unsafe { vbslq_f32(vcltq_f32(self.0, limit.0), yes.0, no.0) })
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, n: Self) -> Self {
        // SAFETY: as in `add`. Two factors 2^(n/2): 2^128 alone would be no f32.
        unsafe {
            let half = vrndmq_f32(vmulq_n_f32(n.0, 0.5));
            let rest = vsubq_f32(n.0, half);
            Neon(vmulq_f32(vmulq_f32(self.0, power_of_two(half)), power_of_two(rest)))
        }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0f32; 4];
        // SAFETY: the array has room for four values.
        unsafe { self.store(lanes.as_mut_ptr()) };
        (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        // SAFETY: as in `add`.
        unsafe { vmaxvq_f32(self.0) }
    }
}

/// `2^n` for whole `n` in -126..=127.
///
/// # Safety
/// None beyond NEON, which is part of aarch64.
#[inline(always)]
unsafe fn power_of_two(n: float32x4_t) -> float32x4_t {
    // SAFETY: NEON is part of aarch64.
    unsafe {
        let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
    }
}

super::kernel_table!(Isa::Neon, Neon, rows 8, vectors 3, features "neon");

//! Plain Rust lanes: the reference on x86-64, and the only level of architectures beside x86-64 and aarch64.

use super::lanes::Lanes;
use half::f16;

/// Four lanes, which the compiler maps to whatever the base architecture has.
#[derive(Clone, Copy)]
pub(super) struct Scalar([f32; 4]);

/// The lanes `$value` computes from lane number `$lane`.
macro_rules! each_lane {
    ($lane:ident => $value:expr) => {{
        let mut lanes = [0.0f32; 4];
        for $lane in 0..4 {
            lanes[$lane] = $value;
        }
        Scalar(lanes)
    }};
}

impl Lanes for Scalar {
    const N: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Scalar([x; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees four readable values.
        Scalar(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, rest: Self) -> Self {
        // SAFETY: the caller guarantees `n` readable values.
        each_lane!(lane => if lane < n { unsafe { *from.add(lane) } } else { rest.0[lane] })
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: the caller guarantees four readable values.
        each_lane!(lane => unsafe { *from.add(lane) }.to_f32())
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees room for four values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for (lane, value) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller guarantees room for `n` values.
            unsafe { *to.add(lane) = *value };
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        each_lane!(lane => self.0[lane] + other.0[lane])
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        each_lane!(lane => self.0[lane] - other.0[lane])
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        each_lane!(lane => self.0[lane] * other.0[lane])
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        each_lane!(lane => self.0[lane] / other.0[lane])
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        each_lane!(lane => self.0[lane] * factor.0[lane] + addend.0[lane])
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        each_lane!(lane => if self.0[lane] > other.0[lane] { self.0[lane] } else { other.0[lane] })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        each_lane!(lane => if self.0[lane] < other.0[lane] { self.0[lane] } else { other.0[lane] })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        each_lane!(lane => self.0[lane].sqrt())
    }
    #[inline(always)]
    fn abs(self) -> Self {
        each_lane!(lane => self.0[lane].abs())
    }
    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        each_lane!(lane => if self.0[lane] < limit.0[lane] { yes.0[lane] } else { no.0[lane] })
    }
    #[inline(always)]
    fn scale_by_power_of_two(self, n: Self) -> Self {
        each_lane!(lane => {
            let half = (n.0[lane] * 0.5).floor();
            self.0[lane] * power_of_two(half) * power_of_two(n.0[lane] - half)
        })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        let [a, b, c, d] = self.0;
        a.max(c).max(b.max(d))
    }
}

/// `2^n` for whole `n` in -126..=127.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits((((n as i32) + 127) as u32) << 23)
}

super::kernel_table!(Isa::Scalar, Scalar, rows 4, vectors 2);

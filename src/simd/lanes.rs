//! The vector type every kernel is generic over, one implementation an instruction set.

use half::f16;

/// `N` lanes of f32.
///
/// Kernels over this trait are `#[inline(always)]`, so that they take on the target features of the functions in
/// the kernel tables; everything in the trait must be inlined too, or a call would cost more than the instruction.
///
/// # Safety
/// A value can be made by the `unsafe` constructors alone, whose caller vouches that the machine has the
/// instruction set. The other methods may therefore rely on it.
pub(super) trait Lanes: Copy {
    /// Lanes in a vector.
    const N: usize;

    /// All lanes `x`. The machine must have the instruction set.
    unsafe fn splat(x: f32) -> Self;
    /// Reads `N` values from `from`. The machine must have the instruction set.
    unsafe fn load(from: *const f32) -> Self;
    /// Reads `n < N` values from `from`; the lanes behind them are taken from `rest`.
    unsafe fn load_first(from: *const f32, n: usize, rest: Self) -> Self;
    /// Reads `N` half-precision values from `from`. The machine must have the instruction set.
    unsafe fn load_f16(from: *const f16) -> Self;
    /// Writes `N` values to `to`.
    unsafe fn store(self, to: *mut f32);
    /// Writes the first `n < N` lanes to `to`.
    unsafe fn store_first(self, to: *mut f32, n: usize);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`: fused where the instruction set has it, two roundings in the scalar one.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self > other ? self : other`, so a NaN in `other` comes through.
    fn max(self, other: Self) -> Self;
    /// `self < other ? self : other`, so a NaN in `other` comes through.
    fn min(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    /// In each lane `yes` where `self < limit`, else `no`, as for NaN.
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self;
    /// `self * 2^n` for whole numbers `n` in -126..=254.
    fn scale_by_power_of_two(self, n: Self) -> Self;

    /// Sum of the lanes, halves folded onto each other.
    fn sum(self) -> f32;
    /// Largest lane; unspecified where one is NaN.
    fn largest(self) -> f32;
}

/// Loads `min(n, N)` values from `from`, the remaining lanes from `rest`.
///
/// # Safety
/// `from` must be readable for that many values, and the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn load_up_to<L: Lanes>(from: *const f32, n: usize, rest: L) -> L {
    // SAFETY: handed on from the caller; the branch keeps `load_first` below N.
    unsafe { if n >= L::N { L::load(from) } else { L::load_first(from, n, rest) } }
}

/// Stores the first `min(n, N)` lanes.
///
/// # Safety
/// `to` must be writable for that many values.
#[inline(always)]
pub(super) unsafe fn store_up_to<L: Lanes>(lanes: L, to: *mut f32, n: usize) {
    // SAFETY: handed on from the caller; the branch keeps `store_first` below N.
    unsafe { if n >= L::N { lanes.store(to) } else { lanes.store_first(to, n) } }
}

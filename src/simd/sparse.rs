//! The two products of a linear model with sparse rows, over weights and gradients laid out feature by feature.
//!
//! An entry of a row meets the weights of all classes at once, one lane a class; the sums of a row stay in registers
//! over all its entries.

use std::ops::Range;

use super::lanes::{Lanes, load_up_to, store_up_to};
use super::lines::Lines;
use crate::matrix::SparseRef;

/// `features x classes` values; the values of a feature fill whole vectors, zero where there is no class.
#[derive(Debug, Clone, Default)]
pub struct FeatureMajor {
    lines: Lines,
    features: usize,
    classes: usize,
    width: usize,
    lanes: usize,
}

impl FeatureMajor {
    pub(super) fn reset(&mut self, features: usize, classes: usize, lanes: usize) {
        (self.features, self.classes, self.lanes) = (features, classes, lanes);
        self.width = classes.next_multiple_of(lanes);
        self.lines.resize(features * self.width);
        self.lines.values_mut().fill(0.0);
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    pub(super) fn is_laid_out_for(&self, lanes: usize) -> bool {
        self.lanes == lanes
    }

    /// The values of a feature, one a class.
    pub fn feature(&self, feature: usize) -> &[f32] {
        &self.lines.values()[feature * self.width..][..self.classes]
    }

    /// Takes on weights `w`, `classes x features`.
    pub fn transpose_from(&mut self, w: &[f32]) {
        assert_eq!(w.len(), self.classes * self.features, "weights are classes x features");
        const STEP: usize = 16; // a cache line of every class at a time
        let (width, features) = (self.width, self.features);
        let values = self.lines.values_mut();
        for start in (0..features).step_by(STEP) {
            let end = (start + STEP).min(features);
            let block = &mut values[start * width..end * width];
            for (class, w) in w.chunks_exact(features).enumerate() {
                for (to, &weight) in block.chunks_exact_mut(width).zip(&w[start..end]) {
                    to[class] = weight;
                }
            }
        }
    }
}

/// Vectors of classes whose sums of a row stay in registers.
const VECTORS: usize = 8;

/// Logits of all rows of `x`.
///
/// # Safety
/// Columns of `x` must be below the features of `weights`, `bias` must have one value a class, `z` rows x stride values;
/// the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn logits<L: Lanes>(
    x: SparseRef<'_>,
    weights: &FeatureMajor,
    bias: &[f32],
    z: &mut [f32],
    stride: usize,
) {
    let w = weights.lines.values().as_ptr();
    for (row, entries) in x.iter().enumerate() {
        let mut class = 0;
        while class < bias.len() {
            // SAFETY: `class` is below the classes; the caller vouches for the rest.
            unsafe {
                let vectors = (bias.len() - class).div_ceil(L::N).min(VECTORS);
                let chunk = Chunk {
                    w: w.add(class),
                    width: weights.width,
                    bias: bias.as_ptr().add(class),
                    z: z.as_mut_ptr().add(row * stride + class),
                    classes: (bias.len() - class).min(VECTORS * L::N),
                };
                match vectors {
                    1 => chunk.sum::<L, 1, 4>(entries),
                    2 => chunk.sum::<L, 2, 2>(entries),
                    3 => chunk.sum::<L, 3, 2>(entries),
                    4 => chunk.sum::<L, 4, 2>(entries),
                    5 => chunk.sum::<L, 5, 1>(entries),
                    6 => chunk.sum::<L, 6, 1>(entries),
                    7 => chunk.sum::<L, 7, 1>(entries),
                    _ => chunk.sum::<L, VECTORS, 1>(entries),
                }
                class += vectors * L::N;
            }
        }
    }
}

/// Some classes of one row.
#[derive(Clone, Copy)]
struct Chunk {
    w: *const f32,
    width: usize,
    bias: *const f32,
    z: *mut f32,
    classes: usize,
}

impl Chunk {
    /// `V` vectors of classes; `CHAINS` sums side by side keep the multipliers busy where the vectors are few.
    ///
    /// # Safety
    /// The pointers must cover `classes` values, weights `V` whole vectors of every column of the entries.
    #[inline(always)]
    unsafe fn sum<L: Lanes, const V: usize, const CHAINS: usize>(self, (columns, values): (&[u32], &[f32])) {
        // SAFETY: handed on from the caller.
        unsafe {
            let zero = L::splat(0.0);
            let mut sums = [[zero; V]; CHAINS];
            let (column_groups, columns_left) = columns.as_chunks::<CHAINS>();
            let (value_groups, values_left) = values.as_chunks::<CHAINS>();
            for (columns, values) in column_groups.iter().zip(value_groups) {
                for ((sums, &column), &value) in sums.iter_mut().zip(columns).zip(values) {
                    self.add::<L, V>(sums, column, value);
                }
            }
            for (&column, &value) in columns_left.iter().zip(values_left) {
                self.add::<L, V>(&mut sums[0], column, value);
            }
            for v in 0..V {
                let left = self.classes - v * L::N;
                let bias = load_up_to(self.bias.add(v * L::N), left, zero);
                let sum = sums.iter().fold(bias, |sum, chain| sum.add(chain[v]));
                store_up_to(sum, self.z.add(v * L::N), left);
            }
        }
    }

    /// # Safety
    /// As in [`Chunk::sum`].
    #[inline(always)]
    unsafe fn add<L: Lanes, const V: usize>(self, sums: &mut [L; V], column: u32, value: f32) {
        // SAFETY: handed on from the caller.
        unsafe {
            let factor = L::splat(value);
            let w = self.w.add(column as usize * self.width);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = factor.mul_add(L::load(w.add(v * L::N)), *sum);
            }
        }
    }
}

/// Adds the gradient of all rows of `x` in the features `columns` to `g`.
///
/// # Safety
/// `r` must have a row of `g.classes` values every `stride` for each row of `x`, `g` as many features as `columns`; the
/// machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn accumulate_gradient<L: Lanes>(
    r: &[f32],
    stride: usize,
    x: SparseRef<'_>,
    columns: Range<u32>,
    g: &mut FeatureMajor,
) {
    let (classes, width) = (g.classes, g.width);
    let to = g.lines.values_mut().as_mut_ptr();
    for row in 0..x.rows() {
        let entries = x.row_within(row, columns.clone());
        let mut class = 0;
        while class < classes {
            // SAFETY: `class` is below the classes; entries lie within `columns`; the caller vouches for the rest.
            unsafe {
                let vectors = (classes - class).div_ceil(L::N).min(VECTORS);
                let r = r.as_ptr().add(row * stride + class);
                let (to, left) = (to.add(class), classes - class);
                match vectors {
                    1 => spread::<L, 1>(r, left, entries, columns.start, to, width),
                    2 => spread::<L, 2>(r, left, entries, columns.start, to, width),
                    3 => spread::<L, 3>(r, left, entries, columns.start, to, width),
                    4 => spread::<L, 4>(r, left, entries, columns.start, to, width),
                    5 => spread::<L, 5>(r, left, entries, columns.start, to, width),
                    6 => spread::<L, 6>(r, left, entries, columns.start, to, width),
                    7 => spread::<L, 7>(r, left, entries, columns.start, to, width),
                    _ => spread::<L, VECTORS>(r, left, entries, columns.start, to, width),
                }
                class += vectors * L::N;
            }
        }
    }
}

/// Adds `V` vectors of residuals times each entry to the gradient of the entry's feature.
///
/// # Safety
/// `r` must be readable for `min(left, V vectors)` values, `to` writable for `V` whole vectors of every feature from `first`
/// on that an entry has.
#[inline(always)]
unsafe fn spread<L: Lanes, const V: usize>(
    r: *const f32,
    left: usize,
    (columns, values): (&[u32], &[f32]),
    first: u32,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: handed on from the caller.
    unsafe {
        let zero = L::splat(0.0);
        let mut residuals = [zero; V];
        for (v, residual) in residuals.iter_mut().enumerate() {
            *residual = load_up_to(r.add(v * L::N), left - v * L::N, zero);
        }
        for (&column, &value) in columns.iter().zip(values) {
            let factor = L::splat(value);
            let to = to.add((column - first) as usize * width);
            for (v, &residual) in residuals.iter().enumerate() {
                let at = to.add(v * L::N);
                factor.mul_add(residual, L::load(at)).store(at);
            }
        }
    }
}

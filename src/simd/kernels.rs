//! The public face of the kernels: shapes are checked here, so that the code behind may rely on them.

use std::ops::Range;

use super::cut_scan::{CutSearch, FoundCut};
use super::pack::PackedWeights;
use super::packed::{PACKED_BINS, PackedSum};
use super::single_score::ScoreRows;
use super::sparse::FeatureMajor;
use super::table::Table;
use super::variances::DerivativeSums;
use super::{Isa, TileKernels, area, scalar};
use crate::matrix::SparseRef;
use half::{bf16, f16};

/// The kernels of one instruction set. Matrices are row-major f32 without gaps unless a stride is given.
///
/// # Panics
/// Every method panics where the lengths of its slices contradict each other.
pub struct Kernels(pub(super) Table);

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kernels").field(&self.isa()).finish()
    }
}

/// Settings of one step of gradient descent: `g' = g + l2 w`, `v = momentum v + g'`, `w -= lr v`, with `nesterov`
/// `w -= lr (g' + momentum v)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Step length.
    pub lr: f32,
    /// Share of the velocity that is kept, 0 for plain descent.
    pub momentum: f32,
    /// Whether to step along the velocity of the next point.
    pub nesterov: bool,
    /// Strength of the penalty `l2/2 ||w||^2`.
    pub l2: f32,
}

/// Settings of one AdamW step (Loshchilov and Hutter 2019): `m = beta1 m + (1 - beta1) g`,
/// `v = beta2 v + (1 - beta2) g^2`, `w = (w s - lr m / correction1) / (s + lr decay)` with `s = sqrt(v / correction2) + eps`: the
/// decay stays out of the moments, but is taken in their metric and at the new weight, so that the fixed point is that of
/// the penalised objective and no decay is too strong to be stable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Step length.
    pub lr: f32,
    /// Decay of the mean gradient.
    pub beta1: f32,
    /// Decay of the mean squared gradient.
    pub beta2: f32,
    /// Added to the root of the mean squared gradient.
    pub eps: f32,
    /// `1 - beta1^t` at step `t = 1, 2, ...`.
    pub correction1: f32,
    /// `1 - beta2^t`.
    pub correction2: f32,
    /// Strength of the penalty `decay/2 ||w||^2`.
    pub decay: f32,
}

/// How the logits of a block lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row after row: at least rows x stride, of which columns `classes..stride` are not touched.
    Rows {
        /// Distance between rows, at least the number of classes.
        stride: usize,
    },
    /// Class after class: classes x stride, of which what lies beyond the rows holds anything afterwards.
    Classes {
        /// Distance between classes, at least the number of rows, a multiple of [`Layout::LANES`].
        stride: usize,
    },
}

impl Layout {
    /// Lanes of the widest instruction set.
    pub const LANES: usize = 16;
}

/// Rows of logits with their labels and weights.
#[derive(Debug)]
pub struct RowBlock<'a> {
    /// Logits.
    pub z: &'a mut [f32],
    /// How they lie.
    pub layout: Layout,
    /// Number of classes C.
    pub classes: usize,
    /// Codes below C, one a row; of a row without weight any number.
    pub labels: &'a [u32],
    /// Row weights. A row of weight 0 is left out: no value, residuals 0.
    pub weights: &'a [f32],
}

impl RowBlock<'_> {
    fn check(&self) {
        match self.layout {
            Layout::Rows { stride } => {
                assert!(stride >= self.classes, "{} classes in rows of {stride}", self.classes);
                assert!(self.z.len() >= area(self.labels.len(), stride), "too few logits");
            }
            Layout::Classes { stride } => {
                assert!(
                    stride >= self.labels.len() && stride.is_multiple_of(Layout::LANES),
                    "{stride} a class"
                );
                assert!(self.z.len() >= area(self.classes, stride), "too few logits");
            }
        }
        assert_eq!(self.labels.len(), self.weights.len(), "one weight a row");
        let outside = |(&label, &weight): (&u32, &f32)| weight != 0.0 && label as usize >= self.classes;
        assert!(!self.labels.iter().zip(self.weights).any(outside), "label code beyond the classes");
    }
}

impl Kernels {
    /// The kernels of the fastest instruction set of this machine.
    pub fn best() -> &'static Kernels {
        Kernels::for_isa(Isa::best()).unwrap_or(&scalar::KERNELS)
    }

    /// The kernels of `isa`, `None` where this machine lacks it.
    pub fn for_isa(isa: Isa) -> Option<&'static Kernels> {
        isa.available().then_some(match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &super::avx2::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => &super::avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => &super::tiles::dot::KERNELS,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx => &super::tiles::amx::KERNELS,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &super::neon::KERNELS,
            _ => &scalar::KERNELS,
        })
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    /// The same without products of bf16 parts.
    pub fn in_f32(&'static self) -> &'static Kernels {
        match self.0.isa {
            Isa::Avx512Bf16 | Isa::Amx => Kernels::for_isa(Isa::Avx512).unwrap_or(self),
            _ => self,
        }
    }

    /// The products of bf16 parts, of the levels that have them.
    pub fn tiles(&self) -> Option<&'static TileKernels> {
        match self.0.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => Some(&super::tiles::dot::TILES),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx => Some(&super::tiles::amx::TILES),
            _ => None,
        }
    }

    /// Lays out weights `w` (classes x features) in `packed` for [`Kernels::logits`] of the same instruction set.
    pub fn pack_weights(&self, w: &[f32], classes: usize, features: usize, packed: &mut PackedWeights) {
        assert_eq!(w.len(), area(classes, features), "weights are classes x features");
        packed.pack(w, classes, features, self.0.lanes, self.0.vectors);
    }

    /// `z[r * stride + c] = x_r . w_c + bias_c` for the rows of `x` (rows x features; without features: as many rows
    /// as `z` has). Columns from the number of classes to `stride` keep their values. The logits of a row do not
    /// depend on the other rows of the call.
    pub fn logits(
        &self,
        x: &[f32],
        features: usize,
        packed: &PackedWeights,
        bias: &[f32],
        z: &mut [f32],
        stride: usize,
    ) {
        assert!(
            packed.is_laid_out_for(self.0.lanes, self.0.vectors),
            "weights packed for another instruction set"
        );
        assert_eq!(packed.features(), features, "features of x and of the weights");
        assert_eq!(packed.classes(), bias.len(), "one bias a class");
        assert!(stride >= bias.len() && stride > 0, "{} classes in rows of {stride}", bias.len());
        let rows = x.len().checked_div(features).unwrap_or(z.len() / stride);
        assert_eq!(x.len(), area(rows, features), "x is rows x features");
        assert!(z.len() >= area(rows, stride), "too few logits");
        // SAFETY: shapes checked above; tables are handed out only where their instruction set is available.
        unsafe { (self.0.logits)(x, packed, bias, z, stride, rows) }
    }

    /// `g[c * features + d] += sum over rows of r[row * stride + c] * x[row * features + d]`: the gradient R^T X in
    /// the class-major layout of the weights. `x` is rows x features, `r` has `classes` columns in rows of `stride`.
    pub fn accumulate_gradient(
        &self,
        r: &[f32],
        stride: usize,
        classes: usize,
        x: &[f32],
        features: usize,
        g: &mut [f32],
    ) {
        assert!(stride >= classes, "{classes} classes in rows of {stride}");
        assert_eq!(g.len(), area(classes, features), "the gradient is classes x features");
        let rows = x.len().checked_div(features).unwrap_or(0);
        assert_eq!(x.len(), area(rows, features), "x is rows x features");
        // The last row may end with its classes: `r` can be some columns of a wider block.
        let needed = if rows == 0 { 0 } else { area(rows - 1, stride) + classes };
        assert!(r.len() >= needed, "too few residuals");
        if !g.is_empty() {
            // SAFETY: shapes checked above, features > 0; the table's instruction set is available.
            unsafe { (self.0.accumulate_gradient)(r, stride, classes, x, features, g) }
        }
    }

    /// Makes `values` `features x classes` zeros, laid out for the sparse products of this instruction set.
    pub fn reset_feature_major(&self, features: usize, classes: usize, values: &mut FeatureMajor) {
        values.reset(features, classes, self.0.lanes);
    }

    /// `z[r * stride + c] = x_r . w_c + bias_c` for sparse rows. Columns from the number of classes to `stride` keep
    /// their values.
    pub fn sparse_logits(
        &self,
        x: SparseRef<'_>,
        weights: &FeatureMajor,
        bias: &[f32],
        z: &mut [f32],
        stride: usize,
    ) {
        assert!(weights.is_laid_out_for(self.0.lanes), "weights laid out for another instruction set");
        assert_eq!(weights.classes(), bias.len(), "one bias a class");
        assert!(stride >= bias.len(), "{} classes in rows of {stride}", bias.len());
        assert!(z.len() >= area(x.rows(), stride), "too few logits");
        assert!(
            x.width() <= weights.features(),
            "an entry in column {} of {}",
            x.width(),
            weights.features()
        );
        // SAFETY: shapes and columns checked above; the table's instruction set is available.
        unsafe { (self.0.sparse_logits)(x, weights, bias, z, stride) }
    }

    /// `g[d - columns.start, c] += sum over rows of r[row * stride + c] * x[row, d]` for the features `columns`: rows
    /// `columns` of the gradient X^T R, of which `g` has as many features and the classes.
    pub fn accumulate_sparse_gradient(
        &self,
        r: &[f32],
        stride: usize,
        x: SparseRef<'_>,
        columns: Range<u32>,
        g: &mut FeatureMajor,
    ) {
        assert!(g.is_laid_out_for(self.0.lanes), "a gradient laid out for another instruction set");
        assert!(stride >= g.classes(), "{} classes in rows of {stride}", g.classes());
        assert!(columns.len() <= g.features(), "{} features of {}", columns.len(), g.features());
        let needed = if x.rows() == 0 { 0 } else { area(x.rows() - 1, stride) + g.classes() };
        assert!(r.len() >= needed, "too few residuals");
        // SAFETY: shapes checked above, columns outside the range are left out; the table's instruction set is available.
        unsafe { (self.0.accumulate_sparse_gradient)(r, stride, x, columns, g) }
    }

    /// `g[a * features + b] += sum over rows of weighted[row, a] * x[row, b]` for `a <= b`; what comes below the
    /// diagonal is unspecified. Both matrices are rows x features.
    pub fn accumulate_gram(&self, weighted: &[f32], x: &[f32], features: usize, g: &mut [f32]) {
        assert_eq!(g.len(), area(features, features), "the Gram matrix is features x features");
        assert_eq!(weighted.len(), x.len());
        assert_eq!(
            x.len(),
            area(x.len().checked_div(features).unwrap_or(0), features),
            "x is rows x features"
        );
        if !g.is_empty() {
            // SAFETY: shapes checked above, features > 0; the table's instruction set is available.
            unsafe { (self.0.accumulate_gram)(weighted, x, features, g) }
        }
    }

    /// Runs multiply-adds from registers alone, `rounds` of them in each of some vectors, and returns the floating
    /// point operations done: what the machine can do at most, for comparison.
    pub fn multiply_adds_alone(&self, rounds: usize) -> u64 {
        // SAFETY: the table's instruction set is available.
        std::hint::black_box(unsafe { (self.0.multiply_adds)(std::hint::black_box(rounds)) });
        (2 * self.0.lanes * super::vector::CHAINS * rounds) as u64
    }

    /// `dst = a - b`, and 0 where the difference is below 1e-18.
    pub fn minus(&self, a: &[f32], b: &[f32], dst: &mut [f32]) {
        assert!(a.len() == dst.len() && b.len() == dst.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.minus)(a, b, dst) }
    }

    /// `dst = src - centre` of half-precision values, rounded once.
    pub fn widen_f16_minus(&self, src: &[f16], centre: &[f32], dst: &mut [f32]) {
        assert!(src.len() == dst.len() && centre.len() == dst.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.widen_f16_minus)(src, centre, dst) }
    }

    /// Half-precision values to f32, exactly.
    pub fn widen_f16(&self, src: &[f16], dst: &mut [f32]) {
        assert_eq!(src.len(), dst.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.widen_f16)(src, dst) }
    }

    /// bfloat16 values to f32, exactly.
    pub fn widen_bf16(&self, src: &[bf16], dst: &mut [f32]) {
        assert_eq!(src.len(), dst.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.widen_bf16)(src, dst) }
    }

    /// Inner product; f32 products, summed in f32 over blocks of 1,024 and in f64 across them.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.dot)(a, b) }
    }

    /// `y += alpha * x`.
    pub fn axpy(&self, alpha: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.axpy)(alpha, x, y) }
    }

    /// One step of gradient descent with momentum on `w` and its `velocity`.
    pub fn sgd_update(&self, w: &mut [f32], g: &[f32], velocity: &mut [f32], step: SgdStep) {
        assert!(w.len() == g.len() && w.len() == velocity.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.sgd_update)(w, g, velocity, step) }
    }

    /// One AdamW step on `w`, its mean gradient `m` and mean squared gradient `v`.
    pub fn adamw_update(&self, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamStep) {
        assert!(w.len() == g.len() && w.len() == m.len() && w.len() == v.len());
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { (self.0.adamw_update)(w, g, m, v, step) }
    }

    /// Sum of weight x `(1 - p)^gamma softplus(-z^t)` over rows of two classes with one score.
    pub fn single_score_rows(&self, mut rows: ScoreRows<'_>, gamma: f64) -> f64 {
        rows.check();
        let kernel = if gamma == 0.0 { self.0.single_sigmoid } else { self.0.single_focal };
        // SAFETY: lengths checked; the table's instruction set is available.
        unsafe { kernel(&mut rows, gamma as f32) }
    }

    /// Fixed-point words of rows: gradients and Hessians (not negative) times their scales, rounded. The same words on
    /// every instruction set.
    pub fn pack_rows(
        &self,
        gradients: &[f32],
        hessians: &[f32],
        scales: (f64, f64),
        words: &mut [PackedSum],
    ) {
        assert!(gradients.len() == words.len() && hessians.len() == words.len());
        // SAFETY: the code indexes with checks; the table's instruction set is available.
        unsafe { (self.0.pack_rows)(gradients, hessians, scales, words) }
    }

    /// `factor w q (1 - q)` with `q = |g| / w`, the probability of what did not happen: the second derivatives of cross
    /// entropies. 0 for rows without weight.
    pub fn variances(&self, gradients: &[f32], weights: &[f32], factor: f32, hessians: &mut [f32]) {
        assert!(gradients.len() == weights.len() && gradients.len() == hessians.len());
        // SAFETY: the table's instruction set is available.
        unsafe { (self.0.variances)(gradients, weights, factor, hessians) }
    }

    /// Sums over rows, in f64.
    pub fn derivative_sums(&self, gradients: &[f32], hessians: &[f32]) -> DerivativeSums {
        assert_eq!(gradients.len(), hessians.len());
        // SAFETY: the table's instruction set is available.
        unsafe { (self.0.derivative_sums)(gradients, hessians) }
    }

    /// The cut with the largest score in a histogram, the lowest bin of equals; `None` where no cut keeps the limits of
    /// the search. Every instruction set finds the same one.
    pub fn best_cut(&self, bins: &[PackedSum; PACKED_BINS], search: &CutSearch) -> Option<FoundCut> {
        // SAFETY: the code indexes with checks; the table's instruction set is available.
        unsafe { (self.0.best_cut)(bins, search) }
    }

    /// Sum of weight x cross entropy `-log softmax(z)_y`; as in all losses of rows, the logits become the residuals
    /// `weight * dloss/dz`.
    pub fn softmax_rows(&self, block: RowBlock<'_>) -> f64 {
        self.softmax_focal_rows(block, 0.0)
    }

    /// Sum of weight x `-(1 - p_y)^gamma log p_y`, `p = softmax(z)`.
    pub fn softmax_focal_rows(&self, mut block: RowBlock<'_>, gamma: f64) -> f64 {
        block.check();
        // SAFETY: block checked; the table's instruction set is available.
        unsafe { (self.0.softmax)(&mut block, gamma) }
    }

    /// Sum of weight x `sum_c softplus(-z_c^t)`, `z_c^t = z_c` for the true class, else `-z_c`.
    pub fn sigmoid_rows(&self, mut block: RowBlock<'_>) -> f64 {
        block.check();
        // SAFETY: block checked; the table's instruction set is available.
        unsafe { (self.0.sigmoid)(&mut block, 0.0) }
    }

    /// Sum of weight x `sum_c (1 - p_c^t)^gamma softplus(-z_c^t)`, `p_c^t` the logistic function of `z_c^t`.
    pub fn focal_rows(&self, mut block: RowBlock<'_>, gamma: f64) -> f64 {
        block.check();
        // SAFETY: block checked; the table's instruction set is available.
        unsafe { (self.0.focal)(&mut block, gamma) }
    }
}

#[cfg(test)]
mod tests;

//! Matrix products of bf16 factors with f32 sums, for machines that multiply bf16 faster than f32.
//!
//! A float is written as a sum of bf16 parts, each the nearest bf16 of what the parts before it leave. Two parts and
//! the three products that matter (high x high, high x low, low x high) are the `bf16x3` of Henry, Tang and Heinecke
//! 2019 (arXiv:1904.06376).
//!
//! Both implementations, the tile registers of AMX and the bf16 dot products of AVX-512, read operands in one layout
//! ([`operand`]) that rows and weights are brought into first; a block of rows serves logits and gradient.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // the types are there, but no kernels that read them

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
pub(super) mod dot;
mod operand;
#[cfg(target_arch = "x86_64")]
mod prepare;
#[cfg(target_arch = "x86_64")]
mod product;

use super::Isa;
use operand::Operand;

/// How many bf16 parts stand for a float.
///
/// bf16 has the range of f32, so magnitudes do not matter, down to 2^-126 (1.2e-38), below which parts and sums count as
/// zero: of a factor under about 1e-36 the high part alone is left. A factor that is not finite, or rounds to infinity in
/// bf16 (beyond 3.39e38), makes the sums it enters NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Two parts, three products: a product is off by at most about 2^-16 of its size, little more than f32 itself
    /// once summed.
    Split,
    /// One part: a product is off by up to 2^-8 of its size.
    Bf16,
}

impl Precision {
    fn parts(self) -> usize {
        match self {
            Precision::Split => 2,
            Precision::Bf16 => 1,
        }
    }
}

/// A block of rows x features, laid out for logits and for gradients. The buffers are reused from one block to the
/// next.
#[derive(Debug, Clone, Default)]
pub struct TileRows {
    /// Rows as items, features as depth.
    by_row: Operand,
    /// Features as columns, rows as depth.
    by_feature: Operand,
    rows: usize,
    features: usize,
}

impl TileRows {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows; 0 where there are no features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }
}

/// Weights (classes x features), laid out for logits. The buffer is reused from one packing to the next.
#[derive(Debug, Clone, Default)]
pub struct TileWeights {
    operand: Operand,
    classes: usize,
    features: usize,
}

impl TileWeights {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Room for residuals on their way into a product, reused from call to call.
#[derive(Debug, Clone, Default)]
pub struct TileScratch(Operand);

impl TileScratch {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Rows of factors for the left side of a gradient: `width` columns in rows of `stride`, each row times its weight
/// where there are weights.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub width: usize,
    pub rows: usize,
    pub weights: Option<&'a [f32]>,
}

/// Products of bf16 parts, from [`super::Kernels::tiles`]. Matrices are row-major f32 as in [`super::Kernels`]; a call
/// gives the same bytes every time.
///
/// # Panics
/// Every method panics where lengths, or the precisions of two operands, contradict each other.
#[derive(Debug)]
#[allow(clippy::type_complexity)] // the signatures of its methods
pub struct TileKernels {
    isa: Isa,
    pays: fn(Precision, usize) -> bool,
    prepare_rows: unsafe fn(&[f32], usize, usize, usize, &mut Operand, &mut Operand),
    pack_weights: unsafe fn(&[f32], usize, usize, usize, &mut Operand),
    logits: unsafe fn(&Operand, &Operand, &[f32], &mut [f32], usize, usize),
    accumulate: unsafe fn(Factors<'_>, usize, &Operand, &mut Operand, usize, bool, &mut [f32]),
    multiply_adds: unsafe fn(usize) -> u64,
}

impl TileKernels {
    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether a pass with this precision (preparing, logits, gradient) is faster than the f32 kernels of this level.
    /// Preparing costs as much as the f32 products of some classes.
    pub fn pays(&self, precision: Precision, classes: usize) -> bool {
        (self.pays)(precision, classes)
    }

    /// Lays out `x` (rows x features) in `rows`. Rows that are used in both products should stay in the second-level
    /// cache between them: some 256 rows of 768 features.
    pub fn prepare_rows(&self, x: &[f32], features: usize, precision: Precision, rows: &mut TileRows) {
        let count = x.len().checked_div(features).unwrap_or(0);
        assert_eq!(x.len(), super::area(count, features), "x is rows x features");
        (rows.rows, rows.features) = (count, features);
        // SAFETY: shape checked above; this table is handed out only where its instruction set is available.
        unsafe {
            (self.prepare_rows)(x, count, features, precision.parts(), &mut rows.by_row, &mut rows.by_feature)
        }
    }

    /// Lays out weights `w` (classes x features) in `weights`.
    pub fn pack_weights(
        &self,
        w: &[f32],
        classes: usize,
        features: usize,
        precision: Precision,
        weights: &mut TileWeights,
    ) {
        assert_eq!(w.len(), super::area(classes, features), "weights are classes x features");
        (weights.classes, weights.features) = (classes, features);
        // SAFETY: shape checked above; the table's instruction set is available.
        unsafe { (self.pack_weights)(w, classes, features, precision.parts(), &mut weights.operand) }
    }

    /// `z[r * stride + c] = x_r . w_c + bias_c` for the rows of `x` (without features: as many rows as `z` has).
    /// Columns from the number of classes to `stride` keep their values. The logits of a row do not depend on the
    /// other rows of the call.
    pub fn logits(&self, x: &TileRows, weights: &TileWeights, bias: &[f32], z: &mut [f32], stride: usize) {
        assert_eq!(x.features, weights.features, "features of x and of the weights");
        assert_eq!(weights.classes, bias.len(), "one bias a class");
        assert!(stride >= bias.len() && stride > 0, "{} classes in rows of {stride}", bias.len());
        if x.features == 0 {
            for z in z.chunks_exact_mut(stride) {
                z[..bias.len()].copy_from_slice(bias);
            }
            return;
        }
        assert!(z.len() >= super::area(x.rows, stride), "too few logits");
        assert!(x.by_row.fits(&weights.operand), "rows and weights of different precision");
        // SAFETY: shapes checked above; the table's instruction set is available.
        unsafe { (self.logits)(&x.by_row, &weights.operand, bias, z, stride, x.rows) }
    }

    /// `g[c * features + d] += sum over rows of r[row * stride + c] * x[row, d]`: the gradient R^T X in the
    /// class-major layout of the weights. `r` has `classes` columns in rows of `stride`.
    pub fn accumulate_gradient(
        &self,
        r: &[f32],
        stride: usize,
        classes: usize,
        x: &TileRows,
        g: &mut [f32],
        scratch: &mut TileScratch,
    ) {
        assert!(stride >= classes, "{classes} classes in rows of {stride}");
        assert_eq!(g.len(), super::area(classes, x.features), "the gradient is classes x features");
        // The last row may end with its classes: `r` can be some columns of a wider block.
        let needed = if x.rows == 0 { 0 } else { super::area(x.rows - 1, stride) + classes };
        assert!(r.len() >= needed, "too few residuals");
        let factors = Factors { values: r, stride, width: classes, rows: x.rows, weights: None };
        self.accumulate(factors, x, false, g, scratch);
    }

    /// `g[a * features + b] += sum over rows of weights[row] * x[row, a] * x[row, b]` for `a <= b`; what comes below
    /// the diagonal is unspecified. `rows` was prepared from `x`, of which the weighted factor is made.
    pub fn accumulate_gram(
        &self,
        weights: &[f32],
        x: &[f32],
        rows: &TileRows,
        g: &mut [f32],
        scratch: &mut TileScratch,
    ) {
        let features = rows.features;
        assert_eq!(g.len(), super::area(features, features), "the Gram matrix is features x features");
        assert_eq!(x.len(), super::area(rows.rows, features), "x is rows x features");
        assert_eq!(weights.len(), rows.rows, "one weight a row");
        let factors =
            Factors { values: x, stride: features, width: features, rows: rows.rows, weights: Some(weights) };
        self.accumulate(factors, rows, true, g, scratch);
    }

    /// Runs multiply-adds from registers alone, `rounds` of a few instructions each, and returns the floating point
    /// operations done: what the machine can do at most, for comparison.
    pub fn multiply_adds_alone(&self, rounds: usize) -> u64 {
        // SAFETY: the table's instruction set is available.
        unsafe { (self.multiply_adds)(rounds) }
    }

    fn accumulate(
        &self,
        factors: Factors<'_>,
        x: &TileRows,
        upper: bool,
        g: &mut [f32],
        scratch: &mut TileScratch,
    ) {
        if !g.is_empty() && x.rows > 0 {
            // SAFETY: the callers checked the shapes; the table's instruction set is available.
            unsafe {
                (self.accumulate)(
                    factors,
                    x.by_feature.parts(),
                    &x.by_feature,
                    &mut scratch.0,
                    x.features,
                    upper,
                    g,
                )
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

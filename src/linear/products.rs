//! The two products of a pass, logits and gradient, in the arithmetic that suits the machine and the shape.

use std::ops::Range;

use super::rows::Rows;
use crate::matrix::{SparseRef, SparseRows};
use crate::simd::{
    FeatureMajor, Kernels, PackedWeights, Precision, TileKernels, TileRows, TileScratch, TileWeights,
};

/// How the products of a pass are taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arithmetic {
    /// f32 with fused multiply-adds.
    Single(&'static Kernels),
    /// bf16 parts of floats, f32 sums. Two parts ([`Precision::Split`]): logits exact to about 1e-6 of the sum of their
    /// terms' sizes. One: to about 1e-3, in half the time, which is enough far from the optimum.
    Tiles(&'static Kernels, &'static TileKernels, Precision),
    /// f32 over the stored values of sparse rows.
    Sparse(&'static Kernels),
}

impl Arithmetic {
    /// The fastest one for these rows and so many classes.
    pub(super) fn fastest(kernels: &'static Kernels, rows: &Rows<'_>, classes: usize) -> Self {
        if rows.is_sparse() { Arithmetic::Sparse(kernels) } else { Arithmetic::of_dense(kernels, classes) }
    }

    /// The fastest one for dense rows and so many classes.
    pub(super) fn of_dense(kernels: &'static Kernels, classes: usize) -> Self {
        match kernels.tiles().filter(|tiles| tiles.pays(Precision::Split, classes)) {
            Some(tiles) => Arithmetic::Tiles(kernels, tiles, Precision::Split),
            None => Arithmetic::Single(kernels),
        }
    }

    /// The fastest one at all for dense rows and so many classes, where it is faster than [`Arithmetic::fastest`].
    pub(super) fn coarse(kernels: &'static Kernels, rows: &Rows<'_>, classes: usize) -> Option<Self> {
        let coarse = Arithmetic::coarse_of_dense(kernels, classes);
        (!rows.is_sparse() && matches!(coarse, Arithmetic::Tiles(.., Precision::Bf16))).then_some(coarse)
    }

    /// The fastest one at all for dense rows and so many classes.
    pub(super) fn coarse_of_dense(kernels: &'static Kernels, classes: usize) -> Self {
        match kernels.tiles().filter(|tiles| tiles.pays(Precision::Bf16, classes)) {
            Some(tiles) => Arithmetic::Tiles(kernels, tiles, Precision::Bf16),
            None => Arithmetic::of_dense(kernels, classes),
        }
    }

    /// The one in f32 throughout.
    pub(super) fn in_f32(kernels: &'static Kernels, rows: &Rows<'_>) -> Self {
        if rows.is_sparse() { Arithmetic::Sparse(kernels) } else { Arithmetic::Single(kernels) }
    }

    /// Whether it is in f32 throughout.
    pub(super) fn is_in_f32(self) -> bool {
        !matches!(self, Arithmetic::Tiles(..))
    }

    /// Rows multiplied together: with up to 4,096 features 64 of them stay in a second-level cache between the two
    /// products; tiles are so fast that moving their sums asks for more.
    pub(super) fn block_rows(self) -> usize {
        match self {
            Arithmetic::Single(_) | Arithmetic::Sparse(_) => 64,
            Arithmetic::Tiles(..) => 256,
        }
    }

    /// Classes whose gradient is summed together over many rows.
    pub(super) fn tile_classes(self) -> usize {
        match self {
            Arithmetic::Single(_) | Arithmetic::Sparse(_) => 32,
            Arithmetic::Tiles(..) => 128,
        }
    }

    pub(super) fn kernels(self) -> &'static Kernels {
        match self {
            Arithmetic::Single(kernels) | Arithmetic::Tiles(kernels, ..) | Arithmetic::Sparse(kernels) => {
                kernels
            }
        }
    }
}

/// Weights laid out for the products, kept from pass to pass for their memory.
#[derive(Debug, Default)]
pub(super) struct Weights {
    single: PackedWeights,
    tiles: TileWeights,
    sparse: FeatureMajor,
}

impl Weights {
    /// Lays out `w` (`classes x features`).
    pub(super) fn lay_out(&mut self, w: &[f32], classes: usize, features: usize, arithmetic: Arithmetic) {
        match arithmetic {
            Arithmetic::Single(kernels) => kernels.pack_weights(w, classes, features, &mut self.single),
            Arithmetic::Tiles(_, tiles, precision) => {
                tiles.pack_weights(w, classes, features, precision, &mut self.tiles);
            }
            Arithmetic::Sparse(kernels) => {
                kernels.reset_feature_major(features, classes, &mut self.sparse);
                self.sparse.transpose_from(w);
            }
        }
    }
}

/// Rows ready to be multiplied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block<'b> {
    Single { kernels: &'static Kernels, x: &'b [f32], features: usize },
    Tiles { tiles: &'static TileKernels, x: &'b TileRows },
    Sparse { kernels: &'static Kernels, x: SparseRef<'b> },
}

/// The memory of a [`Block`].
#[derive(Debug, Default)]
pub(super) struct BlockBuffer {
    x: Vec<f32>,
    tiles: TileRows,
    sparse: SparseRows,
}

impl BlockBuffer {
    /// The rows of `range` minus `centre`.
    pub(super) fn load<'b>(
        &'b mut self,
        rows: &Rows<'b>,
        centre: Option<&[f32]>,
        range: std::ops::Range<usize>,
        arithmetic: Arithmetic,
    ) -> Block<'b> {
        if let Arithmetic::Sparse(kernels) = arithmetic {
            return Block::Sparse { kernels, x: rows.sparse_block(range.start, range.end, &mut self.sparse) };
        }
        let x = rows.block(arithmetic.kernels(), centre, range.start, range.end, &mut self.x);
        Block::of_dense(x, rows.features(), &mut self.tiles, arithmetic)
    }

    /// Dense rows of `features` values each.
    pub(super) fn of_values<'b, 'v>(
        &'b mut self,
        rows: impl Iterator<Item = &'v [f32]>,
        features: usize,
        arithmetic: Arithmetic,
    ) -> Block<'b> {
        self.x.clear();
        rows.for_each(|row| self.x.extend_from_slice(row));
        Block::of_dense(&self.x, features, &mut self.tiles, arithmetic)
    }

    /// The rows at `positions` minus `centre`.
    pub(super) fn gather<'b>(
        &'b mut self,
        rows: &Rows<'b>,
        centre: Option<&[f32]>,
        positions: &[usize],
        arithmetic: Arithmetic,
    ) -> Block<'b> {
        if let Arithmetic::Sparse(kernels) = arithmetic {
            return Block::Sparse {
                kernels,
                x: rows.gather_sparse(positions.iter().copied(), &mut self.sparse),
            };
        }
        self.x.resize(positions.len() * rows.features(), 0.0);
        rows.gather_into(arithmetic.kernels(), centre, positions, &mut self.x);
        Block::of_dense(&self.x, rows.features(), &mut self.tiles, arithmetic)
    }
}

impl<'b> Block<'b> {
    fn of_dense(x: &'b [f32], features: usize, buffer: &'b mut TileRows, arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::Tiles(_, tiles, precision) => {
                tiles.prepare_rows(x, features, precision, buffer);
                Block::Tiles { tiles, x: buffer }
            }
            Arithmetic::Single(kernels) | Arithmetic::Sparse(kernels) => {
                Block::Single { kernels, x, features }
            }
        }
    }
}

impl Block<'_> {
    /// `z[r, c] = x_r . w_c + bias_c`, without gaps; `weights` laid out for the arithmetic of the block.
    pub(super) fn logits(self, weights: &Weights, bias: &[f32], z: &mut [f32]) {
        match self {
            Block::Single { kernels, x, features } => {
                kernels.logits(x, features, &weights.single, bias, z, bias.len())
            }
            Block::Tiles { tiles, x } => tiles.logits(x, &weights.tiles, bias, z, bias.len()),
            Block::Sparse { kernels, x } => kernels.sparse_logits(x, &weights.sparse, bias, z, bias.len()),
        }
    }

    /// `sum over rows of r[row * stride + c] x[row, d]` added to `sums` for all their classes, or for the features
    /// `columns` of a sparse block.
    pub(super) fn accumulate_gradient(self, r: &[f32], stride: usize, sums: &mut GradientSums) {
        let GradientSums { classes, columns, by_class, by_feature, scratch, .. } = sums;
        match self {
            Block::Single { kernels, x, features } => {
                kernels.accumulate_gradient(r, stride, *classes, x, features, by_class)
            }
            Block::Tiles { tiles, x } => tiles.accumulate_gradient(r, stride, *classes, x, by_class, scratch),
            Block::Sparse { kernels, x } => {
                kernels.accumulate_sparse_gradient(r, stride, x, columns.clone(), by_feature);
            }
        }
    }
}

/// f32 sums of a part of the gradient: of some classes, or for sparse rows of some features. Kept for their memory.
#[derive(Debug, Default)]
pub(super) struct GradientSums {
    classes: usize,
    columns: Range<u32>,
    is_by_feature: bool,
    by_class: Vec<f32>,
    by_feature: FeatureMajor,
    scratch: TileScratch,
}

impl GradientSums {
    /// Makes them 0: `classes` classes by the features `columns`.
    pub(super) fn reset(&mut self, classes: usize, columns: Range<u32>, arithmetic: Arithmetic) {
        if let Arithmetic::Sparse(kernels) = arithmetic {
            kernels.reset_feature_major(columns.len(), classes, &mut self.by_feature);
        } else {
            self.by_class.clear();
            self.by_class.resize(classes * columns.len(), 0.0);
        }
        self.is_by_feature = matches!(arithmetic, Arithmetic::Sparse(_));
        (self.classes, self.columns) = (classes, columns);
    }

    /// Adds them to sums in f64 (class by class, of sparse rows feature by feature).
    pub(super) fn add_to(&self, into: &mut [f64]) {
        let add = |into: &mut [f64], recent: &[f32]| {
            into.iter_mut().zip(recent).for_each(|(sum, &recent)| *sum += f64::from(recent));
        };
        if self.is_by_feature {
            let features = into.chunks_exact_mut(self.classes).enumerate();
            features.for_each(|(feature, into)| add(into, self.by_feature.feature(feature)));
        } else {
            add(into, &self.by_class);
        }
    }

    /// Adds those of a class for the features from `first` on.
    pub(super) fn add_weights_of(&self, class: usize, first: usize, out: &mut [f64]) {
        if self.is_by_feature {
            let features = out.iter_mut().zip(first..);
            features.for_each(|(out, at)| *out += f64::from(self.by_feature.feature(at)[class]));
        } else {
            let own = &self.by_class[class * self.columns.len() + first..];
            out.iter_mut().zip(own).for_each(|(out, &value)| *out += f64::from(value));
        }
    }

    /// Writes them to `out`, class by class.
    pub(super) fn copy_to(&self, out: &mut [f32]) {
        if !self.is_by_feature {
            return out.copy_from_slice(&self.by_class);
        }
        let features = self.columns.len();
        for feature in 0..features {
            let sums = self.by_feature.feature(feature).iter().enumerate();
            sums.for_each(|(class, &sum)| out[class * features + feature] = sum);
        }
    }
}

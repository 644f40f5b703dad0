//! The two products of a pass, logits and gradient, in the arithmetic that suits the machine and the shape.

use super::rows::Rows;
use crate::simd::{Kernels, PackedWeights, Precision, TileKernels, TileRows, TileScratch, TileWeights};

/// How the products of a pass are taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arithmetic {
    /// f32 with fused multiply-adds.
    Single(&'static Kernels),
    /// Two bf16 parts a float, f32 sums: logits exact to about 1e-6 of the sum of their terms' sizes.
    Split(&'static Kernels, &'static TileKernels),
}

impl Arithmetic {
    /// The fastest one for so many classes.
    pub(super) fn fastest(kernels: &'static Kernels, classes: usize) -> Self {
        match kernels.tiles().filter(|tiles| tiles.pays(Precision::Split, classes)) {
            Some(tiles) => Arithmetic::Split(kernels, tiles),
            None => Arithmetic::Single(kernels),
        }
    }

    /// Rows multiplied together: with up to 4,096 features 64 of them stay in a second-level cache between the two
    /// products; tiles are so fast that moving their sums asks for more.
    pub(super) fn block_rows(self) -> usize {
        match self {
            Arithmetic::Single(_) => 64,
            Arithmetic::Split(..) => 256,
        }
    }

    /// Classes whose gradient is summed together over many rows.
    pub(super) fn tile_classes(self) -> usize {
        match self {
            Arithmetic::Single(_) => 32,
            Arithmetic::Split(..) => 128,
        }
    }

    fn kernels(self) -> &'static Kernels {
        match self {
            Arithmetic::Single(kernels) | Arithmetic::Split(kernels, _) => kernels,
        }
    }
}

/// Weights laid out for the products, kept from pass to pass for their memory.
#[derive(Debug, Default)]
pub(super) struct Weights {
    single: PackedWeights,
    split: TileWeights,
}

impl Weights {
    /// Lays out `w` (`classes x features`).
    pub(super) fn lay_out(&mut self, w: &[f32], classes: usize, features: usize, arithmetic: Arithmetic) {
        match arithmetic {
            Arithmetic::Single(kernels) => kernels.pack_weights(w, classes, features, &mut self.single),
            Arithmetic::Split(_, tiles) => {
                tiles.pack_weights(w, classes, features, Precision::Split, &mut self.split);
            }
        }
    }
}

/// Rows ready to be multiplied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block<'b> {
    Single { kernels: &'static Kernels, x: &'b [f32], features: usize },
    Split { tiles: &'static TileKernels, x: &'b TileRows },
}

/// The memory of a [`Block`].
#[derive(Debug, Default)]
pub(super) struct BlockBuffer {
    x: Vec<f32>,
    tiles: TileRows,
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
        let features = rows.features();
        let x = rows.block(arithmetic.kernels(), centre, range.start, range.end, &mut self.x);
        match arithmetic {
            Arithmetic::Single(kernels) => Block::Single { kernels, x, features },
            Arithmetic::Split(_, tiles) => {
                tiles.prepare_rows(x, features, Precision::Split, &mut self.tiles);
                Block::Split { tiles, x: &self.tiles }
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
            Block::Split { tiles, x } => tiles.logits(x, &weights.split, bias, z, bias.len()),
        }
    }

    /// `g[c, d] += sum over rows of r[row * stride + c] x[row, d]` for `classes` classes.
    pub(super) fn accumulate_gradient(
        self,
        r: &[f32],
        stride: usize,
        classes: usize,
        g: &mut [f32],
        scratch: &mut TileScratch,
    ) {
        match self {
            Block::Single { kernels, x, features } => {
                kernels.accumulate_gradient(r, stride, classes, x, features, g)
            }
            Block::Split { tiles, x } => tiles.accumulate_gradient(r, stride, classes, x, g, scratch),
        }
    }
}

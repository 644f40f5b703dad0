//! The kernel table: one set of function pointers an instruction set, made from the generic kernels.

use std::ops::Range;

use super::cut_scan::{CutSearch, FoundCut};
use super::lane_bins::{Lanes4, Lanes8, Lanes16, PrefixSearch};
use super::pack::PackedWeights;
use super::packed::{PACKED_BINS, PackedSum};
use super::score_rows::{ClassRows, Curvature, LeafRows, LeafSum, ScoreLoss, SketchOut};
use super::single_score::ScoreRows;
use super::sparse::FeatureMajor;
use super::variances::DerivativeSums;
use super::{AdamStep, Isa, RowBlock, SgdStep};
use crate::matrix::SparseRef;
use half::{bf16, f16};

#[allow(clippy::type_complexity)] // the signatures of the methods of `Kernels`
/// Kernels of one instruction set. Their callers check shapes and know that the machine has the set.
pub(super) struct Table {
    pub isa: Isa,
    pub lanes: usize,
    pub vectors: usize,
    pub logits: unsafe fn(&[f32], &PackedWeights, &[f32], &mut [f32], usize, usize),
    pub accumulate_gradient: unsafe fn(&[f32], usize, usize, &[f32], usize, &mut [f32]),
    pub sparse_logits: unsafe fn(SparseRef<'_>, &FeatureMajor, &[f32], &mut [f32], usize),
    pub accumulate_sparse_gradient: unsafe fn(&[f32], usize, SparseRef<'_>, Range<u32>, &mut FeatureMajor),
    pub accumulate_gram: unsafe fn(&[f32], &[f32], usize, &mut [f32]),
    pub multiply_adds: unsafe fn(usize) -> f32,
    pub minus: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub widen_f16: unsafe fn(&[f16], &mut [f32]),
    pub widen_f16_minus: unsafe fn(&[f16], &[f32], &mut [f32]),
    pub widen_bf16: unsafe fn(&[bf16], &mut [f32]),
    pub dot: unsafe fn(&[f32], &[f32]) -> f64,
    pub axpy: unsafe fn(f32, &[f32], &mut [f32]),
    pub sgd_update: unsafe fn(&mut [f32], &[f32], &mut [f32], SgdStep),
    pub adamw_update: unsafe fn(&mut [f32], &[f32], &mut [f32], &mut [f32], AdamStep),
    pub single_sigmoid: unsafe fn(&mut ScoreRows<'_>, f32) -> f64,
    pub single_focal: unsafe fn(&mut ScoreRows<'_>, f32) -> f64,
    pub variances: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub derivative_sums: unsafe fn(&[f32], &[f32]) -> DerivativeSums,
    pub pack_rows: unsafe fn(&[f32], &[f32], (f64, f64), &mut [PackedSum]),
    pub best_cut: unsafe fn(&[PackedSum; PACKED_BINS], &CutSearch) -> Option<FoundCut>,
    pub softmax: unsafe fn(&mut RowBlock<'_>, f64) -> f64,
    pub sigmoid: unsafe fn(&mut RowBlock<'_>, f64) -> f64,
    pub focal: unsafe fn(&mut RowBlock<'_>, f64) -> f64,
    pub sketch_rows:
        unsafe fn(ClassRows<'_>, Option<LeafRows<'_>>, &[f32], (ScoreLoss, Curvature), SketchOut<'_>) -> f64,
    pub sum_leaf: unsafe fn(LeafSum<'_>, (ScoreLoss, Curvature), &mut [f32], &mut [f32]),
    pub accumulate4: unsafe fn(&[[u8; 16]], &[u32], &[Lanes4], &mut [[Lanes4; 256]]),
    pub accumulate8: unsafe fn(&[[u8; 16]], &[u32], &[Lanes8], &mut [[Lanes8; 256]]),
    pub accumulate16: unsafe fn(&[[u8; 16]], &[u32], &[Lanes16], &mut [[Lanes16; 256]]),
    pub best_prefix4: unsafe fn(PrefixSearch<'_, Lanes4>) -> Option<(u8, f32)>,
    pub best_prefix8: unsafe fn(PrefixSearch<'_, Lanes8>) -> Option<(u8, f32)>,
    pub best_prefix16: unsafe fn(PrefixSearch<'_, Lanes16>) -> Option<(u8, f32)>,
}

/// Compiles the generic kernels for `$lanes` under its target features and collects them as `KERNELS`.
///
/// `rows` and `vectors` give the register tile of the matrix products: rows x vectors sums, the vectors of one step
/// and one broadcast value have to fit the registers.
macro_rules! kernel_table {
    ($isa:expr, $lanes:ty, rows $rows:literal, vectors $vectors:literal $(, features $features:literal)?) => {
        mod kernels {
            use super::super::{AdamStep, Isa, Kernels, RowBlock, SgdStep};
            use super::super::score_rows::{ClassRows, Curvature, LeafRows, LeafSum, ScoreLoss, SketchOut};
            use super::super::cut_scan::{self, CutSearch, FoundCut};
            use super::super::packed::{self, PACKED_BINS, PackedSum};
            use super::super::single_score::{self, ScoreRows};
            use super::super::{gemm, pack::PackedWeights, rows, sparse, sparse::FeatureMajor, table::Table, vector};
            use super::super::lane_bins::{self, Lanes4, Lanes8, Lanes16, PrefixSearch};
            use super::super::score_kernels;
            use super::super::variances::{self, DerivativeSums};
            use super::*;
            use crate::matrix::SparseRef;
            use half::{bf16, f16};
            use std::ops::Range;

            super::super::table::compiled! {
                ($(#[target_feature(enable = $features)])?)
                fn logits(x: &[f32], packed: &PackedWeights, bias: &[f32], z: &mut [f32], stride: usize, rows: usize)
                    = gemm::logits::<$lanes, $rows, $vectors>(x, packed, bias, z, stride, rows);
                fn accumulate_gradient(
                    r: &[f32], stride: usize, classes: usize, x: &[f32], features: usize, g: &mut [f32]
                ) = gemm::accumulate_gradient::<$lanes, $rows, $vectors, false>(r, stride, classes, x, features, g);
                fn sparse_logits(
                    x: SparseRef<'_>, weights: &FeatureMajor, bias: &[f32], z: &mut [f32], stride: usize
                ) = sparse::logits::<$lanes>(x, weights, bias, z, stride);
                fn accumulate_sparse_gradient(
                    r: &[f32], stride: usize, x: SparseRef<'_>, columns: Range<u32>, g: &mut FeatureMajor
                ) = sparse::accumulate_gradient::<$lanes>(r, stride, x, columns, g);
                fn accumulate_gram(weighted: &[f32], x: &[f32], features: usize, g: &mut [f32])
                    = gemm::accumulate_gradient::<$lanes, $rows, $vectors, true>(
                        weighted, features, features, x, features, g
                    );
                fn multiply_adds(rounds: usize) -> f32 = vector::multiply_adds::<$lanes>(rounds);
                fn minus(a: &[f32], b: &[f32], dst: &mut [f32]) = vector::minus::<$lanes>(a, b, dst);
                fn widen_f16(src: &[f16], dst: &mut [f32]) = vector::widen_f16::<$lanes>(src, dst);
                fn widen_f16_minus(src: &[f16], centre: &[f32], dst: &mut [f32])
                    = vector::widen_f16_minus::<$lanes>(src, centre, dst);
                fn widen_bf16(src: &[bf16], dst: &mut [f32]) = vector::widen_bf16::<$lanes>(src, dst);
                fn dot(a: &[f32], b: &[f32]) -> f64 = vector::dot::<$lanes>(a, b);
                fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) = vector::axpy::<$lanes>(alpha, x, y);
                fn sgd_update(w: &mut [f32], g: &[f32], velocity: &mut [f32], step: SgdStep)
                    = vector::sgd_update::<$lanes>(w, g, velocity, step);
                fn adamw_update(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: AdamStep)
                    = vector::adamw_update::<$lanes>(w, g, m, v, step);
                fn single_sigmoid(rows: &mut ScoreRows<'_>, gamma: f32) -> f64
                    = single_score::single_score::<$lanes, false>(rows, gamma);
                fn single_focal(rows: &mut ScoreRows<'_>, gamma: f32) -> f64
                    = single_score::single_score::<$lanes, true>(rows, gamma);
                fn variances(g: &[f32], w: &[f32], factor: f32, h: &mut [f32]) = variances::variances(g, w, factor, h);
                fn derivative_sums(g: &[f32], h: &[f32]) -> DerivativeSums = variances::derivative_sums(g, h);
                fn pack_rows(g: &[f32], h: &[f32], scales: (f64, f64), words: &mut [PackedSum])
                    = packed::pack_rows(g, h, scales, words);
                fn best_cut(bins: &[PackedSum; PACKED_BINS], search: &CutSearch) -> Option<FoundCut>
                    = cut_scan::best_cut(bins, search);
                fn softmax(block: &mut RowBlock<'_>, gamma: f64) -> f64
                    = rows::softmax::<$lanes>(block, gamma);
                fn sigmoid(block: &mut RowBlock<'_>, gamma: f64) -> f64
                    = rows::one_vs_rest::<$lanes, false>(block, gamma);
                fn focal(block: &mut RowBlock<'_>, gamma: f64) -> f64
                    = rows::one_vs_rest::<$lanes, true>(block, gamma);
                fn sketch_rows(
                    rows: ClassRows<'_>, leaves: Option<LeafRows<'_>>, directions: &[f32],
                    loss: (ScoreLoss, Curvature), out: SketchOut<'_>
                ) -> f64 = score_kernels::sketch_rows::<$lanes>(rows, leaves, directions, loss, out);
                fn sum_leaf(
                    leaf: LeafSum<'_>, loss: (ScoreLoss, Curvature), gradient: &mut [f32], hessian: &mut [f32]
                ) = score_kernels::sum_leaf::<$lanes>(leaf, loss, gradient, hessian);
                // Histograms of so many features that they fill a first-level cache twice: measured best.
                fn accumulate4(bins: &[[u8; 16]], rows: &[u32], values: &[Lanes4], h: &mut [[Lanes4; 256]])
                    = lane_bins::accumulate::<Lanes4, 16>(bins, rows, values, h);
                fn best_prefix4(search: PrefixSearch<'_, Lanes4>) -> Option<(u8, f32)>
                    = lane_bins::best_prefix::<Lanes4, 4>(search);
                fn accumulate8(bins: &[[u8; 16]], rows: &[u32], values: &[Lanes8], h: &mut [[Lanes8; 256]])
                    = lane_bins::accumulate::<Lanes8, 8>(bins, rows, values, h);
                fn best_prefix8(search: PrefixSearch<'_, Lanes8>) -> Option<(u8, f32)>
                    = lane_bins::best_prefix::<Lanes8, 8>(search);
                fn accumulate16(bins: &[[u8; 16]], rows: &[u32], values: &[Lanes16], h: &mut [[Lanes16; 256]])
                    = lane_bins::accumulate::<Lanes16, 4>(bins, rows, values, h);
                fn best_prefix16(search: PrefixSearch<'_, Lanes16>) -> Option<(u8, f32)>
                    = lane_bins::best_prefix::<Lanes16, 16>(search);
            }

            pub(in super::super) static KERNELS: Kernels = Kernels(Table {
                isa: $isa,
                lanes: <$lanes as super::super::lanes::Lanes>::N,
                vectors: $vectors,
                logits,
                accumulate_gradient,
                sparse_logits,
                accumulate_sparse_gradient,
                accumulate_gram,
                multiply_adds,
                minus,
                widen_f16,
                widen_f16_minus,
                widen_bf16,
                dot,
                axpy,
                sgd_update,
                adamw_update,
                single_sigmoid,
                single_focal,
                variances,
                derivative_sums,
                pack_rows,
                best_cut,
                softmax,
                sigmoid,
                focal,
                sketch_rows,
                sum_leaf,
                accumulate4,
                accumulate8,
                accumulate16,
                best_prefix4,
                best_prefix8,
                best_prefix16,
            });
        }
        pub(super) use kernels::KERNELS;
    };
}

/// Functions under the given attributes that call the generic kernels.
macro_rules! compiled {
    (($($attributes:tt)*)) => {};
    (
        ($($attributes:tt)*)
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $call:expr;
        $($rest:tt)*
    ) => {
        $($attributes)*
        unsafe fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the public methods of `Kernels` check the shapes, and hand out a table only where the machine
            // has its instruction set.
            unsafe { $call }
        }
        super::super::table::compiled! { ($($attributes)*) $($rest)* }
    };
}

pub(super) use {compiled, kernel_table};

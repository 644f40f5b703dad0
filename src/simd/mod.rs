//! Instruction sets and kernels: matrix products of a linear model, pointwise losses, optimizer updates.
//!
//! Each kernel is written once, generic over a vector type, and compiled for every instruction set of the
//! architecture; [`Kernels::best`] picks the table of this machine. One table gives the same bytes for the same
//! call every time; tables differ from each other in rounding only.
//!
//! The only module with `unsafe` code: every public method checks the lengths of its slices first, and a table is
//! handed out only where the machine has the instruction set.
#![allow(unsafe_code)] // vector instructions and raw loads; nothing outside this module needs any

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bin_search;
mod cut_scan;
mod gemm;
mod isa;
mod kernels;
mod lane_bins;
mod lanes;
mod lines;
mod math;
mod memory;
mod narrow_rows;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod packed;
mod padded;
mod part_rows;
mod rows;
mod scalar;
mod score_kernels;
mod score_rows;
#[cfg(test)]
mod score_tests;
mod single_score;
mod sparse;
mod table;
mod terms;
mod tiles;
mod tree_rows;
mod variances;
mod vector;

pub use bin_search::CutTable;
pub use cut_scan::{CutSearch, FoundCut, cut_score, leaf_score};
pub use isa::Isa;
pub use kernels::{AdamStep, Kernels, Layout, RowBlock, SgdStep};
pub use lane_bins::{LaneBin, Lanes4, Lanes8, Lanes16, PrefixSearch};
pub use memory::{prefer_large_pages, prefetch};
pub use pack::PackedWeights;
pub use packed::{PACKED_BINS, PACKED_FEATURES, PACKED_ROWS, PackedSum, accumulate_packed};
pub use padded::PaddedRows;
pub use score_rows::{ClassRows, Curvature, LeafRows, LeafSum, NO_SCORE, RowSlope, ScoreLoss, SketchOut};
pub use single_score::ScoreRows;
pub use sparse::FeatureMajor;
pub use tiles::{Precision, TileKernels, TileRows, TileScratch, TileWeights};
pub use tree_rows::{RowBytes, RowNode, RowTest, RowTree, TREE_ROWS};
pub use variances::DerivativeSums;

use table::kernel_table;

/// `rows * columns`, and never the length of a slice where that overflows.
fn area(rows: usize, columns: usize) -> usize {
    rows.saturating_mul(columns)
}

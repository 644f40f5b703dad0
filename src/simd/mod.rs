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
mod cut_scan;
mod gemm;
mod isa;
mod kernels;
mod lanes;
mod lines;
mod math;
mod memory;
mod narrow_rows;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod packed;
mod part_rows;
mod rows;
mod scalar;
mod single_score;
mod sparse;
mod table;
mod terms;
mod tiles;
mod vector;

pub use cut_scan::{CutSearch, FoundCut, leaf_score};
pub use isa::Isa;
pub use kernels::{AdamStep, Kernels, RowBlock, SgdStep};
pub use memory::{prefer_large_pages, prefetch};
pub use pack::PackedWeights;
pub use packed::{PACKED_BINS, PACKED_FEATURES, PACKED_ROWS, PackedSum, accumulate_packed};
pub use single_score::ScoreRows;
pub use sparse::FeatureMajor;
pub use tiles::{Precision, TileKernels, TileRows, TileScratch, TileWeights};

use table::kernel_table;

/// `rows * columns`, and never the length of a slice where that overflows.
fn area(rows: usize, columns: usize) -> usize {
    rows.saturating_mul(columns)
}

//! Products of operands, block by block, and what becomes of the sums.

use super::operand::{LINES, Operand, Tile};
use super::{Factors, prepare};
use std::arch::x86_64::*;

/// Items and columns of a block.
const SIDE: usize = 2 * LINES;

/// One or two groups of items by one or two groups of columns.
pub(super) struct Block<'a> {
    pub a: [&'a [Tile]; 2],
    pub b: [&'a [Tile]; 2],
    /// Two groups of items, not one.
    pub tall: bool,
    /// Two groups of columns, not one.
    pub wide: bool,
    /// Tiles along the depth, more than 0.
    pub steps: usize,
    pub parts: usize,
}

impl<'a> Block<'a> {
    fn new(left: &'a Operand, item: usize, right: &'a Operand, column: usize) -> Block<'a> {
        let (tall, wide) = (item + 1 < left.groups(), column + 1 < right.groups());
        Block {
            a: [left.group(item), left.group(item + usize::from(tall))],
            b: [right.group(column), right.group(column + usize::from(wide))],
            tall,
            wide,
            steps: left.steps(),
            parts: left.parts(),
        }
    }
}

/// Sums of a block; what its groups do not cover is unspecified.
#[repr(C, align(64))]
pub(super) struct Sums(pub [[f32; SIDE]; SIDE]);

/// An instruction set that multiplies blocks.
pub(super) trait Multiplier {
    /// Makes this thread ready for blocks.
    ///
    /// # Safety
    /// The machine must have the instruction set.
    unsafe fn begin();

    /// `sums = a x b`, summed along the depth in an order that depends on the number of steps alone.
    ///
    /// # Safety
    /// As above, after [`Multiplier::begin`] on this thread.
    unsafe fn multiply(block: &Block<'_>, sums: &mut Sums);

    /// Runs `rounds` of multiply-adds on registers and returns the operations done.
    ///
    /// # Safety
    /// As above.
    unsafe fn multiply_adds(rounds: usize) -> u64;

    /// Undoes [`Multiplier::begin`].
    ///
    /// # Safety
    /// As above.
    unsafe fn end();
}

fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(LINES)) - 1) as __mmask16
}

/// Where the sums of a block go: its first element, the distance between rows, the rows and columns that exist.
struct Target {
    to: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
}

impl Target {
    /// Block `row`, `column` of a matrix of `rows` x `columns` at `to`.
    fn block(to: *mut f32, stride: usize, row: usize, column: usize, rows: usize, columns: usize) -> Target {
        Target {
            to: to.wrapping_add(row * stride + column),
            stride,
            rows: (rows - row).min(SIDE),
            columns: (columns - column).min(SIDE),
        }
    }

    /// Stores the sums: with `OLD` on top of what is there, else with `added` to the rows of both halves.
    ///
    /// # Safety
    /// Rows and columns must be writable; the machine must have AVX-512F.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn update<const OLD: bool>(&self, sums: &Sums, added: [__m512; 2]) {
        // SAFETY: whole blocks are 32 columns, others end by their masks.
        unsafe {
            if self.columns == SIDE {
                for (row, sums) in sums.0.iter().enumerate().take(self.rows) {
                    let to = self.to.add(row * self.stride);
                    for (half, &added) in added.iter().enumerate() {
                        let sum = _mm512_load_ps(sums.as_ptr().add(half * LINES));
                        let to = to.add(half * LINES);
                        let old = if OLD { _mm512_loadu_ps(to) } else { added };
                        _mm512_storeu_ps(to, _mm512_add_ps(sum, old));
                    }
                }
            } else {
                let masks = [first(self.columns), first(self.columns.saturating_sub(LINES))];
                for (row, sums) in sums.0.iter().enumerate().take(self.rows) {
                    for (half, (&added, mask)) in added.iter().zip(masks).enumerate() {
                        let to = self.to.wrapping_add(row * self.stride + half * LINES);
                        let sum = _mm512_load_ps(sums.as_ptr().add(half * LINES));
                        let old = if OLD { _mm512_maskz_loadu_ps(mask, to) } else { added };
                        _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(sum, old));
                    }
                }
            }
        }
    }
}

/// `z[r * stride + c] = x_r . w_c + bias_c`.
///
/// # Safety
/// `x` holds `rows` rows, `w` the classes of `bias`, both with the same depth and parts; `z` has rows x stride values
/// with stride >= classes; the machine must have the instruction set and AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn logits<M: Multiplier>(
    x: &Operand,
    w: &Operand,
    bias: &[f32],
    z: &mut [f32],
    stride: usize,
    rows: usize,
) {
    let mut sums = Sums([[0.0; SIDE]; SIDE]);
    let z = z.as_mut_ptr();
    // SAFETY: the instruction set is there. Rows end at `rows` and columns, by their masks, at the classes.
    unsafe {
        M::begin();
        for group in (0..w.groups()).step_by(2) {
            let class = group * LINES;
            let from = bias.as_ptr().wrapping_add(class);
            let left = bias.len() - class;
            let added = [
                _mm512_maskz_loadu_ps(first(left), from),
                _mm512_maskz_loadu_ps(first(left.saturating_sub(LINES)), from.wrapping_add(LINES)),
            ];
            for item in (0..x.groups()).step_by(2) {
                let target = Target::block(z, stride, item * LINES, class, rows, bias.len());
                M::multiply(&Block::new(x, item, w, group), &mut sums);
                target.update::<false>(&sums, added);
            }
        }
        M::end();
    }
}

/// `g[c * features + d] += sum over rows of factor[row, c] * x[row, d]`. With `upper`, elements below the diagonal may
/// be left out.
///
/// # Safety
/// The factors are as [`prepare::prepare_factors`] asks for, `x` holds as many rows, `g` is width x features; the
/// machine must have the instruction set and AVX-512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn accumulate<M: Multiplier>(
    factors: Factors<'_>,
    parts: usize,
    x: &Operand,
    left: &mut Operand,
    features: usize,
    upper: bool,
    g: &mut [f32],
) {
    let mut sums = Sums([[0.0; SIDE]; SIDE]);
    let g = g.as_mut_ptr();
    // SAFETY: the instruction set is there. Items end at the width, and columns, by their masks, at the features.
    unsafe {
        prepare::prepare_factors(factors, parts, left);
        M::begin();
        for item in (0..left.groups()).step_by(2) {
            let from = if upper { item } else { 0 };
            for column in (from..x.groups()).step_by(2) {
                let target =
                    Target::block(g, features, item * LINES, column * LINES, factors.width, features);
                M::multiply(&Block::new(left, item, x, column), &mut sums);
                target.update::<true>(&sums, [_mm512_setzero_ps(); 2]);
            }
        }
        M::end();
    }
}

/// [`Multiplier::multiply_adds`] on a thread made ready for it.
///
/// # Safety
/// The machine must have the instruction set.
pub(super) unsafe fn multiply_adds<M: Multiplier>(rounds: usize) -> u64 {
    // SAFETY: handed on from the caller.
    unsafe {
        M::begin();
        let done = M::multiply_adds(rounds);
        M::end();
        done
    }
}

/// The table of one multiplier.
macro_rules! tile_kernels {
    ($isa:expr, $multiplier:ty, $pays:expr) => {
        pub(in super::super) static TILES: super::TileKernels = super::TileKernels {
            isa: $isa,
            pays: $pays,
            prepare_rows: super::prepare::prepare_rows,
            pack_weights: super::prepare::pack_weights,
            logits: super::product::logits::<$multiplier>,
            accumulate: super::product::accumulate::<$multiplier>,
            multiply_adds: super::product::multiply_adds::<$multiplier>,
        };
        pub(in super::super) static KERNELS: super::super::Kernels =
            super::super::Kernels(super::super::table::Table {
                isa: $isa,
                ..super::super::avx512::KERNELS.0
            });
    };
}
pub(super) use tile_kernels;

//! Floats into operands.

use super::Factors;
use super::operand::{DEPTH, LINES, Operand, Tile};
use std::arch::x86_64::*;
use std::mem::transmute;

/// The first `n` values from `from`, the rest 0; none where `n <= 0`.
///
/// # Safety
/// `n` values must be readable; the machine must have AVX-512F.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_first(from: *const f32, n: isize) -> __m512 {
    let mask = ((1u32 << n.clamp(0, LINES as isize)) - 1) as __mmask16;
    // SAFETY: masked lanes are not touched.
    unsafe { _mm512_maskz_loadu_ps(mask, from) }
}

/// Thirty-two floats as bf16, `first` in the lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both types are 512 bits.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}

/// The sixteen lower bf16 of `line` as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn widened(line: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(line)))
}

/// `even` and `odd` as bf16, side by side lane by lane; what the rounding left is put in their place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn take_pairs(even: &mut __m512, odd: &mut __m512) -> __m512i {
    const INTERLEAVED: [u16; 32] = {
        let mut order = [0; 32];
        let mut lane = 0;
        while lane < LINES {
            order[2 * lane] = lane as u16;
            order[2 * lane + 1] = (LINES + lane) as u16;
            lane += 1;
        }
        order
    };
    // SAFETY: both types are 512 bits.
    let order = unsafe { transmute::<[u16; 32], __m512i>(INTERLEAVED) };
    let pairs = _mm512_permutexvar_epi16(order, rounded(*even, *odd));
    *even = _mm512_sub_ps(*even, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)));
    let upper = _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32));
    *odd = _mm512_sub_ps(*odd, _mm512_castsi512_ps(upper));
    pairs
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(tile: &mut Tile, line: usize, values: __m512i) {
    // SAFETY: a line is sixteen 32-bit words.
    unsafe { _mm512_store_si512(tile.0[line].as_mut_ptr().cast(), values) }
}

/// `rows[i][j]` becomes `rows[j][i]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &mut [__m512i; LINES]) {
    let mut a = [_mm512_setzero_si512(); LINES];
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut b = [_mm512_setzero_si512(); LINES];
    for i in 0..4 {
        for j in 0..2 {
            b[4 * i + 2 * j] = _mm512_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);
            b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);
        }
    }
    // 128-bit quarter g of b[4 i + j] holds column 4 g + j of rows 4 i .. 4 i + 4.
    for j in 0..4 {
        let even_low = _mm512_shuffle_i32x4::<0x88>(b[j], b[4 + j]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(b[j], b[4 + j]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(b[8 + j], b[12 + j]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(b[8 + j], b[12 + j]);
        rows[j] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        rows[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        rows[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
}

/// `x` as left operand with rows as items, and as right operand with features as columns. Both are filled up to pairs
/// of groups, so that products need not ask for single ones on that side.
///
/// # Safety
/// `x` is rows x features; the machine must have AVX-512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn prepare_rows(
    x: &[f32],
    rows: usize,
    features: usize,
    parts: usize,
    by_row: &mut Operand,
    by_feature: &mut Operand,
) {
    let (row_steps, feature_steps) = (rows.div_ceil(DEPTH), features.div_ceil(DEPTH));
    by_row.reshape(2 * row_steps, feature_steps, parts);
    by_feature.reshape(2 * feature_steps, row_steps, parts);
    for row_step in 0..row_steps {
        for feature_step in 0..feature_steps {
            let column = feature_step * DEPTH;
            let here = (features - column) as isize;
            for pair in 0..LINES {
                let row = row_step * DEPTH + 2 * pair;
                let mut values = [[_mm512_setzero_ps(); 2]; 2];
                for (row, values) in (row..rows).zip(&mut values) {
                    // SAFETY: the row goes on for `here` values.
                    unsafe {
                        let from = x.as_ptr().add(row * features + column);
                        values[0] = load_first(from, here);
                        values[1] = load_first(from.wrapping_add(LINES), here - LINES as isize);
                    }
                }
                for part in 0..parts {
                    let line = 2 * pair % LINES;
                    let tile = &mut by_row.parts_at(2 * row_step + 2 * pair / LINES, feature_step)[part];
                    store(tile, line, rounded(values[0][0], values[0][1]));
                    store(tile, line + 1, rounded(values[1][0], values[1][1]));
                    let [even, odd] = &mut values;
                    for half in 0..2 {
                        let pairs = take_pairs(&mut even[half], &mut odd[half]);
                        let tile = &mut by_feature.parts_at(2 * feature_step + half, row_step)[part];
                        store(tile, pair, pairs);
                    }
                }
            }
        }
    }
}

/// Weights (classes x features) as right operand with classes as columns.
///
/// # Safety
/// `w` is classes x features; the machine must have AVX-512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pack_weights(
    w: &[f32],
    classes: usize,
    features: usize,
    parts: usize,
    by_class: &mut Operand,
) {
    let (groups, steps) = (classes.div_ceil(LINES), features.div_ceil(DEPTH));
    by_class.reshape(groups, steps, parts);
    for group in 0..groups {
        for step in 0..steps {
            let here = (features - step * DEPTH) as isize;
            let mut lines = [[_mm512_setzero_si512(); LINES]; 2];
            for (offset, class) in (group * LINES..classes).take(LINES).enumerate() {
                // SAFETY: the weights of the class go on for `here` values.
                let (mut first, mut second) = unsafe {
                    let from = w.as_ptr().add(class * features + step * DEPTH);
                    let second = from.wrapping_add(LINES);
                    (load_first(from, here), load_first(second, here - LINES as isize))
                };
                for lines in lines.iter_mut().take(parts) {
                    let line = rounded(first, second);
                    lines[offset] = line;
                    first = _mm512_sub_ps(first, widened(_mm512_castsi512_si256(line)));
                    second = _mm512_sub_ps(second, widened(_mm512_extracti64x4_epi64::<1>(line)));
                }
            }
            for (tile, lines) in by_class.parts_at(group, step).iter_mut().zip(&mut lines) {
                transpose(lines);
                for (at, &line) in lines.iter().enumerate() {
                    store(tile, at, line);
                }
            }
        }
    }
}

/// Columns of factors as items of a left operand, with rows as depth.
///
/// # Safety
/// `values` reach to column `width` of the last of `rows` rows of `stride`, weights are one a row; the machine must have
/// AVX-512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn prepare_factors(factors: Factors<'_>, parts: usize, by_column: &mut Operand) {
    let (groups, steps) = (factors.width.div_ceil(LINES), factors.rows.div_ceil(DEPTH));
    by_column.reshape(groups, steps, parts);
    for step in 0..steps {
        for group in 0..groups {
            let column = group * LINES;
            let here = (factors.width - column) as isize;
            let mut lines = [[_mm512_setzero_si512(); LINES]; 2];
            for pair in 0..LINES {
                let row = step * DEPTH + 2 * pair;
                let mut values = [_mm512_setzero_ps(); 2];
                for (row, values) in (row..factors.rows).zip(&mut values) {
                    // SAFETY: the row has `here` columns from this one.
                    *values = unsafe {
                        load_first(factors.values.as_ptr().add(row * factors.stride + column), here)
                    };
                    if let Some(weights) = factors.weights {
                        *values = _mm512_mul_ps(*values, _mm512_set1_ps(weights[row]));
                    }
                }
                let [even, odd] = &mut values;
                for lines in lines.iter_mut().take(parts) {
                    lines[pair] = take_pairs(even, odd);
                }
            }
            for (tile, lines) in by_column.parts_at(group, step).iter_mut().zip(&mut lines) {
                transpose(lines);
                for (at, &line) in lines.iter().enumerate() {
                    store(tile, at, line);
                }
            }
        }
    }
}

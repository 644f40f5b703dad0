//! Blocks by the bf16 dot products of AVX-512 (Cooper Lake, Zen 4 and later).

use super::super::Isa;
use super::super::isa::cpuid;
use super::Precision;
use super::operand::{LINES, Tile};
use super::product::{Block, Multiplier, Sums};
use std::arch::x86_64::*;
use std::mem::transmute;
use std::sync::LazyLock;

/// Items whose sums are in registers at a time.
const ITEMS: usize = 8;

pub(super) struct Dot;

super::product::tile_kernels!(Isa::Avx512Bf16, Dot, pays);

/// See [`super::TileKernels::pays`]: single products run at twice the rate of f32 on Zen 4, at half of it on Sapphire Rapids;
/// the three of split floats lose everywhere.
fn pays(precision: Precision, classes: usize) -> bool {
    precision == Precision::Bf16 && classes >= 48 && is_amd()
}

/// Whether the machine has the instructions that operands are prepared and multiplied with.
pub(in super::super) fn available() -> bool {
    Isa::Avx512.available()
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// To ask the maker of the processor, not the clock, keeps results the same from run to run.
fn is_amd() -> bool {
    static IS_AMD: LazyLock<bool> = LazyLock::new(|| {
        let leaf = cpuid(0);
        [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
    });
    *IS_AMD
}

impl Multiplier for Dot {
    unsafe fn begin() {}
    unsafe fn end() {}

    unsafe fn multiply_adds(rounds: usize) -> u64 {
        // SAFETY: the instruction set is there by contract.
        unsafe { chains(rounds) }
    }

    unsafe fn multiply(block: &Block<'_>, sums: &mut Sums) {
        for (half, a) in block.a.iter().enumerate().take(1 + usize::from(block.tall)) {
            for first in (0..LINES).step_by(ITEMS) {
                let sums = &mut sums.0[half * LINES + first..][..ITEMS];
                // SAFETY: the instruction set is there by contract.
                unsafe { items(a, block.b, first, block.parts, sums) }
            }
        }
    }
}

/// [`Multiplier::multiply_adds`].
#[target_feature(enable = "avx512f,avx512bf16")]
fn chains(rounds: usize) -> u64 {
    const CHAINS: usize = 16;
    let factor = as_bf16(_mm512_set1_epi32(std::hint::black_box(0x3f00_3f00)));
    // Each chain starts elsewhere, or the compiler would run one for all.
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for (start, sum) in sums.iter_mut().enumerate() {
        *sum = _mm512_set1_ps(start as f32);
    }
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, factor, factor);
        }
    }
    std::hint::black_box(sums);
    (CHAINS * 2 * 2 * LINES * rounds) as u64
}

/// Items `first` to `first + ITEMS` of a group by two groups of columns.
#[target_feature(enable = "avx512f,avx512bf16")]
fn items(a: &[Tile], b: [&[Tile]; 2], first: usize, parts: usize, sums: &mut [[f32; 2 * LINES]]) {
    let mut totals = [[_mm512_setzero_ps(); 2]; ITEMS];
    let steps = a.chunks_exact(parts).zip(b[0].chunks_exact(parts)).zip(b[1].chunks_exact(parts));
    for ((a, b0), b1) in steps {
        // Small products first: low x high, high x low, high x high.
        for (left, right) in [(1, 0), (0, 1), (0, 0)] {
            if left.max(right) < parts {
                for pair in 0..LINES {
                    let columns = [vector(&b0[right].0[pair]), vector(&b1[right].0[pair])];
                    for (totals, item) in totals.iter_mut().zip(&a[left].0[first..first + ITEMS]) {
                        let item = as_bf16(_mm512_set1_epi32(item[pair] as i32));
                        totals[0] = _mm512_dpbf16_ps(totals[0], item, columns[0]);
                        totals[1] = _mm512_dpbf16_ps(totals[1], item, columns[1]);
                    }
                }
            }
        }
    }
    for (sums, totals) in sums.iter_mut().zip(totals) {
        // SAFETY: a line of sums is 32 floats.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), totals[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(LINES), totals[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn vector(line: &[u32; LINES]) -> __m512bh {
    // SAFETY: a line is sixteen 32-bit words.
    as_bf16(unsafe { _mm512_loadu_si512(line.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn as_bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both types are 512 bits.
    unsafe { transmute::<__m512i, __m512bh>(bits) }
}

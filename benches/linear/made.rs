//! Rows made by integer hashing, so that `benches/peers/made.py` makes the same bits: clouds around class centres, with a
//! spectrum that decays like that of embeddings and a mean that is not zero.

use cbfit::matrix::{Matrix, Storage};
use half::f16;
use rayon::prelude::*;

use crate::Outcome;
use crate::data::Data;

/// What is made.
pub struct Shape {
    rows: usize,
    features: usize,
    classes: usize,
    long_tail: bool,
    half: bool,
}

const ROW_SEED: u64 = 1;
const CENTRE_SEED: u64 = 2;
/// Standard deviation of a sum of four bytes is 147.8.
const NOISE_SCALE: f32 = 0.006_766;
const CENTRE_SCALE: f32 = 0.35;
/// Rows lie in the file as if shuffled: row r is member `r * STRIDE mod rows` of the rows sorted by class.
const STRIDE: u64 = 2_654_435_761; // A prime, so without a common factor with any smaller number of rows.

impl Shape {
    pub fn parse(spec: &str) -> Outcome<Self> {
        let parts: Vec<&str> = spec.split(',').collect();
        let [rows, features, classes, counts, dtype] = parts[..] else {
            return Err(format!("{spec}: five fields make a shape").into());
        };
        Ok(Shape {
            rows: rows.parse()?,
            features: features.parse()?,
            classes: classes.parse()?,
            long_tail: counts == "zipf",
            half: dtype == "f16",
        })
    }

    pub fn make(&self) -> Data {
        let ends = self.class_ends();
        let member = |row: usize| (row as u64).wrapping_mul(STRIDE) % self.rows as u64;
        let labels: Vec<u32> =
            (0..self.rows).map(|row| ends.partition_point(|&end| end <= member(row)) as u32).collect();
        let scales: Vec<f32> = (0..self.features).map(|j| 1.0 / (1.0 + j as f32 / 16.0).sqrt()).collect();
        let mut centres = vec![0.0f32; self.classes * self.features];
        for (class, centre) in centres.chunks_mut(self.features).enumerate() {
            noise(CENTRE_SEED, class, centre);
        }
        let fill = |row: usize, out: &mut [f32]| {
            noise(ROW_SEED, row, out);
            let centre = &centres[labels[row] as usize * self.features..][..self.features];
            for ((x, centre), scale) in out.iter_mut().zip(centre).zip(&scales) {
                *x = 0.5 + scale * (CENTRE_SCALE * centre + *x);
            }
        };
        let values = self.rows * self.features;
        let storage = if self.half {
            let mut half = vec![f16::ZERO; values];
            half.par_chunks_mut(self.features).enumerate().for_each_init(
                || vec![0.0; self.features],
                |wide, (row, out)| {
                    fill(row, wide);
                    out.iter_mut().zip(wide).for_each(|(out, x)| *out = f16::from_f32(*x));
                },
            );
            Storage::F16(half)
        } else {
            let mut full = vec![0.0; values];
            full.par_chunks_mut(self.features).enumerate().for_each(|(row, out)| fill(row, out));
            Storage::F32(full)
        };
        let features = Matrix::from_storage(storage, self.features);
        Data { features, labels, classes: self.classes }
    }

    /// Where each class ends among the rows sorted by class. Class c of a long tail has `K / (c + 1)` rows, at least 2;
    /// what division leaves over goes to class 0.
    fn class_ends(&self) -> Vec<u64> {
        let (rows, classes) = (self.rows as u64, self.classes as u64);
        let counts = |k: u64| (1..=classes).map(move |c| (k / c).max(2));
        let mut counts: Vec<u64> = if self.long_tail {
            let (mut low, mut high) = (0, rows);
            while low + 1 < high {
                let middle = (low + high) / 2;
                if counts(middle).sum::<u64>() <= rows { low = middle } else { high = middle }
            }
            counts(low).collect()
        } else {
            vec![rows / classes; self.classes]
        };
        counts[0] += rows.saturating_sub(counts.iter().sum());
        counts
            .iter()
            .scan(0, |end, n| {
                *end += n;
                Some(*end)
            })
            .collect()
    }
}

/// Near-normal numbers of deviation 1 into `out`: sums of four bytes, two from each hash of `(seed, row, place)`.
fn noise(seed: u64, row: usize, out: &mut [f32]) {
    let hashes = out.len().div_ceil(2);
    for (place, pair) in out.chunks_mut(2).enumerate() {
        let hash = mix(((row * hashes + place) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed);
        for (value, half) in pair.iter_mut().zip([hash as u32, (hash >> 32) as u32]) {
            let sum: i32 = half.to_le_bytes().iter().map(|&byte| i32::from(byte)).sum();
            *value = (sum - 510) as f32 * NOISE_SCALE;
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

//! Long-vector operations cut into fixed chunks, so that sums do not depend on the number of threads.

use rayon::prelude::*;

use crate::simd::Kernels;

const CHUNK: usize = 1 << 14;

/// `a . b` in f64.
pub fn dot(kernels: &Kernels, a: &[f32], b: &[f32]) -> f64 {
    if a.len() <= CHUNK {
        return kernels.dot(a, b);
    }
    let partial: Vec<f64> =
        a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(|(a, b)| kernels.dot(a, b)).collect();
    partial.iter().sum()
}

/// `y += alpha x`.
pub fn axpy(kernels: &Kernels, alpha: f64, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| kernels.axpy(alpha as f32, x, y));
}

/// `y = a - y`.
pub fn subtract_from(a: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .for_each(|(y, a)| y.iter_mut().zip(a).for_each(|(y, a)| *y = a - *y));
}

//! Inverse Cholesky factor of a symmetric positive definite matrix, applied as two matrix products.
//!
//! With `A = L L^T`, one elimination over `[A | I]` gives `L^-1`, so that `A^-1 v = L^-T (L^-1 v)`. The product is
//! positive semi-definite whatever the rounding of `L^-1`: a metric made of it never turns a descent direction round.

use std::ops::Range;

use rayon::prelude::*;

use crate::linear::products::{Arithmetic, BlockBuffer, Weights};
use crate::simd::Kernels;
use crate::stop::Stop;

/// Rows eliminated together.
const BLOCK: usize = 64;
/// Columns of one task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 256;

/// `L^-1` of a positive definite matrix.
#[derive(Debug)]
pub struct InverseFactor {
    size: usize,
    /// `L^-1`, row-major; zero above the diagonal.
    lower: Vec<f32>,
    forward: Vec<Panel>,
    backward: Vec<Panel>,
    stop: Stop,
}

/// Some outputs of a triangular product, and the inputs that reach them.
#[derive(Debug)]
struct Panel {
    outputs: Range<usize>,
    inputs: Range<usize>,
    weights: Weights,
    arithmetic: Arithmetic,
}

impl InverseFactor {
    /// Factors `matrix` (`size x size`, row-major; only the upper triangle is read). `None` where it is not positive
    /// definite in f32, and where `stop`, which also breaks off products with the factor, is set.
    pub fn new(matrix: Vec<f32>, size: usize, kernels: &'static Kernels, stop: &Stop) -> Option<Self> {
        assert_eq!(matrix.len(), size * size, "a square matrix");
        let lower = eliminate(matrix, size, kernels, stop)?;
        let arithmetic = Arithmetic::of_dense(kernels, CHUNK.min(size));
        let (forward, backward, stop) = (Vec::new(), Vec::new(), stop.clone());
        let mut factor = InverseFactor { size, lower, forward, backward, stop };
        factor.forward = factor.panels(arithmetic, false);
        factor.backward = factor.panels(arithmetic, true);
        factor.lower = Vec::new();
        Some(factor)
    }

    /// Rows and columns of the matrix.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// What breaks off work with it.
    pub(in crate::linear) fn stop(&self) -> &Stop {
        &self.stop
    }

    fn panels(&self, arithmetic: Arithmetic, transposed: bool) -> Vec<Panel> {
        let size = self.size;
        let starts: Vec<usize> = (0..size).step_by(CHUNK).collect();
        let panel = |&start: &usize| {
            let outputs = start..(start + CHUNK).min(size);
            let inputs = if transposed { start..size } else { 0..outputs.end };
            let mut values = Vec::with_capacity(outputs.len() * inputs.len());
            for output in outputs.clone() {
                if transposed {
                    values.extend(inputs.clone().map(|input| self.lower[input * size + output]));
                } else {
                    values.extend_from_slice(&self.lower[output * size..][inputs.clone()]);
                }
            }
            let mut weights = Weights::default();
            weights.lay_out(&values, outputs.len(), inputs.len(), arithmetic);
            Panel { outputs, inputs, weights, arithmetic }
        };
        starts.par_iter().map(panel).collect()
    }

    /// Replaces each row of `rows` (any number x size) by `A^-1` times it.
    pub fn solve(&self, rows: &mut [f32]) {
        self.whiten(rows);
        self.solve_whitened(rows);
    }

    /// Replaces each row of `rows` by `L^-1` times it.
    pub(super) fn whiten(&self, rows: &mut [f32]) {
        self.multiply(&self.forward, rows);
    }

    /// Replaces each row of `rows` by `L^-T` times it.
    pub(super) fn solve_whitened(&self, rows: &mut [f32]) {
        self.multiply(&self.backward, rows);
    }

    fn multiply(&self, panels: &[Panel], rows: &mut [f32]) {
        let results: Vec<Vec<f32>> =
            panels.par_iter().map(|panel| panel.multiply(rows, self.size, &self.stop)).collect();
        for (panel, result) in panels.iter().zip(&results) {
            let results = result.chunks_exact(panel.outputs.len());
            for (row, values) in rows.chunks_exact_mut(self.size).zip(results) {
                row[panel.outputs.clone()].copy_from_slice(values);
            }
        }
    }
}

impl Panel {
    /// `rows.len() / size x outputs`.
    fn multiply(&self, rows: &[f32], size: usize, stop: &Stop) -> Vec<f32> {
        const ROWS: usize = 256;
        let outputs = self.outputs.len();
        let mut product = vec![0.0; rows.len() / size * outputs];
        let bias = vec![0.0; outputs];
        product.par_chunks_mut(ROWS * outputs).zip(rows.par_chunks(ROWS * size)).for_each(|(z, rows)| {
            if stop.is_set() {
                return;
            }
            let mut buffer = BlockBuffer::default();
            let rows = rows.chunks_exact(size).map(|row| &row[self.inputs.clone()]);
            buffer.of_values(rows, self.inputs.len(), self.arithmetic).logits(&self.weights, &bias, z);
        });
        product
    }
}

/// Which side of `[A | I]` a task of the elimination is about.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    /// The upper triangle, which becomes `L^T`.
    Matrix,
    /// The lower triangle, which becomes `L^-1`.
    Identity,
}

/// `L^-1` of `matrix = L L^T`, in its lower triangle: only the upper one is read. Both sides of the elimination lie in the
/// one matrix, as each block of rows needs its pivot no longer when `L^-1` takes its place.
fn eliminate(mut matrix: Vec<f32>, size: usize, kernels: &Kernels, stop: &Stop) -> Option<Vec<f32>> {
    for start in (0..size).step_by(BLOCK) {
        if stop.is_set() {
            return None;
        }
        let end = (start + BLOCK).min(size);
        let rows = start..end;
        // What the rows before take away, side by side: where it lies in the matrix every row of it is a page of its own.
        let taken: Vec<f32> =
            (0..start).flat_map(|row| matrix[row * size..][rows.clone()].iter().copied()).collect();
        let pivot = eliminated(&matrix, &taken, size, rows.clone(), start..end, Side::Matrix, kernels);
        let unit = inverse_of_pivot(pivot, end - start)?;
        let of = |columns: Range<usize>, side: Side| {
            let block = eliminated(&matrix, &taken, size, rows.clone(), columns.clone(), side, kernels);
            let mut product = vec![0.0; block.len()];
            kernels.accumulate_gradient(&unit, BLOCK, rows.len(), &block, columns.len(), &mut product);
            (columns, product)
        };
        let chunks = |from: usize, to: usize, side: Side| {
            (from..to).step_by(CHUNK).map(move |c| (c..(c + CHUNK).min(to), side))
        };
        let tasks: Vec<_> = chunks(end, size, Side::Matrix).chain(chunks(0, end, Side::Identity)).collect();
        let done: Vec<_> = tasks.into_par_iter().map(|(columns, side)| of(columns, side)).collect();
        for (columns, product) in done {
            for (row, values) in rows.clone().zip(product.chunks_exact(columns.len())) {
                matrix[row * size..][columns.clone()].copy_from_slice(values);
            }
        }
    }
    for row in 0..size {
        matrix[row * size..][row + 1..size].fill(0.0);
    }
    Some(matrix)
}

/// Rows `rows` and columns `columns` of one side minus what the eliminated rows before them take away, by the factors
/// `taken` (rows before x `rows`).
fn eliminated(
    matrix: &[f32],
    taken: &[f32],
    size: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    side: Side,
    kernels: &Kernels,
) -> Vec<f32> {
    let mut sum = vec![0.0; rows.len() * columns.len()];
    // Row k of L^-1 ends at its diagonal: rows before the chunk hold nothing in it.
    let first = if side == Side::Identity { columns.start } else { 0 };
    if first < rows.start {
        let mut x = Vec::with_capacity((rows.start - first) * columns.len());
        for row in first..rows.start {
            let end = if side == Side::Identity { columns.end.min(row + 1) } else { columns.end };
            x.extend_from_slice(&matrix[row * size..][columns.start..end]);
            x.resize(x.len() + columns.end - end, 0.0);
        }
        let taken = &taken[first * rows.len()..];
        kernels.accumulate_gradient(taken, rows.len(), rows.len(), &x, columns.len(), &mut sum);
    }
    for (row, sum) in rows.zip(sum.chunks_exact_mut(columns.len())) {
        for (sum, column) in sum.iter_mut().zip(columns.clone()) {
            let value = match side {
                Side::Matrix => matrix[row * size + column],
                Side::Identity => f32::from(u8::from(row == column)),
            };
            *sum = value - *sum;
        }
    }
    sum
}

/// The Cholesky factor `L` of a pivot block in f64; returns `L^-1` column by column (`[k * BLOCK + row]`), the left
/// operand of the kernel that applies it.
fn inverse_of_pivot(pivot: Vec<f32>, size: usize) -> Option<Vec<f32>> {
    let mut factor = vec![0.0f64; size * size];
    let mut inverse = vec![0.0f64; size * size];
    for i in 0..size {
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| factor[i * size + k] * factor[j * size + k]).sum();
            // Only the upper triangle of the block is valid.
            let rest = f64::from(pivot[j * size + i]) - inner;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                factor[i * size + i] = rest.sqrt();
            } else {
                factor[i * size + j] = rest / factor[j * size + j];
            }
        }
        let diagonal = factor[i * size + i];
        for j in 0..=i {
            let unit = if i == j { 1.0 } else { 0.0 };
            let inner: f64 = (j..i).map(|k| factor[i * size + k] * inverse[k * size + j]).sum();
            inverse[i * size + j] = (unit - inner) / diagonal;
        }
    }
    let mut columns = vec![0.0; size * BLOCK];
    for row in 0..size {
        for k in 0..=row {
            columns[k * BLOCK + row] = inverse[row * size + k] as f32;
        }
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    /// `B B^T + shift I`.
    fn positive_definite(size: usize, shift: f32) -> Vec<f32> {
        let mut rng = CounterRng::new(7, size as u64);
        let b: Vec<f32> = (0..size * size).map(|_| rng.next_f64() as f32 - 0.5).collect();
        let mut matrix = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..size {
                matrix[i * size + j] = (0..size).map(|k| b[i * size + k] * b[j * size + k]).sum::<f32>()
                    + if i == j { shift } else { 0.0 };
            }
        }
        matrix
    }

    #[test]
    fn solves_for_sizes_around_the_blocks() {
        let kernels = Kernels::best();
        for size in [1, 2, 63, 64, 65, 130, 300] {
            let matrix = positive_definite(size, 0.1);
            let factor = InverseFactor::new(matrix.clone(), size, kernels, &Stop::default());
            let factor = factor.expect("positive definite");
            let right: Vec<f32> = (0..3 * size).map(|i| (i % 17) as f32 - 8.0).collect();
            let mut solution = right.clone();
            factor.solve(&mut solution);
            for (x, b) in solution.chunks(size).zip(right.chunks(size)) {
                for (i, &b) in b.iter().enumerate() {
                    let row: f64 = (0..size).map(|j| f64::from(matrix[i * size + j]) * f64::from(x[j])).sum();
                    assert!((row - f64::from(b)).abs() < 2e-2, "size {size}, row {i}: {row} is not {b}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        let kernels = Kernels::best();
        let mut matrix = positive_definite(100, 0.1);
        matrix[80 * 100 + 80] = -1.0;
        let never = Stop::default();
        assert!(InverseFactor::new(matrix, 100, kernels, &never).is_none());
        assert!(InverseFactor::new(vec![f32::NAN], 1, kernels, &never).is_none());
    }

    #[test]
    fn an_elimination_ends_at_the_block_where_it_is_stopped() {
        const SIZE: usize = 300;
        for blocks in 0..SIZE.div_ceil(BLOCK) {
            let stop = Stop::after(blocks);
            let matrix = positive_definite(SIZE, 0.1);
            assert!(InverseFactor::new(matrix, SIZE, Kernels::best(), &stop).is_none());
            assert_eq!(stop.asked(), blocks + 1);
        }
    }
}

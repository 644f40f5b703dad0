//! A number for each row and output: scores, and what is derived from them.
//!
//! Rows are cut into chunks; within a chunk the numbers of an output lie side by side. A tree reads and writes those of its
//! output alone, and a loss takes as many rows as there are lanes at once without moving a number.

use std::ops::Range;

use rayon::prelude::*;

/// Most rows of a chunk: what a tree reads of one output stays in the cache.
const MOST: usize = 1 << 14;

/// Chunks aimed at: enough for threads to have equal work.
const PIECES: usize = 16;

/// Rows of a chunk are a multiple of this, to which few rows are not cut down.
const FEWEST: usize = 1 << 10;

/// Rows of a chunk for so many rows in all. No matter of threads: sums go chunk by chunk, and are the same on any number.
pub(super) fn chunk_rows(rows: usize) -> usize {
    rows.div_ceil(PIECES).next_multiple_of(FEWEST).clamp(FEWEST, MOST)
}

/// The rows of each chunk of `rows` rows.
pub(super) fn chunks(rows: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let size = chunk_rows(rows);
    (0..rows.div_ceil(size)).into_par_iter().map(move |chunk| chunk * size..((chunk + 1) * size).min(rows))
}

/// A number for each row and output.
#[derive(Debug, Default)]
pub(super) struct Columns {
    rows: usize,
    outputs: usize,
    values: Vec<f32>,
}

impl Columns {
    /// From numbers row by row, rows x outputs.
    pub(super) fn from_rows(values: &[f32], outputs: usize) -> Self {
        let mut columns = Columns::default();
        columns.resize(values.len() / outputs.max(1), outputs);
        columns.chunks_mut().for_each(|(rows, chunk)| {
            let row_major = &values[rows.start * outputs..rows.end * outputs];
            for (output, column) in chunk.chunks_exact_mut(rows.len()).enumerate() {
                column
                    .iter_mut()
                    .zip(row_major.iter().skip(output).step_by(outputs))
                    .for_each(|(to, &x)| *to = x);
            }
        });
        columns
    }

    /// The numbers row by row, rows x outputs.
    pub(super) fn to_rows(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.values.len()];
        let size = (chunk_rows(self.rows) * self.outputs).max(1);
        values.par_chunks_mut(size).zip(self.values.par_chunks(size)).for_each(|(to, chunk)| {
            let rows = to.len() / self.outputs;
            for (output, column) in chunk.chunks_exact(rows).enumerate() {
                to.iter_mut().skip(output).step_by(self.outputs).zip(column).for_each(|(to, &x)| *to = x);
            }
        });
        values
    }

    /// Makes room for so many numbers; those there were are lost.
    pub(super) fn resize(&mut self, rows: usize, outputs: usize) {
        (self.rows, self.outputs) = (rows, outputs);
        self.values.resize(rows * outputs, 0.0);
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The numbers of an output in `rows`, the rows of a chunk.
    pub(super) fn of(&self, rows: &Range<usize>, output: usize) -> &[f32] {
        &self.values[rows.start * self.outputs + output * rows.len()..][..rows.len()]
    }

    /// The rows of each chunk and their numbers, output after output.
    pub(super) fn chunks_mut(&mut self) -> impl IndexedParallelIterator<Item = (Range<usize>, &mut [f32])> {
        let size = (chunk_rows(self.rows) * self.outputs).max(1);
        chunks(self.rows).zip(self.values.par_chunks_mut(size))
    }

    /// The numbers of each output, chunk by chunk.
    pub(super) fn by_output(&mut self) -> Vec<Vec<&mut [f32]>> {
        let mut columns: Vec<Vec<&mut [f32]>> = Vec::new();
        columns.resize_with(self.outputs, Vec::new);
        for chunk in self.values.chunks_mut((chunk_rows(self.rows) * self.outputs).max(1)) {
            let rows = chunk.len() / self.outputs;
            chunk.chunks_exact_mut(rows).zip(&mut columns).for_each(|(part, column)| column.push(part));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_row_by_row() {
        for (rows, outputs) in [(0, 3), (1, 1), (1500, 7), (40_000, 2), (1 << 15, 1), ((1 << 18) + 5, 1)] {
            let values: Vec<f32> = (0..rows * outputs).map(|at| at as f32).collect();
            let mut columns = Columns::from_rows(&values, outputs);
            assert_eq!(columns.to_rows(), values);
            let starts = chunks(rows).map(|rows| columns.of(&rows, outputs - 1)[0]).collect::<Vec<_>>();
            let wanted = chunks(rows).map(|rows| (rows.start * outputs + outputs - 1) as f32);
            assert_eq!(starts, wanted.collect::<Vec<_>>());
            let of_last: Vec<f32> = columns.by_output().pop().unwrap().concat();
            let wanted = values.iter().skip(outputs - 1).step_by(outputs).copied();
            assert_eq!(of_last, wanted.collect::<Vec<_>>());
        }
    }

    #[test]
    fn chunks_are_many_and_of_bounded_size() {
        for rows in [1, 5000, 43_500, 200_000, 500_000, 10_000_000] {
            let size = chunk_rows(rows);
            assert!((FEWEST..=MOST).contains(&size) && size.is_multiple_of(FEWEST));
            assert!(rows.div_ceil(size) >= (PIECES / 2).min(rows / FEWEST), "{rows}: {size}");
        }
    }
}

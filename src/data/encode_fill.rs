//! Writing columns side by side into the rows of a feature matrix.

use rayon::prelude::*;

use super::columns::{Numbers, append_vectors};
use super::encode::InputColumn;
use super::sparse::build_rows;
use crate::matrix::{Dtype, MatRef, Matrix, SparseRows, Storage};
use crate::{Error, Result};

/// Rows filled column by column before the next rows: their part of the matrix stays in cache.
const FILLED_ROWS: usize = 256;

/// Where the features of one input column come from.
pub(super) enum Source<'a> {
    Numbers(Numbers<'a>),
    /// One column a level.
    Levels {
        codes: &'a [u32],
        places: Vec<Option<usize>>,
        width: usize,
    },
    /// One column with the place of the level, NaN where there is none.
    Places {
        codes: &'a [u32],
        places: Vec<Option<usize>>,
    },
    Vector(&'a Matrix<'a>),
    /// Columns `start..start + width` of an f32 matrix in memory.
    Columns {
        matrix: &'a Matrix<'a>,
        start: usize,
        width: usize,
    },
}

impl<'a> Source<'a> {
    /// The features that `input` makes of the codes of a text column, whose levels lie at `places` among those of the
    /// input.
    pub(super) fn of_text(input: &InputColumn, codes: &'a [u32], places: Vec<Option<usize>>) -> Self {
        match input {
            InputColumn::Codes { .. } => Source::Places { codes, places },
            _ => Source::Levels { codes, places, width: input.width() },
        }
    }

    fn width(&self) -> usize {
        match self {
            Source::Numbers(_) | Source::Places { .. } => 1,
            Source::Levels { width, .. } | Source::Columns { width, .. } => *width,
            Source::Vector(matrix) => matrix.cols(),
        }
    }
}

/// `rows` sparse rows as wide as all sources together.
pub(super) fn sparse_rows(rows: usize, sources: &[Source<'_>]) -> SparseRows {
    build_rows(rows, |row, builder| {
        let mut offset = 0;
        for source in sources {
            match source {
                Source::Numbers(numbers) => builder.add(offset, numbers.get(row) as f32),
                Source::Levels { codes, places, .. } => {
                    if let Some(Some(place)) = places.get(codes[row] as usize) {
                        builder.add(offset + place, 1.0);
                    }
                }
                Source::Places { codes, places } => builder.add(offset, place_of(codes[row], places)),
                Source::Vector(matrix) => {
                    matrix.visit_rows([row], |_, values| builder.add_row(offset, values));
                }
                Source::Columns { matrix, start, width } => {
                    if let Some(MatRef::F32(values)) = matrix.rows_in_memory(row, row + 1) {
                        builder.add_row(offset, MatRef::F32(&values[*start..start + width]));
                    }
                }
            }
            offset += source.width();
        }
    })
}

/// Appends `rows` rows to an f32 matrix as wide as all sources together.
pub(super) fn append_filled(features: &mut Matrix, rows: usize, sources: &[Source<'_>]) -> Result<()> {
    if let ([Source::Vector(matrix)], true) = (sources, features.dtype() == Dtype::F32)
        && append_vectors(features, matrix, None)
    {
        return Ok(());
    }
    let width = features.cols();
    let Storage::F32(values) = features.storage_mut() else { return Ok(()) };
    let start = values.len();
    let added = rows.checked_mul(width).filter(|&added| values.try_reserve(added).is_ok());
    let Some(added) = added else {
        let need = (rows as u64).saturating_mul(width as u64).saturating_mul(4);
        return Err(Error::TooLarge {
            what: format!("{rows} rows of {width} features"),
            need,
            limit: isize::MAX as u64,
        });
    };
    values.resize(start + added, 0.0);
    values[start..].par_chunks_mut(FILLED_ROWS * width.max(1)).enumerate().for_each(|(chunk, out)| {
        let mut offset = 0;
        for source in sources {
            fill_rows(out, width, offset, chunk * FILLED_ROWS, source);
            offset += source.width();
        }
    });
    Ok(())
}

/// Writes one source into rows of `width` features, which start at row `first_row` of the source.
fn fill_rows(out: &mut [f32], width: usize, offset: usize, first_row: usize, source: &Source<'_>) {
    let rows = out.chunks_exact_mut(width).enumerate().map(|(row, out)| (first_row + row, out));
    match source {
        Source::Numbers(Numbers::Float(values)) => {
            rows.for_each(|(row, out)| out[offset] = values[row] as f32)
        }
        Source::Numbers(numbers) => rows.for_each(|(row, out)| out[offset] = numbers.get(row) as f32),
        Source::Levels { codes, places, .. } => rows.for_each(|(row, out)| {
            if let Some(Some(place)) = places.get(codes[row] as usize) {
                out[offset + place] = 1.0;
            }
        }),
        Source::Places { codes, places } => {
            rows.for_each(|(row, out)| out[offset] = place_of(codes[row], places));
        }
        Source::Vector(matrix) => rows.for_each(|(row, out)| {
            let out = &mut out[offset..offset + matrix.cols()];
            matrix.visit_rows([row], |_, values| copy_widened(out, values));
        }),
        Source::Columns { matrix, start, width } => rows.for_each(|(row, out)| {
            if let Some(MatRef::F32(values)) = matrix.rows_in_memory(row, row + 1) {
                out[offset..offset + width].copy_from_slice(&values[*start..start + width]);
            }
        }),
    }
}

/// The place of a level as a feature; a missing value has a code beyond all levels.
fn place_of(code: u32, places: &[Option<usize>]) -> f32 {
    places.get(code as usize).copied().flatten().map_or(f32::NAN, |place| place as f32)
}

fn copy_widened(out: &mut [f32], row: MatRef<'_>) {
    match row {
        MatRef::F32(values) => out.copy_from_slice(values),
        MatRef::F16(values) => out.iter_mut().zip(values).for_each(|(out, x)| *out = x.to_f32()),
        MatRef::Bf16(values) => out.iter_mut().zip(values).for_each(|(out, x)| *out = x.to_f32()),
        MatRef::Sparse(rows) => {
            out.fill(0.0);
            let (columns, values) = rows.entries();
            columns.iter().zip(values).for_each(|(&column, &value)| out[column as usize] = value);
        }
    }
}

/// The mean over `rows` of the values present in every column, 0 where none is; summed in f64 in the order of `rows`.
/// `row_weights`, one positive number for every row of `features`, weigh it.
pub(crate) fn column_means(features: &Matrix, rows: &[usize], row_weights: Option<&[f64]>) -> Vec<f32> {
    // Relative to the largest, so that products with the values stay in range.
    let largest = row_weights.map_or(1.0, |w| rows.iter().fold(0.0, |largest, &row| w[row].max(largest)));
    // Of sparse rows the weight of missing values is added up, of others that of present ones.
    let mut sums = vec![(0.0f64, 0.0f64); features.cols()];
    let mut total = 0.0;
    features.visit_rows(rows.iter().copied(), |at, values| {
        let weight = row_weights.map_or(1.0, |w| w[rows[at]] / largest);
        total += weight;
        match values {
            row @ MatRef::Sparse(_) => row.for_each_entry(|col, x| {
                let (sum, missing) = &mut sums[col];
                if x.is_nan() { *missing += weight } else { *sum += weight * f64::from(x) }
            }),
            row => row.for_each_entry(|col, x| {
                if !x.is_nan() {
                    sums[col].0 += weight * f64::from(x);
                    sums[col].1 += weight;
                }
            }),
        }
    });
    if features.dtype() == Dtype::Sparse {
        // Where all values are missing the two were added up alike, and nothing is left.
        sums.iter_mut().for_each(|(_, missing)| *missing = total - *missing);
    }
    let mean = |(sum, weight)| if weight > 0.0 { (sum / weight) as f32 } else { 0.0 };
    sums.into_iter().map(mean).collect()
}

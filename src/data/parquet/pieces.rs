//! Row groups of vectors that are too large for memory, handed out piece by piece.
//!
//! Writers put a million rows into one row group. The pages of a piece are decoded straight into the matrix, those on its
//! border once more for the next piece. Columns of scalars are small beside vectors: they are read whole and kept until
//! the last piece. What the direct decoder leaves to the general one is read whole, too.

use ::parquet::file::reader::FileReader;

use super::pages::PagePlace;
use super::schema::Source;
use super::{ParquetReader, set_length};
use crate::Result;
use crate::data::columns::{append_rows, retain_vectors};
use crate::data::table::{ColumnBuffer, FieldKind, new_buffer};
use crate::matrix::Dtype;

/// How many blocks a row group has at least to be cut into pieces.
const FEWEST: u64 = 2;

/// A row group that is being handed out.
pub(super) struct Pieces {
    rows: usize,
    done: usize,
    at_once: usize,
    /// In the order of the columns read.
    columns: Vec<Piece>,
}

enum Piece {
    Vectors(Source, Vec<PagePlace>),
    Held(ColumnBuffer),
}

impl ParquetReader {
    /// Makes the next row group one of pieces, if it is so large; `false`, and nothing done, if not.
    pub(super) fn start_pieces(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<bool> {
        let Some(at_once) = self.rows_at_once(columns)? else { return Ok(false) };
        let rows = self.group_rows()?;
        let mut pieces = Pieces { rows, done: 0, at_once, columns: Vec::with_capacity(columns.len()) };
        // Vectors first: if the direct decoder does not take them all, the group is left to the usual way.
        for (&column, buffer) in columns.iter().zip(into.iter_mut()) {
            if let ColumnBuffer::Vector(matrix) = buffer {
                let (source, places) = self.places_of(column)?;
                let (mut state, before) = (self.vectors[column].clone(), matrix.rows());
                if !self.direct(&source, &places, rows).append(&source, buffer, &mut state, 0..1) {
                    return Ok(false);
                }
                // It was only a trial.
                if let ColumnBuffer::Vector(matrix) = buffer {
                    retain_vectors(matrix, before, &[false]);
                }
                pieces.columns.push(Piece::Vectors(source, places));
            } else {
                pieces.columns.push(Piece::Held(ColumnBuffer::Float(Vec::new())));
            }
        }
        for (&column, piece) in columns.iter().zip(&mut pieces.columns) {
            if let Piece::Held(held) = piece {
                *held = self.whole_column(column)?;
            }
        }
        self.pieces = Some(pieces);
        Ok(true)
    }

    /// Appends the next piece.
    pub(super) fn append_piece(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let Some(mut pieces) = self.pieces.take() else { return Ok(0) };
        let (start, end) = (pieces.done, (pieces.done + pieces.at_once).min(pieces.rows));
        for ((&column, buffer), piece) in columns.iter().zip(into).zip(&mut pieces.columns) {
            if let Piece::Vectors(source, places) = piece {
                let mut state = self.vectors[column].clone();
                if self.direct(source, places, pieces.rows).append(source, buffer, &mut state, start..end) {
                    #[cfg(test)]
                    (self.read_directly += 1);
                    self.vectors[column] = state;
                    set_length(&mut self.fields[column].kind, &self.vectors[column]);
                    continue;
                }
                *piece = Piece::Held(self.whole_column(column)?);
            }
            match (piece, buffer) {
                // Only the levels of these rows: a piece must not carry the names of all.
                (Piece::Held(ColumnBuffer::Text(held)), ColumnBuffer::Text(into)) => {
                    (start..end).for_each(|row| into.push(held.get(row)));
                }
                (Piece::Held(held), buffer) => {
                    let keep: Vec<bool> = (0..pieces.rows).map(|row| (start..end).contains(&row)).collect();
                    append_rows(buffer, held, Some(&keep));
                }
                (Piece::Vectors(..), _) => {}
            }
        }
        pieces.done = end;
        if end < pieces.rows {
            self.pieces = Some(pieces);
        } else {
            self.end_group(pieces.rows);
        }
        Ok(end - start)
    }

    /// A column of the row group in a buffer of its own.
    fn whole_column(&mut self, column: usize) -> Result<ColumnBuffer> {
        let (source, _) = self.places_of(column)?;
        let mut buffer = new_buffer(&self.fields[column].kind).unwrap_or(ColumnBuffer::Float(Vec::new()));
        self.append_column(column, &source, &mut buffer)?;
        Ok(buffer)
    }

    /// Rows of a piece; `None` where the next row group is small enough as a whole, or has no vectors.
    fn rows_at_once(&self, columns: &[usize]) -> Result<Option<usize>> {
        let Some(block) = self.block_bytes else { return Ok(None) };
        let group = self.reader.metadata().row_group(self.next_group);
        let mut bytes = 0u64;
        for &column in columns {
            if let (FieldKind::Vector { dtype, .. }, Some(source)) =
                (&self.fields[column].kind, self.sources[column])
            {
                let width = if *dtype == Dtype::F16 { 2 } else { 4 };
                let values = group.column(source.leaf).num_values().max(0) as u64;
                bytes = bytes.saturating_add(values.saturating_mul(width));
            }
        }
        if bytes <= block.saturating_mul(FEWEST) {
            return Ok(None);
        }
        let row_bytes = bytes / self.group_rows()?.max(1) as u64;
        Ok(Some(usize::try_from(block / row_bytes.max(1)).unwrap_or(usize::MAX).max(1)))
    }
}

//! Parquet files, row group by row group, into column buffers.

mod codecs;
mod columns;
mod direct;
mod direct_levels;
mod direct_values;
mod half;
mod lists;
mod pages;
mod pieces;
mod runs;
mod schema;
#[cfg(test)]
mod tests;
mod thrift;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use ::parquet::file::reader::{FileReader, SerializedFileReader};

use self::columns::ChunkReader;
use self::direct::DirectChunk;
use self::pages::{ChunkClaims, PagePlace};
use self::pieces::Pieces;
use self::schema::Source;
use super::guard::guarded;
use super::hugging_face;
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use super::vectors::{VectorState, unusable};
use crate::{Error, Result};

/// Bytes the values of a column chunk may take in memory before they are weighed against the chunk's own size, and
/// how many times that size they may take then. Constant columns shrink to almost nothing, so the floor is high.
const CHUNK_MEMORY: u64 = 256 << 20;
const CHUNK_EXPANSION: u64 = 4096;

/// Reads a Parquet file; one block is one row group, or a piece of a large one of vectors.
pub struct ParquetReader {
    path: String,
    file: File,
    reader: SerializedFileReader<File>,
    fields: Vec<Field>,
    sources: Vec<Option<Source>>,
    vectors: Vec<VectorState>,
    next_group: usize,
    rows_read: u64,
    block_bytes: Option<u64>,
    /// The row group that is being handed out piece by piece.
    pieces: Option<Pieces>,
    /// Whether the direct decoder is left out, and how many column chunks it read.
    #[cfg(test)]
    general_only: bool,
    #[cfg(test)]
    read_directly: usize,
}

impl ParquetReader {
    /// Opens `path` and reads its footer.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Damaged`] where footer and file contradict each other.
    pub fn open(path: &str) -> Result<Self> {
        let io = |source| Error::io(path, "read", source);
        let mut file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        check_footer(path, &mut file, file_bytes)?;
        let handle = file.try_clone().map_err(io)?;
        guarded(path, || {
            let reader = SerializedFileReader::new(handle).map_err(|error| damaged(path, error))?;
            let metadata = reader.metadata();
            check_chunks(path, metadata, file_bytes)?;
            let (mut fields, sources): (Vec<_>, Vec<_>) =
                schema::fields_of(metadata.file_metadata().schema_descr()).into_iter().unzip();
            let entries = metadata.file_metadata().key_value_metadata().into_iter().flatten();
            for entry in entries.filter(|entry| entry.key == hugging_face::KEY) {
                hugging_face::name_classes(&mut fields, entry.value.as_deref().unwrap_or_default());
            }
            let vectors = vec![VectorState::default(); fields.len()];
            let path = path.to_owned();
            Ok(ParquetReader {
                path,
                file,
                reader,
                fields,
                sources,
                vectors,
                next_group: 0,
                rows_read: 0,
                block_bytes: None,
                pieces: None,
                #[cfg(test)]
                general_only: false,
                #[cfg(test)]
                read_directly: 0,
            })
        })
    }

    /// The same with blocks of about so many bytes of vectors at most, where they are given.
    #[must_use]
    pub fn with_block_bytes(mut self, bytes: Option<u64>) -> Self {
        self.block_bytes = bytes;
        self
    }

    fn append_group(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        if self.pieces.is_some() || self.start_pieces(columns, into)? {
            return self.append_piece(columns, into);
        }
        let rows = self.group_rows()?;
        for (&column, buffer) in columns.iter().zip(into) {
            let (source, places) = self.places_of(column)?;
            let direct =
                DirectChunk { ahead: self.ahead(source.leaf), ..self.direct(&source, &places, rows) };
            let mut state = self.vectors[column].clone();
            if direct.append(&source, buffer, &mut state, 0..rows) {
                #[cfg(test)]
                (self.read_directly += 1);
                self.vectors[column] = state;
                set_length(&mut self.fields[column].kind, &self.vectors[column]);
                continue;
            }
            self.append_column(column, &source, buffer)?;
        }
        self.end_group(rows);
        Ok(rows)
    }

    fn end_group(&mut self, rows: usize) {
        self.next_group += 1;
        self.rows_read += rows as u64;
    }

    fn group_rows(&self) -> Result<usize> {
        let rows = self.reader.metadata().row_group(self.next_group).num_rows();
        usize::try_from(rows).map_err(|error| damaged(&self.path, error))
    }

    /// Where a column of the row group comes from, its sizes checked, and the places of its pages.
    fn places_of(&self, column: usize) -> Result<(Source, Vec<PagePlace>)> {
        let field = &self.fields[column];
        let Some(source) = self.sources[column] else {
            return Err(unusable(&self.path, &field.name, type_of(field)));
        };
        let places = self.check_pages(self.reader.metadata().row_group(self.next_group), source.leaf)?;
        // Without places there is no direct way.
        #[cfg(test)]
        let places = if self.general_only { Vec::new() } else { places };
        Ok((source, places))
    }

    fn direct<'a>(&'a self, source: &Source, places: &'a [PagePlace], rows: usize) -> DirectChunk<'a> {
        let chunk = self.reader.metadata().row_group(self.next_group).column(source.leaf);
        let levels = chunk.num_values().max(0) as usize;
        DirectChunk { path: &self.path, file: &self.file, chunk, places, rows, levels, ahead: (0, 0) }
    }

    /// Appends a whole column of the row group by the general decoder.
    fn append_column(&mut self, column: usize, source: &Source, buffer: &mut ColumnBuffer) -> Result<()> {
        let rows = self.group_rows()?;
        let metadata = self.reader.metadata();
        let name = &self.fields[column].name;
        let damage = |error| damaged(&self.path, format_args!("column {name:?}: {error}"));
        let row_group =
            self.reader.get_row_group(self.next_group).map_err(|error| damaged(&self.path, error))?;
        let pages = row_group.get_column_page_reader(source.leaf).map_err(damage)?;
        let descriptor = metadata.file_metadata().schema_descr().column(source.leaf);
        let expected = metadata.row_group(self.next_group).column(source.leaf).num_values().max(0) as usize;
        let chunk = ChunkReader::new(&self.path, name, *source, descriptor, pages, rows, expected);
        chunk.after(self.rows_read).append(buffer, &mut self.vectors[column])?;
        set_length(&mut self.fields[column].kind, &self.vectors[column]);
        Ok(())
    }

    /// Checks sizes within a column chunk before the decoder allocates by them; returns the places of its pages.
    fn check_pages(&self, group: &RowGroupMetaData, leaf: usize) -> Result<Vec<PagePlace>> {
        let chunk = group.column(leaf);
        let (start, bytes) = chunk.byte_range();
        let values = chunk.num_values().max(0) as u64;
        let (need, limit) =
            (values.saturating_mul(8), CHUNK_MEMORY.max(bytes.saturating_mul(CHUNK_EXPANSION)));
        if need > limit {
            let what =
                format!("{}: column {} of row group {}", self.path, chunk.column_path(), self.next_group + 1);
            return Err(Error::TooLarge { what, need, limit });
        }
        let claims = ChunkClaims { start, bytes, values, codec: chunk.compression() };
        pages::check_headers(&self.file, &claims)
            .map_err(|detail| damaged(&self.path, format_args!("column {}: {detail}", chunk.column_path())))
    }

    /// Levels and bytes that the footer gives a column in all row groups; none once room was made for them.
    fn ahead(&self, leaf: usize) -> (u64, u64) {
        if self.next_group > 0 {
            return (0, 0);
        }
        let chunks = self.reader.metadata().row_groups().iter().map(|group| group.column(leaf));
        chunks.fold((0, 0), |(levels, bytes), chunk| {
            let (_, length) = chunk.byte_range();
            (levels.saturating_add(chunk.num_values().max(0) as u64), bytes.saturating_add(length))
        })
    }

    /// A selected vector column whose length no row has told yet.
    fn waits_for_vector(&self, columns: &[usize]) -> Option<usize> {
        columns.iter().copied().find(|&column| self.vectors[column].leading_nulls > 0)
    }
}

impl TableReader for ParquetReader {
    fn source(&self) -> &str {
        &self.path
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row_count(&self) -> Option<u64> {
        self.reader.metadata().file_metadata().num_rows().try_into().ok()
    }

    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let mut appended = 0;
        while self.next_group < self.reader.num_row_groups() {
            let path = self.path.clone();
            appended += guarded(&path, || self.append_group(columns, into))?;
            // Null vectors take their length from the first real one, which a later row group may hold.
            if appended > 0 && self.waits_for_vector(columns).is_none() {
                return Ok(appended);
            }
        }
        match self.waits_for_vector(columns) {
            Some(column) => Err(unusable(&self.path, &self.fields[column].name, "null vectors only".into())),
            None => Ok(appended),
        }
    }
}

fn set_length(kind: &mut FieldKind, state: &VectorState) {
    if let FieldKind::Vector { len, .. } = kind {
        *len = state.len;
    }
}

fn type_of(field: &Field) -> String {
    match &field.kind {
        FieldKind::Other(name) => name.clone(),
        kind => format!("{kind:?}"),
    }
}

fn damaged(path: &str, detail: impl std::fmt::Display) -> Error {
    Error::Damaged { file: path.to_owned(), detail: detail.to_string() }
}

/// The last eight bytes: length of the footer and the mark.
fn check_footer(path: &str, file: &mut File, file_bytes: u64) -> Result<()> {
    const TAIL: u64 = 8;
    let io = |source| Error::io(path, "read", source);
    if file_bytes < 4 + TAIL {
        return Err(damaged(path, format_args!("{file_bytes} bytes are too few for a Parquet file")));
    }
    let mut tail = [0; TAIL as usize];
    file.seek(SeekFrom::End(-(TAIL as i64))).map_err(io)?;
    file.read_exact(&mut tail).map_err(io)?;
    let [a, b, c, d, mark @ ..] = tail;
    if mark != *b"PAR1" {
        return Err(damaged(
            path,
            format_args!("it ends at byte {file_bytes} without the closing mark PAR1"),
        ));
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer + 4 + TAIL > file_bytes {
        return Err(damaged(
            path,
            format_args!("its footer claims {footer} bytes, the file has {file_bytes}"),
        ));
    }
    Ok(())
}

/// Every column chunk must lie within the file, and row groups must add up.
fn check_chunks(path: &str, metadata: &ParquetMetaData, file_bytes: u64) -> Result<()> {
    let mut rows = 0i64;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(damaged(
                path,
                format_args!("row group {} claims {} rows", index + 1, group.num_rows()),
            ));
        }
        rows = rows.saturating_add(group.num_rows());
        for chunk in group.columns() {
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let end = start.checked_add(chunk.compressed_size());
            let inside =
                start >= 4 && chunk.compressed_size() >= 0 && end.is_some_and(|end| end as u64 <= file_bytes);
            if !inside {
                return Err(damaged(
                    path,
                    format_args!(
                        "row group {}, column {}: {} bytes from byte {start} on, the file ends at byte {file_bytes}",
                        index + 1,
                        chunk.column_path(),
                        chunk.compressed_size()
                    ),
                ));
            }
        }
    }
    let claimed = metadata.file_metadata().num_rows();
    if rows != claimed {
        return Err(damaged(
            path,
            format_args!("its footer claims {claimed} rows, the row groups hold {rows}"),
        ));
    }
    Ok(())
}

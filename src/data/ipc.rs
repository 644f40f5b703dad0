//! Arrow IPC, as file (Feather V2) or as stream, record batch by record batch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, stdin};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::MessageHeader;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_schema::{Schema, SchemaRef};

use super::guard::guarded;
use super::hugging_face;
use super::ipc_columns::{append_array, kind_of};
use super::ipc_messages::{FILE_MARK, Messages, check_buffers, damaged};
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use super::vectors::{VectorState, unusable};
use crate::{Error, Result};

/// Reads an Arrow IPC file or stream; one block is one record batch.
pub struct IpcReader {
    path: String,
    messages: Messages,
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    fields: Vec<Field>,
    vectors: Vec<VectorState>,
    rows_read: u64,
}

impl IpcReader {
    /// Opens `path` (`-` is standard input) and reads the schema.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Damaged`] where its parts contradict each other.
    pub fn open(path: &str) -> Result<Self> {
        if path == "-" {
            return Self::from_pipe("<stdin>", Box::new(stdin()));
        }
        let io = |source| Error::io(path, "read", source);
        let mut file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut head = [0; 6];
        let is_file = file.read_exact(&mut head).is_ok() && head == *FILE_MARK;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        guarded(path, || {
            let input = BufReader::new(file);
            Self::new(
                path,
                if is_file {
                    Messages::of_file(path, Box::new(input))?
                } else {
                    Messages::of_stream(path, Box::new(input), Some(bytes))?
                },
            )
        })
    }

    /// Reads a stream as it comes; a file is taken into memory first, because its index stands at the end.
    fn from_pipe(path: &str, mut input: Box<dyn Read + Send>) -> Result<Self> {
        let io = |source| Error::io(path, "read", source);
        let mut held = Vec::new();
        input.by_ref().take(FILE_MARK.len() as u64).read_to_end(&mut held).map_err(io)?;
        let is_file = held == FILE_MARK;
        if is_file {
            input.read_to_end(&mut held).map_err(io)?;
        }
        guarded(path, || {
            Self::new(
                path,
                if is_file {
                    Messages::of_file(path, Box::new(Cursor::new(held)))?
                } else {
                    Messages::of_stream(path, Box::new(Cursor::new(held).chain(input)), None)?
                },
            )
        })
    }

    fn new(path: &str, (schema, messages): (Schema, Messages)) -> Result<Self> {
        let describe = |field: &arrow_schema::FieldRef| Field {
            name: field.name().clone(),
            kind: kind_of(field.data_type()),
            class_names: None,
        };
        let mut fields: Vec<Field> = schema.fields().iter().map(describe).collect();
        if let Some(metadata) = schema.metadata().get(hugging_face::KEY) {
            hugging_face::name_classes(&mut fields, metadata);
        }
        let state = |field: &Field| match field.kind {
            FieldKind::Vector { len, .. } => VectorState { len, leading_nulls: 0 },
            _ => VectorState::default(),
        };
        Ok(IpcReader {
            path: path.to_owned(),
            messages,
            vectors: fields.iter().map(state).collect(),
            schema: Arc::new(schema),
            dictionaries: HashMap::new(),
            fields,
            rows_read: 0,
        })
    }

    /// The next record batch, reduced to `columns`.
    fn next_batch(&mut self, columns: &[usize]) -> Result<Option<RecordBatch>> {
        let path = &self.path;
        while let Some((head, body)) = self.messages.next()? {
            let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(path, error))?;
            let version = message.version();
            if let Some(batch) = message.header_as_record_batch() {
                check_buffers(path, &batch, &body)?;
                let schema = self.schema.clone();
                let batch =
                    read_record_batch(&body, batch, schema, &self.dictionaries, Some(columns), &version);
                return batch.map(Some).map_err(|error| damaged(path, error));
            }
            if let Some(dictionary) = message.header_as_dictionary_batch() {
                if let Some(batch) = dictionary.data() {
                    check_buffers(path, &batch, &body)?;
                }
                read_dictionary(&body, dictionary, &self.schema, &mut self.dictionaries, &version)
                    .map_err(|error| damaged(path, error))?;
            } else if message.header_type() != MessageHeader::NONE {
                let kind = message.header_type().variant_name().unwrap_or("unknown");
                return Err(damaged(path, format_args!("a message of type {kind} among its data")));
            }
        }
        Ok(None)
    }

    /// Appends one record batch; `None` at the end of the stream.
    fn append_batch(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<Option<usize>> {
        for &column in columns {
            if let FieldKind::Other(kind) = &self.fields[column].kind {
                return Err(unusable(&self.path, &self.fields[column].name, kind.clone()));
            }
        }
        let Some(batch) = self.next_batch(columns)? else { return Ok(None) };
        for ((&column, buffer), array) in columns.iter().zip(into).zip(batch.columns()) {
            let place = (self.path.as_str(), self.fields[column].name.as_str());
            append_array(place, array, buffer, &mut self.vectors[column], self.rows_read)?;
            if let FieldKind::Vector { len, .. } = &mut self.fields[column].kind {
                *len = self.vectors[column].len;
            }
        }
        self.rows_read += batch.num_rows() as u64;
        Ok(Some(batch.num_rows()))
    }

    /// A selected vector column whose length no row has told yet.
    fn waits_for_vector(&self, columns: &[usize]) -> Option<usize> {
        columns.iter().copied().find(|&column| self.vectors[column].leading_nulls > 0)
    }
}

impl TableReader for IpcReader {
    fn source(&self) -> &str {
        &self.path
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row_count(&self) -> Option<u64> {
        None
    }

    fn append_block(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<usize> {
        let path = self.path.clone();
        let mut appended = 0;
        while let Some(rows) = guarded(&path, || self.append_batch(columns, into))? {
            appended += rows;
            // Null vectors take their length from the first real one, which a later batch may hold.
            if appended > 0 && self.waits_for_vector(columns).is_none() {
                return Ok(appended);
            }
        }
        match self.waits_for_vector(columns) {
            Some(column) => Err(unusable(&path, &self.fields[column].name, "null vectors only".into())),
            None => Ok(appended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::new_buffer;

    #[test]
    fn pipes_bring_files_and_streams() {
        for name in ["zstd_file.arrow", "zstd_stream.arrow"] {
            let path = format!("{}/tests/golden/formats/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut reader = IpcReader::from_pipe("<stdin>", Box::new(File::open(path).unwrap())).unwrap();
            let mut into = [new_buffer(&reader.fields()[0].kind).unwrap()];
            assert_eq!(reader.append_block(&[0], &mut into).unwrap(), 300, "{name}");
            assert_eq!(reader.append_block(&[0], &mut into).unwrap(), 0, "{name}");
        }
    }
}

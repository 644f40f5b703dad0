//! Arrow IPC, as file (Feather V2) or as stream, record batch by record batch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom, stdin};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{Schema, SchemaRef};

use super::guard::guarded;
use super::hugging_face;
use super::ipc_columns::{append_array, kind_of};
use super::ipc_direct::BodyInFile;
use super::ipc_messages::{Body, FILE_MARK, Messages, check_buffers, damaged};
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use super::vectors::{VectorState, unusable};
use crate::positioned::read_exact_at;
use crate::{Error, Result};

/// Reads an Arrow IPC file or stream; one block is one record batch.
pub struct IpcReader {
    path: String,
    messages: Messages,
    /// The file that bodies of messages lie in, and its length.
    file: Option<(File, u64)>,
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
        // Not a clone, whose cursor would be shared: reading at a place moves it on some systems.
        let bodies = File::open(path).map_err(io)?;
        guarded(path, || {
            let mut reader = Self::new(
                path,
                if is_file {
                    Messages::of_file(path, Box::new(BufReader::new(file)), true)?
                } else {
                    Messages::of_stream(path, file, bytes)?
                },
            )?;
            reader.file = Some((bodies, bytes));
            Ok(reader)
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
                    Messages::of_file(path, Box::new(Cursor::new(held)), false)?
                } else {
                    Messages::of_pipe(path, Box::new(Cursor::new(held).chain(input)))?
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
            file: None,
            vectors: fields.iter().map(state).collect(),
            schema: Arc::new(schema),
            dictionaries: HashMap::new(),
            fields,
            rows_read: 0,
        })
    }

    /// Appends one record batch; `None` at the end of the data.
    fn append_batch(&mut self, columns: &[usize], into: &mut [ColumnBuffer]) -> Result<Option<usize>> {
        for &column in columns {
            if let FieldKind::Other(kind) = &self.fields[column].kind {
                return Err(unusable(&self.path, &self.fields[column].name, kind.clone()));
            }
        }
        while let Some((head, body)) = self.messages.next()? {
            let path = self.path.clone();
            let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(&path, error))?;
            let version = message.version();
            if let Some(batch) = message.header_as_record_batch() {
                let rows = self.append_columns(batch, body, &version, columns, into)?;
                self.rows_read += rows as u64;
                return Ok(Some(rows));
            }
            if let Some(dictionary) = message.header_as_dictionary_batch() {
                let body = self.read_body(&body)?;
                if let Some(batch) = dictionary.data() {
                    check_buffers(&path, &batch, &body)?;
                }
                read_dictionary(&body, dictionary, &self.schema, &mut self.dictionaries, &version)
                    .map_err(|error| damaged(&path, error))?;
            } else if message.header_type() != MessageHeader::NONE {
                let kind = message.header_type().variant_name().unwrap_or("unknown");
                return Err(damaged(&path, format_args!("a message of type {kind} among its data")));
            }
        }
        Ok(None)
    }

    /// Appends `columns` of a record batch and returns the number of its rows.
    fn append_columns(
        &mut self,
        batch: arrow_ipc::RecordBatch<'_>,
        body: Body,
        version: &MetadataVersion,
        columns: &[usize],
        into: &mut [ColumnBuffer],
    ) -> Result<usize> {
        // Columns left to the general decoder, and their places among those asked for.
        let (mut left, mut places) = (columns.to_vec(), (0..columns.len()).collect::<Vec<_>>());
        let body = match (body, &self.file) {
            (Body::InFile { start, length }, Some((file, file_bytes))) => {
                let is_first = self.rows_read == 0;
                let body = BodyInFile { file, file_bytes: *file_bytes, start, length, batch, is_first };
                let mut taken = Vec::new();
                places.retain(|&at| {
                    let state = &mut self.vectors[columns[at]];
                    let read = body.append(&self.schema, columns[at], &mut into[at], state);
                    taken.extend(read);
                    read.is_none()
                });
                left = places.iter().map(|&at| columns[at]).collect();
                let body = body.read_without(&taken);
                Buffer::from_vec(body.map_err(|error| self.body_error(error))?)
            }
            (body, _) => self.read_body(&body)?,
        };
        check_buffers(&self.path, &batch, &body)?;
        let schema = self.schema.clone();
        let decoded = read_record_batch(&body, batch, schema, &self.dictionaries, Some(&left), version);
        let decoded = decoded.map_err(|error| damaged(&self.path, error))?;
        for ((&column, &at), array) in left.iter().zip(&places).zip(decoded.columns()) {
            let place = (self.path.as_str(), self.fields[column].name.as_str());
            append_array(place, array, &mut into[at], &mut self.vectors[column], self.rows_read)?;
        }
        for &column in columns {
            if let FieldKind::Vector { len, .. } = &mut self.fields[column].kind {
                *len = self.vectors[column].len;
            }
        }
        Ok(decoded.num_rows())
    }

    /// The whole body of a message.
    fn read_body(&self, body: &Body) -> Result<Buffer> {
        match (body, &self.file) {
            (Body::Held(bytes), _) => Ok(bytes.clone()),
            (&Body::InFile { start, length }, Some((file, _))) => {
                let mut bytes = vec![0; length];
                read_exact_at(file, &mut bytes, start).map_err(|error| self.body_error(error))?;
                Ok(Buffer::from_vec(bytes))
            }
            (Body::InFile { .. }, None) => Err(damaged(&self.path, "a body without its file")),
        }
    }

    /// Bodies were found to lie within the file.
    fn body_error(&self, error: std::io::Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof => damaged(&self.path, "it became shorter while it was read"),
            _ => Error::io(&self.path, "read", error),
        }
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
    use crate::data::vectors::Element;
    use crate::matrix::Dtype;
    use half::f16;

    /// Room made batch by batch moves the rows that are there each time: of ten batches that takes five times as long.
    #[test]
    fn room_for_the_vectors_of_later_batches_is_made_with_the_first() {
        let path = format!("{}/tests/golden/formats/mixed_file.arrow", env!("CARGO_MANIFEST_DIR"));
        for name in ["fixed", "list"] {
            let mut reader = IpcReader::open(&path).unwrap();
            let column = reader.fields().iter().position(|field| field.name == name).unwrap();
            let mut into = [new_buffer(&reader.fields()[column].kind).unwrap()];
            let first = reader.append_block(&[column], &mut into).unwrap();
            let ColumnBuffer::Vector(matrix) = &mut into[0] else { panic!("no vectors") };
            let room = match matrix.dtype() {
                Dtype::F16 => f16::take(matrix).unwrap().capacity(),
                _ => f32::take(matrix).unwrap().capacity(),
            };
            assert!(first < 5 && room >= 5 * 2, "{name}: {first} of 5 rows, room for {room} values");
        }
    }

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

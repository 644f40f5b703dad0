//! Arrow IPC, as file (Feather V2) or as stream, record batch by record batch.
//!
//! A file is a stream between two marks with an index behind it, so both are read in order, through one door. Messages
//! are taken apart here, because the sizes in them are checked before anything is allocated or decompressed by them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, stdin};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{CompressionType, Endianness, MessageHeader};
use arrow_schema::SchemaRef;

use super::guard::guarded;
use super::hugging_face;
use super::ipc_columns::{append_array, kind_of};
use super::table::{ColumnBuffer, Field, FieldKind, TableReader};
use super::vectors::{VectorState, unusable};
use crate::{Error, Result};

const FILE_MARK: &[u8; 6] = b"ARROW1";
const CONTINUATION: [u8; 4] = [0xff; 4];

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
            return Self::new("<stdin>", Box::new(stdin()), None);
        }
        let io = |source| Error::io(path, "read", source);
        let mut file = File::open(path).map_err(io)?;
        let mut bytes = file.metadata().map_err(io)?.len();
        let mut head = [0; 6];
        let is_file = file.read_exact(&mut head).is_ok() && head == *FILE_MARK;
        if is_file {
            bytes = end_of_stream(path, &mut file, bytes)?;
        }
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        Self::new(path, Box::new(BufReader::new(file)), Some(bytes))
    }

    /// Reads from `input`, whose stream ends within `bytes` bytes where that is known.
    fn new(path: &str, input: Box<dyn Read + Send>, bytes: Option<u64>) -> Result<Self> {
        let mut messages = Messages { path: path.to_owned(), input, left: bytes };
        messages.pass_file_mark()?;
        guarded(path, || {
            let Some((head, _)) = messages.next()? else { return Err(damaged(path, "it has no schema")) };
            let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(path, error))?;
            let schema =
                message.header_as_schema().ok_or_else(|| damaged(path, "its first message is no schema"))?;
            if schema.endianness() == Endianness::Big {
                let recipe = "write it on a little-endian machine".to_owned();
                return Err(Error::UnsupportedFormat {
                    file: path.into(),
                    kind: "big-endian Arrow data".into(),
                    recipe,
                });
            }
            let schema =
                arrow_ipc::convert::try_fb_to_schema(schema).map_err(|error| damaged(path, error))?;
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

/// Where the stream inside a file ends: before its footer.
fn end_of_stream(path: &str, file: &mut File, bytes: u64) -> Result<u64> {
    const TAIL: u64 = 10;
    let io = |source| Error::io(path, "read", source);
    let cut = || damaged(path, format_args!("it ends at byte {bytes} without the closing mark ARROW1"));
    let before_tail = bytes.checked_sub(TAIL).ok_or_else(cut)?;
    let mut tail = [0; TAIL as usize];
    file.seek(SeekFrom::Start(before_tail)).map_err(io)?;
    file.read_exact(&mut tail).map_err(io)?;
    let [a, b, c, d, mark @ ..] = tail;
    if mark != *FILE_MARK {
        return Err(cut());
    }
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    before_tail
        .checked_sub(footer)
        .filter(|&end| end >= 8)
        .ok_or_else(|| damaged(path, format_args!("its footer claims {footer} bytes, the file has {bytes}")))
}

/// The messages of a stream.
struct Messages {
    path: String,
    input: Box<dyn Read + Send>,
    /// Bytes that can still follow, where that is known.
    left: Option<u64>,
}

impl Messages {
    /// Steps over the mark and padding at the start of a file.
    fn pass_file_mark(&mut self) -> Result<()> {
        let head = self.take(8)?;
        if !head.starts_with(FILE_MARK) {
            let input = std::mem::replace(&mut self.input, Box::new(std::io::empty()));
            self.left = self.left.map(|left| left + 8);
            self.input = Box::new(Cursor::new(head).chain(input));
        }
        Ok(())
    }

    /// Head and body of the next message; `None` at the end of the stream, with or without its mark.
    fn next(&mut self) -> Result<Option<(Vec<u8>, Buffer)>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let mut word = [0; 4];
        let mut held = 0;
        while held < word.len() {
            match self.input.read(&mut word[held..]) {
                Ok(0) if held == 0 => return Ok(None),
                Ok(0) => return Err(damaged(&self.path, "it ends within a message")),
                Ok(read) => held += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(self.path.clone(), "read", error)),
            }
        }
        self.left = self.left.map(|left| left.saturating_sub(4));
        if word == CONTINUATION {
            word.copy_from_slice(&self.take(4)?);
        }
        let length = i32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        let length =
            u64::try_from(length).map_err(|_| damaged(&self.path, "a message of negative length"))?;
        let head = self.take(length)?;
        let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(&self.path, error))?;
        let body = u64::try_from(message.bodyLength())
            .map_err(|_| damaged(&self.path, "a message body of negative length"))?;
        let body = self.take(body)?;
        Ok(Some((head, Buffer::from_vec(body))))
    }

    /// Exactly `count` bytes; memory grows with what arrives where the end is not known.
    fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        const AT_ONCE: u64 = 1 << 20;
        if let Some(left) = &mut self.left {
            let cut = |left: &u64| {
                damaged(&self.path, format_args!("{count} bytes should follow, {left} are left"))
            };
            *left = left.checked_sub(count).ok_or_else(|| cut(left))?;
        }
        let at_once = if self.left.is_some() { count } else { count.min(AT_ONCE) };
        let mut bytes = Vec::with_capacity(at_once as usize);
        let read = self.input.by_ref().take(count).read_to_end(&mut bytes);
        let read = read.map_err(|source| Error::io(self.path.clone(), "read", source))?;
        if read as u64 == count {
            return Ok(bytes);
        }
        Err(damaged(&self.path, format_args!("{count} bytes should follow, {read} are left")))
    }
}

/// Buffers must lie within the body, and compressed ones claim no more than their codec can hold.
fn check_buffers(path: &str, batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<()> {
    let expansion = batch.compression().map(|compression| match compression.codec() {
        CompressionType::LZ4_FRAME => 256u64,
        _ => 1 << 16,
    });
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let range = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
        let bytes = range
            .and_then(|range| body.get(range))
            .ok_or_else(|| damaged(path, "a buffer beyond its batch"))?;
        let (Some(expansion), Some(claim)) = (expansion, bytes.first_chunk::<8>()) else { continue };
        // -1 marks a buffer that is stored as it is.
        let claim = u64::try_from(i64::from_le_bytes(*claim)).unwrap_or(0);
        if claim > (bytes.len() as u64).saturating_mul(expansion) {
            return Err(damaged(
                path,
                format_args!("a buffer of {} bytes that claims to hold {claim}", bytes.len()),
            ));
        }
    }
    Ok(())
}

fn damaged(path: &str, detail: impl std::fmt::Display) -> Error {
    Error::Damaged { file: path.to_owned(), detail: detail.to_string() }
}

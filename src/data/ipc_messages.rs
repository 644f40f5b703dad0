//! The messages of Arrow IPC data: one after the other in a stream, by the index at the end in a file.
//!
//! A file has to be read by its index: polars writes the schema there only, and dictionaries behind the batches that
//! use them. Every size is checked against what is there before anything is allocated by it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::vec::IntoIter;

use arrow_buffer::Buffer;
use arrow_ipc::{Block, CompressionType, Endianness};
use arrow_schema::Schema;

use crate::{Error, Result};

/// The mark at both ends of a file.
pub(crate) const FILE_MARK: &[u8; 6] = b"ARROW1";
/// Heads of messages have some hundred bytes, and what is read beyond them is mostly left unused.
const STREAM_BUFFER: usize = 1 << 10;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A file, or the whole of a pipe in memory.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

/// Head and body of a message.
pub(crate) type Message = (Vec<u8>, Body);

/// What follows the head of a message.
pub(crate) enum Body {
    /// Bytes read already.
    Held(Buffer),
    /// Bytes of the file that is read, which has them.
    InFile {
        /// The first of them.
        start: u64,
        /// Their number.
        length: usize,
    },
}

/// The messages behind the schema.
pub(crate) enum Messages {
    /// In the order they come; the bytes left, where that is known.
    Stream { path: String, input: Box<dyn Read + Send>, left: Option<u64> },
    /// A stream of so many bytes in a file, whose bodies are left there.
    StreamFile { path: String, input: BufReader<File>, bytes: u64, left: Option<u64> },
    /// In the order of the index, dictionaries first; `in_place` leaves bodies in the file.
    File { path: String, input: Box<dyn ReadSeek>, bytes: u64, blocks: IntoIter<Block>, in_place: bool },
}

impl Messages {
    /// Reads the schema at the start of a stream that comes through a pipe.
    pub(crate) fn of_pipe(path: &str, input: Box<dyn Read + Send>) -> Result<(Schema, Self)> {
        Messages::Stream { path: path.to_owned(), input, left: None }.with_schema(path)
    }

    /// Reads the schema at the start of a stream of `bytes` bytes in a file.
    pub(crate) fn of_stream(path: &str, file: File, bytes: u64) -> Result<(Schema, Self)> {
        let input = BufReader::with_capacity(STREAM_BUFFER, file);
        Messages::StreamFile { path: path.to_owned(), input, bytes, left: Some(bytes) }.with_schema(path)
    }

    fn with_schema(self, path: &str) -> Result<(Schema, Self)> {
        let mut messages = self;
        let Some((head, _)) = messages.next()? else { return Err(damaged(path, "it has no schema")) };
        let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(path, error))?;
        let schema =
            message.header_as_schema().ok_or_else(|| damaged(path, "its first message is no schema"))?;
        Ok((native_schema(path, schema)?, messages))
    }

    /// Reads schema and index at the end of a file.
    pub(crate) fn of_file(
        path: &str,
        mut input: Box<dyn ReadSeek>,
        in_place: bool,
    ) -> Result<(Schema, Self)> {
        const TAIL: u64 = 10;
        let io = |source| Error::io(path, "read", source);
        let bytes = input.seek(SeekFrom::End(0)).map_err(io)?;
        let cut = || damaged(path, format_args!("it ends at byte {bytes} without the closing mark ARROW1"));
        let before_tail = bytes.checked_sub(TAIL).ok_or_else(cut)?;
        let tail = read_at(path, &mut input, bytes, before_tail, TAIL)?;
        let Some((length, FILE_MARK)) =
            tail.split_first_chunk::<4>().and_then(|(n, mark)| Some((n, mark.try_into().ok()?)))
        else {
            return Err(cut());
        };
        let length = u64::from(u32::from_le_bytes(*length));
        let start = before_tail.checked_sub(length).filter(|&start| start >= FILE_MARK.len() as u64);
        let start = start.ok_or_else(|| {
            damaged(path, format_args!("its footer claims {length} bytes, the file has {bytes}"))
        })?;
        let footer = read_at(path, &mut input, bytes, start, length)?;
        let footer = arrow_ipc::root_as_footer(&footer).map_err(|error| damaged(path, error))?;
        let schema = footer.schema().ok_or_else(|| damaged(path, "it has no schema"))?;
        let dictionaries = footer.dictionaries().into_iter().flatten();
        let blocks: Vec<Block> =
            dictionaries.chain(footer.recordBatches().into_iter().flatten()).copied().collect();
        let schema = native_schema(path, schema)?;
        let (path, blocks) = (path.to_owned(), blocks.into_iter());
        Ok((schema, Messages::File { path, input, bytes, blocks, in_place }))
    }

    /// The next message; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Message>> {
        match self {
            Messages::Stream { path, input, left } => {
                let Some((head, length)) = next_head(path, input, left)? else { return Ok(None) };
                let body = take(path, input, left, length)?;
                Ok(Some((head, Body::Held(Buffer::from_vec(body)))))
            }
            Messages::StreamFile { path, input, bytes, left } => {
                let Some((head, length)) = next_head(path, input, left)? else { return Ok(None) };
                let held = left.unwrap_or(0);
                let rest = held.checked_sub(length).ok_or_else(|| cut(path, length, held))?;
                *left = Some(rest);
                let size = |error| damaged(path, error);
                let body =
                    Body::InFile { start: *bytes - held, length: usize::try_from(length).map_err(size)? };
                let skip = i64::try_from(length).map_err(size)?;
                input.seek_relative(skip).map_err(|source| Error::io(path.as_str(), "read", source))?;
                Ok(Some((head, body)))
            }
            Messages::File { path, input, bytes, blocks, in_place } => {
                let Some(block) = blocks.next() else { return Ok(None) };
                let size = |size: i64| {
                    u64::try_from(size).map_err(|_| damaged(path, "a negative size in its index"))
                };
                let (start, length) = (size(block.offset())?, size(block.metaDataLength().into())?);
                let head = read_at(path, input, *bytes, start, length)?;
                let prefix = if head.starts_with(&CONTINUATION) { 8 } else { 4 };
                let head =
                    head.get(prefix..).ok_or_else(|| damaged(path, "a message too short for its length"))?;
                let (start, count) = (start.saturating_add(length), size(block.bodyLength())?);
                let head = head.to_vec();
                if *in_place {
                    check_range(path, *bytes, start, count)?;
                    let length = usize::try_from(count).map_err(|error| damaged(path, error))?;
                    return Ok(Some((head, Body::InFile { start, length })));
                }
                let body = read_at(path, input, *bytes, start, count)?;
                Ok(Some((head, Body::Held(Buffer::from_vec(body)))))
            }
        }
    }
}

/// The head of the next message of a stream, and the length of its body.
fn next_head(path: &str, input: &mut dyn Read, left: &mut Option<u64>) -> Result<Option<(Vec<u8>, u64)>> {
    // A stream may end with or without a mark.
    let Some(mut word) = first_word(path, input, left)? else { return Ok(None) };
    if word == CONTINUATION {
        word.copy_from_slice(&take(path, input, left, 4)?);
    }
    let length = i32::from_le_bytes(word);
    if length == 0 {
        return Ok(None);
    }
    let length = u64::try_from(length).map_err(|_| damaged(path, "a message of negative length"))?;
    let head = take(path, input, left, length)?;
    let message = arrow_ipc::root_as_message(&head).map_err(|error| damaged(path, error))?;
    let body =
        u64::try_from(message.bodyLength()).map_err(|_| damaged(path, "a message of negative length"))?;
    Ok(Some((head, body)))
}

fn cut(path: &str, count: u64, left: u64) -> Error {
    damaged(path, format_args!("{count} bytes should follow, {left} are left"))
}

fn first_word(path: &str, input: &mut dyn Read, left: &mut Option<u64>) -> Result<Option<[u8; 4]>> {
    let mut word = Vec::with_capacity(4);
    input.take(4).read_to_end(&mut word).map_err(|source| Error::io(path, "read", source))?;
    *left = left.map(|left| left.saturating_sub(word.len() as u64));
    match (word.first_chunk::<4>(), word.is_empty()) {
        (Some(word), _) => Ok(Some(*word)),
        (None, true) => Ok(None),
        (None, false) => Err(damaged(path, "it ends within a message")),
    }
}

/// Exactly `count` bytes of a stream; memory grows with what arrives where the end is not known.
fn take(path: &str, input: &mut dyn Read, left: &mut Option<u64>, count: u64) -> Result<Vec<u8>> {
    const AT_ONCE: u64 = 1 << 20;
    if let Some(left) = left {
        *left = left.checked_sub(count).ok_or_else(|| cut(path, count, *left))?;
    }
    let at_once = if left.is_some() { count } else { count.min(AT_ONCE) };
    let mut bytes = Vec::with_capacity(at_once as usize);
    let read = input.take(count).read_to_end(&mut bytes).map_err(|source| Error::io(path, "read", source))?;
    if read as u64 == count { Ok(bytes) } else { Err(cut(path, count, read as u64)) }
}

/// `count` bytes of a file from `start` on.
fn read_at(path: &str, input: &mut dyn ReadSeek, bytes: u64, start: u64, count: u64) -> Result<Vec<u8>> {
    check_range(path, bytes, start, count)?;
    let io = |source| Error::io(path, "read", source);
    input.seek(SeekFrom::Start(start)).map_err(io)?;
    let mut held = Vec::with_capacity(count as usize);
    input.take(count).read_to_end(&mut held).map_err(io)?;
    if held.len() as u64 == count {
        Ok(held)
    } else {
        Err(damaged(path, "it became shorter while it was read"))
    }
}

fn check_range(path: &str, bytes: u64, start: u64, count: u64) -> Result<()> {
    if start.checked_add(count).is_some_and(|end| end <= bytes) {
        return Ok(());
    }
    Err(damaged(path, format_args!("{count} bytes from byte {start} on, the file ends at byte {bytes}")))
}

fn native_schema(path: &str, schema: arrow_ipc::Schema<'_>) -> Result<Schema> {
    if schema.endianness() == Endianness::Big {
        let recipe = "write it on a little-endian machine".to_owned();
        return Err(Error::UnsupportedFormat {
            file: path.into(),
            kind: "big-endian Arrow data".into(),
            recipe,
        });
    }
    arrow_ipc::convert::try_fb_to_schema(schema).map_err(|error| damaged(path, error))
}

/// Buffers must lie within the body, and compressed ones claim no more than their codec can hold.
pub(crate) fn check_buffers(path: &str, batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<()> {
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

/// [`Error::Damaged`] of `path`.
pub(crate) fn damaged(path: &str, detail: impl std::fmt::Display) -> Error {
    // Some decoders add a trace of further lines.
    let detail = detail.to_string().lines().next().unwrap_or_default().to_owned();
    Error::Damaged { file: path.to_owned(), detail }
}

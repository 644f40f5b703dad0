//! Checks on pages before the decoder trusts them.
//!
//! The decoder allocates what a page header claims. [`check_headers`] walks the headers of a column chunk first, and
//! [`CheckedPages`] looks at the counts inside a page, so that a damaged size is an error and not an allocation.

use std::io::{BufReader, Read, Seek, SeekFrom};

use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result as ParquetResult};

use super::thrift::{CompactReader, PageClaims};

/// Most bytes one compressed byte can stand for, by the format of each codec (zstd: a 128 kB block from 4 bytes).
fn expansion(codec: Compression) -> u64 {
    match codec {
        Compression::UNCOMPRESSED => 1,
        Compression::SNAPPY => 32,
        Compression::LZ4 | Compression::LZ4_RAW => 256,
        Compression::GZIP(_) => 1100,
        _ => 1 << 16,
    }
}

/// What the footer says of a column chunk.
pub(crate) struct ChunkClaims {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    pub(crate) values: u64,
    pub(crate) codec: Compression,
}

/// A page and the place of its bytes behind the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PagePlace {
    pub(crate) start: u64,
    pub(crate) claims: PageClaims,
}

/// Pages whose places are kept: a terabyte of pages of the usual size, some 100 MB of places.
const MAX_PLACES: usize = 1 << 20;

/// Walks the page headers of a chunk; `Err` says which claim cannot be true. Returns the places of its pages, none
/// where they are too many to keep.
pub(crate) fn check_headers<F: Read + Seek>(file: F, chunk: &ChunkClaims) -> Result<Vec<PagePlace>, String> {
    let mut places = Vec::new();
    // Page headers are some 30 bytes and pages up to a megabyte apart: a full buffer would mostly be thrown away.
    let mut input = BufReader::with_capacity(512, file);
    input.seek(SeekFrom::Start(chunk.start)).map_err(|error| error.to_string())?;
    let (mut left, mut values) = (chunk.bytes, 0u64);
    while left > 0 {
        let mut reader = CompactReader::new(&mut input, left);
        let page = PageClaims::read(&mut reader)?;
        left = reader.left();
        if page.compressed > left {
            return Err(format!("a page of {} bytes in a column chunk with {left} left", page.compressed));
        }
        if page.uncompressed > page.compressed.saturating_mul(expansion(chunk.codec)).saturating_add(64) {
            return Err(format!(
                "a page of {} bytes that claims to hold {}",
                page.compressed, page.uncompressed
            ));
        }
        if page.is_data() {
            values = values.saturating_add(page.values);
        } else if page.values / 8 > page.uncompressed {
            return Err(format!("a dictionary of {} values in {} bytes", page.values, page.uncompressed));
        }
        if places.len() < MAX_PLACES {
            places.push(PagePlace { start: chunk.start.saturating_add(chunk.bytes - left), claims: page });
        }
        left -= page.compressed;
        let skip = i64::try_from(page.compressed).map_err(|error| error.to_string())?;
        input.seek_relative(skip).map_err(|error| error.to_string())?;
    }
    if places.len() == MAX_PLACES {
        places = Vec::new();
    }
    if values == chunk.values {
        Ok(places)
    } else {
        Err(format!("pages with {values} values, the footer says {}", chunk.values))
    }
}

/// The three parts of a data page.
pub(crate) struct PageParts<'a> {
    pub(crate) rep: &'a [u8],
    pub(crate) def: &'a [u8],
    pub(crate) values: &'a [u8],
    pub(crate) encoding: Encoding,
    /// Number of levels, nulls included.
    pub(crate) count: usize,
}

impl<'a> PageParts<'a> {
    /// Cuts a data page up; `None` for a dictionary page.
    pub(crate) fn of(page: &'a Page, has_rep: bool, has_def: bool) -> Result<Option<Self>, String> {
        match page {
            Page::DictionaryPage { .. } => Ok(None),
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, .. } => {
                let mut rest: &[u8] = buf;
                let rep = if has_rep { v1_levels(&mut rest, *rep_level_encoding)? } else { &[] };
                let def = if has_def { v1_levels(&mut rest, *def_level_encoding)? } else { &[] };
                Ok(Some(PageParts {
                    rep,
                    def,
                    values: rest,
                    encoding: *encoding,
                    count: *num_values as usize,
                }))
            }
            Page::DataPageV2 {
                buf, num_values, encoding, rep_levels_byte_len, def_levels_byte_len, ..
            } => {
                let (rep, def) = (*rep_levels_byte_len as usize, *def_levels_byte_len as usize);
                let split = buf
                    .split_at_checked(rep)
                    .and_then(|(rep, rest)| Some((rep, rest.split_at_checked(def)?)));
                let (rep, (def, values)) = split.ok_or("levels longer than their page")?;
                Ok(Some(PageParts { rep, def, values, encoding: *encoding, count: *num_values as usize }))
            }
        }
    }
}

/// Takes the levels off the front of what is left of a data page of version 1.
pub(crate) fn v1_levels<'a>(rest: &mut &'a [u8], encoding: Encoding) -> Result<&'a [u8], String> {
    if encoding != Encoding::RLE {
        return Err(format!("levels in the encoding {encoding}"));
    }
    let (len, tail) = rest.split_first_chunk::<4>().ok_or("a page too short for its levels")?;
    let len = u32::from_le_bytes(*len) as usize;
    let (levels, tail) = tail.split_at_checked(len).ok_or("levels longer than their page")?;
    *rest = tail;
    Ok(levels)
}

/// Pages of a column chunk whose inner counts agree with their headers.
pub(crate) struct CheckedPages {
    pages: Box<dyn PageReader>,
    has_rep: bool,
    has_def: bool,
}

impl CheckedPages {
    pub(crate) fn new(pages: Box<dyn PageReader>, max_rep: i16, max_def: i16) -> Self {
        CheckedPages { pages, has_rep: max_rep > 0, has_def: max_def > 0 }
    }
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
        let parts = PageParts::of(&page, self.has_rep, self.has_def).map_err(ParquetError::General)?;
        if let Some(parts) = parts
            && matches!(
                parts.encoding,
                Encoding::DELTA_BINARY_PACKED
                    | Encoding::DELTA_LENGTH_BYTE_ARRAY
                    | Encoding::DELTA_BYTE_ARRAY
            )
            && delta_count(parts.values).is_some_and(|count| count > parts.count as u64)
        {
            return Err(ParquetError::General("a page whose values outnumber its rows".into()));
        }
        Ok(Some(page))
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}

/// The number of values a delta-encoded run states: the third number of its head.
fn delta_count(values: &[u8]) -> Option<u64> {
    let mut head = values;
    let mut reader = CompactReader::new(&mut head, 30);
    reader.varint().ok()?;
    reader.varint().ok()?;
    reader.varint().ok()
}

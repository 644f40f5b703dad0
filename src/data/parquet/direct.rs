//! Vectors of one length without nulls, page by page on all threads straight into the matrix.
//!
//! Writers put up to a million rows into one row group, so it is the pages that are shared out. Where a page starts and
//! how many values it has stands in its header; with whole vectors of one length this is also their place in the matrix.
//! Whatever is unusual, and every sort of damage, is left to the general decoder, which then reads the column chunk from
//! its start: it alone decides on errors.

use std::fs::File;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use ::parquet::basic::Compression;
use ::parquet::file::metadata::ColumnChunkMetaData;
use half::f16;
use rayon::prelude::*;
use zerocopy::IntoBytes;

use super::codecs::Unpacker;
use super::direct_levels::{all_present, rows_of_one_length};
use super::direct_values::{Dictionary, SLACK, Value};
use super::lists::ListShape;
use super::pages::{PagePlace, v1_levels};
use super::schema::{Leaf, Source};
use super::thrift::{PageClaims, PageKind};
use crate::data::guard::guarded;
use crate::data::table::ColumnBuffer;
use crate::data::vectors::VectorState;
use crate::matrix::Matrix;
use crate::positioned::{grow, read_exact_at};

/// Bytes read of a page that is not compressed, for its levels; values behind them go straight to their place.
const HEAD: usize = 1 << 14;

/// Numbers of encodings in a page header.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
const RLE_DICTIONARY: i64 = 8;
const BYTE_STREAM_SPLIT: i64 = 9;

/// A column chunk of vectors whose sizes were checked.
pub(crate) struct DirectChunk<'a> {
    pub(crate) path: &'a str,
    pub(crate) file: &'a File,
    pub(crate) chunk: &'a ColumnChunkMetaData,
    pub(crate) places: &'a [PagePlace],
    /// Rows of the row group.
    pub(crate) rows: usize,
    /// Levels of all data pages.
    pub(crate) levels: usize,
    /// Levels and bytes that the footer gives this column in all row groups, with the first of them.
    pub(crate) ahead: (u64, u64),
}

/// How many times its bytes in the file a column is trusted to take, where only the footer says so.
const EXPANSION_AHEAD: u64 = 4;

impl DirectChunk<'_> {
    /// Appends the rows `part` of the row group to `buffer`, or leaves it as it was: then it is up to the general decoder.
    pub(crate) fn append(
        &self,
        source: &Source,
        buffer: &mut ColumnBuffer,
        state: &mut VectorState,
        part: Range<usize>,
    ) -> bool {
        let (Some(shape), ColumnBuffer::Vector(matrix)) = (source.list, buffer) else { return false };
        let done = match source.form {
            Leaf::Float => self.append_to::<f32>(shape, matrix, state, part),
            Leaf::Half => self.append_to::<f16>(shape, matrix, state, part),
            _ => None,
        };
        done.is_some()
    }

    /// Values to make room for at once, later row groups included.
    fn expected<T>(&self) -> usize {
        let (levels, bytes) = self.ahead;
        let most = bytes.saturating_mul(EXPANSION_AHEAD) / size_of::<T>() as u64;
        usize::try_from(levels.min(most)).unwrap_or(0)
    }

    fn append_to<T: Value>(
        &self,
        shape: ListShape,
        matrix: &mut Matrix,
        state: &mut VectorState,
        part: Range<usize>,
    ) -> Option<()> {
        let nulls = self.chunk.statistics().and_then(|statistics| statistics.null_count_opt());
        let len =
            self.levels.checked_div(self.rows).filter(|&len| len > 0 && len * self.rows == self.levels)?;
        let fits = state.leading_nulls == 0
            && state.len.is_none_or(|known| known == len)
            && (matrix.rows() == 0 || matrix.cols() == len)
            && nulls.unwrap_or(0) == 0;
        let plan = if fits { Plan::<T>::new(self, shape, len)? } else { return None };
        let mut values = T::take(matrix)?;
        let start = values.len();
        let outcome = grow(&mut values, part.len() * len, self.expected::<T>())
            .and_then(|()| plan.fill(part.start * len, self.levels, &mut values[start..]));
        if outcome.is_none() {
            values.truncate(start);
        }
        let cols = if outcome.is_some() { len } else { matrix.cols() };
        *matrix = Matrix::from_storage(T::store(values), cols);
        outcome.map(|()| state.len = Some(len))
    }
}

/// What is known of a column chunk before its data pages are decoded.
struct Plan<'a, T> {
    path: &'a str,
    file: &'a File,
    codec: Compression,
    max_def: i16,
    /// Numbers in each vector.
    len: usize,
    dictionary: Option<Dictionary<T>>,
    pages: &'a [PagePlace],
}

/// The values of a page that go to the matrix.
struct Wanted<'o, T> {
    skipped: usize,
    /// Of the whole page.
    count: usize,
    values: &'o mut [T],
}

/// Memory of one thread, kept from page to page.
#[derive(Default)]
struct Scratch {
    packed: Vec<u8>,
    page: Vec<u8>,
    unpacker: Unpacker,
}

impl<'a, T: Value> Plan<'a, T> {
    /// `None` unless all pages are of encodings decoded here.
    fn new(chunk: &DirectChunk<'a>, shape: ListShape, len: usize) -> Option<Self> {
        let dictionary_first = chunk.places.first()?.claims.kind == PageKind::Dictionary;
        let (first, pages) = chunk.places.split_at(usize::from(dictionary_first));
        let known = |page: &PagePlace| {
            matches!(
                encoding(&page.claims),
                Some(PLAIN | PLAIN_DICTIONARY | RLE_DICTIONARY | BYTE_STREAM_SPLIT)
            )
        };
        if !pages.iter().all(known) {
            return None;
        }
        let mut plan = Plan {
            path: chunk.path,
            file: chunk.file,
            codec: chunk.chunk.compression(),
            max_def: shape.max_def,
            len,
            dictionary: None,
            pages,
        };
        if let [place] = first {
            let mut scratch = Scratch::default();
            let encoding = place.claims.own?.number(2);
            let plain = matches!(encoding, Some(PLAIN | PLAIN_DICTIONARY));
            let page = plan.whole_page(place, &mut scratch).filter(|_| plain)?;
            let entries = usize::try_from(place.claims.values).ok()?;
            plan.dictionary = Some(Dictionary::new(page.get(..page.len() - SLACK)?, entries)?);
        }
        Some(plan)
    }

    /// Decodes values from `from` on to `out`; all data pages together have `levels` of them.
    fn fill(&self, from: usize, levels: usize, out: &mut [T]) -> Option<()> {
        let mut pages = Vec::with_capacity(self.pages.len());
        let (mut first, mut rest) = (0usize, out);
        for place in self.pages {
            let count = usize::try_from(place.claims.values).ok()?;
            let end = first.checked_add(count).filter(|&end| end <= levels)?;
            if end > from && !rest.is_empty() {
                let skipped = from.saturating_sub(first);
                let (values, behind) = rest.split_at_mut((count - skipped).min(rest.len()));
                pages.push((place, first, Wanted { skipped, count, values }));
                rest = behind;
            }
            first = end;
        }
        if first != levels || !rest.is_empty() {
            return None;
        }
        let failed = AtomicBool::new(false);
        // As many as threads work at once: fresh memory for every page would cost more than unpacking it.
        let idle: Mutex<Vec<Scratch>> = Mutex::default();
        pages.into_par_iter().with_max_len(1).for_each(|(place, first, out)| {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            let mut scratch = idle.lock().ok().and_then(|mut idle| idle.pop()).unwrap_or_default();
            let decode = || Ok(self.decode_wanted(place, first, out, &mut scratch).is_some());
            if !guarded(self.path, decode).unwrap_or(false) {
                failed.store(true, Ordering::Relaxed);
            }
            if let Ok(mut idle) = idle.lock() {
                idle.push(scratch);
            }
        });
        (!failed.into_inner()).then_some(())
    }

    /// Decodes the values of a page that are wanted; all of them first where these are not all.
    fn decode_wanted(
        &self,
        place: &PagePlace,
        first: usize,
        wanted: Wanted<'_, T>,
        scratch: &mut Scratch,
    ) -> Option<()> {
        let Wanted { skipped, count, values } = wanted;
        if values.len() == count {
            return self.decode(place, first, values, scratch);
        }
        let mut page = T::new_vec_zeroed(count).ok()?;
        self.decode(place, first, &mut page, scratch)?;
        values.copy_from_slice(page.get(skipped..skipped + values.len())?);
        Some(())
    }

    fn decode(&self, place: &PagePlace, first: usize, out: &mut [T], scratch: &mut Scratch) -> Option<()> {
        let claims = &place.claims;
        if claims.kind == PageKind::Data
            && self.codec == Compression::UNCOMPRESSED
            && encoding(claims) == Some(PLAIN)
        {
            return self.decode_in_place(place, first, out, scratch);
        }
        let page = self.whole_page(place, scratch)?;
        let end = page.len() - SLACK;
        let mut rest = &page[..end];
        let (rep, def) = if claims.kind == PageKind::Data {
            levels_of_v1(claims, &mut rest)?
        } else {
            let (rep, behind) = rest.split_at_checked(level_bytes(claims, 6)?)?;
            let (def, behind) = behind.split_at_checked(level_bytes(claims, 5)?)?;
            rest = behind;
            (rep, def)
        };
        self.check_levels(rep, def, out.len(), first)?;
        match encoding(claims)? {
            PLAIN => T::plain(rest, out),
            BYTE_STREAM_SPLIT => T::split(rest, out),
            _ => self.dictionary.as_ref()?.look_up(&page[end - rest.len()..], out),
        }
    }

    /// A page that is not compressed: only its head is read elsewhere than to its place.
    fn decode_in_place(
        &self,
        place: &PagePlace,
        first: usize,
        out: &mut [T],
        scratch: &mut Scratch,
    ) -> Option<()> {
        let size = usize::try_from(place.claims.compressed).ok()?;
        let mut held = size.min(HEAD);
        scratch.page.resize(held.max(scratch.page.len()), 0);
        read_exact_at(self.file, &mut scratch.page[..held], place.start).ok()?;
        let mut rest = &scratch.page[..held];
        if levels_of_v1(&place.claims, &mut rest).is_none() {
            held = size;
            scratch.page.resize(held.max(scratch.page.len()), 0);
            read_exact_at(self.file, &mut scratch.page[..held], place.start).ok()?;
        }
        let mut rest = &scratch.page[..held];
        let (rep, def) = levels_of_v1(&place.claims, &mut rest)?;
        self.check_levels(rep, def, out.len(), first)?;
        if size - (held - rest.len()) < size_of_val(out) {
            return None;
        }
        // Whole values of the head, and the others from the file.
        let ready = (rest.len() / size_of::<T>()).min(out.len());
        let (now, later) = out.split_at_mut(ready);
        T::plain(rest, now)?;
        if later.is_empty() {
            return Some(());
        }
        let start = place.start + (held - rest.len() + size_of_val(now)) as u64;
        if cfg!(target_endian = "little") {
            return read_exact_at(self.file, later.as_mut_bytes(), start).ok();
        }
        let mut bytes = vec![0; size_of_val(later)];
        read_exact_at(self.file, &mut bytes, start).ok()?;
        T::plain(&bytes, later)
    }

    fn check_levels(&self, rep: &[u8], def: &[u8], count: usize, first: usize) -> Option<()> {
        rows_of_one_length(rep, count, first, self.len)?;
        all_present(def, count, self.max_def)
    }

    /// A page unpacked, with [`SLACK`] bytes behind it.
    fn whole_page<'s>(&self, place: &PagePlace, scratch: &'s mut Scratch) -> Option<&'s [u8]> {
        let claims = &place.claims;
        let packed = usize::try_from(claims.compressed).ok()?;
        let unpacked = usize::try_from(claims.uncompressed).ok()?;
        // What comes before the compressed part.
        let head = match claims.kind {
            PageKind::DataV2 => level_bytes(claims, 5)?.checked_add(level_bytes(claims, 6)?)?,
            _ => 0,
        };
        let stored = self.codec == Compression::UNCOMPRESSED
            || claims.kind == PageKind::DataV2 && claims.own.is_some_and(|own| own.stored_plain());
        let size = if stored { packed } else { unpacked };
        if head > packed || head > size {
            return None;
        }
        let Scratch { packed: source, page, unpacker } = scratch;
        if page.len() < size + SLACK {
            page.resize(size + SLACK, 0);
        }
        let place_of = |at: usize| place.start + at as u64;
        if stored {
            read_exact_at(self.file, &mut page[..size], place.start).ok()?;
        } else {
            read_exact_at(self.file, &mut page[..head], place.start).ok()?;
            if source.len() < packed - head {
                source.resize(packed - head, 0);
            }
            let source = &mut source[..packed - head];
            read_exact_at(self.file, source, place_of(head)).ok()?;
            if size > head {
                unpacker.unpack(self.codec, source, &mut page[head..size])?;
            }
        }
        page.get(..size + SLACK)
    }
}

/// Levels of a data page of version 1, taken off the front of `rest`.
fn levels_of_v1<'p>(claims: &PageClaims, rest: &mut &'p [u8]) -> Option<(&'p [u8], &'p [u8])> {
    let own = claims.own?;
    if own.number(3) != Some(RLE) || own.number(4) != Some(RLE) {
        return None;
    }
    let encoding = ::parquet::basic::Encoding::RLE;
    Some((v1_levels(rest, encoding).ok()?, v1_levels(rest, encoding).ok()?))
}

/// The encoding of a data page's values.
fn encoding(claims: &PageClaims) -> Option<i64> {
    match claims.kind {
        PageKind::Data => claims.own?.number(2),
        // Without a null, and with a number of rows, which is not needed here.
        PageKind::DataV2 => {
            claims.own.filter(|own| own.number(2) == Some(0) && own.number(3) >= Some(0))?.number(4)
        }
        _ => None,
    }
}

/// Bytes of the definition (5) or repetition levels (6) of a data page of version 2.
fn level_bytes(claims: &PageClaims, field: usize) -> Option<usize> {
    usize::try_from(claims.own?.number(field)?).ok()
}

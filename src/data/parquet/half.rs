//! Half-precision columns, decoded here: the general decoder makes a heap slice of every two bytes.

use ::parquet::basic::Encoding;
use ::parquet::column::page::{Page, PageReader};
use half::f16;

use super::pages::PageParts;
use super::runs::for_each_run;

/// Decodes the pages of one FIXED_LEN_BYTE_ARRAY(2) column chunk.
pub(crate) struct HalfPages {
    pages: Box<dyn PageReader>,
    dictionary: Vec<f16>,
    max_rep: i16,
    max_def: i16,
}

impl HalfPages {
    pub(crate) fn new(pages: Box<dyn PageReader>, max_rep: i16, max_def: i16) -> Self {
        HalfPages { pages, dictionary: Vec::new(), max_rep, max_def }
    }

    /// Appends the values of the next data page that are present and replaces the levels by its own (empty where the
    /// column has none). Returns the number of levels, nulls included; `None` after the last page.
    pub(crate) fn next(
        &mut self,
        values: &mut Vec<f16>,
        rep: &mut Vec<i16>,
        def: &mut Vec<i16>,
    ) -> Result<Option<usize>, String> {
        loop {
            let Some(page) = self.pages.get_next_page().map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let Some(parts) = PageParts::of(&page, self.max_rep > 0, self.max_def > 0)? else {
                self.dictionary = dictionary_of(&page)?;
                continue;
            };
            let count = parts.count;
            levels(parts.rep, self.max_rep, count, rep)?;
            levels(parts.def, self.max_def, count, def)?;
            let present =
                if self.max_def == 0 { count } else { def.iter().filter(|&&l| l == self.max_def).count() };
            self.append(&parts, present, values)?;
            return Ok(Some(count));
        }
    }

    fn append(&self, parts: &PageParts<'_>, present: usize, values: &mut Vec<f16>) -> Result<(), String> {
        let bytes = parts.values;
        let short = || format!("a page with {} bytes for {present} half-precision values", bytes.len());
        match parts.encoding {
            Encoding::PLAIN => {
                let bytes = bytes.get(..present * 2).ok_or_else(short)?;
                let (pairs, _) = bytes.as_chunks::<2>();
                values.extend(pairs.iter().map(|&pair| f16::from_le_bytes(pair)));
            }
            Encoding::BYTE_STREAM_SPLIT => {
                let (low, high) = bytes.get(..present * 2).ok_or_else(short)?.split_at(present);
                values.extend(low.iter().zip(high).map(|(&low, &high)| f16::from_le_bytes([low, high])));
            }
            #[allow(deprecated)] // Files of old writers still name it.
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY if present > 0 => {
                let (&width, runs) = bytes.split_first().ok_or_else(short)?;
                let mut unknown = false;
                for_each_run(runs, u32::from(width), present, |index, n| {
                    match self.dictionary.get(index as usize) {
                        Some(&value) => values.extend(std::iter::repeat_n(value, n)),
                        None => unknown = true,
                    }
                })?;
                if unknown {
                    return Err(format!(
                        "an index beyond its dictionary of {} values",
                        self.dictionary.len()
                    ));
                }
            }
            _ if present == 0 => {}
            other => return Err(format!("half-precision values in the encoding {other}")),
        }
        Ok(())
    }
}

fn dictionary_of(page: &Page) -> Result<Vec<f16>, String> {
    let (pairs, _) = page.buffer().as_chunks::<2>();
    let entries = page.num_values() as usize;
    let pairs = pairs.get(..entries).ok_or("a dictionary shorter than its count")?;
    Ok(pairs.iter().map(|&pair| f16::from_le_bytes(pair)).collect())
}

fn levels(bytes: &[u8], max: i16, count: usize, into: &mut Vec<i16>) -> Result<(), String> {
    into.clear();
    if max == 0 {
        return Ok(());
    }
    let width = u16::BITS - max.unsigned_abs().leading_zeros();
    for_each_run(bytes, width, count, |level, n| into.extend(std::iter::repeat_n(level as i16, n)))?;
    if into.iter().any(|&level| level > max) { Err("a level above its maximum".into()) } else { Ok(()) }
}

//! Half-precision columns, decoded here: the general decoder makes a heap slice of every two bytes.

use ::parquet::basic::Encoding;
use ::parquet::column::page::{Page, PageReader};
use half::f16;

use super::pages::PageParts;

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

/// Walks `count` numbers of `width` bits in Parquet's hybrid of runs and bit-packed groups of eight.
fn for_each_run(
    mut bytes: &[u8],
    width: u32,
    count: usize,
    mut run: impl FnMut(u32, usize),
) -> Result<(), String> {
    if width > 32 {
        return Err(format!("numbers of {width} bits"));
    }
    let mut left = count;
    while left > 0 {
        let header = run_header(&mut bytes).ok_or("runs that end early")?;
        let (packed, length) = (header & 1 == 1, (header >> 1) as usize);
        if length == 0 {
            return Err("an empty run".into());
        }
        if packed {
            let size = length.saturating_mul(width as usize).min(bytes.len());
            let (group, rest) = bytes.split_at(size);
            bytes = rest;
            let held = if width == 0 { left } else { size * 8 / width as usize };
            let n = left.min(length.saturating_mul(8));
            if held < n {
                return Err("a bit-packed run that ends early".into());
            }
            unpack(group, width, n, &mut run);
            left -= n;
        } else {
            let size = width.div_ceil(8) as usize;
            let (value, rest) = bytes.split_at_checked(size).ok_or("a run without its value")?;
            bytes = rest;
            let value = value.iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
            let n = left.min(length);
            run(value, n);
            left -= n;
        }
    }
    Ok(())
}

fn run_header(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn unpack(group: &[u8], width: u32, n: usize, run: &mut impl FnMut(u32, usize)) {
    let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
    let (mut window, mut bits) = (0u64, 0u32);
    let mut bytes = group.iter();
    for _ in 0..n {
        while bits < width {
            window |= u64::from(bytes.next().copied().unwrap_or(0)) << bits;
            bits += 8;
        }
        run(window as u32 & mask, 1);
        window >>= width;
        bits -= width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, String> {
        let mut out = Vec::new();
        for_each_run(bytes, width, count, |value, n| out.extend(std::iter::repeat_n(value, n)))?;
        Ok(out)
    }

    #[test]
    fn runs_and_packed_groups_alternate() {
        // The example of the Parquet specification: 0..=7 packed in 3 bits, then a run of five 4s.
        let bytes = [0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010, 10, 4];
        assert_eq!(expand(&bytes, 3, 13).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 4, 4, 4, 4, 4]);
        assert_eq!(expand(&bytes, 3, 2).unwrap(), [0, 1]);
        assert!(expand(&bytes, 3, 14).is_err());
        assert!(expand(&[0, 0], 3, 1).is_err());
        assert_eq!(expand(&[0b11], 0, 8).unwrap(), [0; 8]);
    }
}

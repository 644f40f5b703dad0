//! The few fields of a Parquet page header that are checked before decoding, in Thrift's compact protocol.

use std::io::Read;

/// Reads compact-protocol values, at most a given number of bytes.
pub(crate) struct CompactReader<R> {
    input: R,
    left: u64,
}

/// Nesting and field count no real page header comes near.
const MAX_DEPTH: u32 = 16;
const MAX_FIELDS: u32 = 1 << 12;

const STOP: u8 = 0;
const STRUCT: u8 = 12;

impl<R: Read> CompactReader<R> {
    pub(crate) fn new(input: R, limit: u64) -> Self {
        CompactReader { input, left: limit }
    }

    /// Bytes that may still be read.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.left = self.left.checked_sub(1).ok_or("a page header longer than its column chunk")?;
        let mut byte = [0];
        self.input.read_exact(&mut byte).map_err(|_| "a page header beyond the end of the file")?;
        Ok(byte[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a page header with a number of more than 64 bits".into())
    }

    /// A signed number that must not be negative.
    fn size(&mut self) -> Result<u64, String> {
        let raw = self.varint()?;
        if raw & 1 == 0 { Ok(raw >> 1) } else { Err("a page header with a negative size".into()) }
    }

    /// The next field's type and id, `None` at the end of the struct.
    fn field(&mut self, id: &mut i64) -> Result<Option<u8>, String> {
        let head = self.byte()?;
        if head == STOP {
            return Ok(None);
        }
        match head >> 4 {
            0 => {
                let raw = self.varint()?;
                *id = (raw >> 1) as i64 ^ -((raw & 1) as i64);
            }
            delta => *id = id.saturating_add(i64::from(delta)),
        }
        Ok(Some(head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Result<(), String> {
        let unknown = || "an unreadable page header".to_owned();
        let deeper = depth.checked_sub(1).ok_or_else(unknown)?;
        match kind {
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => (0..8).try_for_each(|_| self.byte().map(drop))?,
            8 => {
                let len = self.varint()?;
                self.left = self.left.checked_sub(len).ok_or_else(unknown)?;
                let skipped = std::io::copy(&mut self.input.by_ref().take(len), &mut std::io::sink());
                skipped.map_err(|error| error.to_string())?;
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..count {
                    match head & 0x0f {
                        // Inside a list even booleans take a byte, so a count cannot outrun the input.
                        1 | 2 => drop(self.byte()?),
                        element => self.skip(element, deeper)?,
                    }
                }
            }
            STRUCT => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, deeper)?;
                }
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

/// Sizes a page header claims.
pub(crate) struct PageClaims {
    pub(crate) compressed: u64,
    pub(crate) uncompressed: u64,
    /// Levels of a data page, entries of a dictionary.
    pub(crate) values: u64,
    pub(crate) is_data: bool,
}

impl PageClaims {
    /// Reads one page header (`PageHeader` of parquet.thrift).
    pub(crate) fn read<R: Read>(reader: &mut CompactReader<R>) -> Result<Self, String> {
        const DATA: u64 = 0;
        const DATA_V2: u64 = 3;
        let (mut kind, mut uncompressed, mut compressed, mut values) = (None, None, None, 0);
        let mut id = 0;
        for _ in 0..MAX_FIELDS {
            let Some(field) = reader.field(&mut id)? else { break };
            match (id, field) {
                (1, 4..=6) => kind = Some(reader.size()?),
                (2, 4..=6) => uncompressed = Some(reader.size()?),
                (3, 4..=6) => compressed = Some(reader.size()?),
                (5 | 7 | 8, STRUCT) => values = first_number(reader)?,
                (_, other) => reader.skip(other, MAX_DEPTH)?,
            }
        }
        let (Some(kind), Some(uncompressed), Some(compressed)) = (kind, uncompressed, compressed) else {
            return Err("a page header without sizes".into());
        };
        Ok(PageClaims { compressed, uncompressed, values, is_data: kind == DATA || kind == DATA_V2 })
    }
}

/// Field 1 of the struct that follows: `num_values` in every kind of page.
fn first_number<R: Read>(reader: &mut CompactReader<R>) -> Result<u64, String> {
    let (mut id, mut number) = (0, 0);
    while let Some(kind) = reader.field(&mut id)? {
        match (id, kind) {
            (1, 4..=6) => number = reader.size()?,
            (_, other) => reader.skip(other, MAX_DEPTH)?,
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_statistics_skipped() {
        // type 0, uncompressed 100, compressed 50, data header { 7 values, encoding 0, statistics { "ab" } }
        let bytes = [
            0x15, 0, 0x15, 200, 1, 0x15, 100, 0x2c, 0x15, 14, 0x15, 0, 0x3c, 0x58, 2, b'a', b'b', 0, 0, 0, 9,
        ];
        let mut reader = CompactReader::new(&bytes[..], bytes.len() as u64);
        let page = PageClaims::read(&mut reader).unwrap();
        assert_eq!((page.uncompressed, page.compressed, page.values, page.is_data), (100, 50, 7, true));
        assert_eq!(reader.left(), 1);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_a_header() {
        let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for start in 0..noise.len() {
            let mut reader = CompactReader::new(&noise[start..], 4096);
            let _ = PageClaims::read(&mut reader);
            assert!(reader.left() <= 4096);
        }
        assert!(PageClaims::read(&mut CompactReader::new(&[0x15, 1][..], 2)).is_err());
    }
}

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

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Data,
    DataV2,
    Dictionary,
    /// An index page, or one that a later version of the format knows.
    Other,
}

/// What a page header claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageClaims {
    pub(crate) kind: PageKind,
    pub(crate) compressed: u64,
    pub(crate) uncompressed: u64,
    /// Levels of a data page, entries of a dictionary.
    pub(crate) values: u64,
    /// The header of the page's own kind; `None` where it is missing or one of several.
    pub(crate) own: Option<OwnHeader>,
}

/// The fields of a page header that depend on its kind, as they come: 1 to 7, and whether 7 is false.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnHeader {
    numbers: [Option<i64>; 8],
    stored_plain: bool,
}

impl OwnHeader {
    /// The integer field `id`.
    pub(crate) fn number(&self, id: usize) -> Option<i64> {
        self.numbers.get(id).copied().flatten()
    }

    /// Whether the values of a data page of version 2 are left uncompressed.
    pub(crate) fn stored_plain(&self) -> bool {
        self.stored_plain
    }

    fn read<R: Read>(reader: &mut CompactReader<R>) -> Result<Self, String> {
        let (mut id, mut header) = (0, OwnHeader::default());
        while let Some(kind) = reader.field(&mut id)? {
            let slot = usize::try_from(id).ok().and_then(|id| header.numbers.get_mut(id));
            match (id, kind, slot) {
                (1, 4..=6, Some(slot)) => *slot = Some(reader.size()? as i64),
                (_, 4..=6, Some(slot)) => {
                    let raw = reader.varint()?;
                    *slot = Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
                }
                (7, 1 | 2, _) => header.stored_plain = kind == 2,
                (_, other, _) => reader.skip(other, MAX_DEPTH)?,
            }
        }
        Ok(header)
    }
}

impl PageClaims {
    /// Reads one page header (`PageHeader` of parquet.thrift).
    pub(crate) fn read<R: Read>(reader: &mut CompactReader<R>) -> Result<Self, String> {
        let (mut kind, mut uncompressed, mut compressed, mut values) = (None, None, None, 0);
        let (mut own, mut inner) = (None, 0);
        let mut id = 0;
        for _ in 0..MAX_FIELDS {
            let Some(field) = reader.field(&mut id)? else { break };
            match (id, field) {
                (1, 4..=6) => kind = Some(reader.size()?),
                (2, 4..=6) => uncompressed = Some(reader.size()?),
                (3, 4..=6) => compressed = Some(reader.size()?),
                (5 | 7 | 8, STRUCT) => {
                    let header = OwnHeader::read(reader)?;
                    values = header.number(1).map_or(0, |n| n as u64);
                    (own, inner) = (if own.is_none() { Some((id, header)) } else { None }, inner + 1);
                }
                (_, other) => reader.skip(other, MAX_DEPTH)?,
            }
        }
        let (Some(kind), Some(uncompressed), Some(compressed)) = (kind, uncompressed, compressed) else {
            return Err("a page header without sizes".into());
        };
        let (kind, own_id) = match kind {
            0 => (PageKind::Data, 5),
            2 => (PageKind::Dictionary, 7),
            3 => (PageKind::DataV2, 8),
            _ => (PageKind::Other, 0),
        };
        let own = own.filter(|(id, _)| *id == own_id && inner == 1).map(|(_, header)| header);
        Ok(PageClaims { kind, compressed, uncompressed, values, own })
    }

    pub(crate) fn is_data(&self) -> bool {
        matches!(self.kind, PageKind::Data | PageKind::DataV2)
    }
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
        assert_eq!((page.uncompressed, page.compressed, page.values, page.is_data()), (100, 50, 7, true));
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

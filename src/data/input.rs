//! The bytes of a text file: plain, gzip or zstd (told apart by their first bytes), or standard input held in memory.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::Arc;

use super::guard::GuardedRead;
use crate::{Error, Result};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const UTF8_BOM: &[u8] = &[0xef, 0xbb, 0xbf];

/// Something that can be read from its start more than once.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// A file, by its path.
    File(String),
    /// Bytes that cannot be read again from their origin.
    Memory {
        /// Name for messages.
        name: String,
        /// All bytes.
        bytes: Arc<[u8]>,
    },
}

impl Input {
    /// The file `path`; `-` is standard input, read to its end at once.
    pub(super) fn open(path: &str) -> Result<Self> {
        if path != "-" {
            return Ok(Input::File(path.to_owned()));
        }
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map_err(|e| Error::io("<stdin>", "read", e))?;
        Ok(Input::Memory { name: "<stdin>".into(), bytes: bytes.into() })
    }

    /// Name for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Input::File(path) => path,
            Input::Memory { name, .. } => name,
        }
    }

    /// The text from its start, unpacked and without a byte order mark.
    pub(super) fn text(&self) -> Result<Box<dyn Read>> {
        let raw: Box<dyn Read> = match self {
            Input::File(path) => Box::new(File::open(path).map_err(|e| self.open_error(e))?),
            Input::Memory { bytes, .. } => Box::new(Cursor::new(Arc::clone(bytes))),
        };
        let (head, raw) = peek(raw, 4).map_err(|e| self.read_error(e))?;
        let text: Box<dyn Read> = if head.starts_with(GZIP) {
            Box::new(GuardedRead::new(flate2::read::MultiGzDecoder::new(raw)))
        } else if head.starts_with(ZSTD) {
            let decoder = zstd::stream::read::Decoder::new(raw).map_err(|e| self.read_error(e))?;
            Box::new(GuardedRead::new(decoder))
        } else {
            raw
        };
        let (head, mut text) = peek(text, UTF8_BOM.len()).map_err(|e| self.read_error(e))?;
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            return Err(Error::WrongFormat {
                file: self.name().into(),
                expected: "UTF-8 text".into(),
                found: "UTF-16 text".into(),
            });
        }
        if head == UTF8_BOM {
            let mut mark = [0; UTF8_BOM.len()];
            text.read_exact(&mut mark).map_err(|e| self.read_error(e))?;
        }
        Ok(text)
    }

    /// An error met while reading: the system's own, or bytes that do not unpack.
    pub(super) fn read_error(&self, source: io::Error) -> Error {
        if source.raw_os_error().is_some() {
            Error::io(self.name(), "read", source)
        } else {
            Error::Damaged { file: self.name().into(), detail: source.to_string() }
        }
    }

    fn open_error(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::NotFound {
            Error::NotFound { path: self.name().into(), near: Vec::new() }
        } else {
            Error::io(self.name(), "open", source)
        }
    }
}

/// The first `want` bytes (fewer at the end of the data), and a reader that still gives all of them.
fn peek(mut reader: Box<dyn Read>, want: usize) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut head = Vec::with_capacity(want);
    reader.by_ref().take(want as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(reader))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text_of(bytes: Vec<u8>) -> Result<String> {
        let input = Input::Memory { name: "m".into(), bytes: bytes.into() };
        let mut text = String::new();
        input.text()?.read_to_string(&mut text).map_err(|e| input.read_error(e))?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn packed_text_is_recognised_by_its_first_bytes() {
        assert_eq!(text_of(gzip("a,b")).unwrap(), "a,b");
        assert_eq!(text_of(zstd::encode_all(&b"a,b"[..], 1).unwrap()).unwrap(), "a,b");
        assert_eq!(text_of(b"\xef\xbb\xbfa,b".to_vec()).unwrap(), "a,b");
        assert_eq!(text_of(Vec::new()).unwrap(), "");
    }

    #[test]
    fn a_cut_archive_is_damaged_and_utf16_is_refused() {
        let whole = gzip(&"1,2,3\n".repeat(1000));
        let cut = whole[..whole.len() / 2].to_vec();
        assert_eq!(text_of(cut).unwrap_err().code(), "E0302");
        assert_eq!(text_of(b"\xff\xfea\0".to_vec()).unwrap_err().code(), "E0303");
    }
}

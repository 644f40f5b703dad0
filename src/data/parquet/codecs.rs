//! Unpacking of compressed pages into memory that is there already.

use std::io::Read;

use ::parquet::basic::Compression;

/// The decoders of one thread, kept from page to page.
#[derive(Default)]
pub(crate) struct Unpacker {
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Unpacker {
    /// Fills `out` with what `packed` holds; `None` where that is not as long as `out`, or damaged, or of a codec that
    /// is left to the general decoder.
    pub(crate) fn unpack(&mut self, codec: Compression, packed: &[u8], out: &mut [u8]) -> Option<()> {
        let length = match codec {
            Compression::SNAPPY => self.snappy.decompress(packed, out).ok()?,
            Compression::ZSTD(_) => {
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Decompressor::new().ok();
                }
                self.zstd.as_mut()?.decompress_to_buffer(packed, out).ok()?
            }
            Compression::LZ4_RAW => lz4_flex::block::decompress_into(packed, out).ok()?,
            Compression::GZIP(_) => {
                let mut decoder = flate2::read::MultiGzDecoder::new(packed);
                decoder.read_exact(out).ok()?;
                // Read to the end, where the checksum stands.
                out.len() + decoder.read(&mut [0]).ok()?
            }
            _ => return None,
        };
        (length == out.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fills_the_memory_counts() {
        let text = b"abcabcabcabc".repeat(20);
        let snappy = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let zstd = zstd::bulk::compress(&text, 1).unwrap();
        let mut gzip = flate2::read::GzEncoder::new(&text[..], flate2::Compression::fast());
        let mut packed = Vec::new();
        gzip.read_to_end(&mut packed).unwrap();
        let lz4 = lz4_flex::block::compress(&text);
        let mut unpacker = Unpacker::default();
        for (codec, packed) in [
            (Compression::SNAPPY, snappy),
            (Compression::ZSTD(Default::default()), zstd),
            (Compression::GZIP(Default::default()), packed),
            (Compression::LZ4_RAW, lz4),
        ] {
            let mut out = vec![0; text.len()];
            unpacker.unpack(codec, &packed, &mut out).unwrap();
            assert_eq!(out, text, "{codec}");
            for size in [text.len() - 1, text.len() + 1] {
                assert!(unpacker.unpack(codec, &packed, &mut vec![0; size]).is_none(), "{codec}");
            }
            assert!(unpacker.unpack(codec, &packed[..packed.len() / 2], &mut out).is_none(), "{codec}");
        }
    }
}

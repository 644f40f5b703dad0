//! The file of a checkpoint: a line of magic, then sections, each with its length and a checksum.

use std::fs::File;
use std::io::{BufReader, Read, Write};

use crate::output::AtomicFile;
use crate::{Error, Result};

/// First bytes; the last one is the version of the layout.
const MAGIC: [u8; 8] = *b"cbfitck\x01";
/// Sections of a file.
pub const SECTIONS: usize = 3;
/// Bytes in front of a section: its length and its CRC-32.
const PREFIX: u64 = 12;

/// Writes `sections`, each in parts, to `path`, whole or not at all, and returns the number of bytes. Only their owner may read them:
/// states hold what training rows say.
///
/// # Errors
/// [`Error::Io`].
pub fn write(path: &str, sections: [&[&[u8]]; SECTIONS]) -> Result<u64> {
    let failed = |source| Error::io(path, "write", source);
    let mut file = AtomicFile::create(path)?;
    let length = |parts: &[&[u8]]| parts.iter().map(|part| part.len() as u64).sum::<u64>();
    let bytes = MAGIC.len() as u64 + sections.iter().map(|parts| PREFIX + length(parts)).sum::<u64>();
    file.reserve(bytes)?;
    file.write_all(&MAGIC).map_err(failed)?;
    for parts in sections {
        file.write_all(&length(parts).to_le_bytes()).map_err(failed)?;
        file.write_all(&checksum(parts).to_le_bytes()).map_err(failed)?;
        for part in parts {
            file.write_all(part).map_err(failed)?;
        }
    }
    file.commit()?;
    Ok(bytes)
}

/// Reads the sections of `path`; `None` where there is no such file.
///
/// # Errors
/// [`Error::BadCheckpoint`] for anything that [`write()`] has not written, [`Error::TooLarge`] where it does not fit into
/// memory, [`Error::Io`].
pub fn read(path: &str) -> Result<Option<[Vec<u8>; SECTIONS]>> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => bad(path, "it ends early"),
        _ => Error::io(path, "read", source),
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(bad(path, "it is no regular file"));
    }
    let mut left = metadata.len();
    let mut reader = BufReader::new(file);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(failed)?;
    if magic != MAGIC {
        return Err(bad(path, "its first bytes are not those of a checkpoint of this version of cbfit"));
    }
    left = left.saturating_sub(MAGIC.len() as u64);
    let mut sections = [const { Vec::new() }; SECTIONS];
    for section in &mut sections {
        let (mut length, mut crc) = ([0; 8], [0; 4]);
        reader.read_exact(&mut length).map_err(failed)?;
        reader.read_exact(&mut crc).map_err(failed)?;
        let length = u64::from_le_bytes(length);
        left = left.saturating_sub(PREFIX);
        if length > left {
            return Err(bad(path, format!("a part of it claims {length} bytes, {left} are there")));
        }
        left -= length;
        // A sparse file makes its length as large as it likes.
        let bytes = usize::try_from(length).ok().filter(|&bytes| section.try_reserve_exact(bytes).is_ok());
        let Some(bytes) = bytes else {
            return Err(Error::TooLarge { what: path.into(), need: length, limit: isize::MAX as u64 });
        };
        let read = reader.by_ref().take(length).read_to_end(section).map_err(failed)?;
        if read != bytes {
            return Err(bad(path, "it ends early"));
        }
        if checksum(&[section.as_slice()]) != u32::from_le_bytes(crc) {
            return Err(bad(path, "a checksum does not hold"));
        }
    }
    if left != 0 {
        return Err(bad(path, format!("{left} bytes follow its end")));
    }
    Ok(Some(sections))
}

/// [`Error::BadCheckpoint`] for `path`.
pub fn bad(path: &str, why: impl Into<String>) -> Error {
    Error::BadCheckpoint { path: path.into(), why: why.into() }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_back_and_every_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.checkpoint");
        let shown = path.to_str().unwrap();
        assert!(read(shown).unwrap().is_none());
        let sections: [&[u8]; 3] = [b"settings", b"", &[7; 300]];
        let bytes = write(shown, [&[b"set", b"tings"], &[], &[sections[2]]]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, bytes);
        assert_eq!(read(shown).unwrap().unwrap(), sections.map(<[u8]>::to_vec));
        let expect_bad = |content: &[u8], what: &str| {
            std::fs::write(&path, content).unwrap();
            let error = read(shown).unwrap_err();
            assert_eq!(error.code(), "E0504", "{what}: {error}");
        };
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            expect_bad(&flipped, &format!("flipped byte {at}"));
            expect_bad(&whole[..at], &format!("cut at {at}"));
        }
        expect_bad(&[&whole[..], b"x"].concat(), "a byte too many");
        expect_bad(&[&MAGIC[..], &u64::MAX.to_le_bytes(), &[0; 40]].concat(), "a hostile length");
    }
}

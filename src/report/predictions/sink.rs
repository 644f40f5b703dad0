//! Where predictions go: a file that appears when it is whole, or standard output.

use std::io::{self, BufWriter, Seek, SeekFrom, Stdout, Write};

use crate::output::AtomicFile;
use crate::{Error, Result};

pub enum Sink {
    File(AtomicFile),
    Stdout(BufWriter<Stdout>),
}

impl Sink {
    /// `-` is standard output.
    pub fn create(path: &str) -> Result<Self> {
        if path == "-" {
            return Ok(Sink::Stdout(BufWriter::new(io::stdout())));
        }
        AtomicFile::create(path).map(Sink::File)
    }

    /// Completes the output.
    pub fn commit(self) -> Result<()> {
        match self {
            Sink::File(file) => file.commit(),
            Sink::Stdout(mut out) => {
                out.flush().map_err(|source| Error::io("standard output", "write", source))
            }
        }
    }

    /// [`Error::Io`] for a failed write.
    pub fn failed(&self, source: io::Error) -> Error {
        let path = match self {
            Sink::File(file) => file.path(),
            Sink::Stdout(_) => "standard output",
        };
        Error::io(path, "write", source)
    }

    /// Writes all of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|source| self.failed(source))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File(file) => file.write(bytes),
            Sink::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.flush(),
            Sink::Stdout(out) => out.flush(),
        }
    }
}

impl Seek for Sink {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Sink::File(file) => file.seek(to),
            Sink::Stdout(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

//! Decoders of other crates may panic on damaged input; here that becomes an error of the file.

use std::cell::Cell;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::{Error, Result};

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `decode`; a panic inside it becomes [`Error::Damaged`] of `file`.
/// What `decode` was writing to is in an unknown state afterwards and must be dropped with the error.
pub(crate) fn guarded<T>(file: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(decode).unwrap_or_else(|detail| Err(Error::Damaged { file: file.to_owned(), detail }))
}

/// The outcome of `decode`, or what its panic said.
fn caught<T>(decode: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let outer = DECODING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    outcome.map_err(|payload| {
        let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        format!("its content contradicts itself ({message})")
    })
}

/// A reader of packed bytes; a panic inside it becomes an error of reading.
pub(crate) struct GuardedRead<R>(Option<R>);

impl<R> GuardedRead<R> {
    /// Reads from `reader` until it panics.
    pub(crate) fn new(reader: R) -> Self {
        GuardedRead(Some(reader))
    }
}

impl<R: Read> Read for GuardedRead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // What has panicked is in an unknown state and is not asked again.
        let Some(mut reader) = self.0.take() else { return Err(io::ErrorKind::InvalidData.into()) };
        let (reader, outcome) = caught(move || {
            let outcome = reader.read(into);
            (reader, outcome)
        })
        .map_err(|detail| io::Error::new(io::ErrorKind::InvalidData, detail))?;
        self.0 = Some(reader);
        outcome
    }
}

/// Keeps the panic message of a decoder off stderr: the error that it becomes says the same.
/// For binaries, once at their start; panics elsewhere go to the hook that was set before.
pub fn silence_decoder_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !DECODING.get() {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_damage_and_an_error_stays_itself() {
        let broken = guarded::<()>("a.parquet", || panic!("index 3 of 2"));
        let text = broken.unwrap_err().to_string();
        assert!(text.contains("a.parquet") && text.contains("index 3 of 2"), "{text}");
        let empty = guarded::<()>("b", || Err(Error::NoFeatures { file: "b".into() }));
        assert_eq!(empty.unwrap_err().code(), "E0206");
        assert!(!DECODING.get());
    }

    #[test]
    fn a_reader_that_panics_is_an_error_and_is_not_asked_again() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 == 1 { Ok(2) } else { panic!("bad block") }
            }
        }
        let mut reader = GuardedRead::new(Broken(0));
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 2);
        let error = reader.read(&mut [0; 4]).unwrap_err();
        assert!(error.to_string().contains("bad block") && !DECODING.get(), "{error}");
        assert!(reader.read(&mut [0; 4]).is_err());
    }
}

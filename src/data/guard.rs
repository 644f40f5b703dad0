//! Decoders of other crates may panic on damaged input; here that becomes an error of the file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::{Error, Result};

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `decode`; a panic inside it becomes [`Error::Damaged`] of `file`.
/// What `decode` was writing to is in an unknown state afterwards and must be dropped with the error.
pub(crate) fn guarded<T>(file: &str, decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let outer = DECODING.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(outer);
    outcome.unwrap_or_else(|payload| {
        let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Error::Damaged {
            file: file.to_owned(),
            detail: format!("its content contradicts itself ({message})"),
        })
    })
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
}

//! Errors of the library as exceptions.

use cbfit::Error;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(cbfit, ModelError, PyValueError, "A file or text that is not a usable cbfit model.");

/// `ENOENT`, by which Python chooses `FileNotFoundError`; the same everywhere.
const NO_SUCH_FILE: i32 = 2;

/// The exception for `error`: what was wrong, and where it helps what to do, in the words of Python.
pub fn exception(error: Error) -> PyErr {
    match error {
        Error::NotFound { ref path, .. } => {
            PyOSError::new_err((NO_SUCH_FILE, format!("no such file; {}", error.help()), path.clone()))
        }
        Error::Io { path, action, source } => match source.raw_os_error() {
            Some(number) => PyOSError::new_err((number, format!("cannot {action}: {source}"), path)),
            None => PyOSError::new_err(format!("{path}: cannot {action}: {source}")),
        },
        Error::BadModel { .. } | Error::NewerModel { .. } => ModelError::new_err(with_help(&error)),
        Error::TooLarge { .. } => PyMemoryError::new_err(error.to_string()),
        Error::Diverged { .. } => PyRuntimeError::new_err(error.to_string()),
        other => PyValueError::new_err(with_help(&other)),
    }
}

/// An exception for a panic, which is a bug: it must not look like one of the user.
pub fn internal(payload: &(dyn std::any::Any + Send)) -> PyErr {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    PyRuntimeError::new_err(format!("internal error of cbfit, please report it: {text}"))
}

fn with_help(error: &Error) -> String {
    let (message, help) = match error {
        Error::NotFinite { kind, .. } => {
            let what = if *kind == "missing" { "NaN" } else { "infinity or a value too large for float32" };
            let help = match *kind {
                "missing" => "fill them in, or use BoostClassifier, which takes missing values",
                _ => "remove or cap these values",
            };
            (format!("Input X contains {what}: {error}"), help.to_owned())
        }
        Error::BadValue { flag, value, why, help } => {
            let range = || format!("{} = {value}: {why}", parameter(flag));
            (range(), help.clone())
        }
        Error::OneClass { .. } => {
            ("y has only one class".into(), "a classifier needs at least two classes".into())
        }
        Error::BadBeta { .. } => {
            (error.to_string(), "give 0.9999, '1-1e-7' or 'N=10000'; beta = 1 is weighting='inverse'".into())
        }
        Error::BadCounts { .. } => (error.to_string(), String::new()),
        other => (other.to_string(), other.help()),
    };
    // Flags of the command line are no help here.
    if help.is_empty() || help.contains("--") { message } else { format!("{message}; {help}") }
}

/// The parameter of Python for a flag of the command line.
fn parameter(flag: &str) -> String {
    match flag.trim_start_matches('-') {
        "lr" => "learning_rate".into(),
        "cat-smooth" => "category_smoothing".into(),
        "valid-fraction" => "validation_fraction".into(),
        "tolerance" => "tol".into(),
        "max_iterations" => "max_iter".into(),
        "rounds" => "n_estimators".into(),
        other => other.replace('-', "_"),
    }
}

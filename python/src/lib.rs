//! The native module `cbfit._core`: arrays in, arrays out. What users see is the package `cbfit` on top of it.

mod comparison;
mod error;
mod fit;
mod losses;
mod model;
mod report;
mod rows;
mod weighting;
mod work;

/// Class-balanced classifiers: the native part of `cbfit`.
#[pyo3::pymodule]
mod _core {
    use std::io::Write;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::comparison::compare;
    #[pymodule_export]
    use crate::error::ModelError;
    #[pymodule_export]
    use crate::fit::{fit_boost, fit_linear};
    #[pymodule_export]
    use crate::losses::row_losses;
    #[pymodule_export]
    use crate::model::{Model, load_model, model_from_bytes};
    #[pymodule_export]
    use crate::report::write_report;
    #[pymodule_export]
    use crate::weighting::class_weights;

    /// The `cbfit` command with the arguments after its name; its exit status.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<String>) -> u8 {
        py.detach(|| {
            cbfit::data::guard::silence_decoder_panics();
            let command = std::iter::once("cbfit".to_owned()).chain(arguments);
            let cli = match cbfit::cli::args::Cli::read(command) {
                Ok(cli) => cli,
                Err(error) => {
                    // A closed pipe is no failure.
                    let _ = error.print().and_then(|()| std::io::stdout().flush());
                    return u8::try_from(error.exit_code()).unwrap_or(2);
                }
            };
            match cbfit::cli::run(cli) {
                Ok(status) => status,
                Err(error) if cbfit::cli::is_closed_pipe(&error) => 0,
                Err(error) => {
                    eprintln!("error[{}]: {error}\n help: {}", error.code(), error.help());
                    error.exit_status()
                }
            }
        })
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

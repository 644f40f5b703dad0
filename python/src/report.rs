//! A model scored on labelled rows, as one HTML file.

use cbfit::Result;
use cbfit::metrics::{Confusion, evaluate_decisions, reliability};
use cbfit::report::html::{Report, Run, render, weight_norms};
use cbfit::weighting::Prior;
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::error::exception;
use crate::model::{Model, Names, write_file};
use crate::rows::{Given, Rows};
use crate::weighting::Shares;
use crate::work::briefly;

/// Writes the report of `model` on rows whose labels are codes, `u32::MAX` for classes it does not know.
#[pyfunction]
#[pyo3(signature = (model, names, x, codes, prior, path, title))]
#[allow(clippy::too_many_arguments)] // Two names beside what is scored.
pub fn write_report(
    py: Python<'_>,
    model: Bound<'_, Model>,
    names: Names,
    x: Given<'_>,
    codes: PyReadonlyArray1<'_, u32>,
    prior: Shares,
    path: String,
    title: String,
) -> PyResult<()> {
    let (rows, codes) = (x.rows()?, codes.as_slice()?);
    let prior = prior.prior().map_err(exception)?;
    let model = model.get();
    briefly(py, || write_file(&path, page(model, names, &rows, codes, &prior, title)?.as_bytes()))
}

fn page(
    model: &Model,
    names: Names,
    rows: &Rows<'_>,
    truth: &[u32],
    prior: &Prior,
    data: String,
) -> Result<String> {
    let fitted = model.fitted();
    let classes = fitted.classes().len();
    let saved = model.saved(names)?;
    let reliable = |prior: &Prior| -> Result<_> {
        reliability(&fitted.predict_proba_under(rows, prior)?, truth, None, classes)
    };
    let (trained, natural) = (reliable(&Prior::AsTrained)?, reliable(&Prior::Natural)?);
    let probabilities = fitted.predict_proba_under(rows, prior)?;
    let decided = fitted.predict_under(rows, prior)?;
    let scores = evaluate_decisions(&probabilities, truth, &saved.metadata.counts, None, &decided)?;
    let confusion = Confusion::of(truth, &decided, None, classes);
    let weight_norms = weight_norms(&saved);
    let run = Run {
        name: "model".into(),
        metadata: saved.metadata,
        weight_norms,
        scores,
        confusion,
        trained,
        natural,
    };
    let prior = match prior {
        Prior::AsTrained => "as trained".into(),
        other => format!("under the {} prior", other.name()),
    };
    Ok(render(&Report { data, prior, runs: vec![run], comparison: None }))
}

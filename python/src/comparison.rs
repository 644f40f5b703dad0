//! Which weighting helps.

use cbfit::estimator::{Cancel, Contest, compare as compare_rows};
use cbfit::metrics::Metric;
use cbfit::model::Learner;
use cbfit::{Error, Result};
use numpy::PyReadonlyArray1;
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError};
use pyo3::prelude::*;

use crate::error::exception;
use crate::losses::loss_of;
use crate::rows::Given;
use crate::weighting::Rule;
use crate::work::interruptibly;

/// What is compared.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Settings {
    learners: Vec<String>,
    losses: Vec<(String, f64)>,
    weightings: Option<Vec<Rule>>,
    folds: usize,
    repeats: usize,
    metric: String,
    standardize: bool,
    seed: u64,
    threads: Option<usize>,
}

impl Settings {
    fn contest(&self) -> Result<Contest> {
        let learner = |name: &String| match name.as_str() {
            "linear" => Ok(Learner::Linear),
            "boost" => Ok(Learner::Boost),
            other => Err(Error::bad_value("learners", other, "is no learner", "take 'linear' or 'boost'")),
        };
        let weightings = self.weightings.as_ref();
        Ok(Contest {
            learners: self.learners.iter().map(learner).collect::<Result<_>>()?,
            losses: self.losses.iter().map(|(name, gamma)| loss_of(name, *gamma)).collect::<Result<_>>()?,
            weightings: weightings.map(|rules| rules.iter().map(Rule::weighting).collect()).transpose()?,
            folds: self.folds,
            repeats: self.repeats,
            metric: Metric::parse(&self.metric)?,
            standardize: self.standardize,
            seed: self.seed,
        })
    }
}

/// Compares treatments of the imbalance; JSON of the finding.
#[pyfunction]
pub fn compare(
    py: Python<'_>,
    x: Given<'_>,
    codes: PyReadonlyArray1<'_, u32>,
    settings: Settings,
) -> PyResult<String> {
    let contest = settings.contest().map_err(exception)?;
    let (rows, codes) = (x.rows()?, codes.as_slice()?);
    let cancel = Cancel::new();
    let found =
        interruptibly(py, settings.threads, &cancel, || compare_rows(&rows, codes, &contest, &cancel))?;
    let found = found.ok_or_else(|| PyKeyboardInterrupt::new_err(()))?;
    serde_json::to_string(&found).map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

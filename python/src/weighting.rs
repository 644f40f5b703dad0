//! How classes are weighted, as Python says it.

use cbfit::labels::ClassCounts;
use cbfit::weighting::{Beta, ClassWeights, Normalisation, Prior, Scheme};
use cbfit::{Error, Result, Weighting};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::error::exception;

/// A rule by its name, and what it takes: `none`, `inverse`, `sqrt`, `effective` with a beta as text, `ratio` with a number,
/// `custom` with a weight for each class.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Rule {
    name: String,
    beta: Option<String>,
    ratio: Option<f64>,
    weights: Option<Vec<f64>>,
}

impl Rule {
    /// For a fit.
    pub fn weighting(&self) -> Result<Weighting> {
        let missing = |what: &str| {
            Error::bad_value("weighting", &self.name, format!("needs {what}"), format!("give {what}"))
        };
        Ok(Weighting::Scheme(match self.name.as_str() {
            "none" => Scheme::None,
            "inverse" => Scheme::Inverse,
            "sqrt" => Scheme::Sqrt,
            "effective" => {
                Scheme::Effective(Beta::parse(self.beta.as_deref().ok_or_else(|| missing("beta"))?)?)
            }
            "ratio" => return Ok(Weighting::Ratio(self.ratio.ok_or_else(|| missing("a ratio"))?)),
            "custom" => Scheme::Custom(self.weights.clone().ok_or_else(|| missing("weights"))?),
            other => {
                let help = "take none, inverse, sqrt, effective, ratio or custom";
                return Err(Error::bad_value("weighting", other, "is no rule", help));
            }
        }))
    }
}

/// A prior by its name or as shares of the classes.
#[derive(FromPyObject)]
pub enum Shares {
    Name(String),
    Given(Vec<f64>),
}

impl Shares {
    /// As the library takes it.
    pub fn prior(self) -> Result<Prior> {
        Ok(match self {
            Shares::Given(shares) => Prior::Given(shares),
            Shares::Name(name) => match name.as_str() {
                "trained" => Prior::AsTrained,
                "natural" => Prior::Natural,
                "uniform" => Prior::Uniform,
                other => {
                    let help = "take 'trained', 'natural', 'uniform' or a share for each class";
                    return Err(Error::bad_value("prior", other, "is no prior", help));
                }
            },
        })
    }
}

/// Weights of classes with these counts, which may be sums of weights. `normalise`: `samples`, `classes` or `none`.
#[pyfunction]
pub fn class_weights<'py>(
    py: Python<'py>,
    counts: Vec<f64>,
    rule: Rule,
    normalise: &str,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let weights = || -> Result<Vec<f64>> {
        let normalisation = match normalise {
            "samples" => Normalisation::Samples,
            "classes" => Normalisation::Classes,
            "none" => Normalisation::None,
            other => {
                let help = "take 'samples', 'classes' or 'none'";
                return Err(Error::bad_value("normalise", other, "is no normalisation", help));
            }
        };
        let counts = ClassCounts { rows: counts.iter().map(|&n| n as u64).collect(), weighted: counts };
        let scheme = rule.weighting()?.scheme(&counts)?;
        Ok(ClassWeights::new(&scheme, &counts, normalisation, None)?.alpha)
    };
    Ok(weights().map_err(exception)?.into_pyarray(py))
}

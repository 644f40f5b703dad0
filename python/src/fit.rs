//! Fits.

use cbfit::boost::gradient::Curvature;
use cbfit::boost::options::{BoostOptions, Lanes, Trees};
use cbfit::estimator::{Cancel, Estimator, Request};
use cbfit::metrics::Metric;
use cbfit::{Boost, Error, Linear, Result};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::error::exception;
use crate::losses::loss_of;
use crate::model::Model;
use crate::rows::Given;
use crate::weighting::Rule;
use crate::work::interruptibly;

/// Settings of either learner.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Common {
    loss: String,
    gamma: f64,
    weighting: Rule,
    logit_adjust: f64,
    seed: u64,
    threads: Option<usize>,
}

/// Settings of a linear fit.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct LinearSettings {
    l2: Option<f64>,
    standardize: bool,
    tolerance: f64,
    max_iterations: usize,
    metric: String,
    valid_fraction: f64,
}

/// Settings of a boosted fit.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct BoostSettings {
    rounds: usize,
    learning_rate: f64,
    max_leaves: usize,
    max_depth: Option<usize>,
    min_rows: usize,
    min_child_weight: f64,
    l2: Option<f64>,
    min_gain: f64,
    row_sample: f64,
    column_sample: f64,
    max_bins: usize,
    trees: String,
    curvature: Option<String>,
    categorical: Vec<usize>,
}

impl LinearSettings {
    fn recipe(&self, common: &Common) -> Result<Linear> {
        let recipe = Linear::new(loss_of(&common.loss, common.gamma)?)
            .weighting(common.weighting.weighting()?)
            .logit_adjust(common.logit_adjust)
            .seed(common.seed)
            .standardize(self.standardize)
            .tolerance(self.tolerance)
            .max_iterations(self.max_iterations)
            .metric(Metric::parse(&self.metric)?)
            .valid_fraction(self.valid_fraction);
        Ok(self.l2.map_or(recipe.clone(), |l2| recipe.l2(l2)))
    }
}

impl BoostSettings {
    fn recipe(&self, common: &Common) -> Result<Boost> {
        let unknown =
            |what: &str, value: &str, help: &str| Err(Error::bad_value(what, value, "is unknown", help));
        let trees = match self.trees.as_str() {
            "auto" => Trees::Auto,
            "per_class" => Trees::PerClass,
            "vector" => Trees::Vector(Lanes::Eight),
            other => return unknown("trees", other, "take 'auto', 'per_class' or 'vector'"),
        };
        let curvature = match self.curvature.as_deref() {
            None => None,
            Some("newton") => Some(Curvature::Newton),
            Some("absolute") => Some(Curvature::Absolute),
            Some(other) => return unknown("curvature", other, "take None, 'newton' or 'absolute'"),
        };
        let options = BoostOptions {
            learning_rate: self.learning_rate,
            max_leaves: self.max_leaves,
            max_depth: self.max_depth,
            min_rows: self.min_rows,
            min_child_weight: self.min_child_weight,
            l2: self.l2,
            min_gain: self.min_gain,
            row_sample: self.row_sample,
            column_sample: self.column_sample,
            trees,
            curvature,
            seed: common.seed,
            ..BoostOptions::default()
        };
        Ok(Boost::new(loss_of(&common.loss, common.gamma)?)
            .weighting(common.weighting.weighting()?)
            .logit_adjust(common.logit_adjust)
            .rounds(self.rounds)
            .options(options)
            .max_bins(self.max_bins)
            .categorical(self.categorical.clone()))
    }
}

/// Fits a linear classifier to codes `0..C` of classes that all have rows.
#[pyfunction]
pub fn fit_linear(
    py: Python<'_>,
    x: Given<'_>,
    codes: PyReadonlyArray1<'_, u32>,
    weights: Option<PyReadonlyArray1<'_, f64>>,
    common: Common,
    settings: LinearSettings,
    start: Option<Bound<'_, Model>>,
) -> PyResult<Model> {
    let recipe = settings.recipe(&common).map_err(exception)?;
    fit(py, &recipe, common.threads, (x, codes, weights), start)
}

/// Boosts trees for codes `0..C` of classes that all have rows.
#[pyfunction]
pub fn fit_boost(
    py: Python<'_>,
    x: Given<'_>,
    codes: PyReadonlyArray1<'_, u32>,
    weights: Option<PyReadonlyArray1<'_, f64>>,
    common: Common,
    settings: BoostSettings,
    start: Option<Bound<'_, Model>>,
) -> PyResult<Model> {
    let recipe = settings.recipe(&common).map_err(exception)?;
    fit(py, &recipe, common.threads, (x, codes, weights), start)
}

/// Rows, their codes and their weights.
type Data<'py> = (Given<'py>, PyReadonlyArray1<'py, u32>, Option<PyReadonlyArray1<'py, f64>>);

fn fit(
    py: Python<'_>,
    recipe: &(impl Estimator + Sync),
    threads: Option<usize>,
    (x, codes, weights): Data<'_>,
    start: Option<Bound<'_, Model>>,
) -> PyResult<Model> {
    let (rows, codes) = (x.rows()?, codes.as_slice()?);
    let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
    let start = start.as_ref().map(|start| start.get().fitted());
    let cancel = Cancel::new();
    let fitted = interruptibly(py, threads, &cancel, || {
        let request =
            Request { sample_weight: weights, warm_start: start, cancel: Some(&cancel), watch: None };
        recipe.fit_with(&rows, codes, request)
    })?;
    Ok(Model::of(fitted))
}

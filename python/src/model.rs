//! A fitted classifier over codes; Python keeps the names of its classes.

use std::io::Write;

use cbfit::boost::model::Importance;
use cbfit::data::encode::InputColumn;
use cbfit::data::missing::Missing;
use cbfit::estimator::Fitted;
use cbfit::export::onnx;
use cbfit::labels::{LabelKind, LabelMap};
use cbfit::model_file::{self, SavedModel};
use cbfit::output::AtomicFile;
use cbfit::weighting::Prior;
use cbfit::{Error, Result};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::error::exception;
use crate::rows::{Given, Rows};
use crate::weighting::Shares;
use crate::work::briefly;

/// Names of classes and of features.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Names {
    /// `int`, `bool` or `text`, as which the names of classes are written.
    kind: String,
    classes: Vec<String>,
    columns: Option<Vec<String>>,
}

/// A fitted classifier of the classes `0..C`.
#[pyclass(frozen, module = "cbfit._core")]
pub struct Model {
    fitted: Fitted<u32>,
}

/// Weights by class (`C x D`) and biases (C).
type Coefficients<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<f32>>);

impl Model {
    pub fn of(fitted: Fitted<u32>) -> Self {
        Model { fitted }
    }

    pub fn fitted(&self) -> &Fitted<u32> {
        &self.fitted
    }

    /// The model as its file has it.
    pub fn saved(&self, names: Names) -> Result<SavedModel> {
        let kind = match names.kind.as_str() {
            "int" => LabelKind::Int,
            "bool" => LabelKind::Bool,
            _ => LabelKind::Text,
        };
        self.fitted.to_saved(LabelMap { kind, names: names.classes }, names.columns)
    }

    /// Logits as they were trained; under a prior the logarithms of probabilities.
    fn scores(&self, rows: &Rows<'_>, prior: &Prior) -> Result<Vec<f32>> {
        let scores = self.fitted.decision_function(rows)?;
        if *prior == Prior::AsTrained {
            return Ok(scores);
        }
        let logs = self.fitted.posterior(prior)?.log_posteriors(&scores);
        Ok(logs.into_iter().map(|log| log as f32).collect())
    }

    /// What `of` makes of rows under a prior, without the interpreter.
    fn under<T: Send>(
        &self,
        py: Python<'_>,
        x: Given<'_>,
        prior: Shares,
        of: impl FnOnce(&Rows<'_>, &Prior) -> Result<T> + Send,
    ) -> PyResult<T> {
        let (rows, prior) = (x.rows()?, prior.prior().map_err(exception)?);
        briefly(py, || of(&rows, &prior))
    }
}

#[pymethods]
impl Model {
    /// Number of classes C.
    #[getter]
    fn classes(&self) -> usize {
        self.fitted.classes().len()
    }

    /// Number of features D.
    #[getter]
    fn features(&self) -> usize {
        self.fitted.features()
    }

    /// Whether it is linear; else it has trees.
    #[getter]
    fn is_linear(&self) -> bool {
        self.fitted.linear().is_some()
    }

    /// The prior that it predicts under by itself: `natural` where it is calibrated, else `trained`.
    #[getter]
    fn own_prior(&self) -> &'static str {
        if self.fitted.own_prior() == Prior::Natural { "natural" } else { "trained" }
    }

    /// Whether its trees start from linear functions.
    #[getter]
    fn starts_linear(&self) -> bool {
        matches!(self.fitted.model(), cbfit::model::Model::Hybrid(_))
    }

    /// What it does between features and predictions that other libraries have no place for, in words.
    #[getter]
    fn extras(&self) -> Vec<&'static str> {
        let fitted = &self.fitted;
        let is_filled = matches!(fitted.encoder().missing, Missing::Mean | Missing::Zero);
        let found = [
            (is_filled, "values in the place of missing ones"),
            (!fitted.conditions().link.is_identity(), "logits that its loss has scaled or shifted"),
            (fitted.calibration().is_some(), "a calibration"),
            (fitted.offsets().is_some(), "offsets of decisions"),
        ];
        found.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect()
    }

    /// `N x C` logits, or under another prior than `trained` logarithms of probabilities.
    fn decision<'py>(
        &self,
        py: Python<'py>,
        x: Given<'py>,
        prior: Shares,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let scores = self.under(py, x, prior, |rows, prior| self.scores(rows, prior))?;
        by_class(py, scores, self.classes())
    }

    /// `N x C` probabilities under a prior.
    fn probabilities<'py>(
        &self,
        py: Python<'py>,
        x: Given<'py>,
        prior: Shares,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let values = self.under(py, x, prior, |rows, prior| self.fitted.predict_proba_under(rows, prior))?;
        by_class(py, values, self.classes())
    }

    /// The class of each row under a prior.
    fn codes<'py>(
        &self,
        py: Python<'py>,
        x: Given<'py>,
        prior: Shares,
    ) -> PyResult<Bound<'py, PyArray1<u32>>> {
        let codes = self.under(py, x, prior, |rows, prior| self.fitted.predict_under(rows, prior))?;
        Ok(codes.into_pyarray(py))
    }

    /// Weights and biases over the features as they are given; `None` of trees.
    fn coefficients<'py>(&self, py: Python<'py>) -> PyResult<Option<Coefficients<'py>>> {
        let Some((weight, bias)) = self.fitted.coefficients() else { return Ok(None) };
        Ok(Some((by_class(py, weight, self.features())?, bias.into_pyarray(py))))
    }

    /// Weight of a row of each class in the fit.
    fn class_weights<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.fitted.class_weights().to_vec().into_pyarray(py)
    }

    /// Rows of each class fitted on, or sums of their weights.
    fn class_counts<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        self.fitted.conditions().counts.weighted.clone().into_pyarray(py)
    }

    /// How the fit went.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.fitted.report();
        let dict = PyDict::new(py);
        dict.set_item("loss", self.fitted.conditions().loss.name())?;
        dict.set_item("gamma", self.fitted.conditions().loss.gamma())?;
        dict.set_item("weighting", report.scheme.name())?;
        dict.set_item("beta", report.scheme.beta().map(|beta| beta.to_string()))?;
        dict.set_item("l2", report.l2)?;
        dict.set_item("steps", report.steps)?;
        dict.set_item("converged", report.converged)?;
        dict.set_item("relative_gap", report.relative_gap)?;
        Ok(dict)
    }

    /// What trees gain by each feature, or how often they test it (`gain`, `splits`, `cover`); `None` of linear models.
    /// Linear functions that trees start from are left out.
    fn importances<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Option<Bound<'py, PyArray1<f64>>>> {
        let kind = match kind {
            "gain" => Importance::Gain,
            "splits" => Importance::Splits,
            "cover" => Importance::Cover,
            other => return Err(PyValueError::new_err(format!("no importance {other:?}"))),
        };
        Ok(self.fitted.trees().map(|trees| trees.importances(kind, None).into_pyarray(py)))
    }

    /// Writes a model file.
    fn save(&self, py: Python<'_>, path: String, names: Names) -> PyResult<u64> {
        briefly(py, || model_file::save(path, &self.saved(names)?))
    }

    /// The bytes of a model file.
    fn to_bytes<'py>(&self, py: Python<'py>, names: Names) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = briefly(py, || model_file::to_bytes(&self.saved(names)?))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Writes an ONNX file with probabilities under a prior.
    fn save_onnx(&self, py: Python<'_>, path: String, names: Names, prior: Shares) -> PyResult<()> {
        let prior = prior.prior().map_err(exception)?;
        briefly(py, || write_file(&path, &onnx::render(&self.saved(names)?, &prior)?))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let py = slf.py();
        let classes = (0..slf.get().classes()).map(|code| code.to_string()).collect();
        let bytes = slf.get().to_bytes(py, Names { kind: "int".into(), classes, columns: None })?;
        Ok((py.import("cbfit._core")?.getattr("model_from_bytes")?, (bytes,)))
    }
}

/// `values` as a matrix of rows of `cols`.
fn by_class<'py>(py: Python<'py>, values: Vec<f32>, cols: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let rows = values.len() / cols.max(1);
    values.into_pyarray(py).reshape([rows, cols])
}

/// A model with the kind and names of its classes and the names of its features, where it has them.
type Loaded = (Model, (String, Vec<String>, Option<Vec<String>>));

fn loaded(saved: SavedModel) -> Result<Loaded> {
    let labels = &saved.metadata.label_map;
    let kind = match labels.kind {
        LabelKind::Int => "int",
        LabelKind::Bool => "bool",
        LabelKind::Text => "text",
    };
    let classes = labels.names.clone();
    let encoder = &saved.metadata.encoder;
    let has_vectors = encoder.inputs.iter().any(|input| matches!(input, InputColumn::Vector { .. }));
    let columns = (!has_vectors).then(|| encoder.feature_names().collect());
    let codes = 0..u32::try_from(classes.len()).unwrap_or(u32::MAX);
    let fitted = Fitted::from_saved(saved)?.with_classes(codes.collect())?;
    Ok((Model { fitted }, (kind.into(), classes, columns)))
}

/// Reads a model file.
#[pyfunction]
pub fn load_model(py: Python<'_>, path: String) -> PyResult<Loaded> {
    briefly(py, || loaded(model_file::load(path)?))
}

/// Reads the bytes of a model file, whose names are not those of users.
#[pyfunction]
pub fn model_from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Model> {
    Ok(briefly(py, || loaded(model_file::from_bytes(bytes)?))?.0)
}

/// Writes a file, whole or not at all.
pub fn write_file(path: &str, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| Error::io(path, "write", error))?;
    file.commit()
}

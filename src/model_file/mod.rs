//! The model file `.cbfit`: a safetensors container with JSON metadata, so numpy and torch open it without cbfit.
//!
//! Tensors of a linear model, all f32: `weight` (C x D), `bias` (C), and where features were scaled `scaler.mean` and
//! `scaler.scale` (D each). Those of trees are told in the source of `model_file::boosted`, those of the linear functions
//! that trees may start from in `model_file::started`. The string `cbfit` of the
//! container's `__metadata__` holds [`ModelMetadata`] as JSON.

mod boosted;
mod container;
mod metadata;
mod started;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::data::format::looks_like;
use crate::data::scale::{Scale, Scaler};
use crate::hybrid::model::HybridModel;
use crate::linear::model::LinearModel;
use crate::model::{Learner, Model};
use crate::output::AtomicFile;
use crate::{Error, Result};
use boosted::Packed;
use container::{Container, NamedTensor, TensorReader, Values, bad, parse_json};

pub use container::MAX_HEADER_BYTES;
pub use metadata::{
    FORMAT_VERSION, LinearStartRecord, MAX_CLASSES, MAX_NAME_BYTES, ModelMetadata, WeightingRecord,
};

/// Most features a model may have.
pub const MAX_FEATURES: usize = 1_000_000;

/// What messages call a model that is in no file.
const IN_MEMORY: &str = "<memory>";

/// A model with everything its file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedModel {
    /// Weights and biases, or trees.
    pub model: Model,
    /// Scaling in front of the model.
    pub scaler: Scaler,
    /// The rest.
    pub metadata: ModelMetadata,
}

/// Writes `saved` to `path`, whole or not at all, and returns the number of bytes. Equal models give equal bytes.
/// Fails with [`Error::BadModel`] where the parts contradict each other or hold numbers that are not finite,
/// [`Error::TooLarge`] where the names need a header above [`MAX_HEADER_BYTES`], [`Error::Io`].
pub fn save(path: impl AsRef<Path>, saved: &SavedModel) -> Result<u64> {
    let shown = path.as_ref().display().to_string();
    with_tensors(saved, &shown, |json, tensors| {
        let mut file = AtomicFile::create(path)?;
        let values: u64 = tensors.iter().map(|tensor| tensor.values.len() as u64).sum();
        file.reserve(json.len() as u64 + container::VALUE_BYTES * values)?;
        let bytes = container::write(&mut file, &shown, json, tensors)?;
        file.commit()?;
        Ok(bytes)
    })
}

/// What [`save`] would write, in memory. Fails as it does.
pub fn to_bytes(saved: &SavedModel) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    with_tensors(saved, IN_MEMORY, |json, tensors| container::write(&mut bytes, IN_MEMORY, json, tensors))?;
    Ok(bytes)
}

/// Hands metadata and tensors to `write` once they are known to be what a reader accepts.
fn with_tensors(
    saved: &SavedModel,
    shown: &str,
    write: impl FnOnce(&str, &[NamedTensor<'_>]) -> Result<u64>,
) -> Result<u64> {
    saved.metadata.validate().map_err(|why| bad(shown, why))?;
    let model = &saved.model;
    let recorded = saved.metadata.linear_start;
    let (learner, start) = match (model, recorded) {
        (Model::Linear(_), _) => (Learner::Linear, None),
        (Model::Boost(_), _) => (Learner::Boost, None),
        (Model::Hybrid(model), record) => {
            let l2 = record.map_or(0.0, |record| record.l2);
            (Learner::Boost, Some(LinearStartRecord::of(l2, &model.start.features)))
        }
    };
    if model.loss() != saved.metadata.loss || (learner, start) != (saved.metadata.learner, recorded) {
        return Err(bad(shown, "model and metadata name different losses or learners"));
    }
    let packed;
    let mut tensors = match model {
        Model::Linear(model) => linear_tensors(model),
        Model::Boost(model) => {
            packed = Packed::of(model);
            packed.tensors()
        }
        Model::Hybrid(model) => {
            packed = Packed::of(&model.trees);
            let mut tensors = packed.tensors();
            tensors.extend(started::tensors(&model.start));
            tensors
        }
    };
    let Scaler { mean, deviation, .. } = &saved.scaler;
    if saved.scaler.scale == Scale::Standard {
        tensors.push(NamedTensor { name: "scaler.mean", shape: vec![mean.len()], values: Values::F32(mean) });
        let (shape, values) = (vec![deviation.len()], Values::F32(deviation));
        tensors.push(NamedTensor { name: "scaler.scale", shape, values });
    }
    let shapes = tensors.iter().map(|tensor| (tensor.name, tensor.shape.as_slice()));
    let features = check_shapes(shapes, &saved.metadata).map_err(|why| bad(shown, why))?;
    for tensor in &tensors {
        check_values(tensor, features).map_err(|why| bad(shown, why))?;
    }
    let json = serde_json::to_string(&saved.metadata).map_err(|error| bad(shown, error.to_string()))?;
    check_fit(&saved.metadata, &saved.scaler, model.features()).map_err(|why| bad(shown, why))?;
    write(&json, &tensors)
}

/// Reads a model. Fails with [`Error::NotFound`], [`Error::Io`], [`Error::NewerModel`], [`Error::NoModel`] for a file of rows, or [`Error::BadModel`] for
/// anything that [`save`] would not have written: sizes are held against the file before memory is taken.
pub fn load(path: impl AsRef<Path>) -> Result<SavedModel> {
    let (shown, metadata, tensors) = open(path.as_ref())?;
    read_model(&shown, metadata, tensors)
}

/// Reads a model from the bytes of its file. Fails as [`load`] does, but for the file.
pub fn from_bytes(bytes: &[u8]) -> Result<SavedModel> {
    let container = Container::open(IN_MEMORY, bytes, bytes.len() as u64)?;
    let (metadata, tensors) = read_metadata_of(IN_MEMORY, container)?;
    read_model(IN_MEMORY, metadata, tensors)
}

fn read_model<R: Read>(shown: &str, metadata: ModelMetadata, tensors: TensorReader<R>) -> Result<SavedModel> {
    let features = check_shapes(tensors.shapes(), &metadata).map_err(|why| bad(shown, why))?;
    let mut values = tensors.read()?;
    let mut take = |name: &str| values.floats.remove(name).unwrap_or_default();
    let scaler = Scaler { scale: metadata.scale, mean: take("scaler.mean"), deviation: take("scaler.scale") };
    check_fit(&metadata, &scaler, features).map_err(|why| bad(shown, why))?;
    let (loss, classes) = (metadata.loss, metadata.label_map.classes());
    let model = match metadata.learner {
        Learner::Linear => {
            let (weight, bias) = (take("weight"), take("bias"));
            Model::Linear(LinearModel { weight, bias, features, loss })
        }
        Learner::Boost => {
            let start = started::unpack(&mut values, &metadata).map_err(|why| bad(shown, why))?;
            let trees = boosted::unpack(&mut values, loss, classes, features);
            let trees = trees.map_err(|why| bad(shown, why))?;
            match start {
                Some(start) => Model::Hybrid(HybridModel { start, trees }),
                None => Model::Boost(trees),
            }
        }
    };
    Ok(SavedModel { model, scaler, metadata })
}

fn linear_tensors(model: &LinearModel) -> Vec<NamedTensor<'_>> {
    let (shape, values) = (vec![model.classes(), model.features], Values::F32(&model.weight));
    let bias = NamedTensor { name: "bias", shape: vec![model.classes()], values: Values::F32(&model.bias) };
    vec![NamedTensor { name: "weight", shape, values }, bias]
}

/// Reads what a model file says about itself and checks sizes and shapes, without reading its weights.
/// Fails as [`load`] does.
pub fn read_metadata(path: impl AsRef<Path>) -> Result<(ModelMetadata, usize)> {
    let (shown, metadata, tensors) = open(path.as_ref())?;
    let features = check_shapes(tensors.shapes(), &metadata).map_err(|why| bad(&shown, why))?;
    Ok((metadata, features))
}

fn open(path: &Path) -> Result<(String, ModelMetadata, TensorReader<File>)> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: shown.clone(), near: models_near(path) },
        _ => Error::io(shown.clone(), "read", source),
    })?;
    let bytes = file.metadata().map_err(|source| Error::io(shown.clone(), "read", source))?.len();
    let container = Container::open(&shown, file, bytes).map_err(|error| {
        // What is called a model is a damaged one, whatever its first bytes have become.
        let is_named = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("cbfit"));
        match looks_like(&shown).filter(|_| !is_named) {
            Some(found) => Error::NoModel { path: shown.clone(), found: found.into(), model: None },
            None => error,
        }
    })?;
    let (metadata, tensors) = read_metadata_of(&shown, container)?;
    Ok((shown, metadata, tensors))
}

fn read_metadata_of<R: Read>(
    shown: &str,
    container: Container<R>,
) -> Result<(ModelMetadata, TensorReader<R>)> {
    // Before anything else: a newer file may hold keys and tensors that are errors to this version.
    #[derive(Deserialize)]
    struct Version {
        format_version: u64,
    }
    let found = parse_json::<Version>(&container.metadata, shown, "metadata")?.format_version;
    if found > FORMAT_VERSION {
        return Err(Error::NewerModel { path: shown.into(), found, supported: FORMAT_VERSION });
    }
    let metadata: ModelMetadata = parse_json(&container.metadata, shown, "metadata")?;
    metadata.validate().map_err(|why| bad(shown, why))?;
    Ok((metadata, container.into_tensors()?))
}

/// The number of features D, where all tensors are there and agree on C and D.
fn check_shapes<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
    metadata: &ModelMetadata,
) -> Result<usize, String> {
    let classes = metadata.label_map.classes();
    let shapes: std::collections::BTreeMap<&str, &[usize]> = tensors.collect();
    let is_boosted = metadata.learner == Learner::Boost;
    let is_of_trees = |name: &str| name.starts_with("boost.") || name.starts_with("start.");
    if let Some(foreign) = shapes.keys().find(|name| is_of_trees(name) != is_boosted) {
        return Err(format!("it has {foreign}, which models of this kind have not"));
    }
    let features = match shapes.get("weight") {
        None if is_boosted => metadata.encoder.width(),
        Some(&&[rows, features]) if rows == classes => features,
        other => return Err(format!("it has {classes} classes, but its weight is {}", shape_text(other))),
    };
    if !(1..=MAX_FEATURES).contains(&features) {
        return Err(format!("it has {features} features; 1 to {MAX_FEATURES} are possible"));
    }
    for (name, length) in [("bias", classes), ("scaler.mean", features), ("scaler.scale", features)] {
        match shapes.get(name) {
            Some(&&[found]) if found == length => {}
            None if name != "bias" || is_boosted => {}
            other => return Err(format!("its {name} is {} instead of [{length}]", shape_text(other))),
        }
    }
    started::check_shapes(&shapes, metadata)?;
    if shapes.contains_key("scaler.mean") != shapes.contains_key("scaler.scale") {
        return Err("it has one of scaler.mean and scaler.scale without the other".into());
    }
    Ok(features)
}

/// Encoder, scaler and weights have to agree on the features.
fn check_fit(metadata: &ModelMetadata, scaler: &Scaler, features: usize) -> Result<(), String> {
    if metadata.encoder.width() != features {
        return Err(format!(
            "its columns make {} features, its weight has {features}",
            metadata.encoder.width()
        ));
    }
    let is_unscaled = metadata.learner == Learner::Linear || metadata.scale == Scale::None;
    if metadata.scale != scaler.scale || !scaler.fits(features) || !is_unscaled {
        return Err("its scaling does not fit its features".into());
    }
    if Scale::choose(Some(metadata.scale), &metadata.encoder).is_err() {
        return Err("its scaling does not go with codes of text or missing values that are kept".into());
    }
    Ok(())
}

fn shape_text(shape: Option<&&[usize]>) -> String {
    shape.map_or("missing".into(), |sides| format!("{:?}", sides.iter().take(4).collect::<Vec<_>>()))
}

fn check_values(tensor: &NamedTensor<'_>, features: usize) -> Result<(), String> {
    let NamedTensor { name, shape, values } = tensor;
    if shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side)) != Some(values.len()) {
        return Err(format!("{} values of {name} for shape {shape:?}", values.len()));
    }
    let Values::F32(values) = values else { return Ok(()) };
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(format!("{name} of row {}, feature {} is {}", at / features, at % features, values[at]));
    }
    let is_scale = matches!(*name, "scaler.scale" | "start.scale");
    match values.iter().find(|value| is_scale && **value <= 0.0) {
        Some(scale) => Err(format!("a feature is scaled by {scale}")),
        None => Ok(()),
    }
}

/// Names in the folder of `path` that it may have been meant for: the nearest one, then the models.
fn models_near(path: &Path) -> Vec<String> {
    const LOOKED_AT: usize = 10_000;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.take(LOOKED_AT).flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let nearest = crate::error::nearest(&wanted, &names).map(str::to_owned);
    let models = names.into_iter().filter(|name| name.ends_with(".cbfit") && Some(name) != nearest.as_ref());
    nearest.clone().into_iter().chain(models).collect()
}

#[cfg(test)]
mod tests;

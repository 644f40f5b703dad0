//! Classifiers as model files, which `cbfit predict`, `eval`, `report` and `export` read, and back.

use serde_json::{Value, json};

use super::fitted::{FitReport, Fitted, Record};
use crate::boost::model::BoostModel;
use crate::error::same_length;
use crate::labels::LabelMap;
use crate::model::Model;
use crate::model_file::{LinearStartRecord, ModelMetadata, SavedModel};
use crate::weighting::Scheme;
use crate::{Error, Result};

impl<L> Fitted<L> {
    /// The model as its file has it. `labels` names the classes in their order; `columns` the features, which without it are
    /// called as in the file the model came from, or a vector called `features`. [`crate::model_file::save`] writes it.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] for another number of names.
    pub fn to_saved(&self, labels: LabelMap, columns: Option<Vec<String>>) -> Result<SavedModel> {
        same_length("class names", labels.classes(), "classes", self.classes.len())?;
        let encoder = match columns {
            Some(names) => {
                same_length("column names", names.len(), "features", self.features())?;
                let are_own = self.encoder.feature_names().eq(names.iter().cloned());
                if are_own { self.encoder.clone() } else { self.encoder.with_columns(names) }
            }
            None => self.encoder.clone(),
        };
        let linear_start = match &self.model {
            Model::Hybrid(model) => Some(LinearStartRecord::of(self.record.start_l2, &model.start.features)),
            Model::Linear(_) | Model::Boost(_) => None,
        };
        let (model, scaler, record) = (self.model.clone(), self.scaler.clone(), self.record.clone());
        let mut metadata = ModelMetadata {
            config: match record.config {
                Value::Null => json!({ "report": self.report }),
                config => config,
            },
            data_fingerprint: record.data_fingerprint,
            metrics: record.metrics,
            certificate: record.certificate,
            history: record.history,
            calibration: self.calibration.clone(),
            offsets: self.offsets.clone(),
            ..ModelMetadata::of_fit(
                model.learner(),
                linear_start,
                &self.report.scheme,
                self.conditions.clone(),
                labels,
                encoder,
                scaler.scale,
            )
        };
        metadata.format_version = metadata.needed_version();
        Ok(SavedModel { model, scaler, metadata })
    }
}

impl Fitted<String> {
    /// The classifier of a model file, with everything that the file holds: it predicts what `cbfit predict` does.
    ///
    /// # Errors
    /// [`Error::BadValue`] for models of text columns, whose rows are not numbers.
    pub fn from_saved(saved: SavedModel) -> Result<Self> {
        let SavedModel { model, scaler, metadata } = saved;
        let mut texts = metadata.encoder.inputs.iter().filter(|input| input.levels().is_some());
        if let Some(first) = texts.next() {
            let (first, more) = (first.name(), texts.count());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let why = format!("only the command line reads {first:?}{more} as text");
            return Err(Error::bad_value("model", "text columns", why, "use cbfit predict"));
        }
        let report =
            serde_json::from_value(metadata.config["report"].clone()).unwrap_or_else(|_| FitReport {
                // The weights themselves where they came from a file, or the rule cannot be read.
                scheme: (metadata.weighting.scheme(&metadata.class_weights).ok().flatten())
                    .unwrap_or_else(|| Scheme::Custom(metadata.class_weights.clone())),
                l2: metadata.config["l2"].as_f64().unwrap_or(f64::NAN),
                steps: model.trees().map_or(0, BoostModel::rounds),
                converged: true,
                relative_gap: metadata.certificate["relative_gap"].as_f64(),
            });
        let conditions = metadata.conditions();
        Ok(Fitted {
            classes: metadata.label_map.names,
            model,
            encoder: metadata.encoder,
            scaler,
            conditions,
            calibration: metadata.calibration,
            offsets: metadata.offsets,
            report,
            record: Record {
                config: metadata.config,
                data_fingerprint: metadata.data_fingerprint,
                metrics: metadata.metrics,
                certificate: metadata.certificate,
                history: metadata.history,
                start_l2: metadata.linear_start.map_or(0.0, |start| start.l2),
            },
        })
    }
}

//! Classifiers as model files, which `cbfit predict`, `eval`, `report` and `export` read, and back.

use serde_json::json;

use super::fitted::{FitReport, Fitted, Scores};
use crate::boost::model::BoostModel;
use crate::data::encode::{FeatureEncoder, InputColumn};
use crate::data::missing::Missing;
use crate::data::scale::{Scale, Scaler};
use crate::error::same_length;
use crate::labels::LabelMap;
use crate::model::Model;
use crate::model_file::{ModelMetadata, SavedModel};
use crate::weighting::{FitConditions, Scheme};
use crate::{Error, Result};

/// Name of a vector of features, which is that of a matrix in an `.npy` file.
const VECTOR: &str = "features";

impl<L> Fitted<L> {
    /// The model as its file has it. `labels` names the classes in their order; `columns` the features, of which without it
    /// there is one vector called `features`. [`crate::model_file::save`] writes it.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] for another number of names.
    pub fn to_saved(&self, labels: LabelMap, columns: Option<Vec<String>>) -> Result<SavedModel> {
        same_length("class names", labels.classes(), "classes", self.classes.len())?;
        let inputs = match columns {
            None => vec![InputColumn::Vector { name: VECTOR.into(), len: self.features(), means: None }],
            Some(names) => {
                same_length("column names", names.len(), "features", self.features())?;
                names.into_iter().map(|name| InputColumn::Numeric { name, mean: None }).collect()
            }
        };
        let (model, missing) = match &self.scores {
            Scores::Linear(model) => (Model::Linear(model.clone()), Missing::Error),
            Scores::Boost(model) => (Model::Boost(model.clone()), Missing::Keep),
        };
        let scaler = self.scaler.clone().unwrap_or_else(Scaler::none);
        let (scheme, conditions) = (&self.report.scheme, self.conditions.clone());
        let encoder = FeatureEncoder { inputs, missing };
        let metadata = ModelMetadata {
            config: json!({ "report": self.report }),
            ..ModelMetadata::of_fit(model.learner(), None, scheme, conditions, labels, encoder, scaler.scale)
        };
        Ok(SavedModel { model, scaler, metadata })
    }
}

impl Fitted<String> {
    /// The classifier of a model file.
    ///
    /// # Errors
    /// [`Error::BadValue`] for what only the command line applies: trees that start from linear functions, text columns,
    /// calibrations and offsets of decisions.
    pub fn from_saved(saved: SavedModel) -> Result<Self> {
        let SavedModel { model, scaler, metadata } = saved;
        let is_number = |input: &InputColumn| input.levels().is_none();
        let refused = [
            (matches!(model, Model::Hybrid(_)), "trees that start from linear functions"),
            (!metadata.encoder.inputs.iter().all(is_number), "text columns"),
            (metadata.calibration.is_some(), "a calibration"),
            (metadata.offsets.is_some(), "offsets of decisions"),
        ];
        if let Some((_, what)) = refused.into_iter().find(|(is, _)| *is) {
            let why = "have to be applied, which only the command line does";
            return Err(Error::bad_value("model", what, why, "use cbfit predict"));
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
        let scores = match model {
            Model::Linear(model) => Scores::Linear(model),
            Model::Boost(model) => Scores::Boost(model),
            Model::Hybrid(model) => Scores::Boost(model.trees),
        };
        Ok(Fitted {
            classes: metadata.label_map.names,
            scores,
            conditions: FitConditions {
                loss: metadata.loss,
                counts: metadata.counts,
                alpha: metadata.class_weights,
                logit_adjust: metadata.logit_adjust,
                link: metadata.logit_link,
            },
            scaler: (scaler.scale != Scale::None).then_some(scaler),
            report,
        })
    }
}

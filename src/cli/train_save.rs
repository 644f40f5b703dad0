//! From a finished fit to the model file: what is recorded, and the scores on the test rows.

use serde_json::{Value, json};

use super::plan::TrainPlan;
use super::train::Best;
use super::train_data::TrainData;
use crate::Result;
use crate::linear::search::{Recipe, WeightedSample, model_of};
use crate::linear::solver::Fit;
use crate::metrics::{Evaluation, evaluate};
use crate::model_file::{FORMAT_VERSION, ModelMetadata, SavedModel, WeightingRecord};
use crate::report::train::{TestScores, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::Scheme;
use crate::weighting::prior::Prior;

/// The model of `fit` with everything its file records. Nothing of it depends on time, threads or paths, so that the
/// same data and flags give the same bytes.
pub fn saved_model(
    plan: &TrainPlan,
    data: &TrainData,
    weighted: &WeightedSample<'_>,
    recipe: &Recipe,
    best: &Best,
    fit: &Fit,
    trials: &[TrialSummary],
) -> SavedModel {
    let beta = match &best.scheme {
        Scheme::Effective(beta) => Some(beta.to_string()),
        _ => None,
    };
    SavedModel {
        model: model_of(&fit.theta, data.main.features.cols(), recipe.loss),
        scaler: data.scaler.clone(),
        metadata: ModelMetadata {
            format_version: FORMAT_VERSION,
            cbfit_version: env!("CARGO_PKG_VERSION").into(),
            loss: recipe.loss,
            label_map: data.main.label_map.clone(),
            counts: weighted.counts.clone(),
            class_weights: weighted.class_weights.alpha.clone(),
            weighting: WeightingRecord {
                scheme: best.scheme.name().into(),
                beta,
                normalisation: weighted.class_weights.normalisation.name().into(),
            },
            logit_adjust: recipe.logit_adjust,
            encoder: data.main.encoder.clone(),
            scale: data.scaler.scale,
            config: json!({
                "l2": best.l2,
                "decay": recipe.decay,
                "max_weight": recipe.max_weight,
                "optimizer": recipe.optimizer,
                "metric": plan.metric.name(),
                "refit": plan.refit,
                "seed": plan.seed,
            }),
            data_fingerprint: data.main.source.fingerprint.clone(),
            metrics: Value::Null,
            certificate: json!(fit.certificate),
            history: json!(trials),
        },
    }
}

/// Scores as the model file records them: without their tables by class.
pub fn scores_record(valid: Option<&Evaluation>, test: Option<&TestScores>) -> Value {
    let brief = |evaluation: &Evaluation| {
        let mut value = json!(evaluation);
        if let Some(fields) = value.as_object_mut() {
            fields.remove("per_class");
            fields.remove("most_confused");
        }
        value
    };
    json!({ "valid": valid.map(brief), "test": test.map(|test| brief(&test.trained)) })
}

/// Scores the model on the test rows, as trained and under the natural prior.
///
/// # Errors
/// Those of the evaluation.
pub fn test_scores(
    data: &TrainData,
    saved: &SavedModel,
    kernels: &'static Kernels,
) -> Result<Option<TestScores>> {
    let Some(part) = data.test_part() else { return Ok(None) };
    let logits = saved.model.logits_of(part.rows, kernels);
    let metadata = &saved.metadata;
    let under = |prior: &Prior| -> Result<Evaluation> {
        let mut probabilities = logits.clone();
        metadata.prior_correction(prior)?.posteriors_in_place(&mut probabilities);
        evaluate(&probabilities, &part.labels, &metadata.counts, None)
    };
    let natural = under(&Prior::Natural)?;
    Ok(Some(TestScores {
        trained: under(&Prior::AsTrained)?,
        natural_log_loss: natural.log_loss,
        natural_ece: natural.ece,
    }))
}

//! From a finished fit to the model file: what is recorded, and the scores on the test rows.

use serde_json::{Value, json};

use super::plan::TrainPlan;
use super::train::Best;
use super::train_data::TrainData;
use crate::Result;
use crate::calibrate::decisions::own_prior;
use crate::linear::classifier::Classifier;
use crate::linear::heads::Head;
use crate::linear::search::Recipe;
use crate::linear::solver::Fit;
use crate::metrics::{Evaluation, evaluate, evaluate_decisions};
use crate::model::Model;
use crate::model_file::{LinearStartRecord, ModelMetadata, SavedModel};
use crate::report::train::{TestScores, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::prior::Prior;
use crate::weighting::{FitConditions, Scheme};

/// A model and what its file records of its fit.
pub struct Fitted<'f> {
    pub model: Model,
    pub linear_start: Option<LinearStartRecord>,
    pub scheme: &'f Scheme,
    pub conditions: FitConditions,
    pub config: Value,
    pub certificate: Value,
    pub history: Value,
}

impl<'f> Fitted<'f> {
    /// `classifier`, made of `fit` where it is no closed form.
    pub fn linear(
        plan: &TrainPlan,
        classifier: Classifier,
        recipe: &Recipe,
        best: &'f Best,
        fit: Option<&Fit>,
        trials: &[TrialSummary],
    ) -> Self {
        Fitted {
            model: Model::Linear(classifier.model),
            linear_start: None,
            // Scales are fitted under balanced classes, whatever the fit below them.
            scheme: if plan.head.head == Head::Lws { &Scheme::Inverse } else { &best.scheme },
            conditions: classifier.conditions,
            config: json!({
                "head": plan.head.head,
                "head_setting": best.head.map(|setting| setting.to_string()),
                "l2": best.l2,
                "decay": fit.map(|_| recipe.decay),
                "max_weight": recipe.max_weight,
                "vs_gamma": recipe.vs_gamma,
                "ldam": recipe.ldam,
                "resample": plan.resampling,
                "optimizer": fit.map(|_| recipe.optimizer),
                "metric": plan.metric.name(),
                "refit": plan.refit,
                "seed": plan.seed,
            }),
            certificate: json!(fit.map(|fit| fit.certificate)),
            history: json!(trials),
        }
    }
}

/// `fitted` with everything its file records. Nothing of it depends on time, threads or paths, so that the same data and
/// flags give the same bytes.
pub fn saved_model(data: &TrainData, fitted: Fitted<'_>) -> SavedModel {
    let (labels, encoder) = (data.main.label_map.clone(), data.main.encoder.clone());
    let Fitted { model, linear_start, scheme, conditions, config, certificate, history } = fitted;
    let scale = data.scaler.scale;
    let learner = model.learner();
    let metadata = ModelMetadata {
        config,
        data_fingerprint: data.main.source.fingerprint.clone(),
        certificate,
        history,
        ..ModelMetadata::of_fit(learner, linear_start, scheme, conditions, labels, encoder, scale)
    };
    SavedModel { model, scaler: data.scaler.clone(), metadata }
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
    let logits = saved.model.logits_of(part.rows, kernels)?;
    let metadata = &saved.metadata;
    let under = |prior: &Prior| -> Result<Evaluation> {
        let mut probabilities = logits.clone();
        metadata.prior_correction(prior)?.posteriors_in_place(&mut probabilities);
        evaluate(&probabilities, &part.labels, &metadata.counts, None)
    };
    let natural = under(&Prior::Natural)?;
    let calibrated = if metadata.calibration.is_some() || metadata.offsets.is_some() {
        let posterior = metadata.posterior(&own_prior(metadata.calibration.as_ref()))?;
        let mut probabilities = logits.clone();
        let decided = metadata.decisions()?.of(&posterior, &mut probabilities);
        Some(evaluate_decisions(&probabilities, &part.labels, &metadata.counts, None, &decided)?)
    } else {
        None
    };
    Ok(Some(TestScores {
        trained: under(&Prior::AsTrained)?,
        natural_log_loss: natural.log_loss,
        natural_ece: natural.ece,
        calibrated,
    }))
}

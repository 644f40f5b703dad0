//! From a finished fit to the model file: what is recorded, and the scores on the test rows.

use serde_json::{Value, json};

use super::plan::TrainPlan;
use super::scoring::Decisions;
use super::train::Best;
use super::train_data::TrainData;
use crate::Result;
use crate::linear::classifier::Classifier;
use crate::linear::heads::Head;
use crate::linear::search::Recipe;
use crate::linear::solver::Fit;
use crate::metrics::{Evaluation, evaluate, evaluate_decisions};
use crate::model::Model;
use crate::model_file::{ModelMetadata, SavedModel, WeightingRecord};
use crate::report::train::{TestScores, TrialSummary};
use crate::simd::Kernels;
use crate::weighting::prior::Prior;
use crate::weighting::{FitConditions, Normalisation, Scheme};

/// A model and what its file records of its fit.
pub struct Fitted<'f> {
    pub model: Model,
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
    let beta = match fitted.scheme {
        Scheme::Effective(beta) => Some(beta.to_string()),
        _ => None,
    };
    let FitConditions { loss, counts, alpha, logit_adjust, link } = fitted.conditions;
    let mut metadata = ModelMetadata {
        format_version: 1,
        cbfit_version: env!("CARGO_PKG_VERSION").into(),
        learner: fitted.model.learner(),
        loss,
        label_map: data.main.label_map.clone(),
        counts,
        class_weights: alpha,
        weighting: WeightingRecord {
            scheme: fitted.scheme.name().into(),
            beta,
            normalisation: Normalisation::Samples.name().into(),
        },
        logit_adjust,
        logit_link: link,
        encoder: data.main.encoder.clone(),
        scale: data.scaler.scale,
        config: fitted.config,
        data_fingerprint: data.main.source.fingerprint.clone(),
        metrics: Value::Null,
        certificate: fitted.certificate,
        history: fitted.history,
        calibration: None,
        offsets: None,
    };
    metadata.format_version = metadata.needed_version();
    SavedModel { model: fitted.model, scaler: data.scaler.clone(), metadata }
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
        let prior = if metadata.calibration.is_some() { Prior::Natural } else { Prior::AsTrained };
        let mut probabilities = logits.clone();
        let decided = Decisions::of_model(metadata)?.of(&metadata.posterior(&prior)?, &mut probabilities);
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

//! A saved model applied to data: what predict, eval and the test part of train share.

use std::cell::OnceCell;

use super::need::Need;
use super::shared::PriorPlan;
use super::talk::Talk;
use crate::calibrate::Posterior;
use crate::calibrate::costs::CostMatrix;
use crate::calibrate::decisions::Decisions;
use crate::data::cost_matrix::read_costs;
use crate::data::counts::read_prior;
use crate::data::dataset::Dataset;
use crate::data::options::ReadOptions;
use crate::data::scale::Scaler;
use crate::labels::{ClassCounts, LabelMap};
use crate::linear::model::LaidOut;
use crate::linear::rows::Rows;
use crate::memory::MemoryLimit;
use crate::model_file::{self, SavedModel};
use crate::report::format::{bytes, thousands};
use crate::report::text;
use crate::simd::Kernels;
use crate::weighting::prior::{Prior, training_shares};
use crate::weighting::prior_shift::estimate_prior;
use crate::{Error, Result};

/// A model ready to score.
pub struct Scorer {
    /// The model with its metadata.
    pub saved: SavedModel,
    size: u64,
    kernels: &'static Kernels,
    /// The weights of a linear model, from the first rows on.
    laid_out: OnceCell<LaidOut>,
}

impl Scorer {
    /// Reads the model file `path`, which is to score the files `data`.
    ///
    /// # Errors
    /// Those of [`model_file::load`]; that of a file of rows says so where `data` are a model.
    pub fn load(path: &str, data: &[String], kernels: &'static Kernels) -> Result<Self> {
        let saved = model_file::load(path).map_err(|error| match error {
            Error::NoModel { path, found, .. } => {
                let model = data.iter().find(|path| model_file::read_metadata(path).is_ok()).cloned();
                Error::NoModel { path, found, model }
            }
            error => error,
        })?;
        Ok(Scorer { saved, size: file_size(path), kernels, laid_out: OnceCell::new() })
    }

    /// What scoring holds in memory besides rows: the model, and the scores of `rows` rows where all are needed at once,
    /// each with `row_bytes` besides.
    pub(super) fn need(&self, rows: usize, row_bytes: u64) -> Need {
        let row = (self.classes() as u64).saturating_mul(SCORE_BYTES).saturating_add(row_bytes);
        let (shown, classes) = (thousands(rows as u64), thousands(self.classes() as u64));
        let what = format!("the scores of {shown} rows and {classes} classes");
        Need::default().model(self.size).and(what, &[rows as u64, row], "take fewer rows at a time")
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.saved.model.classes()
    }

    /// Logits of all rows of `data`, read by `options` (`rows x C`); scales its features on the way.
    ///
    /// # Errors
    /// Those of [`Dataset::scale`] and [`crate::model::Model::logits`].
    pub fn logits(&self, data: &mut Dataset, options: &ReadOptions, talk: &Talk) -> Result<Vec<f32>> {
        let mut logits = Vec::new();
        self.logits_into(data, options, talk, &mut logits)?;
        Ok(logits)
    }

    /// [`Scorer::logits`], in the place of what `logits` holds.
    ///
    /// # Errors
    /// As of it.
    pub fn logits_into(
        &self,
        data: &mut Dataset,
        options: &ReadOptions,
        talk: &Talk,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        scale(data, &self.saved.scaler, options.memory.as_ref(), talk)?;
        let rows = Rows::all(&data.features);
        if let Some(model) = self.saved.model.linear() {
            let laid_out = self.laid_out.get_or_init(|| model.lay_out(&rows, self.kernels));
            if laid_out.suits(&rows) {
                model.logits_into(laid_out, rows, logits);
                return data.features.check();
            }
        }
        *logits = self.saved.model.logits_of(rows, self.kernels)?;
        Ok(())
    }

    /// The prior asked for, or the one this model predicts under by itself: natural where it is calibrated.
    pub fn prior(&self, asked: Option<PriorPlan>, talk: &Talk) -> PriorPlan {
        let calibration = self.saved.metadata.calibration.as_ref();
        match (asked, calibration) {
            (Some(prior), _) => prior,
            (None, None) => PriorPlan::Trained,
            (None, Some(map)) => {
                let method = map.method().name();
                talk.phase(
                    "Prior",
                    &format!("natural: the model is calibrated ({method}); --prior takes others"),
                );
                PriorPlan::Natural
            }
        }
    }

    /// How labels are decided: by the costs in the file `costs`, else by the offsets of the model, else by probability.
    ///
    /// # Errors
    /// Those of [`read_costs`].
    pub fn decisions(&self, costs: Option<&str>, talk: &Talk) -> Result<Decisions> {
        let metadata = &self.saved.metadata;
        let offsets = metadata.offsets.as_ref();
        if let Some(path) = costs {
            if offsets.is_some() {
                talk.phase("", "--costs decides the labels; the offsets of the model are left out");
            }
            let values = read_costs(path, &metadata.label_map)?;
            let bad = || Error::BadCosts { place: path.into(), detail: "is no square matrix".into() };
            return Ok(Decisions::Costs(CostMatrix::new(values, self.classes()).ok_or_else(bad)?));
        }
        if let Some(offsets) = offsets {
            let metric = offsets.metric.name();
            talk.phase("", &format!("labels are decided by the offsets of the model, fitted for {metric}"));
        }
        metadata.decisions()
    }

    /// The way to probabilities under `prior` for this model. [`PriorPlan::Em`] estimates it from `logits` of the whole
    /// data.
    pub fn posterior(&self, plan: &PriorPlan, logits: &[f32]) -> Result<Posterior> {
        let metadata = &self.saved.metadata;
        let prior = match fixed_prior(plan, &metadata.label_map, &metadata.counts)? {
            Some(prior) => prior,
            None => {
                let mut natural = logits.to_vec();
                metadata.posterior(&Prior::Natural)?.posteriors_in_place(&mut natural);
                let shares = training_shares(&metadata.counts);
                Prior::Given(estimate_prior(&natural, &shares)?.prior)
            }
        };
        metadata.posterior(&prior)
    }
}

/// Bytes of a file, 0 where it does not say so.
pub fn file_size(path: &str) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The prior asked for of these classes and their training rows, `None` where it is estimated from data.
///
/// # Errors
/// Those of [`read_prior`].
pub fn fixed_prior(plan: &PriorPlan, label_map: &LabelMap, counts: &ClassCounts) -> Result<Option<Prior>> {
    Ok(Some(match plan {
        PriorPlan::Trained => Prior::AsTrained,
        PriorPlan::Natural => Prior::Natural,
        PriorPlan::Uniform => Prior::Uniform,
        PriorPlan::File(path) => Prior::Given(read_prior(path, label_map)?),
        PriorPlan::Tau(tau) => {
            let power = |share: f64| if share > 0.0 { share.powf(1.0 - tau) } else { 0.0 };
            Prior::Given(training_shares(counts).into_iter().map(power).collect())
        }
        PriorPlan::Em => return Ok(None),
    }))
}

/// Bytes that the score of one class costs a row at least: a logit, and the copy that becomes a probability.
pub const SCORE_BYTES: u64 = 8;

/// Bytes of a row that is evaluated besides the scores of its classes: label, decision, measures, its places in the orders by
/// probability. Measured on 400,000 rows of 10 classes, two threads.
pub(super) const EVALUATED_BYTES: u64 = 90;

/// Scales `data`, and says so where the rows go to disk for it.
///
/// # Errors
/// Those of [`Dataset::scale`].
pub fn scale(data: &mut Dataset, scaler: &Scaler, memory: Option<&MemoryLimit>, talk: &Talk) -> Result<()> {
    let was_in_file = data.features.is_in_file();
    data.scale(scaler, memory)?;
    if !was_in_file {
        say_spilled(talk, data, memory);
    }
    Ok(())
}

/// Says where the rows of `data` are that exceed `memory`.
pub fn say_spilled(talk: &Talk, data: &Dataset, memory: Option<&MemoryLimit>) {
    let Some(memory) = memory.filter(|_| data.features.is_in_file()) else { return };
    let (rows, size) = (thousands(data.rows() as u64), bytes(data.features.bytes()));
    let beside = match memory.held.saturating_add(memory.needed) {
        0 => "half".into(),
        held => format!("what {} beside them leave", bytes(held)),
    };
    let text = format!(
        "{rows} rows x {}, {size}, over {beside} of the memory limit of {}: rows stay on disk in {}",
        text::columns_text(&data.features),
        bytes(memory.bytes),
        text::printable(&memory.folder.display().to_string())
    );
    talk.phase("Spill", &text);
}

/// Says which cells and rows of `data` could not be used as they are.
pub fn say_left_out(talk: &Talk, data: &Dataset) {
    if data.dropped_unlabeled > 0 {
        talk.phase("", &format!("{} rows without a label left out", thousands(data.dropped_unlabeled)));
    }
    say_unseen_levels(talk, data.unseen_levels);
}

/// Says how many values have no feature: levels of text, and indices of sparse rows beyond those of training.
pub fn say_unseen_levels(talk: &Talk, values: u64) {
    if values > 0 {
        let values = thousands(values);
        talk.phase(
            "",
            &format!(
                "{values} values are of text levels or feature indices unseen in training; they are left out"
            ),
        );
    }
}

/// Names of classes the model does not know, with their rows.
pub fn unseen_text(unseen: &[(String, u64)], all: u64) -> String {
    const SHOWN: usize = 6;
    let rows: u64 = unseen.iter().map(|(_, rows)| rows).sum();
    let mut names: Vec<String> = unseen
        .iter()
        .take(SHOWN)
        .map(|(name, rows)| format!("{} {}", text::printable(name), thousands(*rows)))
        .collect();
    if unseen.len() > SHOWN {
        names.push(format!("{} more", unseen.len() - SHOWN));
    }
    format!(
        "{} of {} rows are of {} classes unseen in training and count as wrong: {}",
        thousands(rows),
        thousands(all),
        unseen.len(),
        names.join(", ")
    )
}

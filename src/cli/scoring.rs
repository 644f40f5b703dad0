//! A saved model applied to data: what predict, eval and the test part of train share.

use super::shared::PriorPlan;
use super::talk::Talk;
use crate::Result;
use crate::data::counts::read_prior;
use crate::data::dataset::Dataset;
use crate::model_file::{self, SavedModel};
use crate::report::format::thousands;
use crate::report::text;
use crate::simd::Kernels;
use crate::weighting::prior::{Prior, PriorCorrection, training_shares};
use crate::weighting::prior_shift::estimate_prior;

/// A model ready to score.
pub struct Scorer {
    /// The model with its metadata.
    pub saved: SavedModel,
    kernels: &'static Kernels,
}

impl Scorer {
    /// Reads the model file `path`.
    ///
    /// # Errors
    /// Those of [`model_file::load`].
    pub fn load(path: &str, kernels: &'static Kernels) -> Result<Self> {
        Ok(Scorer { saved: model_file::load(path)?, kernels })
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        self.saved.model.classes()
    }

    /// Logits of all rows of `data` (`rows x C`); scales its features on the way.
    pub fn logits(&self, data: &mut Dataset) -> Vec<f32> {
        self.saved.scaler.apply(&mut data.features);
        self.saved.model.logits(&data.features, self.kernels)
    }

    /// The correction to `prior` for this model. [`PriorPlan::Em`] estimates it from `logits` of the whole data.
    pub fn correction(&self, plan: &PriorPlan, logits: &[f32]) -> Result<PriorCorrection> {
        let metadata = &self.saved.metadata;
        let prior = match plan {
            PriorPlan::Trained => Prior::AsTrained,
            PriorPlan::Natural => Prior::Natural,
            PriorPlan::Uniform => Prior::Uniform,
            PriorPlan::File(path) => Prior::Given(read_prior(path, &metadata.label_map)?),
            PriorPlan::Tau(tau) => {
                let power = |share: f64| if share > 0.0 { share.powf(1.0 - tau) } else { 0.0 };
                Prior::Given(training_shares(&metadata.counts).into_iter().map(power).collect())
            }
            PriorPlan::Em => {
                let mut natural = logits.to_vec();
                metadata.prior_correction(&Prior::Natural)?.posteriors_in_place(&mut natural);
                let shares = training_shares(&metadata.counts);
                Prior::Given(estimate_prior(&natural, &shares)?.prior)
            }
        };
        metadata.prior_correction(&prior)
    }
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

/// The most probable class of each row, the first among equals.
pub fn most_probable(probabilities: &[f32], classes: usize) -> Vec<u32> {
    probabilities
        .chunks_exact(classes)
        .map(|row| {
            let mut best = 0;
            for (class, p) in row.iter().enumerate() {
                if *p > row[best] {
                    best = class;
                }
            }
            best as u32
        })
        .collect()
}

//! A saved model applied to data: what predict, eval and the test part of train share.

use super::plan::PriorPlan;
use super::talk::Talk;
use crate::Result;
use crate::data::counts::read_prior;
use crate::data::dataset::Dataset;
use crate::model_file::{self, SavedModel};
use crate::report::format::thousands;
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
        let prior = match plan {
            PriorPlan::Trained => Prior::AsTrained,
            PriorPlan::Natural => Prior::Natural,
            PriorPlan::Uniform => Prior::Uniform,
            PriorPlan::File(path) => Prior::Given(read_prior(path, &self.saved.metadata.label_map)?),
            PriorPlan::Em => {
                let mut natural = logits.to_vec();
                self.corrected(&Prior::Natural)?.posteriors_in_place(&mut natural);
                let shares = training_shares(&self.saved.metadata.counts);
                Prior::Given(estimate_prior(&natural, &shares)?.prior)
            }
        };
        self.corrected(&prior)
    }

    fn corrected(&self, prior: &Prior) -> Result<PriorCorrection> {
        let metadata = &self.saved.metadata;
        let shares = training_shares(&metadata.counts);
        PriorCorrection::new(metadata.loss, &metadata.class_weights, &shares, metadata.logit_adjust, prior)
    }
}

/// Says how many cells of text columns hold a value that has no feature.
pub fn say_unseen_levels(talk: &Talk, cells: u64) {
    if cells > 0 {
        let cells = match cells {
            1 => "1 value".into(),
            n => format!("{} values", thousands(n)),
        };
        talk.phase(
            "Unseen",
            &format!("{cells} in text columns never met in training; they count as no level"),
        );
    }
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

//! The report as one HTML file: figures drawn as SVG, a table that sorts and filters, no network.
//!
//! [`render`] puts `page` together from the `figures` that have something to show. Figures draw into a `plot`
//! over `scale`s with the elements of `svg`; names pass [`escape`] on their way into the page.

pub mod escape;
mod figures;
mod page;
mod plot;
mod scale;
mod svg;
mod table;

use crate::labels::LabelMap;
use crate::metrics::{Confusion, Evaluation, Metric, Reliability};
use crate::model_file::{ModelMetadata, SavedModel};
use crate::report::compare::CompareReport;
use crate::report::train::{BoostTrial, TrialSummary};

pub use page::render;

/// Runs that one page can tell apart.
pub const MAX_RUNS: usize = svg::SERIES;

/// What a page is made of. There is at least a run or a comparison, else the page has only its head.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Name of the rows scored.
    pub data: String,
    /// What the probabilities are stated for: `as trained`, `under the natural prior`, ...
    pub prior: String,
    /// The model and those it is held against, at most [`MAX_RUNS`], all with the same classes in the same order.
    pub runs: Vec<Run>,
    /// Schemes compared on the same folds.
    pub comparison: Option<CompareReport>,
}

/// A model and its scores on the rows of the report. C is its number of classes.
#[derive(Debug, Clone)]
pub struct Run {
    /// Short name, unique in the report.
    pub name: String,
    /// What the model file says of itself.
    pub metadata: ModelMetadata,
    /// Euclidean norms of the C rows of the weights.
    pub weight_norms: Vec<f64>,
    /// Scores under the prior of the report.
    pub scores: Evaluation,
    /// Which class was taken for which.
    pub confusion: Confusion,
    /// Reliability of the probabilities as trained.
    pub trained: Reliability,
    /// Reliability under the natural prior.
    pub natural: Reliability,
}

impl Run {
    /// The class names in code order.
    pub fn labels(&self) -> &LabelMap {
        &self.metadata.label_map
    }

    /// The settings tried before the model was fitted; none where the file records none.
    fn trials(&self) -> Vec<TrialSummary> {
        serde_json::from_value(self.metadata.history.clone()).unwrap_or_default()
    }

    /// The weightings that were boosted before the model was; none of a linear model.
    fn boost_trials(&self) -> Vec<BoostTrial> {
        serde_json::from_value(self.metadata.history.clone()).unwrap_or_default()
    }

    /// The metric that chose among the trials: recorded, or macro recall.
    fn metric(&self) -> Metric {
        let recorded = self.metadata.config.get("metric").and_then(|name| name.as_str());
        recorded.and_then(|name| Metric::parse(name).ok()).unwrap_or(Metric::MacroRecall)
    }

    /// Weighting in words: the scheme with its beta.
    fn weighting(&self) -> String {
        let record = &self.metadata.weighting;
        match &record.beta {
            Some(beta) => format!("{} {beta}", record.scheme),
            None => record.scheme.clone(),
        }
    }
}

/// Norm of each row of the weights (C x D) of `saved`; empty where it is not linear.
pub fn weight_norms(saved: &SavedModel) -> Vec<f64> {
    let Some(model) = saved.model.linear() else { return Vec::new() };
    let square = |w: &f32| f64::from(*w) * f64::from(*w);
    let rows = model.weight.chunks_exact(model.features.max(1));
    rows.map(|row| row.iter().map(square).sum::<f64>().sqrt()).collect()
}

#[cfg(test)]
mod tests;

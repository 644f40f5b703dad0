//! What `cbfit inspect` says of a model of trees: its size, and which features its tests are of.

use serde_json::{Value, json};

use super::args::{ImportanceArg, InspectArgs};
use super::shared::{class_codes, no_effect};
use crate::Result;
use crate::boost::model::{BoostModel, Importance, Output};
use crate::model_file::ModelMetadata;
use crate::report::format::{short, thousands};
use crate::report::text;

/// Features shown where no measure is asked for.
const SHOWN: usize = 10;

/// Trees counted and weighed.
pub struct TreeFacts {
    rounds: usize,
    trees: usize,
    leaves: usize,
    class: Option<String>,
    by: Importance,
    shown: usize,
    /// Of each used feature its name, gain, splits and cover; the greatest by the measure first.
    features: Vec<(String, [f64; 3])>,
    columns: usize,
}

impl TreeFacts {
    /// Those of `model`, as `args` ask for them.
    ///
    /// # Errors
    /// [`crate::Error::BadValue`] for a class the model does not know, [`crate::Error::NoEffect`] for one that has no trees
    /// of its own.
    pub fn of(model: &BoostModel, metadata: &ModelMetadata, args: &InspectArgs) -> Result<Self> {
        let class = class_codes(args.class.as_slice(), &metadata.label_map)?.first().copied();
        let shares_trees = model.outputs() == 1 || model.trees.iter().any(|tree| tree.output == Output::All);
        let help = "leave it out, or train with --trees per-class";
        no_effect(class.is_some() && shares_trees, "--class", "trees that all classes share", help)?;
        let (by, place) = match args.importance {
            None | Some(ImportanceArg::Gain) => (Importance::Gain, 0),
            Some(ImportanceArg::Splits) => (Importance::Splits, 1),
            Some(ImportanceArg::Cover) => (Importance::Cover, 2),
        };
        let output = class.map(|class| class as usize);
        let [gain, splits, cover] = [Importance::Gain, Importance::Splits, Importance::Cover]
            .map(|importance| model.importances(importance, output));
        let names = metadata.encoder.feature_names().enumerate();
        let mut features: Vec<(String, [f64; 3])> = names
            .map(|(column, name)| (name, [gain[column], splits[column], cover[column]]))
            .filter(|(_, measures)| measures[1] > 0.0)
            .collect();
        // Stable: equal features stay in the order of their columns.
        features.sort_by(|a, b| b.1[place].total_cmp(&a.1[place]));
        Ok(TreeFacts {
            rounds: model.rounds(),
            trees: model.trees.len(),
            leaves: model.trees.iter().map(|tree| tree.tree.leaves()).sum(),
            class: args.class.clone(),
            by,
            shown: if args.importance.is_some() { usize::MAX } else { SHOWN },
            features,
            columns: model.binner.columns(),
        })
    }

    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let count = |n: usize| thousands(n as u64);
        let mut lines = vec![format!(
            "Trees     {} in {} rounds, {} leaves; {} of {} features are tested{}",
            count(self.trees),
            count(self.rounds),
            count(self.leaves),
            count(self.features.len()),
            count(self.columns),
            self.class.as_ref().map_or(String::new(), |class| format!(" for {}", text::printable(class)))
        )];
        let shown = &self.features[..self.features.len().min(self.shown)];
        if shown.is_empty() {
            return lines;
        }
        let name = |feature: &(String, [f64; 3])| text::printable(&feature.0).into_owned();
        let width = shown.iter().map(|feature| name(feature).chars().count()).max().unwrap_or(0).max(7);
        let total: f64 = self.features.iter().map(|(_, measures)| measures[0]).sum();
        lines.push(format!(
            "          {:<width$}  {:>10}  {:>7}  {:>8}  {:>14}",
            "feature", "gain", "share", "splits", "cover"
        ));
        for feature in shown {
            let [gain, splits, cover] = feature.1;
            lines.push(format!(
                "          {:<width$}  {:>10}  {:>6.1}%  {:>8}  {:>14}",
                name(feature),
                short(gain),
                100.0 * gain / total.max(f64::MIN_POSITIVE),
                thousands(splits as u64),
                thousands(cover as u64)
            ));
        }
        if self.features.len() > shown.len() {
            let more = self.features.len() - shown.len();
            lines.push(format!(
                "          and {} more; --importance gain|splits|cover shows all",
                count(more)
            ));
        }
        lines
    }

    /// The same for programs, all features that are tested.
    pub fn json(&self) -> Value {
        let features: Vec<Value> = self
            .features
            .iter()
            .map(|(name, [gain, splits, cover])| {
                json!({ "feature": name, "gain": gain, "splits": *splits as u64, "cover": *cover as u64 })
            })
            .collect();
        json!({
            "rounds": self.rounds,
            "trees": self.trees,
            "leaves": self.leaves,
            "importance": {
                "by": match self.by {
                    Importance::Gain => "gain",
                    Importance::Splits => "splits",
                    Importance::Cover => "cover",
                },
                "class": self.class,
                "features": features,
            },
        })
    }
}

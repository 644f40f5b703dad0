//! `cbfit predict --contrib`: what each feature added to the scores of classes, as columns beside the predictions.

use super::args::PredictArgs;
use super::shared::class_codes;
use crate::boost::model::BoostModel;
use crate::boost::shap::{Explained, Explainer};
use crate::hybrid::explain::LinearExplainer;
use crate::matrix::Matrix;
use crate::model::Model;
use crate::model_file::SavedModel;
use crate::{Error, Result};

/// Contributions that a run writes.
pub struct Contributions<'m> {
    explainer: Explainer<'m>,
    /// Of the linear functions that the trees start from.
    start: Option<LinearExplainer>,
    /// The classes asked for; empty for the predicted one.
    classes: Vec<u32>,
    features: usize,
}

impl<'m> Contributions<'m> {
    /// What `args` ask for, if anything.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a linear model, for what [`LinearExplainer::new`] refuses and for classes it does not know;
    /// those of [`Explainer::new`].
    pub fn of(args: &PredictArgs, saved: &'m SavedModel) -> Result<Option<Self>> {
        if !args.contrib {
            return Ok(None);
        }
        let (model, start): (&BoostModel, _) = match &saved.model {
            Model::Boost(model) => (model, None),
            Model::Hybrid(model) => {
                let start = LinearExplainer::new(model).map_err(|why| {
                    let help = "train with another --init to have all of the score explained";
                    Error::bad_value("--contrib", &args.model, why, help)
                })?;
                (&model.trees, Some(start))
            }
            Model::Linear(_) => {
                let help = "of a linear model, cbfit export MODEL --to csv has the weights";
                return Err(Error::bad_value("--contrib", &args.model, "is no model of trees", help));
            }
        };
        let classes = class_codes(&args.class, &saved.metadata.label_map)?;
        Ok(Some(Contributions {
            explainer: Explainer::new(model)?,
            start,
            classes,
            features: model.binner.columns(),
        }))
    }

    /// Bytes of the cells of a row.
    pub fn row_bytes(&self) -> u64 {
        (self.classes.len().max(1) * (self.features + 1) * size_of::<f32>()) as u64
    }

    /// Names of the columns.
    pub fn columns(&self, saved: &SavedModel) -> Vec<String> {
        let features: Vec<String> = saved.metadata.encoder.feature_names().collect();
        let of_class = |infix: &str, suffix: &str| -> Vec<String> {
            let contributions = features.iter().map(|feature| format!("c_{infix}{feature}"));
            contributions.chain([format!("expected{suffix}")]).collect()
        };
        if self.classes.is_empty() {
            return of_class("", "");
        }
        let name = |&class: &u32| &saved.metadata.label_map.names[class as usize];
        self.classes
            .iter()
            .map(name)
            .flat_map(|name| of_class(&format!("{name}_"), &format!("_{name}")))
            .collect()
    }

    /// The cells of the rows of `features`, for which `predicted` are the classes predicted.
    ///
    /// # Errors
    /// Those of [`Explainer::contributions`].
    pub fn cells(&self, features: &Matrix, predicted: &[u32]) -> Result<Vec<f32>> {
        let outputs = |classes: &[u32]| -> (Vec<u32>, Vec<f32>) {
            classes.iter().map(|&class| self.explainer.output_of(class)).unzip()
        };
        let row_by_row = self.classes.is_empty();
        let (outputs, signs) = outputs(if row_by_row { predicted } else { &self.classes });
        let of = if row_by_row { Explained::OfRow(&outputs) } else { Explained::Outputs(&outputs) };
        let mut cells = self.explainer.contributions(features, of)?;
        if let Some(start) = &self.start {
            start.add_to(&mut cells, features, of);
        }
        // In either case the signs go round with the groups of cells: one a row, or all classes of a row in turn.
        let groups = cells.chunks_exact_mut(self.features + 1);
        for (cells, _) in groups.zip(signs.iter().cycle()).filter(|(_, sign)| **sign < 0.0) {
            // 0 - x rather than -x: nothing was added where there is a 0.
            cells.iter_mut().for_each(|cell| *cell = 0.0 - *cell);
        }
        Ok(cells)
    }
}

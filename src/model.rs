//! The two kinds of fitted models behind one face: features in, logits out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::boost::model::BoostModel;
use crate::linear::model::LinearModel;
use crate::linear::rows::Rows;
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::simd::Kernels;

/// What fits a model, and so what kind of model it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learner {
    /// Linear functions.
    #[default]
    Linear,
    /// Sums of trees.
    Boost,
}

impl Learner {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Learner::Linear => "linear",
            Learner::Boost => "boost",
        }
    }

    pub(crate) fn is_linear(&self) -> bool {
        *self == Learner::Linear
    }
}

impl fmt::Display for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Linear functions of the features.
    Linear(LinearModel),
    /// Sums of trees.
    Boost(BoostModel),
}

impl Model {
    /// The loss that its logits minimise.
    pub fn loss(&self) -> Loss {
        match self {
            Model::Linear(model) => model.loss,
            Model::Boost(model) => model.loss,
        }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        match self {
            Model::Linear(model) => model.classes(),
            Model::Boost(model) => model.classes,
        }
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        match self {
            Model::Linear(model) => model.features,
            Model::Boost(model) => model.binner.columns(),
        }
    }

    /// What fitted it.
    pub fn learner(&self) -> Learner {
        match self {
            Model::Linear(_) => Learner::Linear,
            Model::Boost(_) => Learner::Boost,
        }
    }

    /// The linear functions, of a linear model.
    pub fn linear(&self) -> Option<&LinearModel> {
        match self {
            Model::Linear(model) => Some(model),
            Model::Boost(_) => None,
        }
    }

    /// Logits of all rows of `features`: `N x C`, row-major.
    ///
    /// # Errors
    /// Those of [`BoostModel::logits`]; the caller of a linear model has checked that D is [`Model::features`].
    pub fn logits(&self, features: &Matrix, kernels: &'static Kernels) -> Result<Vec<f32>> {
        self.logits_of(Rows::all(features), kernels)
    }

    /// Logits of a view of rows: `rows.len() x C`, row-major.
    ///
    /// # Errors
    /// As of [`Model::logits`].
    pub fn logits_of(&self, rows: Rows<'_>, kernels: &'static Kernels) -> Result<Vec<f32>> {
        match self {
            Model::Linear(model) => Ok(model.logits_of(rows, kernels)),
            Model::Boost(model) => {
                if rows.is_whole() {
                    return model.logits(rows.matrix());
                }
                let places: Vec<usize> = (0..rows.len()).map(|at| rows.matrix_row(at)).collect();
                model.logits(&rows.matrix().select_rows(&places))
            }
        }
    }
}

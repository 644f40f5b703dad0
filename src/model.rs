//! The kinds of fitted models behind one face: features in, logits out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::boost::model::BoostModel;
use crate::hybrid::model::HybridModel;
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

/// Rows on disk that are in memory at once for trees.
const READ_ROWS: usize = 4096;

/// A fitted model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// Linear functions of the features.
    Linear(LinearModel),
    /// Sums of trees.
    Boost(BoostModel),
    /// Sums of trees on top of linear functions.
    Hybrid(HybridModel),
}

impl Model {
    /// The loss that its logits minimise.
    pub fn loss(&self) -> Loss {
        match self {
            Model::Linear(model) => model.loss,
            Model::Boost(model) => model.loss,
            Model::Hybrid(model) => model.trees.loss,
        }
    }

    /// Number of classes C.
    pub fn classes(&self) -> usize {
        match self {
            Model::Linear(model) => model.classes(),
            Model::Boost(model) => model.classes,
            Model::Hybrid(model) => model.trees.classes,
        }
    }

    /// Number of features D.
    pub fn features(&self) -> usize {
        match self {
            Model::Linear(model) => model.features,
            Model::Boost(model) => model.binner.columns(),
            Model::Hybrid(model) => model.trees.binner.columns(),
        }
    }

    /// The trees, of a model that has some.
    pub fn trees(&self) -> Option<&BoostModel> {
        match self {
            Model::Linear(_) => None,
            Model::Boost(model) => Some(model),
            Model::Hybrid(model) => Some(&model.trees),
        }
    }

    /// What fitted it.
    pub fn learner(&self) -> Learner {
        match self {
            Model::Linear(_) => Learner::Linear,
            Model::Boost(_) | Model::Hybrid(_) => Learner::Boost,
        }
    }

    /// The linear functions, of a linear model.
    pub fn linear(&self) -> Option<&LinearModel> {
        match self {
            Model::Linear(model) => Some(model),
            Model::Boost(_) | Model::Hybrid(_) => None,
        }
    }

    /// Logits of all rows of `features`: `N x C`, row-major.
    ///
    /// # Errors
    /// Those of [`BoostModel::logits`]; [`crate::Error::Io`] where rows on disk cannot be read. The caller of a linear model has checked that D is [`Model::features`].
    pub fn logits(&self, features: &Matrix, kernels: &'static Kernels) -> Result<Vec<f32>> {
        self.logits_of(Rows::all(features), kernels)
    }

    /// Logits of a view of rows: `rows.len() x C`, row-major.
    ///
    /// # Errors
    /// As of [`Model::logits`].
    pub fn logits_of(&self, rows: Rows<'_>, kernels: &'static Kernels) -> Result<Vec<f32>> {
        let of_matrix = |matrix: &Matrix| match self {
            Model::Linear(model) => Ok(model.logits(matrix, kernels)),
            Model::Boost(model) => model.logits(matrix),
            Model::Hybrid(model) => model.logits(matrix, kernels),
        };
        let logits = match self {
            // Blocks of rows are gathered as they are needed.
            Model::Linear(model) => Ok(model.logits_of(rows, kernels)),
            _ if rows.matrix().is_in_file() => {
                let mut logits = Vec::with_capacity(rows.len() * self.classes());
                let places: Vec<usize> = (0..rows.len()).map(|at| rows.matrix_row(at)).collect();
                for places in places.chunks(READ_ROWS) {
                    logits.extend(of_matrix(&rows.matrix().select_rows(places))?);
                }
                Ok(logits)
            }
            _ if rows.is_whole() => of_matrix(rows.matrix()),
            _ => {
                let places: Vec<usize> = (0..rows.len()).map(|at| rows.matrix_row(at)).collect();
                of_matrix(&rows.matrix().select_rows(&places))
            }
        };
        rows.matrix().check()?;
        logits
    }
}

//! What is done about values that are not there.

use serde::{Deserialize, Serialize};

/// What is done about missing feature values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are an error.
    #[default]
    Error,
    /// The mean of the column over the training rows takes their place.
    Mean,
    /// Zero takes their place.
    Zero,
    /// They stay NaN in the features, for learners that have a use for them; text in features of levels is
    /// 0 in all of them, as ever. Infinite values are refused all the same.
    Keep,
}

//! Reads what JSON writes as null: numbers that do not exist.

use serde::{Deserialize, Deserializer};

/// A number, NaN for null.
pub(super) fn number<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(f64::NAN))
}

/// Numbers, NaN for each null.
pub(super) fn list<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<Option<f64>>::deserialize(input)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

//! A linear model as a table: a line for each feature and one for the intercept, a column for each class.
//!
//! The weights are over the features as they are read, before any scaling.

use super::probe::scaled_rows;
use crate::data::scale::{Scale, Scaler};
use crate::linear::model::LinearModel;
use crate::report::predictions::guard_formula;
use crate::{Error, Result};

/// Name of the line of the intercepts, which no column of a file is likely to have.
pub const INTERCEPT: &str = "(intercept)";

/// The table of `model` behind `scaler`; `classes` and `features` are the names.
///
/// # Errors
/// [`Error::BadValue`] where rows are scaled to length 1: no weights of the features as they are read do that.
pub fn render(
    model: &LinearModel,
    scaler: &Scaler,
    classes: &[String],
    features: &[String],
) -> Result<String> {
    if scaler.scale == Scale::L2 {
        let why = "rows are scaled to length 1, which is not linear in the features as they are read";
        return Err(Error::bad_value("--to", "csv", why, "train with --scale none or standard"));
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut record = |name: &str, cells: Vec<String>| {
        let cells = std::iter::once(guard_formula(name).into_owned()).chain(cells);
        writer
            .write_record(cells)
            .map_err(|error| Error::io("the table", "write", std::io::Error::other(error)))
    };
    record("feature", classes.iter().map(|class| guard_formula(class).into_owned()).collect())?;
    let (weights, bias) = scaler.unscaled(model.features, &model.weight, &model.bias);
    record(INTERCEPT, bias.iter().map(|bias| format!("{bias:?}")).collect())?;
    for (feature, name) in features.iter().enumerate() {
        let column = weights.iter().skip(feature).step_by(model.features.max(1));
        record(name, column.map(|weight| format!("{weight:?}")).collect())?;
    }
    let failed = |why: String| Error::io("the table", "write", std::io::Error::other(why));
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// Reads a table of [`render`] and compares its logits with those of `logits` on made rows: the largest difference, relative
/// to logits above 1.
///
/// # Errors
/// What is wrong with the table, in words.
pub fn largest_difference(
    table: &str,
    scaler: &Scaler,
    rows: usize,
    logits: impl FnOnce(Vec<f32>) -> Vec<f32>,
) -> Result<f64, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(table.as_bytes());
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let cells =
            record.iter().skip(1).map(|cell| cell.parse().map_err(|_| format!("{cell:?} is no number")));
        lines.push(cells.collect::<Result<Vec<f64>, String>>()?);
    }
    let (bias, weights) = lines.split_first().ok_or("the table is empty")?;
    let made = scaled_rows(scaler, weights.len(), rows);
    let row_of = |row: usize| (0..weights.len()).map(move |feature| (row, feature));
    let values: Vec<f32> = (0..rows).flat_map(row_of).map(|(row, feature)| made.get(row, feature)).collect();
    let ours = logits(values.clone());
    let mut largest = 0.0f64;
    for (row, ours) in values.chunks_exact(weights.len().max(1)).zip(ours.chunks_exact(bias.len().max(1))) {
        let mut sums = bias.clone();
        for (weights, &x) in weights.iter().zip(row) {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight * f64::from(x));
        }
        for (sum, &own) in sums.iter().zip(ours) {
            largest = largest.max((sum - f64::from(own)).abs() / sum.abs().max(1.0));
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Loss;
    use crate::matrix::Matrix;
    use crate::simd::Kernels;

    fn model() -> LinearModel {
        let weight = vec![0.5, -1.25, 1e-20, 3.0, 0.1, -7.5];
        LinearModel { weight, bias: vec![0.25, -0.125], features: 3, loss: Loss::Softmax }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn standard() -> Scaler {
        Scaler { scale: Scale::Standard, mean: vec![1.0, -20.0, 0.5], deviation: vec![2.0, 0.25, 1.0] }
    }

    #[test]
    fn weights_are_over_the_features_as_they_are_read() {
        let scaler = standard();
        let table = render(&model(), &scaler, &names(&["a", "=b"]), &names(&["x,y", "z", "w"])).unwrap();
        assert!(table.starts_with("feature,a,'=b\n(intercept),"), "{table}");
        assert!(table.contains("\n\"x,y\",0.25,1.5\n"), "{table}");
        let difference = largest_difference(&table, &scaler, 200, |mut values| {
            for row in values.chunks_exact_mut(3) {
                let scaled = row.iter_mut().zip(scaler.mean.iter().zip(&scaler.deviation));
                scaled.for_each(|(x, (mean, deviation))| *x = (*x - mean) / deviation);
            }
            model().logits(&Matrix::from_f32(values, 3), Kernels::best())
        });
        assert!(difference.clone().is_ok_and(|difference| difference < 1e-5), "{difference:?}");
        let other = largest_difference(&table, &scaler, 20, |values| vec![0.0; values.len() / 3 * 2]);
        assert!(other.is_ok_and(|difference| difference > 0.1));
    }

    #[test]
    fn rows_of_length_one_are_refused() {
        let scaler = Scaler { scale: Scale::L2, mean: Vec::new(), deviation: Vec::new() };
        let refused = render(&model(), &scaler, &names(&["a", "b"]), &names(&["x", "y", "z"])).unwrap_err();
        assert_eq!(refused.code(), "E0208");
    }
}

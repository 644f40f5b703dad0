//! Rows that try the tests of a model: values at its thresholds and beside them, known and unknown categories, gaps.

use crate::boost::binning::{Binner, Values};
use crate::data::scale::Scaler;
use crate::matrix::Matrix;
use crate::rng::CounterRng;

/// `rows` rows of `width` features within two deviations of their means by `scaler` (0 and 1 where it has none), the same ones
/// each time.
pub fn scaled_rows(scaler: &Scaler, width: usize, rows: usize) -> Matrix<'static> {
    let mut rng = CounterRng::new(0, 0);
    let mut values = Vec::with_capacity(rows * width);
    for _ in 0..rows {
        for feature in 0..width {
            let mean = scaler.mean.get(feature).copied().unwrap_or(0.0);
            let deviation = scaler.deviation.get(feature).copied().unwrap_or(1.0);
            values.push(mean + deviation * (4.0 * rng.next_f64() - 2.0) as f32);
        }
    }
    Matrix::from_f32(values, width)
}

/// `rows` rows for the features of `binner`, the same ones each time. Every value is a cut or one of its neighbours, a
/// category or a code beyond them, and one in eight is missing; columns that no tree can use are 0.
pub fn probe_rows(binner: &Binner, rows: usize) -> Matrix<'static> {
    const GAPS: usize = 8;
    let columns = binner.columns();
    let mut values = vec![0.0f32; rows * columns];
    for (row, values) in values.chunks_exact_mut(columns.max(1)).enumerate() {
        let mut rng = CounterRng::new(0, row as u64);
        for feature in binner.features() {
            let value = &mut values[feature.column as usize];
            *value = match &feature.values {
                _ if rng.below(GAPS) == 0 => f32::NAN,
                Values::Numeric(cuts) if cuts.is_empty() => 0.0,
                Values::Numeric(cuts) => {
                    let cut = cuts[rng.below(cuts.len())];
                    [cut, cut.next_up(), cut.next_down()][rng.below(3)]
                }
                Values::Categorical(codes) => {
                    let beyond = codes.last().map_or(0.0, |last| last + 1.0);
                    codes.get(rng.below(codes.len() + 1)).copied().unwrap_or(beyond)
                }
            };
        }
    }
    Matrix::from_f32(values, columns)
}

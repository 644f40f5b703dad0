//! From rows as trees read them to the features of linear functions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::column_means;
use crate::data::encode::{FeatureEncoder, keeps_sparse};
use crate::data::missing::Missing;
use crate::data::scale::{Scale, Scaler};
use crate::matrix::{Dtype, MatRef, Matrix, SparseRows, Storage};

/// Rows of trees hold numbers in their units, NaN where one is missing, and codes of categories. Linear functions take
/// numbers on one scale: the mean of the training rows stands for a missing number, each category has a feature of its
/// own (0 everywhere for a missing or unknown one), and columns are standardised as the linear learner would do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearFeatures {
    /// The columns that trees read, with the means of the numbers among them.
    columns: FeatureEncoder,
    /// One a column, 0 for codes.
    fill: Box<[f32]>,
    /// Over the features made.
    scaler: Scaler,
    /// Share of the training rows with each category, one a feature, 0 for numbers; empty where there are no categories, and
    /// where the scaler holds the means.
    shares: Box<[f32]>,
}

impl LinearFeatures {
    /// Fits the transform to the rows `rows` of `matrix`, which `encoder` made for trees. `row_weights`, one for every row
    /// of the matrix, weigh means and deviations. Returns the features of all rows, too.
    pub fn fit<'m>(
        matrix: &'m Matrix<'m>,
        encoder: &FeatureEncoder,
        rows: &[usize],
        row_weights: Option<&[f64]>,
    ) -> (Self, Matrix<'m>) {
        let is_code: Vec<bool> = encoder.categories().iter().map(Option::is_some).collect();
        let means = column_means(matrix, rows, row_weights);
        let fill = means.into_iter().zip(is_code).map(|(mean, code)| if code { 0.0 } else { mean }).collect();
        let mut features = LinearFeatures::over(encoder, fill, Scaler::none());
        let mut made = features.spread(matrix);
        (features.scaler, _) = Scaler::fit(Scale::of_columns(encoder), &made, rows, row_weights);
        if features.has_categories() && made.sparse().is_some() {
            features.shares = column_means(&made, rows, row_weights).into();
            for column in features.columns().into_iter().filter(|column| column.categories.is_none()) {
                features.shares[column.first] = 0.0;
            }
        }
        if features.scaler.scale != Scale::None {
            features.scaler.apply(&mut made);
        }
        (features, made)
    }

    /// The transform with these means and this scaling, where they fit the columns.
    pub fn from_parts(encoder: &FeatureEncoder, fill: Vec<f32>, scaler: Scaler) -> Option<Self> {
        let fits = fill.len() == encoder.width() && scaler.fits(linear_width(encoder));
        fits.then(|| LinearFeatures::over(encoder, fill, scaler))
    }

    fn over(encoder: &FeatureEncoder, fill: Vec<f32>, scaler: Scaler) -> Self {
        let mut columns = FeatureEncoder { missing: Missing::Mean, ..encoder.clone() };
        columns.set_means(fill.iter().copied());
        LinearFeatures { columns, fill: fill.into(), scaler, shares: Box::default() }
    }

    /// The transform with shares of its categories, where they are those of one a feature.
    pub fn with_shares(self, shares: Vec<f32>) -> Option<Self> {
        let fits = shares.is_empty() || (shares.len() == self.width() && self.has_categories());
        let are_shares = shares.iter().all(|share| (0.0..=1.0).contains(share));
        (fits && are_shares).then_some(LinearFeatures { shares: shares.into(), ..self })
    }

    /// Whether any column has categories.
    pub fn has_categories(&self) -> bool {
        self.columns().iter().any(|column| column.categories.is_some_and(|categories| categories > 0))
    }

    /// What stands for missing numbers: one value a column of the rows of trees, 0 for codes.
    pub fn fill(&self) -> &[f32] {
        &self.fill
    }

    /// The scaling of the features made.
    pub fn scaler(&self) -> &Scaler {
        &self.scaler
    }

    /// Share of the training rows with each category, one a feature; empty where there are none and where the scaler holds
    /// the means.
    pub fn shares(&self) -> &[f32] {
        &self.shares
    }

    /// Number of features made of a row.
    pub fn width(&self) -> usize {
        linear_width(&self.columns)
    }

    /// The columns that trees read, each with what is made of it, in the order of the features.
    pub fn columns(&self) -> Vec<LinearColumn> {
        let mut next = 0;
        let place = |categories: Option<usize>| {
            let first = next;
            next += categories.unwrap_or(1);
            LinearColumn { first, categories }
        };
        self.columns.categories().into_iter().map(place).collect()
    }

    /// The features of all rows of `matrix`, which the encoder of this transform made. Borrowed where nothing is to be
    /// done.
    pub fn apply<'m>(&self, matrix: &'m Matrix<'m>) -> Matrix<'m> {
        let mut made = self.spread(matrix);
        if self.scaler.scale != Scale::None {
            self.scaler.apply(&mut made);
        }
        made
    }

    /// The features before they are scaled.
    fn spread<'m>(&self, matrix: &'m Matrix<'m>) -> Matrix<'m> {
        // As the encoder of the linear learner decides it, whose one value a text column and row this is.
        let is_sparse = keeps_sparse(self.columns.most_values(), self.width());
        let is_coded = self.columns.categories().iter().any(Option::is_some);
        if matrix.is_in_file() && is_coded && !is_sparse {
            let mut made = matrix.clone();
            made.edit_in_file(|block| {
                let spread = self.spread(block).into_owned();
                *block = spread;
            });
            return made;
        }
        let mut filled = matrix.reborrow();
        if has_missing(matrix) {
            self.columns.fill_missing(&mut filled);
        }
        if !is_coded {
            return filled;
        }
        let width = self.width();
        let places = Places::of(&self.columns());
        if is_sparse || filled.sparse().is_some() {
            let mut rows = SparseRows::default();
            let (mut entries, mut columns, mut values) = (Vec::new(), Vec::new(), Vec::new());
            filled.visit_rows(0..filled.rows(), |_, row| {
                places.entries(row, &mut entries);
                columns.clear();
                values.clear();
                for &(column, value) in entries.iter().filter(|&&(_, value)| value != 0.0) {
                    columns.push(column);
                    values.push(value);
                }
                rows.push(&columns, &values);
            });
            return Matrix::from_storage(Storage::Sparse(rows), width);
        }
        let mut dense = vec![0.0; filled.rows() * width];
        dense.par_chunks_mut((SPREAD * width).max(1)).enumerate().for_each_init(
            Vec::new,
            |entries, (chunk, out)| {
                let mut rows = out.chunks_exact_mut(width.max(1));
                filled.visit_rows(chunk * SPREAD..chunk * SPREAD + rows.len(), |_, row| {
                    places.entries(row, entries);
                    if let Some(out) = rows.next() {
                        entries.iter().for_each(|&(column, value)| out[column as usize] = value);
                    }
                });
            },
        );
        Matrix::from_f32(dense, width)
    }
}

/// Bytes that the features of all rows of `matrix`, which `encoder` made for trees, take in memory at most; 0 where they are
/// its own rows, or go to disk with them.
pub fn made_bytes(matrix: &Matrix, encoder: &FeatureEncoder) -> u64 {
    let (rows, width) = (matrix.rows() as u64, linear_width(encoder) as u64);
    let is_coded = encoder.categories().iter().any(Option::is_some);
    let is_sparse = matrix.dtype() == Dtype::Sparse;
    if is_coded && (is_sparse || keeps_sparse(encoder.most_values(), width as usize)) {
        return rows.saturating_mul(encoder.most_values() as u64).saturating_mul(SPARSE_ENTRY_BYTES);
    }
    let is_scaled = Scale::of_columns(encoder) != Scale::None;
    if matrix.is_in_file() || !(is_coded || is_scaled || has_missing(matrix)) {
        0
    } else if is_sparse || !(is_coded || is_scaled) {
        matrix.bytes()
    } else {
        rows.saturating_mul(width).saturating_mul(size_of::<f32>() as u64)
    }
}

/// What linear functions read of a column of trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearColumn {
    /// Its first linear feature.
    pub first: usize,
    /// Number of its categories, each of which has a feature; `None` for a number, which is one.
    pub categories: Option<usize>,
}

/// Number of linear features of the columns of `encoder`.
pub fn linear_width(encoder: &FeatureEncoder) -> usize {
    encoder.categories().iter().map(|levels| levels.unwrap_or(1)).sum()
}

/// Where the features of each column begin.
struct Places {
    first: Vec<u32>,
    /// Column and number of its categories, ascending.
    coded: Vec<(u32, u32)>,
}

impl Places {
    fn of(columns: &[LinearColumn]) -> Self {
        let coded = |(at, column): (usize, &LinearColumn)| {
            column.categories.map(|categories| (at as u32, categories as u32))
        };
        Places {
            first: columns.iter().map(|column| column.first as u32).collect(),
            coded: columns.iter().enumerate().filter_map(coded).collect(),
        }
    }

    /// Features and values of a row whose numbers are filled, ascending.
    fn entries(&self, row: MatRef<'_>, to: &mut Vec<(u32, f32)>) {
        to.clear();
        let mut coded = self.coded.iter().peekable();
        // Sparse rows do not store code 0, which is a category like any other.
        let mut code = |column: u32, value: f32, to: &mut Vec<(u32, f32)>| {
            while let Some(&&(next, levels)) = coded.peek() {
                if next > column {
                    return false;
                }
                coded.next();
                let found = if next == column { value } else { 0.0 };
                if (0.0..levels as f32).contains(&found) {
                    to.push((self.first[next as usize] + found as u32, 1.0));
                }
                if next == column {
                    return true;
                }
            }
            false
        };
        row.for_each_entry(|column, value| {
            if !code(column as u32, value, to) {
                to.push((self.first[column], value));
            }
        });
        code(u32::MAX, 0.0, to);
    }
}

/// Bytes of a stored value of sparse rows, with its column.
const SPARSE_ENTRY_BYTES: u64 = 8;

/// Rows that one task spreads.
const SPREAD: usize = 256;

fn has_missing(matrix: &Matrix) -> bool {
    match matrix.in_memory() {
        Some(MatRef::F32(values)) => values.par_iter().any(|x| x.is_nan()),
        Some(MatRef::F16(values)) => values.par_iter().any(|x| x.is_nan()),
        Some(MatRef::Bf16(values)) => values.par_iter().any(|x| x.is_nan()),
        Some(MatRef::Sparse(rows)) => rows.entries().1.par_iter().any(|x| x.is_nan()),
        None => {
            let mut found = false;
            matrix.visit_rows(0..matrix.rows(), |_, row| row.for_each_entry(|_, x| found |= x.is_nan()));
            found
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::encode::InputColumn;

    fn encoder(levels: usize) -> FeatureEncoder {
        let levels = (0..levels).map(|level| format!("l{level:03}")).collect();
        let inputs = vec![
            InputColumn::Codes { name: "c".into(), levels },
            InputColumn::Numeric { name: "n".into(), mean: None },
            InputColumn::Codes { name: "d".into(), levels: vec!["x".into(), "y".into()] },
        ];
        FeatureEncoder { inputs, missing: Missing::Keep }
    }

    const NAN: f32 = f32::NAN;

    #[test]
    fn gaps_get_the_mean_and_categories_a_feature_each() {
        let matrix = Matrix::from_f32(vec![2.0, 1.0, 0.0, NAN, NAN, 1.0, 0.0, 4.0, NAN, 9.0, 100.0, 7.0], 3);
        // The last row is not one of the training rows, and its codes are none.
        let (features, made) = LinearFeatures::fit(&matrix, &encoder(3), &[0, 1, 2], None);
        assert_eq!(features.fill(), [0.0, 2.5, 0.0]);
        let unscaled = features.spread(&matrix);
        let row = |at: usize| (0..6).map(|col| unscaled.get(at, col)).collect::<Vec<f32>>();
        assert_eq!(row(0), [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(row(1), [0.0, 0.0, 0.0, 2.5, 0.0, 1.0]);
        assert_eq!(row(2), [1.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
        assert_eq!(row(3), [0.0, 0.0, 0.0, 100.0, 0.0, 0.0]);
        assert!(made.get(1, 3).abs() < 1e-6, "a filled gap is at the mean");
        let (mean, deviation) = (&features.scaler().mean, &features.scaler().deviation);
        assert_eq!((mean.len(), mean[3], deviation[1]), (6, 2.5, 1.0));
        assert_eq!(features.apply(&matrix), made);
        let again =
            LinearFeatures::from_parts(&encoder(3), features.fill().to_vec(), features.scaler().clone());
        assert_eq!(again, Some(features.clone()));
        assert!(LinearFeatures::from_parts(&encoder(2), vec![0.0; 3], features.scaler().clone()).is_none());
        // The scaling knows how often each category was met.
        assert!(features.shares().is_empty());
        for wrong in [vec![0.5; 5], vec![1.5; 6], vec![f32::NAN; 6]] {
            assert_eq!(features.clone().with_shares(wrong), None);
        }
    }

    #[test]
    fn many_categories_are_sparse_and_say_the_same() {
        let encoder = encoder(40);
        let values = vec![0.0, 1.5, 1.0, 39.0, 0.0, 0.0, NAN, NAN, 0.0, 7.0, -3.0, NAN];
        let dense = Matrix::from_f32(values.clone(), 3);
        let mut rows = SparseRows::default();
        for row in values.chunks(3) {
            let kept: Vec<usize> = (0..3).filter(|&col| row[col] != 0.0).collect();
            let columns: Vec<u32> = kept.iter().map(|&col| col as u32).collect();
            rows.push(&columns, &kept.iter().map(|&col| row[col]).collect::<Vec<f32>>());
        }
        let sparse = Matrix::from_storage(Storage::Sparse(rows), 3);
        let all = [0, 1, 2, 3];
        let (features, of_dense) = LinearFeatures::fit(&dense, &encoder, &all, None);
        let shares = features.shares();
        assert_eq!((shares[0], shares[39], shares[40], &shares[41..]), (0.25, 0.25, 0.0, &[0.5, 0.25][..]));
        let (_, of_sparse) = LinearFeatures::fit(&sparse, &encoder, &all, None);
        assert!(matches!(of_dense.storage(), Storage::Sparse(_)));
        assert_eq!((of_dense.cols(), of_dense.stored()), (43, 3 + 2 + 2 + 2));
        assert_eq!(of_dense, of_sparse);
    }

    #[test]
    fn what_is_made_of_rows_is_known_before_it_is_made() {
        let held = |matrix: &Matrix, encoder: &FeatureEncoder| {
            let (_, made) = LinearFeatures::fit(matrix, encoder, &[0, 1], None);
            if matches!(made.storage(), Storage::Lent(_)) { 0 } else { made.bytes() }
        };
        let vectors = vec![InputColumn::Vector { name: "v".into(), len: 2, means: None }];
        let numbers = ["a", "b"].map(|name| InputColumn::Numeric { name: name.into(), mean: None }).to_vec();
        for missing in [7.0, NAN] {
            let values = vec![1.0, 2.0, missing, 4.0];
            let half = values.iter().map(|&value| half::f16::from_f32(value)).collect();
            for matrix in [Matrix::from_f32(values, 2), Matrix::from_storage(Storage::F16(half), 2)] {
                for (inputs, is_made) in [(&vectors, missing.is_nan()), (&numbers, true)] {
                    let encoder = FeatureEncoder { inputs: inputs.clone(), missing: Missing::Keep };
                    let bytes = made_bytes(&matrix, &encoder);
                    assert_eq!(
                        (bytes, bytes > 0),
                        (held(&matrix, &encoder), is_made),
                        "{inputs:?} {missing}"
                    );
                }
            }
        }
        let values = vec![0.0, 1.0, 1.0, 2.0, 2.0, 0.0];
        assert_eq!(made_bytes(&Matrix::from_f32(values.clone(), 3), &encoder(3)), 2 * 6 * 4);
        assert_eq!(made_bytes(&Matrix::from_f32(values, 3), &encoder(40)), 2 * 3 * SPARSE_ENTRY_BYTES);
    }

    #[test]
    fn embeddings_without_gaps_are_not_copied() {
        let inputs = vec![InputColumn::Vector { name: "v".into(), len: 2, means: None }];
        let encoder = FeatureEncoder { inputs, missing: Missing::Keep };
        let storage = |values: [f32; 4]| Storage::F16(values.map(half::f16::from_f32).to_vec());
        let whole = Matrix::from_storage(storage([1.0, 2.0, 3.0, 4.0]), 2);
        let (features, made) = LinearFeatures::fit(&whole, &encoder, &[0, 1], None);
        assert!(matches!(made.storage(), Storage::Lent(_)));
        assert_eq!(features.scaler().scale, Scale::None);
        let gaps = Matrix::from_storage(storage([NAN, 2.0, 3.0, NAN]), 2);
        let filled = features.apply(&gaps);
        assert_eq!([filled.get(0, 0), filled.get(1, 1)], [2.0, 3.0]);
    }
}

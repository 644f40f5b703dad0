//! From the values of a [`Matrix`] to bins: a [`Binner`] is fitted to a sample of training rows and bins any rows.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::binned::{BLOCK_FEATURES, BinnedMatrix, FeatureBlock, FeatureInfo, MAX_VALUE_BINS, MISSING};
use super::bundles::Layout;
use super::fill::{Column, fill};
use super::sampling::stratified;
use super::{categories, cuts};
use crate::matrix::{FileRows, Matrix, Storage};
use crate::rng::CounterRng;
use crate::simd::prefer_large_pages;
use crate::stop::Stop;
use crate::{Error, Result};

/// How bins are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinningOptions {
    /// Most bins of a feature beside the one of missing values, 2..=254.
    pub max_bins: usize,
    /// Columns whose values are codes of categories without an order.
    pub categorical: Vec<usize>,
    /// Rows that bins are made from; of every class at least [`SAMPLE_OF_CLASS`].
    pub sample: usize,
    /// Key of the draw of these rows.
    pub seed: u64,
}

impl Default for BinningOptions {
    fn default() -> Self {
        BinningOptions { max_bins: MAX_VALUE_BINS, categorical: Vec::new(), sample: 200_000, seed: 0 }
    }
}

/// Rows of each class that the sample holds at least, where the class has them: a plain sample loses values that only
/// a class of the tail has.
pub const SAMPLE_OF_CLASS: usize = 50;

/// The values of one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Values {
    /// Largest value of each bin but the last, ascending.
    Numeric(Vec<f32>),
    /// The code of each bin, ascending.
    Categorical(Vec<f32>),
}

/// One column that trees can use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BinnedFeature {
    /// The column of the feature matrix.
    pub column: u32,
    /// What the bins stand for.
    pub values: Values,
}

impl BinnedFeature {
    /// Number of value bins, 1..=254.
    pub fn bins(&self) -> usize {
        match &self.values {
            Values::Numeric(cuts) => cuts.len() + 1,
            Values::Categorical(codes) => codes.len(),
        }
    }

    /// Bin of a value; of NaN, and of a category that was not seen, the bin of missing values.
    pub fn bin(&self, value: f32) -> u8 {
        let bin = match &self.values {
            _ if value.is_nan() => return MISSING,
            Values::Numeric(cuts) => cuts.partition_point(|&cut| cut < value),
            Values::Categorical(codes) => match codes.binary_search_by(|code| code.total_cmp(&(value + 0.0)))
            {
                Ok(bin) => bin,
                Err(_) => return MISSING,
            },
        };
        bin as u8 + 1
    }

    /// The number whose comparison `value <= threshold` says whether the bin of a numeric value is at most `bin`.
    pub fn threshold(&self, bin: u8) -> f32 {
        match &self.values {
            Values::Numeric(cuts) => cuts.get(usize::from(bin) - 1).copied().unwrap_or(f32::INFINITY),
            Values::Categorical(_) => f32::INFINITY,
        }
    }
}

/// Bins of every column that varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binner {
    columns: usize,
    features: Vec<BinnedFeature>,
}

impl Binner {
    /// Finds bins for the columns of `matrix`, whose rows have the classes `labels` (codes; a row without a class may
    /// have any other number). Columns without two different values (or one, and gaps) in the sample are left out.
    ///
    /// # Errors
    /// [`Error::BadValue`] for `max_bins` out of range or a categorical column that the matrix lacks;
    /// [`Error::LengthMismatch`] where labels and rows differ in number.
    pub fn fit(matrix: &Matrix, labels: &[u32], options: &BinningOptions) -> Result<Self> {
        check(matrix, matrix.rows(), labels, options)?;
        let binner = Self::of(matrix, &sample(labels, options.sample, options.seed), options);
        matrix.check().map(|()| binner)
    }

    /// As [`Binner::fit`], by the rows `rows` of `matrix` alone, whose classes are `labels` in their order.
    ///
    /// # Errors
    /// Those of [`Binner::fit`].
    ///
    /// # Panics
    /// Where a row is beyond the matrix.
    pub fn fit_on(matrix: &Matrix, rows: &[usize], labels: &[u32], options: &BinningOptions) -> Result<Self> {
        check(matrix, rows.len(), labels, options)?;
        let chosen = sample(labels, options.sample, options.seed);
        let chosen: Vec<u32> = chosen.into_iter().map(|place| rows[place as usize] as u32).collect();
        let binner = Self::of(matrix, &chosen, options);
        matrix.check().map(|()| binner)
    }

    /// Bins by the rows `rows`; no features where the matrix is stopped.
    fn of(matrix: &Matrix, rows: &[u32], options: &BinningOptions) -> Self {
        if let Storage::File(file) = matrix.storage() {
            return Self::of_file((file, matrix.stop()), matrix.cols(), rows, options);
        }
        let columns = matrix.cols();
        let groups: Vec<usize> = (0..columns).step_by(BLOCK_FEATURES).collect();
        let stop = matrix.stop();
        let features = groups
            .par_iter()
            .filter(|_| !stop.is_set())
            .flat_map_iter(|&first| {
                let width = BLOCK_FEATURES.min(columns - first);
                let sampled = Sampled::take(matrix, rows, first, width);
                let wanted = sampled.into_iter().zip(first..).take_while(|_| !stop.is_set());
                wanted.filter_map(|(sampled, at)| sampled.feature(at, options))
            })
            .collect();
        Self::whole(columns, features, stop)
    }

    /// Bins of some of the columns that vary are none.
    fn whole(columns: usize, features: Vec<BinnedFeature>, stop: &Stop) -> Self {
        Binner { columns, features: if stop.is_set() { Vec::new() } else { features } }
    }

    /// As [`Binner::of`]: as many columns at a time as fit into memory, each time through all rows of the sample.
    fn of_file(
        (file, stop): (&FileRows, &Stop),
        columns: usize,
        rows: &[u32],
        options: &BinningOptions,
    ) -> Self {
        let at_once = (SAMPLED_BYTES / (size_of::<f32>() * rows.len()).max(1)).max(1);
        let wanted = (0..columns).step_by(at_once).take_while(|_| !stop.is_set());
        let features = wanted.flat_map(|first| {
            let width = at_once.min(columns - first);
            let parts: Vec<Vec<Sampled>> = rows
                .par_chunks(READ_ROWS)
                .filter(|_| !stop.is_set())
                .map(|rows| Sampled::read(file, rows, first, width))
                .collect();
            let mut sampled: Vec<Sampled> = (0..width).map(|_| Sampled::default()).collect();
            for part in parts {
                sampled.iter_mut().zip(part).for_each(|(sampled, part)| sampled.append(part));
            }
            let found = sampled.into_par_iter().zip(first..first + width);
            found.filter_map(|(sampled, at)| sampled.feature(at, options)).collect::<Vec<_>>()
        });
        Self::whole(columns, features.collect(), stop)
    }

    /// The bins of `features` of a matrix of `columns` columns, as [`Binner::features`] once gave them. `None` where
    /// columns or bins are out of order, out of range or no numbers.
    pub fn from_features(columns: usize, features: Vec<BinnedFeature>) -> Option<Self> {
        let ascending =
            |values: &[f32]| values.is_sorted_by(|a, b| a < b) && values.iter().all(|v| !v.is_nan());
        let sound = |feature: &BinnedFeature| {
            let (Values::Numeric(values) | Values::Categorical(values)) = &feature.values;
            (feature.column as usize) < columns
                && (1..=MAX_VALUE_BINS).contains(&feature.bins())
                && ascending(values)
        };
        let in_order = features.is_sorted_by(|a, b| a.column < b.column);
        (in_order && features.iter().all(sound)).then_some(Binner { columns, features })
    }

    /// The features, in the order of their columns.
    pub fn features(&self) -> &[BinnedFeature] {
        &self.features
    }

    /// Columns of the matrices that it bins.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bins of all rows of `matrix`.
    ///
    /// # Errors
    /// [`Error::FeatureMismatch`] where the matrix has another number of columns; [`Error::TooLarge`] from 2^32 - 1
    /// rows on.
    pub fn bin(&self, matrix: &Matrix) -> Result<BinnedMatrix> {
        if matrix.cols() != self.columns {
            return Err(Error::FeatureMismatch {
                file: "the matrix".into(),
                detail: format!("{} columns, not {}", matrix.cols(), self.columns),
            });
        }
        let rows = matrix.rows();
        if rows >= u32::MAX as usize {
            let (need, limit) = (rows as u64, u64::from(u32::MAX) - 1);
            return Err(Error::TooLarge { what: "boosting on so many rows".into(), need, limit });
        }
        let layout = Layout::of(matrix, &self.features);
        let infos: Vec<FeatureInfo> = (self.features.iter())
            .map(|feature| FeatureInfo {
                column: feature.column,
                values: feature.bins() as u8,
                categorical: matches!(feature.values, Values::Categorical(_)),
            })
            .collect();
        let block = |(first, codes)| {
            let mut bins = vec![[0; BLOCK_FEATURES]; rows];
            prefer_large_pages(&mut bins);
            FeatureBlock { first, codes, bins }
        };
        let mut blocks: Vec<FeatureBlock> = layout.blocks.into_iter().map(block).collect();
        let unfilled = blocks.iter_mut().enumerate().map(|(at, block)| {
            let columns = (self.features.iter().zip(&layout.places))
                .filter(|(_, place)| place.block() == at)
                .map(|(feature, &place)| Column::new(feature, place))
                .collect();
            (columns, &mut block.bins[..])
        });
        fill(matrix, unfilled.collect());
        matrix.check()?;
        Ok(BinnedMatrix::new(rows, infos, layout.places, blocks).stopped_by(matrix.stop()))
    }

    /// Bins of one row, whose values are given by column, into one slot a feature.
    pub(super) fn bin_row(&self, value: impl Fn(usize) -> f32, bins: &mut [u8]) {
        for (bin, feature) in bins.iter_mut().zip(&self.features) {
            *bin = feature.bin(value(feature.column as usize));
        }
    }
}

fn check(matrix: &Matrix, rows: usize, labels: &[u32], options: &BinningOptions) -> Result<()> {
    if labels.len() != rows {
        return Err(Error::LengthMismatch {
            left: "the features".into(),
            left_rows: rows as u64,
            right: "the labels".into(),
            right_rows: labels.len() as u64,
        });
    }
    if !(2..=MAX_VALUE_BINS).contains(&options.max_bins) {
        let help = "bins are bytes: 2 to 254, and one for missing values";
        return Err(Error::bad_value("--max-bins", options.max_bins.to_string(), "out of range", help));
    }
    if let Some(column) = options.categorical.iter().find(|&&column| column >= matrix.cols()) {
        let why = format!("the features have {} columns", matrix.cols());
        return Err(Error::bad_value("--categorical", column.to_string(), why, "columns count from 0"));
    }
    Ok(())
}

/// About `size` rows, ascending: the same share of each class, but no class falls below [`SAMPLE_OF_CLASS`] rows that
/// has them.
fn sample(labels: &[u32], size: usize, seed: u64) -> Vec<u32> {
    let rows = labels.len();
    if rows <= size {
        return (0..rows as u32).collect();
    }
    let share = |n: usize| (n as f64 * size as f64 / rows as f64).round() as usize;
    stratified(labels, |n| share(n).max(SAMPLE_OF_CLASS), CounterRng::new(seed, 0))
}

/// Bytes that the sampled values of the columns gone through together take, where rows lie in a file.
const SAMPLED_BYTES: usize = 8 << 20;
/// Sampled rows that one task reads.
const READ_ROWS: usize = 4096;

/// Sampled values of one column.
#[derive(Default)]
struct Sampled {
    /// Values that are stored and not NaN.
    values: Vec<f32>,
    /// Rows without an entry, whose value is 0.
    zeros: usize,
    missing: bool,
}

impl Sampled {
    /// The values of `width` columns from `first` on in `rows`.
    fn take(matrix: &Matrix, rows: &[u32], first: usize, width: usize) -> Vec<Self> {
        let mut columns: Vec<Sampled> = (0..width).map(|_| Sampled::default()).collect();
        if let Storage::File(file) = matrix.storage() {
            return Sampled::read(file, rows, first, width);
        }
        match matrix.sparse() {
            Some(all) => {
                for &row in rows {
                    let (places, values) = all.row_within(row as usize, first as u32..(first + width) as u32);
                    places.iter().zip(values).for_each(|(&at, &x)| columns[at as usize - first].push(x));
                }
                for column in &mut columns {
                    let stored = column.values.len() + usize::from(column.missing);
                    column.zeros = rows.len().saturating_sub(stored);
                }
            }
            None => {
                for &row in rows {
                    for (slot, column) in columns.iter_mut().enumerate() {
                        column.push(matrix.get(row as usize, first + slot));
                    }
                }
            }
        }
        columns
    }

    /// As [`Sampled::take`], of rows in a file.
    fn read(file: &FileRows, rows: &[u32], first: usize, width: usize) -> Vec<Self> {
        let mut columns: Vec<Sampled> = (0..width).map(|_| Sampled::default()).collect();
        file.visit(rows.iter().map(|&row| row as usize), |_, row| {
            row.for_each_entry(|at, x| {
                if let Some(column) = at.checked_sub(first).and_then(|slot| columns.get_mut(slot)) {
                    column.push(x);
                }
            });
        });
        columns
    }

    fn append(&mut self, more: Sampled) {
        self.values.extend(more.values);
        self.zeros += more.zeros;
        self.missing |= more.missing;
    }

    /// The bins of column `at`, where it varies.
    fn feature(self, at: usize, options: &BinningOptions) -> Option<BinnedFeature> {
        let values = self.bins(options.categorical.contains(&at), options.max_bins)?;
        Some(BinnedFeature { column: at as u32, values })
    }

    fn push(&mut self, value: f32) {
        if value.is_nan() {
            self.missing = true;
        } else {
            self.values.push(value + 0.0); // -0 is 0
        }
    }

    fn bins(mut self, categorical: bool, max_bins: usize) -> Option<Values> {
        let mut counted = cuts::distinct(&mut self.values);
        if self.zeros > 0 {
            match counted.binary_search_by(|(value, _)| value.total_cmp(&0.0)) {
                Ok(at) => counted[at].1 += self.zeros,
                Err(at) => counted.insert(at, (0.0, self.zeros)),
            }
        }
        let varies = counted.len() > 1 || (counted.len() == 1 && self.missing);
        varies.then(|| match categorical {
            true => Values::Categorical(categories::kept(&counted, max_bins)),
            false => Values::Numeric(cuts::cuts(&counted, max_bins)),
        })
    }
}

#[cfg(test)]
#[path = "binning_tests.rs"]
mod tests;

//! The rows of a comparison by class; rows that no candidate tells apart are kept once, with their number.

use std::collections::HashMap;
use std::ops::Range;

use super::outcomes::Outcomes;
use crate::labels::UNSEEN;
use crate::metrics::{Metric, Tallied};

/// Prediction of a row that is wrong, where the metric does not ask which class it was taken for.
const WRONG: u32 = UNSEEN;

/// The rows of one class; those of unseen labels are the last stratum.
#[derive(Debug, Clone)]
pub(super) struct Stratum {
    /// Class, or [`UNSEEN`].
    pub label: u32,
    /// Places of its rows in [`Sheet::kind_of`].
    pub rows: Range<usize>,
    /// Its kinds.
    pub kinds: Range<usize>,
}

/// What one candidate says in one repeat, by kind; the mean over its repeats where the metric is a mean of losses.
#[derive(Debug, Clone, Default)]
struct Column {
    predicted: Vec<u32>,
    losses: Vec<f64>,
}

/// All candidates by kind of row. Rows are of one kind where their label and all that the metric asks of all
/// candidates and repeats agree.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    /// Classes that have rows, ascending.
    pub strata: Vec<Stratum>,
    /// Kind of each row, by stratum, in the order of the rows.
    pub kind_of: Vec<u32>,
    /// Rows of each kind.
    pub rows_of_kind: Vec<u32>,
    columns: Vec<Column>,
    /// Columns of each candidate.
    columns_of: Vec<Range<usize>>,
}

impl Sheet {
    /// Sorts rows by label. Kinds are numbered by the first row that shows them, so that neither their numbers nor the
    /// order of sums depends on the order of the candidates. Outcomes must have as many rows as `labels`.
    pub fn new(candidates: &[Vec<Outcomes>], labels: &[u32], classes: usize, metric: Metric) -> Self {
        let of_losses = candidates.iter().flatten().any(|outcomes| outcomes.losses(metric).is_some());
        let mut columns_of = Vec::with_capacity(candidates.len());
        let mut first = 0;
        for repeats in candidates {
            let columns = if of_losses { 1 } else { repeats.len() };
            columns_of.push(first..first + columns);
            first += columns;
        }
        let mut sheet = Sheet {
            strata: Vec::new(),
            kind_of: Vec::with_capacity(labels.len()),
            rows_of_kind: Vec::new(),
            columns: vec![Column::default(); first],
            columns_of,
        };
        for (label, rows) in rows_by_label(labels, classes) {
            let (first_row, first_kind) = (sheet.kind_of.len(), sheet.rows_of_kind.len());
            if of_losses {
                sheet.take_losses(candidates, &rows, metric);
            } else {
                sheet.take_predictions(candidates, label, &rows, metric);
            }
            let (rows, kinds) = (first_row..sheet.kind_of.len(), first_kind..sheet.rows_of_kind.len());
            sheet.strata.push(Stratum { label, rows, kinds });
        }
        sheet
    }

    /// Losses hardly ever agree: every row is a kind.
    fn take_losses(&mut self, candidates: &[Vec<Outcomes>], rows: &[usize], metric: Metric) {
        for &row in rows {
            self.kind_of.push(self.rows_of_kind.len() as u32);
            self.rows_of_kind.push(1);
            for (column, repeats) in self.columns.iter_mut().zip(candidates) {
                let loss =
                    |outcomes: &Outcomes| outcomes.losses(metric).map_or(f64::NAN, |losses| losses[row]);
                column.losses.push(repeats.iter().map(loss).sum::<f64>() / repeats.len() as f64);
            }
        }
    }

    fn take_predictions(&mut self, candidates: &[Vec<Outcomes>], label: u32, rows: &[usize], metric: Metric) {
        let which_wrong = matches!(metric, Metric::MacroF1 | Metric::Mcc);
        let mut seen: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut key = Vec::with_capacity(self.columns.len());
        for &row in rows {
            key.clear();
            key.extend(candidates.iter().flatten().map(|outcomes| match outcomes.predicted()[row] {
                predicted if predicted == label || which_wrong => predicted,
                _ => WRONG,
            }));
            let kind = match seen.get(key.as_slice()) {
                Some(&kind) => kind,
                None => {
                    let kind = self.rows_of_kind.len() as u32;
                    seen.insert(key.clone(), kind);
                    self.rows_of_kind.push(0);
                    self.columns.iter_mut().zip(&key).for_each(|(column, &p)| column.predicted.push(p));
                    kind
                }
            };
            self.rows_of_kind[kind as usize] += 1;
            self.kind_of.push(kind);
        }
    }

    /// Number of candidates.
    pub fn candidates(&self) -> usize {
        self.columns_of.len()
    }

    /// Columns of a candidate, to be averaged.
    pub fn columns_of(&self, candidate: usize) -> Range<usize> {
        self.columns_of[candidate].clone()
    }

    /// Adds `rows` rows of `kind`, which is of the class `from`, as if they were of the class `to`: the two classes
    /// change names.
    pub fn add(&self, tallied: &mut Tallied, column: usize, kind: usize, [from, to]: [u32; 2], rows: f64) {
        let column = &self.columns[column];
        let predicted = match column.predicted.get(kind) {
            None => WRONG,
            Some(&p) if p == from => to,
            Some(&p) if p == to => from,
            Some(&p) => p,
        };
        tallied.add(to, predicted, rows, column.losses.get(kind).copied().unwrap_or(f64::NAN));
    }

    /// Loss or share of hits over the repeats of one candidate.
    pub fn score(&self, candidate: usize, kind: usize, label: u32) -> f64 {
        let columns = &self.columns[self.columns_of(candidate)];
        let score = |column: &Column| match column.losses.get(kind) {
            Some(&loss) => loss,
            None => f64::from(u8::from(column.predicted[kind] == label)),
        };
        columns.iter().map(score).sum::<f64>() / columns.len() as f64
    }
}

/// Rows of every label that occurs, labels ascending; unknown labels are [`UNSEEN`] and last.
fn rows_by_label(labels: &[u32], classes: usize) -> Vec<(u32, Vec<usize>)> {
    let mut rows_of = vec![Vec::new(); classes + 1];
    for (row, &label) in labels.iter().enumerate() {
        rows_of[(label as usize).min(classes)].push(row);
    }
    let named = rows_of.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
    named.map(|(class, rows)| (if class < classes { class as u32 } else { UNSEEN }, rows)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_no_candidate_tells_apart_are_one_kind() {
        let labels = [1, 0, 1, 1, 9, 1];
        let candidates = vec![
            vec![Outcomes::of_predictions(vec![1, 0, 0, 2, 0, 1])],
            vec![Outcomes::of_predictions(vec![1, 1, 1, 1, 0, 1])],
        ];
        let sheet = Sheet::new(&candidates, &labels, 3, Metric::MacroRecall);
        let strata: Vec<_> = sheet.strata.iter().map(|s| (s.label, s.rows.len(), s.kinds.len())).collect();
        assert_eq!(strata, [(0, 1, 1), (1, 4, 2), (UNSEEN, 1, 1)]);
        assert_eq!(sheet.kind_of, [0, 1, 2, 2, 1, 3]);
        assert_eq!(sheet.rows_of_kind, [1, 2, 2, 1]);
        // A metric that asks which class was predicted tells rows 2 and 3 apart.
        assert_eq!(Sheet::new(&candidates, &labels, 3, Metric::Mcc).rows_of_kind, [1, 2, 1, 1, 1]);
        assert_eq!((sheet.score(0, 2, 1), sheet.score(1, 2, 1)), (0.0, 1.0));
    }

    #[test]
    fn a_lent_row_changes_names_with_its_new_class() {
        let candidates = vec![vec![Outcomes::of_predictions(vec![0, 1, 2])]];
        let sheet = Sheet::new(&candidates, &[0, 0, 0], 3, Metric::MacroF1);
        let train_rows = [1; 3];
        // As rows of class 1, the first is a hit, the second takes 1 for 0, the third takes 1 for 2.
        for (kind, predicted) in [(0, 1), (1, 0), (2, 2)] {
            let (mut lent, mut own) = (Tallied::new(3), Tallied::new(3));
            sheet.add(&mut lent, 0, kind, [0, 1], 1.0);
            own.add(1, predicted, 1.0, f64::NAN);
            for metric in [Metric::MacroF1, Metric::Mcc, Metric::Top1] {
                assert_eq!(
                    lent.value(metric, &train_rows),
                    own.value(metric, &train_rows),
                    "{kind} {metric}"
                );
            }
        }
    }
}

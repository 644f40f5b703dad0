//! Which class was taken for which: only the cells that occur, so that 10^5 classes cost no 10^10 cells.

use serde::Serialize;

use crate::labels::UNSEEN;

/// Rows of one true class that were predicted as one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cell {
    /// True class; [`UNSEEN`] for labels the model does not know.
    pub truth: u32,
    /// Predicted class.
    pub predicted: u32,
    /// Number of rows.
    pub rows: u64,
    /// Sum of their row weights.
    pub weight: f64,
}

/// Sparse confusion matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    /// Sorted by truth, then prediction.
    cells: Vec<Cell>,
}

impl Confusion {
    /// Confusion of `truths` and `predicted` (codes of equal number; truths at or above `classes` count as
    /// [`UNSEEN`]), weighted where weights are given.
    pub fn of(truths: &[u32], predicted: &[u32], row_weights: Option<&[f64]>, classes: usize) -> Self {
        let known = |truth: u32| if (truth as usize) < classes { truth } else { UNSEEN };
        let mut order: Vec<(u32, u32, usize)> =
            truths.iter().zip(predicted).enumerate().map(|(row, (&t, &p))| (known(t), p, row)).collect();
        order.sort_unstable();
        let mut cells: Vec<Cell> = Vec::new();
        for (truth, predicted, row) in order {
            let weight = row_weights.map_or(1.0, |w| w[row]);
            match cells.last_mut() {
                Some(cell) if (cell.truth, cell.predicted) == (truth, predicted) => {
                    cell.rows += 1;
                    cell.weight += weight;
                }
                _ => cells.push(Cell { truth, predicted, rows: 1, weight }),
            }
        }
        Confusion { cells }
    }

    /// All cells with rows, sorted by truth, then prediction; rows of unseen labels come last.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The `limit` cells of wrong predictions that weigh most, heaviest first, equal ones in class order.
    pub fn most_confused(&self, limit: usize) -> Vec<Cell> {
        let mut wrong: Vec<Cell> =
            self.cells.iter().copied().filter(|c| c.truth != c.predicted && c.truth != UNSEEN).collect();
        wrong.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        wrong.truncate(limit);
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_sorted_counted_and_weighted() {
        let confusion = Confusion::of(
            &[1, 0, 1, UNSEEN, 1, 7],
            &[0, 0, 0, 2, 1, 2],
            Some(&[1.0, 2.0, 0.5, 1.0, 1.0, 3.0]),
            3,
        );
        let cells: Vec<_> =
            confusion.cells().iter().map(|c| (c.truth, c.predicted, c.rows, c.weight)).collect();
        assert_eq!(cells, [(0, 0, 1, 2.0), (1, 0, 2, 1.5), (1, 1, 1, 1.0), (UNSEEN, 2, 2, 4.0)]);
        let worst = confusion.most_confused(5);
        assert_eq!(worst.len(), 1);
        assert_eq!((worst[0].truth, worst[0].predicted), (1, 0));
    }

    #[test]
    fn many_classes_take_no_more_than_their_cells() {
        let confusion = Confusion::of(&[99_999], &[3], None, 100_000);
        assert_eq!(confusion.cells().len(), 1);
        assert_eq!(confusion.most_confused(1)[0].rows, 1);
    }
}

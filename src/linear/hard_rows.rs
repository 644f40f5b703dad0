//! The rows that carry most of the curvature of a class: near the optimum few rows are in doubt about any one class.

use super::pass::{Pass, add_rows, sum_in_order};
use crate::checkpoint::codec::store_fields;

/// Rows of one task of the pass.
const TASK_ROWS: usize = 1024;
/// Classes that are compared before any of them is looked at.
const COMPARED: usize = 16;

/// Rows of each class; of no class where none are taken.
#[derive(Debug, Default)]
pub(super) struct HardRows {
    /// Positions of rows, ascending, with their curvature `w p (1 - p) / sum w`.
    of_classes: Vec<Vec<(usize, f32)>>,
}
store_fields!(HardRows { of_classes });

impl HardRows {
    /// Of a class.
    pub(super) fn of(&self, class: usize) -> &[(usize, f32)] {
        self.of_classes.get(class).map_or(&[], |rows| rows)
    }

    /// Whether none are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.of_classes.is_empty()
    }

    /// Whether these can be of so many classes and rows, at most `most` of each class.
    pub(super) fn fits(&self, classes: usize, rows: usize, most: usize) -> bool {
        let is_row =
            |&(row, curvature): &(usize, f32)| row < rows && curvature.is_finite() && curvature >= 0.0;
        let is_of_class = |own: &Vec<(usize, f32)>| own.len() <= most && own.iter().all(is_row);
        self.is_empty() || self.of_classes.len() == classes && self.of_classes.iter().all(is_of_class)
    }
}

/// The rows of the largest curvature so far, of every class.
struct Leaders {
    most: usize,
    rows: Vec<Vec<(usize, f32)>>,
    /// What the curvature of a row has to exceed.
    floors: Vec<f32>,
    totals: Vec<f64>,
}

impl Leaders {
    fn new(classes: usize, most: usize) -> Self {
        Leaders {
            most,
            rows: vec![Vec::new(); classes],
            floors: vec![0.0; classes],
            totals: vec![0.0; classes],
        }
    }

    /// Sees `curvatures` of rows from `start` on, `rows x C`.
    fn see(&mut self, start: usize, curvatures: &[f32]) {
        let classes = self.rows.len();
        add_rows(curvatures, classes, &mut self.totals);
        for (row, curvatures) in (start..).zip(curvatures.chunks_exact(classes)) {
            for (part, values) in curvatures.chunks(COMPARED).enumerate() {
                let first = part * COMPARED;
                let floors = &self.floors[first..][..values.len()];
                if !values.iter().zip(floors).fold(false, |any, (value, floor)| any | (value > floor)) {
                    continue;
                }
                for (class, &curvature) in (first..).zip(values) {
                    if curvature > self.floors[class] {
                        self.rows[class].push((row, curvature));
                        if self.rows[class].len() >= 2 * self.most {
                            self.floors[class] = keep(&mut self.rows[class], self.most);
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, part: Leaders) {
        self.totals.iter_mut().zip(part.totals).for_each(|(total, part)| *total += part);
        for (all, part) in self.rows.iter_mut().zip(part.rows) {
            all.extend(part);
            keep(all, self.most);
        }
    }

    /// With the curvature of each class over the rows that are not among its own.
    fn into_hard_rows(self, total_weight: f64) -> (HardRows, Vec<f64>) {
        let (mut hard, mut left) = (HardRows::default(), Vec::new());
        for (mut rows, total) in self.rows.into_iter().zip(self.totals) {
            rows.sort_unstable_by_key(|&(row, _)| row);
            let own: f64 = rows.iter().map(|&(_, curvature)| f64::from(curvature)).sum();
            left.push((total - own).max(0.0) / total_weight);
            let of_mean = |curvature: f32| (f64::from(curvature) / total_weight) as f32;
            hard.of_classes.push(rows.into_iter().map(|(row, h)| (row, of_mean(h))).collect());
        }
        (hard, left)
    }
}

/// Cuts `rows` down to the `most` of the largest curvature, of equal ones the first, and returns the smallest left.
fn keep(rows: &mut Vec<(usize, f32)>, most: usize) -> f32 {
    if rows.len() <= most {
        return 0.0;
    }
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let smallest = rows.select_nth_unstable_by(most - 1, order).1.1;
    rows.truncate(most);
    smallest
}

impl Pass<'_> {
    /// The `most` rows (at least 1) of each class that carry most of its curvature, of a convex loss; and the curvature of
    /// each class over the others.
    pub(super) fn hard_rows(&self, most: usize, total_weight: f64) -> (HardRows, Vec<f64>) {
        let (problem, classes) = (self.problem, self.problem.classes);
        let mut leaders = Leaders::new(classes, most);
        let of_task = |range| {
            let mut leaders = Leaders::new(classes, most);
            self.for_each_residuals(range, |rows, residuals| {
                let start = rows.start;
                for (row, &weight) in residuals.chunks_exact_mut(classes).zip(&problem.weights[rows]) {
                    let inverse = 1.0 / weight.max(f32::MIN_POSITIVE);
                    row.iter_mut().for_each(|z| *z = (z.abs() * (1.0 - z.abs() * inverse)).max(0.0));
                }
                leaders.see(start, residuals);
            });
            leaders
        };
        sum_in_order(problem.rows.len(), TASK_ROWS, of_task, |part| leaders.add(part));
        leaders.into_hard_rows(total_weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::pass::ranges;

    #[test]
    fn leaders_are_the_rows_of_the_largest_curvature_whatever_the_blocks() {
        // Curvatures of 200 rows and 20 classes, equal ones among them.
        let curvature = |row: usize, class: usize| ((row * 37 + class * 11) % 60) as f32;
        let (rows, classes, most) = (200, 20, 5);
        let of = |range: std::ops::Range<usize>| -> Vec<f32> {
            range.flat_map(|row| (0..classes).map(move |class| curvature(row, class))).collect()
        };
        let mut all = Leaders::new(classes, most);
        for part in [0..90, 90..200] {
            let mut leaders = Leaders::new(classes, most);
            ranges(part, 32).for_each(|block| leaders.see(block.start, &of(block)));
            all.add(leaders);
        }
        let (mut hard, left_out) = all.into_hard_rows(2.0);
        for (class, left_out) in left_out.into_iter().enumerate() {
            let mut order: Vec<usize> = (0..rows).collect();
            order.sort_by(|&a, &b| curvature(b, class).total_cmp(&curvature(a, class)));
            let mut expected: Vec<(usize, f32)> =
                order[..most].iter().map(|&row| (row, curvature(row, class) / 2.0)).collect();
            expected.sort_by_key(|&(row, _)| row);
            assert_eq!(hard.of(class), expected);
            let left: f64 = order[most..].iter().map(|&row| f64::from(curvature(row, class)) / 2.0).sum();
            assert!((left_out - left).abs() < 1e-9, "{left_out} is not {left}");
        }
        assert!(hard.fits(classes, rows, most));
        assert!(!hard.fits(classes, rows - 50, most) && !hard.fits(classes + 1, rows, most));
        assert!(!hard.fits(classes, rows, most - 1), "a forged checkpoint asks for no more than a fit does");
        hard.of_classes[3][0].1 = f32::INFINITY;
        assert!(!hard.fits(classes, rows, most));
    }
}

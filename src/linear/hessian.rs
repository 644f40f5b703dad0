//! The Hessian of a convex mean loss in all parameters, over a draw of the rows that carry it.
//!
//! A row counts in the pairs of the few classes that it is not certain of; what it keeps of `diag(p) - p p'` there stays
//! positive semi-definite. Rows come a chunk at a time, in their order, and are then dealt to the pairs of classes:
//! together they may be more than memory holds.

use rayon::prelude::*;

use super::gram::GramProduct;
use super::importance::{BLOCK_ROWS, Importance, pairs_of};
use super::objective::Objective;
use super::pass::Pass;
use crate::checkpoint::codec::store_fields;
use crate::loss::Loss;

/// What a chunk holds at most, but for one row: values of its rows, and rows in the lists of its pairs.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    values: usize,
    pairs: usize,
}

/// 4 MiB of each.
const CHUNK: Chunk = Chunk { values: 1 << 20, pairs: 1 << 19 };
/// Values of the sums that share the rows of a pair of classes: 8 MiB; and sums of a pair at most.
const SUMS_VALUES: usize = 1 << 21;
const MOST_SUMS: usize = 8;

/// Rows of a pair of classes, by their place in the chunk, with the Hessian of their loss in its two logits.
type PairRows = Vec<(u32, f32)>;

/// A Hessian and what it cost.
pub(super) struct Hessian {
    /// `P x P` in the order of the parameters.
    pub(super) upper: UpperTriangle,
    /// Floating-point operations.
    pub(super) work: f64,
}

/// A symmetric matrix by its upper triangle: a Hessian of thousands of parameters is most of what a fit holds.
#[derive(Debug)]
pub(super) struct UpperTriangle {
    size: usize,
    /// The rows from their diagonal on, one behind the other.
    values: Vec<f32>,
}
store_fields!(UpperTriangle { size, values });

impl UpperTriangle {
    /// Zeros, `size x size`.
    fn new(size: usize) -> Self {
        UpperTriangle { size, values: vec![0.0; size * (size + 1) / 2] }
    }

    /// Whether it is `size x size`.
    pub(super) fn is_of(&self, size: usize) -> bool {
        let values = size.checked_mul(size + 1).map(|twice| twice / 2);
        self.size == size && values == Some(self.values.len())
    }

    /// Row `i` from its diagonal on.
    pub(super) fn row(&self, i: usize) -> &[f32] {
        let start = self.place(i, i);
        &self.values[start..start + self.size - i]
    }

    /// Where the value in row `i`, column `j >= i` lies.
    fn place(&self, i: usize, j: usize) -> usize {
        i * (2 * self.size + 1 - i) / 2 + j - i
    }
}

impl Objective<'_> {
    /// Hessian of the mean loss at `theta` (coordinates of the objective), of fewer than 65,536 classes. Where the rows that
    /// carry it would cost more than `most_work` floating-point operations, some are drawn; `None` where these would be
    /// too few, or the rows are stopped.
    pub(super) fn hessian(&self, theta: &[f32], most_work: f64) -> Option<Hessian> {
        self.hessian_by(theta, most_work, CHUNK)
    }

    fn hessian_by(&self, theta: &[f32], most_work: f64, most: Chunk) -> Option<Hessian> {
        self.with_f32_pass(theta, |pass| {
            let (loss, features) = (pass.problem.loss, pass.problem.rows.features());
            let importance = Importance::of(pass);
            let mut pairs = Pairs::new(pass, self.moments().total_weight);
            let mut work = 0.0;
            let chunk_rows = (most.values / pairs.width).max(1);
            let (mut chunk, mut held) = (Vec::new(), 0);
            for (row, stands_for) in importance.draw(loss, features, most_work)?.rows() {
                let own = pairs_of(loss, importance.classes_of(row));
                if chunk.len() == chunk_rows || held + own > most.pairs {
                    pairs.add(&importance, &chunk);
                    chunk.clear();
                    held = 0;
                }
                chunk.push((row, stands_for));
                held += own;
                work += (own * pairs.width * pairs.width) as f64;
            }
            pairs.add(&importance, &chunk);
            if self.is_stopped() {
                return None;
            }
            Some(Hessian { upper: pairs.upper(), work })
        })
    }
}

/// The blocks of a Hessian: for each pair of classes `(a, b)`, `a <= b`, the weighted products of rows, a 1 behind their
/// features.
struct Pairs<'p> {
    pass: &'p Pass<'p>,
    total_weight: f64,
    /// Whether classes have pairs beside those with themselves.
    is_coupled: bool,
    /// Features and the 1 of the bias.
    width: usize,
    /// Classes of each pair, in the order of `sums`.
    classes: Vec<(usize, usize)>,
    /// Parts that the rows of a pair are summed in; fixed by the shape, so that sums do not depend on the threads.
    parts: usize,
    /// For each pair and part `width x width`, upper triangle.
    sums: Vec<f32>,
}

impl<'p> Pairs<'p> {
    fn new(pass: &'p Pass<'p>, total_weight: f64) -> Self {
        let (classes, width) = (pass.problem.classes, pass.problem.rows.features() + 1);
        let is_coupled = pass.problem.loss == Loss::Softmax;
        let classes: Vec<(usize, usize)> = (0..classes)
            .flat_map(|a| (a..if is_coupled { classes } else { a + 1 }).map(move |b| (a, b)))
            .collect();
        let values = classes.len() * width * width;
        let parts = (SUMS_VALUES / values.max(1)).clamp(1, MOST_SUMS);
        Pairs { pass, total_weight, is_coupled, width, classes, parts, sums: vec![0.0; parts * values] }
    }

    /// Adds the rows of a chunk, in their order, each with how many it stands for.
    fn add(&mut self, importance: &Importance, chunk: &[(usize, f32)]) {
        let (x, lists) = (self.values(chunk), self.lists(importance, chunk));
        let (kernels, width, parts) = (self.pass.kernels, self.width, self.parts);
        let stop = self.pass.problem.rows.stop();
        self.sums.par_chunks_exact_mut(width * width).enumerate().for_each_init(
            // In f32: Hessians of tables are ill-conditioned.
            || (GramProduct::single(kernels), Vec::new(), Vec::new()),
            |(product, rows, weights), (at, sum)| {
                let list = &lists[at / parts];
                let part_rows = list.len().div_ceil(parts).max(BLOCK_ROWS);
                let own = list.chunks(part_rows).nth(at % parts).unwrap_or_default();
                for own in own.chunks(BLOCK_ROWS) {
                    if stop.is_set() {
                        return;
                    }
                    rows.clear();
                    weights.clear();
                    for &(place, weight) in own {
                        rows.extend_from_slice(&x[place as usize * width..][..width]);
                        weights.push(weight);
                    }
                    product.accumulate(rows, width, weights, sum);
                }
            },
        );
    }

    /// The rows, centred and with a 1 behind the features.
    fn values(&self, chunk: &[(usize, f32)]) -> Vec<f32> {
        let (pass, width) = (self.pass, self.width);
        let mut values = vec![1.0; chunk.len() * width];
        let blocks = values.par_chunks_mut(BLOCK_ROWS * width).zip(chunk.par_chunks(BLOCK_ROWS));
        blocks.for_each_init(
            || vec![0.0; width - 1],
            |row, (values, chunk)| {
                let positions = chunk.iter().map(|&(row, _)| row);
                pass.problem.rows.visit_wide(pass.kernels, pass.centre, positions, row, |at, row| {
                    values[at * width..][..width - 1].copy_from_slice(row);
                });
            },
        );
        values
    }

    /// For each pair of classes the rows that count in both.
    fn lists(&self, importance: &Importance, chunk: &[(usize, f32)]) -> Vec<PairRows> {
        let problem = self.pass.problem;
        // Rows are multiplied in the blocks that their importance was found in, or rounding might differ.
        let blocks: Vec<_> = chunk.chunk_by(|a, b| a.0 / BLOCK_ROWS == b.0 / BLOCK_ROWS).collect();
        let counted = |drawn: &&[(usize, f32)]| {
            let mut drawn = drawn.iter().map(|&(row, _)| row).peekable();
            let start = drawn.peek().map_or(0, |row| row / BLOCK_ROWS * BLOCK_ROWS);
            let mut counted = Vec::new();
            self.pass.for_each_curvature(
                start..(start + BLOCK_ROWS).min(problem.rows.len()),
                |row, curvatures| {
                    if drawn.next_if_eq(&row).is_some() {
                        counted.extend(importance.counted(problem.labels[row], row, curvatures));
                    }
                },
            );
            counted
        };
        let counted: Vec<Vec<(u32, f32)>> = blocks.par_iter().map(counted).collect();
        let counted = counted.concat();
        let mut lists = vec![PairRows::new(); self.classes.len()];
        // Where work is broken off or rows cannot be read any more, the classes of some are not known.
        if counted.len() != chunk.iter().map(|&(row, _)| importance.classes_of(row)).sum::<usize>() {
            return lists;
        }
        let mut rest = counted.as_slice();
        for (place, &(row, stands_for)) in (0u32..).zip(chunk) {
            let own;
            (own, rest) = rest.split_at(importance.classes_of(row));
            let weight = f64::from(stands_for) * f64::from(problem.weights[row]) / self.total_weight;
            for (first, &(a, p)) in own.iter().enumerate() {
                let (a, p) = (a as usize, f64::from(p));
                lists[self.pair(a, a)].push((place, (weight * p * (1.0 - p)) as f32));
                for &(b, q) in if self.is_coupled { &own[first + 1..] } else { &[] } {
                    lists[self.pair(a, b as usize)].push((place, (-weight * p * f64::from(q)) as f32));
                }
            }
        }
        lists
    }

    /// Place of the pair of classes `a <= b`.
    fn pair(&self, a: usize, b: usize) -> usize {
        if self.is_coupled { a * (2 * self.pass.problem.classes + 1 - a) / 2 + b - a } else { a }
    }

    fn upper(self) -> UpperTriangle {
        let (classes, features, width) = (self.pass.problem.classes, self.width - 1, self.width);
        let place = |class: usize, at: usize| {
            if at < features { class * features + at } else { classes * features + class }
        };
        let mut upper = UpperTriangle::new(self.pass.problem.parameters());
        for (&(a, b), sums) in self.classes.iter().zip(self.sums.chunks_exact(self.parts * width * width)) {
            for i in 0..width {
                for j in i..width {
                    let value = sums.iter().skip(i * width + j).step_by(width * width).sum();
                    let mut set = |i, j| {
                        let (i, j) = (place(a, i), place(b, j));
                        let at = upper.place(i.min(j), i.max(j));
                        upper.values[at] = value;
                    };
                    set(i, j);
                    // The product is symmetric, and the block of two classes lies whole in the upper triangle.
                    if a != b && i != j {
                        set(j, i);
                    }
                }
            }
        }
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::problem::{Decay, Problem};
    use crate::linear::rows::Rows;
    use crate::matrix::Matrix;
    use crate::rng::CounterRng;
    use crate::simd::Kernels;

    const ROWS: usize = 700;
    const FEATURES: usize = 5;
    const CLASSES: usize = 4;

    struct Data {
        matrix: Matrix<'static>,
        labels: Vec<u32>,
        weights: Vec<f32>,
    }

    fn random(stream: u64, n: usize, scale: f64) -> Vec<f32> {
        let mut rng = CounterRng::new(8, stream);
        (0..n).map(|_| (scale * (rng.next_f64() - 0.4)) as f32).collect()
    }

    impl Data {
        fn random() -> Self {
            Data {
                matrix: Matrix::from_f32(random(2, ROWS * FEATURES, 4.0), FEATURES),
                labels: (0..ROWS as u32).map(|row| row % CLASSES as u32).collect(),
                weights: (0..ROWS).map(|row| 1.0 + (row % 3) as f32).collect(),
            }
        }

        fn theta(&self) -> Vec<f32> {
            random(3, CLASSES * (FEATURES + 1), 2.0)
        }

        fn problem(&self, loss: Loss) -> Problem<'_> {
            Problem::new(Rows::all(&self.matrix), &self.labels, &self.weights, CLASSES, loss, 0.0)
        }
    }

    /// `v' H v` of the Hessian, and from the gradients at both sides of the point.
    fn curvatures_along(loss: Loss, most_work: f64) -> Vec<(f64, f64)> {
        let data = Data::random();
        let mut objective = Objective::new(data.problem(loss), Kernels::best());
        let theta = data.theta();
        let size = theta.len();
        let hessian = objective.hessian(&theta, most_work).unwrap().upper;
        let mut along = Vec::new();
        for stream in 4..10 {
            let v = random(stream, size, 1.0);
            let mut product = 0.0;
            for i in 0..size {
                for j in 0..size {
                    product += f64::from(hessian.row(i.min(j))[i.max(j) - i.min(j)] * v[i] * v[j]);
                }
            }
            let mut slope = |step: f32| {
                let moved: Vec<f32> = theta.iter().zip(&v).map(|(t, v)| t + step * v).collect();
                let mut gradient = vec![0.0; size];
                objective.evaluate(&moved, &mut gradient);
                gradient.iter().zip(&v).map(|(g, v)| f64::from(g * v)).sum::<f64>()
            };
            along.push((product, (slope(0.01) - slope(-0.01)) / 0.02));
        }
        along
    }

    #[test]
    fn it_is_the_derivative_of_the_gradient_but_for_what_is_left_out() {
        for loss in [Loss::Softmax, Loss::Sigmoid] {
            for (found, wanted) in curvatures_along(loss, f64::INFINITY) {
                assert!((found / wanted - 1.0).abs() < 0.03, "{loss:?}: {found} is not {wanted}");
            }
        }
    }

    #[test]
    fn it_is_the_same_by_small_chunks() {
        for loss in [Loss::Softmax, Loss::Sigmoid] {
            let data = Data::random();
            let objective = Objective::new(data.problem(loss), Kernels::best());
            let theta = data.theta();
            let of = |most| objective.hessian_by(&theta, f64::INFINITY, most).unwrap();
            let whole = of(CHUNK);
            for most in [Chunk { values: 300, pairs: usize::MAX }, Chunk { values: usize::MAX, pairs: 40 }] {
                let small = of(most);
                assert_eq!(small.work, whole.work);
                for i in 0..theta.len() {
                    for (a, b) in small.upper.row(i).iter().zip(whole.upper.row(i)) {
                        assert!((a - b).abs() < 1e-5 * whole.upper.row(i)[0].max(1e-3), "{loss:?}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_longer_than_f32_have_no_hessian() {
        // Squares of 1e20 are infinite; the work affords less than all rows.
        let matrix = Matrix::from_f32((0..ROWS).map(|row| if row == 9 { 1e20 } else { 0.1 }).collect(), 1);
        let labels: Vec<u32> = (0..ROWS as u32).map(|row| row % 2).collect();
        let weights = vec![1.0; ROWS];
        let (rows, decay, loss) = (Rows::all(&matrix), Decay::Both, Loss::Softmax);
        let problem = Problem { decay, ..Problem::new(rows, &labels, &weights, 2, loss, 0.1) };
        let objective = Objective::new(problem, Kernels::best());
        assert!(objective.hessian(&[0.0; 4], 100.0).is_none());
    }

    #[test]
    fn drawn_rows_stand_for_all() {
        // A third of the work of all rows.
        for (found, wanted) in curvatures_along(Loss::Sigmoid, (ROWS * CLASSES * 36 / 3) as f64) {
            assert!((found / wanted - 1.0).abs() < 0.3, "{found} is not {wanted}");
        }
    }
}

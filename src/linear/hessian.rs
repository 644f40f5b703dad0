//! The Hessian of a convex mean loss in all parameters, over the rows that carry it.
//!
//! Near the optimum most rows are certain of most classes: their curvature there is next to nothing. Each class keeps
//! the rows that carry all but a hundredth of its curvature, so that a row counts in few pairs of classes. What a row
//! keeps of `diag(p) - p p'` stays positive semi-definite.

use std::ops::Range;

use rayon::prelude::*;

use super::objective::Objective;
use super::pass::{Pass, ranges};
use super::products::BlockBuffer;
use crate::loss::Loss;

/// Share of the curvature of a class that rows left out carry at most.
const LEFT_OUT: f64 = 0.01;
/// Rows of one task of a pass, and of one product.
const TASK_ROWS: usize = 4096;
const BLOCK_ROWS: usize = 256;
/// Rows of a pair of classes that one task adds up, and values of the matrices that tasks hold together: 8 MiB.
const PAIR_ROWS: usize = 8192;
const VALUES_HELD: usize = 1 << 21;
/// Classes kept over all rows at most: 12 bytes each.
const MOST_KEPT: u64 = 1 << 24;
/// Values of the rows drawn at most, features and the 1 of the bias.
const MOST_VALUES: f64 = (1 << 25) as f64;

/// The classes that rows keep.
struct Kept {
    /// Positions of the rows.
    rows: Vec<u32>,
    /// Where the classes of each row start among the probabilities, and where those of the last row end.
    starts: Vec<usize>,
    /// Class and its probability.
    probabilities: Vec<(u32, f32)>,
}

/// Rows of a pair of classes with the Hessian of their loss in its two logits.
type PairRows = Vec<(u32, f32)>;

/// A Hessian and what it cost.
pub(super) struct Hessian {
    /// `P x P` in the order of the parameters, upper triangle.
    pub(super) upper: Vec<f32>,
    /// Floating-point operations.
    pub(super) work: f64,
}

impl Objective<'_> {
    /// Hessian of the mean loss at `theta` (coordinates of the objective). Where the rows that carry it would cost more than
    /// `most_work` floating-point operations, some are drawn; `None` where these would be too few, or the rows are stopped.
    pub(super) fn hessian(&self, theta: &[f32], most_work: f64) -> Option<Hessian> {
        let spans = self.squared_lengths();
        let kept = self.with_f32_pass(theta, |pass| Kept::of(pass, &spans))?;
        if self.is_stopped() {
            return None;
        }
        let drawn = kept.drawn(self, &spans, most_work)?;
        let positions: Vec<u32> = drawn.chosen.iter().map(|&(at, _)| drawn.kept.rows[at]).collect();
        let pairs = drawn.pairs(self);
        let width = (self.problem().rows.features() + 1) as f64;
        let work = pairs.iter().map(|rows| rows.len() as f64).sum::<f64>() * width * width;
        Some(Hessian { upper: self.sum_pairs(&positions, pairs), work })
    }

    /// `1 + ||x||^2` of every row.
    fn squared_lengths(&self) -> Vec<f32> {
        let (problem, kernels) = (self.problem(), self.kernels());
        let features = problem.rows.features();
        let mut spans = vec![0.0; problem.rows.len()];
        spans.par_chunks_mut(BLOCK_ROWS).enumerate().for_each_init(
            || vec![0.0; features],
            |x, (block, spans)| {
                if problem.rows.is_stopped() {
                    return;
                }
                let start = block * BLOCK_ROWS;
                let rows = start..start + spans.len();
                problem.rows.visit_wide(kernels, self.centre(), rows, x, |at, x| {
                    spans[at] = 1.0 + kernels.dot(x, x) as f32;
                });
            },
        );
        spans
    }

    /// The Hessian from the rows of each pair of classes `(a, b)`, `a <= b`, at `a * C + b`: places among `positions`.
    fn sum_pairs(&self, positions: &[u32], pairs: Vec<PairRows>) -> Vec<f32> {
        let problem = self.problem();
        let (classes, features) = (problem.classes, problem.rows.features());
        let size = problem.parameters();
        let total = self.moments().total_weight;
        let tasks: Vec<(usize, &[(u32, f32)])> = pairs
            .iter()
            .enumerate()
            .flat_map(|(pair, rows)| rows.chunks(PAIR_ROWS).map(move |rows| (pair, rows)))
            .collect();
        let place = |class: usize, at: usize| {
            if at < features { class * features + at } else { classes * features + class }
        };
        let mut hessian = vec![0.0f32; size * size];
        for tasks in tasks.chunks((VALUES_HELD / (features + 1).pow(2)).max(2)) {
            if self.is_stopped() {
                break;
            }
            let products = |(_, rows): &(usize, &[(u32, f32)])| self.weighted_products(positions, rows);
            let sums: Vec<Vec<f32>> = tasks.par_iter().map(products).collect();
            for (&(pair, _), sum) in tasks.iter().zip(&sums) {
                let (a, b) = (pair / classes, pair % classes);
                for (i, row) in sum.chunks_exact(features + 1).enumerate() {
                    for (j, &value) in row.iter().enumerate().skip(i) {
                        let value = (f64::from(value) / total) as f32;
                        let mut add = |i, j| {
                            let (i, j) = (place(a, i), place(b, j));
                            hessian[i.min(j) * size + i.max(j)] += value;
                        };
                        add(i, j);
                        // The product is symmetric, and the block of two classes lies whole in the upper triangle.
                        if a != b && i != j {
                            add(j, i);
                        }
                    }
                }
            }
        }
        hessian
    }

    /// `sum_r weight_r x_r x_r'` of some of the rows at `positions`, centred and with a 1 behind the features; upper triangle.
    /// A row is read anew for each pair of classes: together, they may be more than memory holds.
    fn weighted_products(&self, positions: &[u32], some: &[(u32, f32)]) -> Vec<f32> {
        let (problem, kernels) = (self.problem(), self.kernels());
        let features = problem.rows.features();
        let width = features + 1;
        let mut sum = vec![0.0; width * width];
        let mut row = vec![0.0; features];
        let (mut plain, mut weighted) = (Vec::new(), Vec::new());
        for some in some.chunks(BLOCK_ROWS) {
            if problem.rows.is_stopped() {
                break;
            }
            plain.clear();
            plain.resize(some.len() * width, 1.0);
            let places = some.iter().map(|&(at, _)| positions[at as usize] as usize);
            problem.rows.visit_wide(kernels, self.centre(), places, &mut row, |at, x| {
                plain[at * width..][..features].copy_from_slice(x);
            });
            weighted.clear();
            weighted.resize(plain.len(), 0.0);
            for ((weighted, plain), &(_, weight)) in
                weighted.chunks_exact_mut(width).zip(plain.chunks_exact(width)).zip(some)
            {
                kernels.axpy(weight, plain, weighted);
            }
            kernels.accumulate_gram(&weighted, &plain, width, &mut sum);
        }
        sum
    }
}

impl Kept {
    /// `None` where there would be too many.
    fn of(pass: &Pass<'_>, spans: &[f32]) -> Option<Kept> {
        let (rows, classes) = (pass.problem.rows.len(), pass.problem.classes);
        if u32::try_from(rows).is_err() {
            return None;
        }
        let tasks: Vec<Range<usize>> = ranges(0..rows, TASK_ROWS).collect();
        let spectra: Vec<Spectra> = tasks
            .par_iter()
            .map(|rows| {
                let mut spectra = Spectra::new(classes);
                pass.for_each_curvature(rows.clone(), |row, curvatures| spectra.add(curvatures, spans[row]));
                spectra
            })
            .collect();
        let limits = Spectra::limits(classes, &spectra)?;
        let parts: Vec<Kept> = tasks
            .into_par_iter()
            .map(|rows| {
                let mut kept = Kept { rows: Vec::new(), starts: vec![0], probabilities: Vec::new() };
                pass.for_each_curvature(rows, |row, curvatures| {
                    kept.push(pass, row, curvatures, spans[row], &limits)
                });
                kept
            })
            .collect();
        let mut all = Kept { rows: Vec::new(), starts: vec![0], probabilities: Vec::new() };
        for part in parts {
            let offset = all.probabilities.len();
            all.rows.extend(part.rows);
            all.starts.extend(part.starts[1..].iter().map(|start| offset + start));
            all.probabilities.extend(part.probabilities);
        }
        Some(all)
    }

    fn push(&mut self, pass: &Pass<'_>, row: usize, curvatures: &[(f32, f32)], span: f32, limits: &[f32]) {
        let label = pass.problem.labels[row] as usize;
        for (class, (&(distance, curvature), &limit)) in curvatures.iter().zip(limits).enumerate() {
            if curvature * span >= limit && curvature > 0.0 {
                let probability = if class == label { 1.0 - distance } else { distance };
                self.probabilities.push((class as u32, probability));
            }
        }
        if self.probabilities.len() > self.starts[self.starts.len() - 1] {
            self.rows.push(row as u32);
            self.starts.push(self.probabilities.len());
        }
    }

    fn row(&self, at: usize) -> &[(u32, f32)] {
        &self.probabilities[self.starts[at]..self.starts[at + 1]]
    }

    /// Draws rows by their importance until no more than `most_work` is left: those of the largest share are all kept,
    /// the others systematically, and stand for those before them.
    fn drawn(self, objective: &Objective<'_>, spans: &[f32], most_work: f64) -> Option<Drawn> {
        let problem = objective.problem();
        let width = (problem.rows.features() + 1) as f64;
        let coupled = problem.loss == Loss::Softmax;
        let (mut importance, mut work) = (Vec::new(), Vec::new());
        for (at, &row) in self.rows.iter().enumerate() {
            let classes = self.row(at);
            let curvature: f32 = classes.iter().map(|&(_, p)| p * (1.0 - p)).sum();
            importance
                .push(f64::from(problem.weights[row as usize] * curvature) * f64::from(spans[row as usize]));
            let n = classes.len() as f64;
            work.push(width * width * if coupled { 0.5 * n * (n + 1.0) } else { n });
        }
        let total: f64 = importance.iter().sum();
        // Lengths beyond f32, or curvatures below it: no share of such a total is a chance, and none would get smaller.
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        let expected = |scale: f64| -> (f64, f64) {
            let chances = importance.iter().map(|i| (scale * i / total).min(1.0));
            chances
                .zip(&work)
                .fold((0.0, 0.0), |(rows, sum), (chance, work)| (rows + chance, sum + chance * work))
        };
        // So large that every row is drawn, then smaller until the work fits.
        let mut scale = importance.iter().filter(|&&i| i > 0.0).fold(0.0, |most: f64, i| most.max(total / i));
        let is_too_much = |(rows, work): (f64, f64)| work > most_work || rows * width > MOST_VALUES;
        while is_too_much(expected(scale)) {
            scale *= 0.7;
        }
        if expected(scale).0 < 2.0 * width.min(self.rows.len() as f64 / 2.0) {
            return None;
        }
        let mut passed = 0.5;
        let mut chosen = Vec::new();
        for (at, importance) in importance.iter().enumerate() {
            let chance = (scale * importance / total).min(1.0);
            passed += chance;
            if passed >= 1.0 {
                passed -= 1.0;
                chosen.push((at, (1.0 / chance) as f32));
            }
        }
        Some(Drawn { kept: self, chosen })
    }
}

/// Some of the rows, each with how many it stands for.
struct Drawn {
    kept: Kept,
    chosen: Vec<(usize, f32)>,
}

impl Drawn {
    fn pairs(&self, objective: &Objective<'_>) -> Vec<PairRows> {
        let problem = objective.problem();
        let classes = problem.classes;
        let coupled = problem.loss == Loss::Softmax;
        let mut pairs = vec![PairRows::new(); classes * classes];
        for (place, &(at, stands_for)) in self.chosen.iter().enumerate() {
            let place = place as u32;
            let weight = stands_for * problem.weights[self.kept.rows[at] as usize];
            let row = self.kept.row(at);
            for (first, &(a, p)) in row.iter().enumerate() {
                pairs[a as usize * classes + a as usize].push((place, weight * p * (1.0 - p)));
                let partners = if coupled { &row[first + 1..] } else { &[] };
                for &(b, q) in partners {
                    pairs[a as usize * classes + b as usize].push((place, -weight * p * q));
                }
            }
        }
        pairs
    }
}

/// For each class the curvature by its magnitude: sum and number of rows for each power of two.
struct Spectra(Vec<(f64, u64)>);

/// Exponents of an f32.
const BINS: usize = 256;

impl Spectra {
    fn new(classes: usize) -> Self {
        Spectra(vec![(0.0, 0); classes * BINS])
    }

    fn add(&mut self, curvatures: &[(f32, f32)], span: f32) {
        for (&(_, curvature), bins) in curvatures.iter().zip(self.0.chunks_exact_mut(BINS)) {
            let curvature = curvature * span;
            let (sum, rows) = &mut bins[(curvature.to_bits() >> 23) as usize & (BINS - 1)];
            *sum += f64::from(curvature);
            *rows += 1;
        }
    }

    /// The curvature from which a row is kept, for each class; `None` where too many would be.
    fn limits(classes: usize, parts: &[Spectra]) -> Option<Vec<f32>> {
        let mut kept = 0;
        let limits = (0..classes)
            .map(|class| {
                let bin = |bin: usize| {
                    parts
                        .iter()
                        .map(|part| part.0[class * BINS + bin])
                        .fold((0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
                };
                let total: f64 = (0..BINS).map(|at| bin(at).0).sum();
                let (mut at, mut sum) = (BINS - 1, 0.0);
                while at > 0 {
                    let (curvature, rows) = bin(at);
                    sum += curvature;
                    kept += rows;
                    if sum >= (1.0 - LEFT_OUT) * total {
                        break;
                    }
                    at -= 1;
                }
                f32::from_bits((at as u32) << 23)
            })
            .collect();
        (kept <= MOST_KEPT).then_some(limits)
    }
}

impl Pass<'_> {
    /// For each of `rows` and each class the distance `|p - y|` of its probability from the label, and the weighted
    /// curvature `w p (1 - p)`.
    fn for_each_curvature(&self, rows: Range<usize>, mut visit: impl FnMut(usize, &[(f32, f32)])) {
        let (problem, classes) = (self.problem, self.problem.classes);
        let (mut buffer, mut z) = (BlockBuffer::default(), Vec::new());
        let mut curvatures = vec![(0.0, 0.0); classes];
        for rows in ranges(rows, BLOCK_ROWS) {
            if problem.rows.is_stopped() {
                break;
            }
            let x = buffer.load(&problem.rows, self.centre, rows.clone(), self.arithmetic);
            z.resize(rows.len() * classes, 0.0);
            self.residuals(x, rows.start, &mut z);
            for (row, residuals) in rows.zip(z.chunks_exact(classes)) {
                let weight = problem.weights[row];
                for (curvature, residual) in curvatures.iter_mut().zip(residuals) {
                    // The residual is weight * (p - onehot).
                    let distance = (residual.abs() / weight.max(f32::MIN_POSITIVE)).min(1.0);
                    *curvature = (distance, weight * distance * (1.0 - distance));
                }
                visit(row, &curvatures);
            }
        }
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

    /// `v' H v` of the Hessian, and from the gradients at both sides of the point.
    fn curvatures_along(loss: Loss, most_work: f64) -> Vec<(f64, f64)> {
        let mut rng = CounterRng::new(8, 2);
        let mut random = |n: usize, scale: f64| -> Vec<f32> {
            (0..n).map(|_| (scale * (rng.next_f64() - 0.4)) as f32).collect()
        };
        let matrix = Matrix::from_f32(random(ROWS * FEATURES, 4.0), FEATURES);
        let labels: Vec<u32> = (0..ROWS as u32).map(|row| row % CLASSES as u32).collect();
        let weights: Vec<f32> = (0..ROWS).map(|row| 1.0 + (row % 3) as f32).collect();
        let decay = Decay::Weights;
        let (rows, l2) = (Rows::all(&matrix), 0.0);
        let problem = Problem {
            rows,
            labels: &labels,
            weights: &weights,
            classes: CLASSES,
            loss,
            offsets: None,
            margins: None,
            l2_factors: None,
            l2,
            decay,
        };
        let mut objective = Objective::new(problem, Kernels::best());
        let size = problem.parameters();
        let theta = random(size, 2.0);
        let hessian = objective.hessian(&theta, most_work).unwrap().upper;
        let mut along = Vec::new();
        for _ in 0..6 {
            let v = random(size, 1.0);
            let mut product = 0.0;
            for i in 0..size {
                for j in 0..size {
                    product += f64::from(hessian[i.min(j) * size + i.max(j)] * v[i] * v[j]);
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
    fn rows_longer_than_f32_have_no_hessian() {
        // Squares of 1e20 are infinite; the work affords less than all rows.
        let matrix = Matrix::from_f32((0..ROWS).map(|row| if row == 9 { 1e20 } else { 0.1 }).collect(), 1);
        let labels: Vec<u32> = (0..ROWS as u32).map(|row| row % 2).collect();
        let weights = vec![1.0; ROWS];
        let (rows, decay, loss) = (Rows::all(&matrix), Decay::Both, Loss::Softmax);
        let problem = Problem {
            rows,
            labels: &labels,
            weights: &weights,
            classes: 2,
            loss,
            offsets: None,
            margins: None,
            l2_factors: None,
            l2: 0.1,
            decay,
        };
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

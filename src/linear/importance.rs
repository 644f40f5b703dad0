//! Which rows carry the curvature of a fit, and a draw of them.
//!
//! Near the optimum most rows are certain of most classes: their curvature there is next to nothing. A row counts in the
//! classes where it is among those that carry all but a hundredth of the curvature.

use std::ops::Range;

use rayon::prelude::*;

use super::pass::{Pass, ranges, sum_in_order};
use super::products::BlockBuffer;
use crate::loss::Loss;

/// Share of the curvature of a class that rows left out carry at most.
const LEFT_OUT: f64 = 0.01;
/// Rows of one task of a pass, and of one product.
const TASK_ROWS: usize = 4096;
pub(super) const BLOCK_ROWS: usize = 256;
/// Factor between the scales of chances that are tried.
const SMALLER: f64 = 0.7;

/// What each row carries. 10 bytes a row: all of them are there at once.
pub(super) struct Importance {
    /// Curvature of each class from which a row counts in it.
    limits: Vec<f32>,
    /// `1 + ||x||^2`.
    spans: Vec<f32>,
    /// Curvature of a row in the classes where it counts, by its span.
    shares: Vec<f32>,
    /// Number of these classes.
    classes: Vec<u16>,
    total: f64,
}

/// The chances by which rows are drawn.
pub(super) struct Draw<'i> {
    importance: &'i Importance,
    scale: f64,
}

impl Importance {
    /// Of all rows of `pass`, which has fewer than 65,536 classes.
    pub(super) fn of(pass: &Pass<'_>) -> Self {
        let problem = pass.problem;
        let spans = squared_lengths(pass);
        let limits = Spectra::of(pass, &spans).limits();
        let (mut shares, mut classes) = (vec![0.0f32; spans.len()], vec![0u16; spans.len()]);
        let mut importance =
            Importance { limits, spans, shares: Vec::new(), classes: Vec::new(), total: 0.0 };
        let tasks = shares.par_chunks_mut(TASK_ROWS).zip(classes.par_chunks_mut(TASK_ROWS)).enumerate();
        tasks.for_each(|(task, (shares, classes))| {
            let start = task * TASK_ROWS;
            pass.for_each_curvature(start..start + shares.len(), |row, curvatures| {
                let mut curvature = 0.0;
                for (_, p) in importance.counted(problem.labels[row], row, curvatures) {
                    curvature += p * (1.0 - p);
                    classes[row - start] += 1;
                }
                shares[row - start] = problem.weights[row] * curvature * importance.spans[row];
            });
        });
        importance.total = shares.iter().map(|&share| f64::from(share)).sum();
        (importance.shares, importance.classes) = (shares, classes);
        importance
    }

    /// The classes in which a row counts, each with its probability.
    pub(super) fn counted(
        &self,
        label: u32,
        row: usize,
        curvatures: &[(f32, f32)],
    ) -> impl Iterator<Item = (u32, f32)> {
        let span = self.spans[row];
        let classes = (0u32..).zip(curvatures).zip(&self.limits);
        classes.filter_map(move |((class, &(distance, curvature)), &limit)| {
            let counts = curvature * span >= limit && curvature > 0.0;
            counts.then_some((class, if class == label { 1.0 - distance } else { distance }))
        })
    }

    /// Number of classes in which a row counts.
    pub(super) fn classes_of(&self, row: usize) -> usize {
        usize::from(self.classes[row])
    }

    /// Chances that draw no more than `most_work` floating-point operations: rows of the largest share are certain to be
    /// drawn. `None` where too few would be.
    pub(super) fn draw(&self, loss: Loss, features: usize, most_work: f64) -> Option<Draw<'_>> {
        // Lengths beyond f32, or curvatures below it: no share of such a total is a chance, and none would get smaller.
        if !(self.total > 0.0 && self.total.is_finite()) {
            return None;
        }
        let width = (features + 1) as f64;
        let counting = self.classes.iter().filter(|&&classes| classes > 0).count() as f64;
        let shares = self.shares.iter().filter(|&&share| share > 0.0);
        let smallest = shares.fold(f32::INFINITY, |least, &share| least.min(share));
        // At step 0 so large that every row is drawn.
        let at = |step: i32| {
            let scale = self.total / f64::from(smallest) * SMALLER.powi(step);
            Draw { importance: self, scale }
        };
        let expected = |draw: &Draw<'_>| -> (f64, f64) {
            (0..self.shares.len()).fold((0.0, 0.0), |(rows, work), row| {
                let chance = draw.chance(row);
                (rows + chance, work + chance * pairs_of(loss, self.classes_of(row)) as f64)
            })
        };
        let fits = |step: i32| expected(&at(step)).1 * width * width <= most_work;
        let draw = at(first_step(fits));
        (expected(&draw).0 >= 2.0 * width.min(counting / 2.0)).then_some(draw)
    }
}

/// The first step from 0 on that fits, where all after one that fits do as well.
fn first_step(fits: impl Fn(i32) -> bool) -> i32 {
    if fits(0) {
        return 0;
    }
    let (mut too_early, mut fitting) = (0, 1);
    while !fits(fitting) {
        (too_early, fitting) = (fitting, 2 * fitting);
    }
    while fitting - too_early > 1 {
        let middle = too_early + (fitting - too_early) / 2;
        match fits(middle) {
            true => fitting = middle,
            false => too_early = middle,
        }
    }
    fitting
}

/// Pairs of classes, each with itself among them, that the Hessian of a row couples.
pub(super) fn pairs_of(loss: Loss, classes: usize) -> usize {
    if loss == Loss::Softmax { classes * (classes + 1) / 2 } else { classes }
}

impl Draw<'_> {
    fn chance(&self, row: usize) -> f64 {
        (self.scale * f64::from(self.importance.shares[row]) / self.importance.total).min(1.0)
    }

    /// The rows drawn, in their order, each with how many it stands for: systematically, so that each stands for those
    /// before it.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, f32)> {
        let mut passed = 0.5;
        (0..self.importance.shares.len()).filter_map(move |row| {
            let chance = self.chance(row);
            passed += chance;
            let is_drawn = passed >= 1.0;
            passed -= if is_drawn { 1.0 } else { 0.0 };
            is_drawn.then_some((row, (1.0 / chance) as f32))
        })
    }
}

/// `1 + ||x||^2` of every row.
fn squared_lengths(pass: &Pass<'_>) -> Vec<f32> {
    let (rows, kernels) = (&pass.problem.rows, pass.kernels);
    let mut spans = vec![0.0; rows.len()];
    spans.par_chunks_mut(BLOCK_ROWS).enumerate().for_each_init(
        || vec![0.0; rows.features()],
        |x, (block, spans)| {
            if rows.is_stopped() {
                return;
            }
            let start = block * BLOCK_ROWS;
            rows.visit_wide(kernels, pass.centre, start..start + spans.len(), x, |at, x| {
                spans[at] = 1.0 + kernels.dot(x, x) as f32;
            });
        },
    );
    spans
}

/// For each class the curvature by its magnitude: the sum for each power of two.
struct Spectra(Vec<f64>);

/// Exponents of an f32.
const BINS: usize = 256;

impl Spectra {
    /// Of all rows.
    fn of(pass: &Pass<'_>, spans: &[f32]) -> Self {
        let size = pass.problem.classes * BINS;
        let mut all = Spectra(vec![0.0; size]);
        let of_task = |rows: Range<usize>| {
            let mut spectra = Spectra(vec![0.0; size]);
            pass.for_each_curvature(rows, |row, curvatures| spectra.add(curvatures, spans[row]));
            spectra
        };
        sum_in_order(spans.len(), TASK_ROWS, of_task, |part| {
            all.0.iter_mut().zip(part.0).for_each(|(all, part)| *all += part);
        });
        all
    }

    fn add(&mut self, curvatures: &[(f32, f32)], span: f32) {
        for (&(_, curvature), bins) in curvatures.iter().zip(self.0.chunks_exact_mut(BINS)) {
            let curvature = curvature * span;
            bins[(curvature.to_bits() >> 23) as usize & (BINS - 1)] += f64::from(curvature);
        }
    }

    /// The curvature from which a row counts, for each class.
    fn limits(&self) -> Vec<f32> {
        let limit = |bins: &[f64]| {
            let total: f64 = bins.iter().sum();
            let (mut at, mut sum) = (BINS - 1, bins[BINS - 1]);
            while at > 0 && sum < (1.0 - LEFT_OUT) * total {
                at -= 1;
                sum += bins[at];
            }
            f32::from_bits((at as u32) << 23)
        };
        self.0.chunks_exact(BINS).map(limit).collect()
    }
}

impl Pass<'_> {
    /// Hands over the residuals `weight * (p - onehot)` of `rows`, a block at a time.
    pub(super) fn for_each_residuals(
        &self,
        rows: Range<usize>,
        mut visit: impl FnMut(Range<usize>, &mut [f32]),
    ) {
        let problem = self.problem;
        let (mut buffer, mut z) = (BlockBuffer::default(), Vec::new());
        for rows in ranges(rows, BLOCK_ROWS) {
            if problem.rows.is_stopped() {
                break;
            }
            let x = buffer.load(&problem.rows, self.centre, rows.clone(), self.arithmetic);
            z.resize(rows.len() * problem.classes, 0.0);
            self.residuals(x, rows.start, &mut z);
            visit(rows, &mut z);
        }
    }

    /// For each of `rows` and each class the distance `|p - y|` of its probability from the label, and the weighted
    /// curvature `w p (1 - p)`.
    pub(super) fn for_each_curvature(&self, rows: Range<usize>, mut visit: impl FnMut(usize, &[(f32, f32)])) {
        let (problem, classes) = (self.problem, self.problem.classes);
        let mut curvatures = vec![(0.0, 0.0); classes];
        self.for_each_residuals(rows, |rows, residuals| {
            for (row, residuals) in rows.zip(residuals.chunks_exact(classes)) {
                let weight = problem.weights[row];
                for (curvature, residual) in curvatures.iter_mut().zip(residuals) {
                    let distance = (residual.abs() / weight.max(f32::MIN_POSITIVE)).min(1.0);
                    *curvature = (distance, weight * distance * (1.0 - distance));
                }
                visit(row, &curvatures);
            }
        });
    }
}

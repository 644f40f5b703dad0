//! The passes over scores against the losses in f64.

use super::*;
use crate::loss::Loss;
use crate::rng::CounterRng;

const LOSSES: [(Loss, ScoreLoss); 4] = [
    (Loss::Softmax, ScoreLoss::Softmax { gamma: 0.0 }),
    (Loss::SoftmaxFocal { gamma: 1.5 }, ScoreLoss::Softmax { gamma: 1.5 }),
    (Loss::Sigmoid, ScoreLoss::OneVsRest { gamma: 0.0 }),
    (Loss::Focal { gamma: 2.0 }, ScoreLoss::OneVsRest { gamma: 2.0 }),
];

struct Rows {
    classes: usize,
    scores: Vec<f32>,
    labels: Vec<u32>,
    weights: Vec<f32>,
    directions: PaddedRows,
    leaf_of: Vec<u32>,
    leaves: PaddedRows,
}

/// What the passes leave: scores with the true classes in their places, sketch, slopes, sum of losses.
struct Passed {
    z: PaddedRows,
    own: Vec<f32>,
    sketch: Vec<f32>,
    slopes: Vec<RowSlope>,
    loss: f64,
}

impl Rows {
    fn new(rows: usize, classes: usize, directions: usize, spread: f64) -> Self {
        let mut rng = CounterRng::new(5, (rows * 1000 + classes) as u64);
        let mut number = |scale: f64| ((rng.next_f64() * 2.0 - 1.0) * scale) as f32;
        let filled = |rows: usize, number: &mut dyn FnMut() -> f32| {
            let mut values = PaddedRows::filled(rows, classes, 0.0);
            (0..rows).for_each(|row| values.row_mut(row).iter_mut().for_each(|value| *value = number()));
            values
        };
        let scores = (0..rows * classes).map(|_| number(spread)).collect();
        let directions = filled(directions, &mut || number(1.0));
        let leaves = filled(3, &mut || number(0.5));
        let labels = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
        let weights = (0..rows).map(|row| [1.0, 0.25, 0.0, 3.0][row % 4]).collect();
        let leaf_of = (0..rows).map(|row| (row % 3) as u32).collect();
        Rows { classes, scores, labels, weights, directions, leaf_of, leaves }
    }

    fn pass(&self, kernels: &Kernels, loss: (ScoreLoss, Curvature), add: bool) -> Passed {
        let rows = self.labels.len();
        let mut z = PaddedRows::filled(rows, self.classes, NO_SCORE);
        let mut own = vec![0.0; rows];
        for (row, scores) in self.scores.chunks(self.classes).enumerate() {
            z.row_mut(row).copy_from_slice(scores);
            own[row] = std::mem::replace(&mut z.row_mut(row)[self.labels[row] as usize], NO_SCORE);
        }
        let mut sketch = vec![f32::NAN; rows * self.directions.rows()];
        let mut slopes = vec![RowSlope::default(); rows];
        let stride = z.stride();
        let leaves = LeafRows { leaf_of: &self.leaf_of, values: self.leaves.values() };
        let loss = kernels.sketch_rows(
            ClassRows {
                z: z.values_mut(),
                stride,
                own: &mut own,
                labels: &self.labels,
                weights: &self.weights,
            },
            add.then_some(leaves),
            self.directions.values(),
            loss,
            SketchOut { slopes: &mut slopes, sketch: &mut sketch },
        );
        Passed { z, own, sketch, slopes, loss }
    }

    /// Weighted loss, residuals and `|g| (1 - p)` of a row in f64.
    fn exact(&self, row: usize, loss: Loss, add: bool) -> (f64, Vec<f64>, Vec<f64>) {
        let step = self.leaves.row(self.leaf_of[row] as usize);
        let scores = self.scores[row * self.classes..][..self.classes].iter().zip(step);
        let z: Vec<f64> = scores.map(|(&z, &step)| f64::from(if add { z + step } else { z })).collect();
        let (mut g, mut h) = (vec![0.0; self.classes], vec![0.0; self.classes]);
        let (label, weight) = (self.labels[row] as usize, f64::from(self.weights[row]));
        let value = weight * loss.row_f64(&z, label, &mut g, &mut h);
        let total: f64 = z.iter().map(|z| z.exp()).sum();
        for (class, (g, h)) in g.iter_mut().zip(&mut h).enumerate() {
            *g *= weight;
            let sign = if class == label { -1.0 } else { 1.0 };
            let right = match loss {
                Loss::Softmax | Loss::SoftmaxFocal { .. } if class == label => z[class].exp() / total,
                Loss::Softmax | Loss::SoftmaxFocal { .. } => 1.0 - z[class].exp() / total,
                Loss::Sigmoid | Loss::Focal { .. } => 1.0 / (1.0 + (sign * z[class]).exp()),
            };
            *h = g.abs() * right;
        }
        (value, g, h)
    }
}

fn available() -> impl Iterator<Item = &'static Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::for_isa)
}

fn close(found: f64, wanted: f64, size: f64, what: &str) {
    assert!((found - wanted).abs() <= 1e-5 * (size + 1.0), "{what}: {found}, not {wanted}");
}

#[test]
fn sketches_and_sums_are_those_of_f64_residuals() {
    for (rows, classes, directions) in [(9, 3, 3), (13, 16, 7), (7, 100, 6), (5, 1000, 15)] {
        let made = Rows::new(rows, classes, directions, 6.0);
        for ((loss, score_loss), add) in LOSSES.into_iter().flat_map(|loss| [(loss, false), (loss, true)]) {
            for kernels in available() {
                let passed = made.pass(kernels, (score_loss, Curvature::Newton), add);
                let what = format!("{kernels:?} {loss:?} {classes}");
                let list: Vec<u32> = (0..rows as u32).collect();
                let mut sums = PaddedRows::filled(2, classes, 0.0);
                let stride = sums.stride();
                let (gradient, hessian) = sums.values_mut().split_at_mut(stride);
                let leaf = LeafSum { z: passed.z.values(), stride, slopes: &passed.slopes, rows: &list };
                kernels.sum_leaf(leaf, (score_loss, Curvature::Newton), gradient, hessian);
                let (mut total, mut g_sums, mut h_sums) = (0.0, vec![0.0; classes], vec![0.0; classes]);
                for row in 0..rows {
                    let (value, g, h) = made.exact(row, loss, add);
                    total += value;
                    for direction in 0..directions {
                        let along = made.directions.row(direction);
                        let wanted = g.iter().zip(along).map(|(g, &p)| g * f64::from(p)).sum();
                        let size = g.iter().map(|g| g.abs()).sum();
                        close(f64::from(passed.sketch[row * directions + direction]), wanted, size, &what);
                    }
                    let label = made.labels[row] as usize;
                    close(f64::from(passed.slopes[row].own_gradient), g[label], 1.0, &what);
                    close(f64::from(passed.slopes[row].own_hessian), h[label], 1.0, &what);
                    for class in (0..classes).filter(|&class| class != label) {
                        g_sums[class] += g[class];
                        h_sums[class] += h[class];
                    }
                }
                close(passed.loss, total, total, &what);
                for class in 0..classes {
                    close(f64::from(gradient[class]), g_sums[class], g_sums[class], &what);
                    close(f64::from(hessian[class]), h_sums[class], h_sums[class], &what);
                }
            }
        }
    }
}

#[test]
fn fused_instruction_sets_give_the_same_bytes() {
    let made = Rows::new(40, 77, 7, 8.0);
    for (_, loss) in LOSSES {
        let mut first: Option<(Vec<f32>, f64)> = None;
        for kernels in available().filter(|kernels| kernels.isa() != Isa::Scalar) {
            let passed = made.pass(kernels, (loss, Curvature::Absolute), true);
            let (sketch, value) = first.get_or_insert((passed.sketch.clone(), passed.loss));
            assert_eq!((&passed.sketch, passed.loss), (&*sketch, *value), "{kernels:?} {loss:?}");
        }
    }
}

#[test]
fn places_without_a_score_stay_and_far_scores_give_no_nan() {
    for spread in [80.0, 3e4] {
        let made = Rows::new(12, 21, 3, spread);
        for (_, loss) in LOSSES {
            for kernels in available() {
                let passed = made.pass(kernels, (loss, Curvature::Newton), true);
                assert!(passed.sketch.iter().all(|value| value.is_finite()), "{kernels:?} {loss:?}");
                assert!(passed.loss.is_finite() && passed.own.iter().all(|own| own.is_finite()));
                for (row, &label) in made.labels.iter().enumerate() {
                    assert_eq!(passed.z.row(row)[label as usize], NO_SCORE);
                    assert!(passed.z.values()[row * 32 + 21..][..11].iter().all(|&z| z == NO_SCORE));
                }
                let list: Vec<u32> = (0..12).collect();
                let mut sums = PaddedRows::filled(2, 21, 0.0);
                let (gradient, hessian) = sums.values_mut().split_at_mut(32);
                let leaf = LeafSum { z: passed.z.values(), stride: 32, slopes: &passed.slopes, rows: &list };
                kernels.sum_leaf(leaf, (loss, Curvature::Newton), gradient, hessian);
                assert!(sums.values().iter().all(|sum| sum.is_finite() && *sum >= 0.0));
            }
        }
    }
}

use std::sync::LazyLock;

use super::*;
use crate::rng::CounterRng;

const LOSSES: [Loss; 5] = [
    Loss::Softmax,
    Loss::Sigmoid,
    Loss::Focal { gamma: 0.5 },
    Loss::Focal { gamma: 2.0 },
    Loss::SoftmaxFocal { gamma: 2.0 },
];

struct Rows {
    labels: Vec<u32>,
    weights: Vec<f32>,
    scores: Vec<f32>,
}

fn rows(count: usize, classes: usize, outputs: usize, spread: f64) -> Rows {
    let mut rng = CounterRng::new(classes as u64, spread as u64);
    Rows {
        labels: (0..count).map(|_| rng.below(classes) as u32).collect(),
        weights: (0..count).map(|row| if row == 3 { 0.0 } else { 0.5 + rng.next_f64() as f32 }).collect(),
        scores: (0..count * outputs).map(|_| ((rng.next_f64() - 0.5) * 2.0 * spread) as f32).collect(),
    }
}

/// What the scores of each output are moved by.
static OFFSETS: [f32; 7] =
    [-0.2, 0.3 - 0.2, 0.6 - 0.2, 3.0 * 0.3 - 0.2, 4.0 * 0.3 - 0.2, 5.0 * 0.3 - 0.2, 6.0 * 0.3 - 0.2];

static RUNNING: LazyLock<Stop> = LazyLock::new(Stop::default);

fn pointwise(rows: &Rows, loss: Loss, classes: usize, outputs: usize, curvature: Curvature) -> Pointwise<'_> {
    Pointwise {
        loss,
        classes,
        outputs,
        labels: &rows.labels,
        weights: &rows.weights,
        offsets: Some(&OFFSETS[..outputs]),
        curvature,
        stop: &RUNNING,
    }
}

/// Loss, gradient and Hessian of one output of a row in f64.
fn exact(rows: &Rows, loss: Loss, outputs: usize, row: usize, moved: (usize, f64)) -> (f64, f64, f64) {
    let mut scores: Vec<f64> =
        (0..outputs).map(|o| f64::from(rows.scores[row * outputs + o]) + f64::from(OFFSETS[o])).collect();
    scores[moved.0] += moved.1;
    let label = rows.labels[row] as usize;
    let weight = f64::from(rows.weights[row]);
    let (z, softmax) = match (outputs, loss) {
        (1, Loss::Softmax | Loss::SoftmaxFocal { .. }) => (vec![0.0, scores[0]], true),
        // One term: the class that the row is not of says the same.
        (1, _) => (vec![if label == 1 { scores[0] } else { -scores[0] }], false),
        _ => (scores, true),
    };
    let (mut g, mut h) = (vec![0.0; z.len()], vec![0.0; z.len()]);
    let value = loss.row_f64(&z, if softmax { label } else { 0 }, &mut g, &mut h);
    let (slope, curvature) = match outputs {
        1 if !softmax => (if label == 1 { g[0] } else { -g[0] }, h[0]),
        1 => (g[1], h[1]),
        _ => (g[moved.0], h[moved.0]),
    };
    (weight * value, weight * slope, weight * curvature)
}

#[test]
fn derivatives_are_the_differences_of_the_loss() {
    let count = 300;
    for kernels in crate::simd::Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
        for (classes, outputs) in [(2, 1), (3, 3), (7, 7)] {
            for spread in [1.0, 6.0] {
                let rows = rows(count, classes, outputs, spread);
                for loss in LOSSES {
                    let pointwise = pointwise(&rows, loss, classes, outputs, Curvature::Newton);
                    let mut found = Derivatives::new(kernels);
                    let total = pointwise.derive(&Columns::from_rows(&rows.scores, outputs), &mut found);
                    let values = (0..count).map(|row| exact(&rows, loss, outputs, row, (0, 0.0)).0);
                    let wanted: f64 = values.sum();
                    assert!((total / wanted - 1.0).abs() < 1e-4, "{loss:?} {total} {wanted}");
                    let softmax = matches!(loss, Loss::Softmax | Loss::SoftmaxFocal { .. }) && outputs > 1;
                    let factor = if softmax { classes as f64 / (classes - 1) as f64 } else { 1.0 };
                    for output in 0..outputs {
                        let mut buffer = Vec::new();
                        let (g, h) = found.of(&(0..count), output, &mut buffer);
                        for row in 0..count {
                            let at = |step: f64| exact(&rows, loss, outputs, row, (output, step));
                            let step = 1e-4;
                            let slope = (at(step).0 - at(-step).0) / (2.0 * step);
                            assert!((f64::from(g[row]) - slope).abs() < 2e-5, "{loss:?} {} {slope}", g[row]);
                            let curvature = factor * (at(step).1 - at(-step).1) / (2.0 * step);
                            let floor = |h: f64| h.max(0.0);
                            // Where a focal loss bends the other way there is a floor instead.
                            let is_floor = curvature < 0.011 * slope.abs();
                            assert!(
                                is_floor || (f64::from(h[row]) - floor(curvature)).abs() < 2e-5,
                                "{loss:?} {} {curvature}",
                                h[row]
                            );
                            assert!(h[row] >= 0.0 && (h[row] > 0.0 || g[row].abs() < 1e-6));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn two_softmax_outputs_step_as_one_score_does() {
    let one = rows(200, 2, 1, 3.0);
    let two = Rows {
        labels: one.labels.clone(),
        weights: one.weights.clone(),
        scores: one.scores.iter().flat_map(|&f| [-f / 2.0, f / 2.0]).collect(),
    };
    let derive = |rows: &Rows, outputs: usize| {
        let pointwise =
            Pointwise { offsets: None, ..pointwise(rows, Loss::Softmax, 2, outputs, Curvature::Newton) };
        let mut to = Derivatives::new(Kernels::best());
        pointwise.derive(&Columns::from_rows(&rows.scores, outputs), &mut to);
        to
    };
    let (one, two) = (derive(&one, 1), derive(&two, 2));
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    let ((g, h), (g0, h0), (g1, h1)) =
        (one.of(&(0..200), 0, &mut a), two.of(&(0..200), 0, &mut b), two.of(&(0..200), 1, &mut c));
    for row in 0..200 {
        // Half a step each way: z1 - z0 moves as far as F.
        assert!((g[row] - g1[row]).abs() < 1e-6 && (g[row] + g0[row]).abs() < 1e-6);
        assert!((2.0 * h[row] - h1[row]).abs() < 1e-6 && (h0[row] - h1[row]).abs() < 1e-6);
    }
}

#[test]
fn far_scores_leave_derivatives_finite() {
    for (classes, outputs) in [(2, 1), (4, 4)] {
        let mut rows = rows(400, classes, outputs, 80.0);
        rows.scores.iter_mut().step_by(7).for_each(|z| *z *= 1e3);
        for loss in LOSSES {
            for curvature in [Curvature::Newton, Curvature::Absolute] {
                let mut to = Derivatives::new(Kernels::best());
                let pointwise = pointwise(&rows, loss, classes, outputs, curvature);
                let scores = Columns::from_rows(&rows.scores, outputs);
                assert!(pointwise.derive(&scores, &mut to).is_finite());
                for output in 0..outputs {
                    let mut buffer = Vec::new();
                    let (g, h) = to.of(&(0..400), output, &mut buffer);
                    assert!(
                        g.iter().chain(h).all(|x| x.is_finite()) && h.iter().all(|&h| h >= 0.0),
                        "{loss:?}"
                    );
                }
            }
        }
    }
}

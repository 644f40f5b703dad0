use super::*;
use crate::linear::solver::lbfgs::{LbfgsOptions, minimise};
use crate::linear::solver::memory::Memory;
use crate::matrix::Matrix;
use crate::rng::CounterRng;
use std::ops::ControlFlow;

const FEATURES: usize = 4;
const CLASSES: usize = 3;

struct Made {
    matrix: Matrix<'static>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

/// Overlapping clusters, the last class rare, every seventh label wrong.
fn made(rows: usize, key: u64) -> Made {
    let mut rng = CounterRng::new(key, 0);
    let labels: Vec<u32> = (0..rows).map(|row| [0, 0, 0, 1, 1, 2][row % 6]).collect();
    let mut x = Vec::new();
    for &label in &labels {
        for feature in 0..FEATURES {
            let mean = if feature == label as usize { 1.5 } else { 0.3 };
            x.push((mean + 2.0 * (rng.next_f64() + rng.next_f64() - 1.0)) as f32);
        }
    }
    let given =
        labels.iter().enumerate().map(|(row, &label)| if row % 7 == 3 { (label + 1) % 3 } else { label });
    let labels: Vec<u32> = given.collect();
    let weights = labels.iter().map(|&label| [0.7, 1.0, 2.0][label as usize]).collect();
    Made { matrix: Matrix::from_f32(x, FEATURES), labels, weights }
}

impl Made {
    fn problem(&self, loss: Loss, decay: Decay) -> Problem<'_> {
        Problem {
            offsets: Some(&[-0.5, -1.0, -1.5]),
            decay,
            ..Problem::new(Rows::all(&self.matrix), &self.labels, &self.weights, CLASSES, loss, 0.02)
        }
    }
}

fn fitted(problem: Problem<'_>) -> Vec<f32> {
    let mut objective = Objective::new(problem, Kernels::best());
    let options = LbfgsOptions { tolerance: 1e-9, max_iterations: 500, certified: false };
    let start = problem.start();
    let keep_on = &mut |_: &crate::linear::solver::Step| ControlFlow::Continue(());
    minimise(&mut objective, &mut Memory::default(), &start, &options, keep_on).unwrap().theta
}

fn mean_loss(theta: &[f32], loss: Loss, valid: &Made) -> f64 {
    let problem = Problem { offsets: None, l2: 0.0, ..valid.problem(loss, Decay::None) };
    let mut objective = Objective::new(problem, Kernels::best());
    let mut theta = theta.to_vec();
    objective.enter(&mut theta);
    objective.evaluate_in_f32(&theta, &mut vec![0.0; problem.parameters()]).loss
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product =
        |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(a - ma, b - mb)).sum::<f64>();
    product(&|a, b| a * b) / (product(&|a, _| a * a) * product(&|_, b| b * b)).sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_product_is_the_difference_of_gradients() {
    let data = made(700, 3);
    let mut rng = CounterRng::new(5, 1);
    for (loss, decay) in [(Loss::Softmax, Decay::Weights), (Loss::Sigmoid, Decay::Both)] {
        let problem = data.problem(loss, decay);
        let mut random =
            || -> Vec<f32> { (0..problem.parameters()).map(|_| rng.next_f64() as f32 - 0.5).collect() };
        let (theta, v) = (random(), random());
        let mut objective = Objective::new(problem, Kernels::best());
        let found = hessian_product(&objective, &theta, &v);
        let mut gradient = |step: f32| -> Vec<f64> {
            let moved: Vec<f32> = theta.iter().zip(&v).map(|(t, v)| t + step * v).collect();
            let mut gradient = vec![0.0; moved.len()];
            objective.evaluate_in_f32(&moved, &mut gradient);
            gradient.into_iter().map(f64::from).collect()
        };
        let (after, before) = (gradient(0.01), gradient(-0.01));
        let wanted: Vec<f64> = after.iter().zip(&before).map(|(a, b)| (a - b) / 0.02).collect();
        let off: Vec<f64> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
        assert!(dot(&off, &off) < 1e-6 * dot(&wanted, &wanted), "{loss:?}: {found:?} is not {wanted:?}");
    }
}

#[test]
fn influence_is_what_a_refit_without_the_row_gives() {
    // To first order: what is left out shrinks with the number of rows.
    let (data, valid) = (made(360, 1), made(90, 2));
    for (loss, decay) in [(Loss::Softmax, Decay::Weights), (Loss::Sigmoid, Decay::Both)] {
        let problem = data.problem(loss, decay);
        let theta = fitted(problem);
        let mut influence = Influence::new(problem, &theta, Kernels::best()).unwrap();
        let gap = influence.stationarity().relative_gap;
        assert!(gap.abs() < 1e-6, "{loss:?}: {gap} from the minimum");
        let query = influence.query(Rows::all(&valid.matrix), &valid.labels, &valid.weights);
        let (found, own) = (influence.of_rows(&query), influence.self_influence());
        let fits = influence.own_fits();
        let with = mean_loss(&theta, loss, &valid);
        let (mut wanted, mut wanted_own) = (Vec::new(), Vec::new());
        for (row, before) in fits.iter().enumerate() {
            // A row of weight 0 is a row left out.
            let mut weights = data.weights.clone();
            weights[row] = 0.0;
            let without = fitted(Problem { weights: &weights, ..problem });
            wanted.push(with - mean_loss(&without, loss, &valid));
            let after = Influence::new(Problem { weights: &weights, ..problem }, &without, Kernels::best());
            wanted_own.push(after.unwrap().own_fits()[row].loss - before.loss);
        }
        let (r, r_own) = (correlation(&found, &wanted), correlation(&own, &wanted_own));
        let slope = dot(&found, &wanted) / dot(&found, &found);
        println!("{loss:?}: correlation {r:.5}, slope {slope:.4}, of the own loss {r_own:.5}");
        assert!(r > 0.99 && (0.9..1.15).contains(&slope), "{loss:?}: {r}, {slope}");
        assert!(r_own > 0.98, "{loss:?}: {r_own}");
    }
}

#[test]
fn wrong_labels_come_first() {
    let (data, mut valid) = (made(420, 1), made(300, 2));
    // Validation rows keep their true labels.
    valid.labels = (0..300).map(|row| [0, 0, 0, 1, 1, 2][row % 6]).collect();
    let problem = data.problem(Loss::Softmax, Decay::Weights);
    let influence = Influence::new(problem, &fitted(problem), Kernels::best()).unwrap();
    let scores = influence.of_rows(&influence.query(Rows::all(&valid.matrix), &valid.labels, &[1.0; 300]));
    let mut order: Vec<usize> = (0..420).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    // 60 of 420 are wrong: 4 of 30 by chance.
    let found = order[..30].iter().filter(|&&row| row % 7 == 3).count();
    assert!(found >= 18, "{found} of 30");
}

#[test]
fn a_loss_that_is_not_convex_is_refused() {
    let data = made(60, 1);
    let problem = data.problem(Loss::SoftmaxFocal { gamma: 1.0 }, Decay::Weights);
    assert!(Influence::new(problem, &problem.start(), Kernels::best()).is_err());
}

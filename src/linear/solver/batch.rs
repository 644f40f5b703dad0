//! The rows of a batch on their way to a gradient: gathered, scored and turned into residuals, piece by piece.

use std::ops::Range;

use rayon::prelude::*;

use crate::linear::objective::Objective;
use crate::linear::problem::Problem;
use crate::linear::products::{Arithmetic, Block, BlockBuffer, GradientSums, Weights};
use crate::simd::Kernels;

/// Rows that one task widens and scores; few where many would leave a piece with fewer tasks than threads.
const TASK_ROWS: usize = 128;
const FEW_TASK_ROWS: usize = 32;
/// Tasks that a piece of a large batch is cut into at least.
const FEWEST_TASKS: usize = 4;
/// Logits held at once (64 MiB): a batch of many classes goes through in pieces.
const MOST_LOGITS: usize = 1 << 24;

/// Buffers for the rows of a batch, and the parameters that score them.
pub(super) struct Batch<'p> {
    problem: &'p Problem<'p>,
    kernels: &'static Kernels,
    centre: Option<Vec<f32>>,
    arithmetic: Arithmetic,
    laid_out: Weights,
    /// Biases plus offsets.
    bias: Vec<f32>,
    task_rows: usize,
    piece_rows: usize,
    blocks: Vec<BlockBuffer>,
    z: Vec<f32>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

/// Rows that are scored, and their residuals.
pub(super) struct Piece<'b> {
    /// Sum of their weighted losses.
    pub loss: f64,
    tasks: Vec<Block<'b>>,
    task_rows: usize,
    /// Residuals, rows x C.
    z: &'b [f32],
    classes: usize,
}

impl<'p> Batch<'p> {
    /// For batches of at most `rows` rows of `problem`, that of `objective`.
    pub fn new(objective: &Objective<'_>, problem: &'p Problem<'p>, rows: usize) -> Self {
        let (task_rows, piece_rows) = rows_at_once(problem.classes);
        let piece_rows = piece_rows.min(rows);
        Batch {
            problem,
            kernels: objective.kernels(),
            centre: objective.centre().map(<[f32]>::to_vec),
            arithmetic: Arithmetic::in_f32(objective.kernels(), &problem.rows),
            laid_out: Weights::default(),
            bias: Vec::new(),
            task_rows,
            piece_rows,
            blocks: std::iter::repeat_with(BlockBuffer::default)
                .take(piece_rows.div_ceil(task_rows))
                .collect(),
            z: vec![0.0; piece_rows * problem.classes],
            labels: Vec::with_capacity(rows),
            weights: Vec::with_capacity(rows),
        }
    }

    /// How products are taken.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Takes the rows at `positions`, `scale` times their weights, to be scored by `theta`; returns them in pieces.
    pub fn take(
        &mut self,
        theta: &[f32],
        positions: &[usize],
        scale: f64,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let (problem, features) = (self.problem, self.problem.rows.features());
        let (weight, bias) = theta.split_at(problem.classes * features);
        self.laid_out.lay_out(weight, problem.classes, features, self.arithmetic);
        self.bias.clear();
        self.bias.extend_from_slice(bias);
        if let Some(offsets) = problem.offsets {
            self.bias.iter_mut().zip(offsets).for_each(|(b, o)| *b += o);
        }
        self.labels.clear();
        self.labels.extend(positions.iter().map(|&p| problem.labels[p]));
        self.weights.clear();
        self.weights.extend(positions.iter().map(|&p| (f64::from(problem.weights[p]) * scale) as f32));
        let (rows, size) = (positions.len(), self.piece_rows);
        (0..rows).step_by(size).map(move |start| start..(start + size).min(rows))
    }

    /// Residuals of a piece of the rows taken from `positions`.
    pub fn score(&mut self, positions: &[usize], piece: Range<usize>) -> Piece<'_> {
        let (problem, kernels, arithmetic) = (self.problem, self.kernels, self.arithmetic);
        let (classes, task_rows) = (problem.classes, self.task_rows);
        let (laid_out, bias, centre) = (&self.laid_out, &self.bias[..], self.centre.as_deref());
        let z = &mut self.z[..piece.len() * classes];
        let (labels, weights) = (&self.labels[piece.clone()], &self.weights[piece.clone()]);
        let scored: Vec<(f64, Block<'_>)> = positions[piece]
            .par_chunks(task_rows)
            .zip(self.blocks.par_iter_mut())
            .zip(z.par_chunks_mut(task_rows * classes))
            .zip(labels.par_chunks(task_rows).zip(weights.par_chunks(task_rows)))
            .map(|(((positions, buffer), z), (labels, weights))| {
                let x = buffer.gather(&problem.rows, centre, positions, arithmetic);
                x.logits(laid_out, bias, z);
                (problem.residuals(kernels, z, labels, weights), x)
            })
            .collect();
        let loss = scored.iter().map(|(loss, _)| loss).sum();
        let tasks = scored.into_iter().map(|(_, x)| x).collect();
        Piece { loss, tasks, task_rows, z, classes }
    }
}

impl Piece<'_> {
    /// Adds the gradient in the weights of the classes from `first` on to `sums`.
    pub fn add_weights(&self, first: usize, sums: &mut GradientSums) {
        for (x, z) in self.tasks.iter().zip(self.z.chunks(self.task_rows * self.classes)) {
            x.accumulate_gradient(&z[first..], self.classes, sums);
        }
    }

    /// Adds the gradient in the biases of the classes from `first` on to `out`; `sums` is room for as many.
    pub fn add_biases(&self, first: usize, out: &mut [f32], sums: &mut Vec<f64>) {
        // All classes of a row before the next one: rows of many classes lie pages apart.
        sums.clear();
        sums.resize(out.len(), 0.0);
        for row in self.z.chunks_exact(self.classes) {
            sums.iter_mut().zip(&row[first..]).for_each(|(sum, &r)| *sum += f64::from(r));
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum as f32);
    }
}

/// Rows of a task, and rows whose logits are held at once: whole tasks.
fn rows_at_once(classes: usize) -> (usize, usize) {
    let most = MOST_LOGITS / classes.max(1);
    let task = if most < FEWEST_TASKS * TASK_ROWS { FEW_TASK_ROWS } else { TASK_ROWS };
    (task, (most / task * task).max(task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_tasks_within_the_room_for_logits() {
        for classes in [1, 2, 1000, 32_768, 32_769, 100_000, 500_000] {
            let (task, piece) = rows_at_once(classes);
            assert!(
                piece.is_multiple_of(task) && piece * classes <= MOST_LOGITS,
                "{classes}: {task} {piece}"
            );
            assert!(piece / task >= FEWEST_TASKS || classes > 100_000, "{classes}: {task} {piece}");
        }
        assert_eq!(rows_at_once(10_000_000), (FEW_TASK_ROWS, FEW_TASK_ROWS));
    }
}

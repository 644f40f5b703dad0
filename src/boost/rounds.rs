//! What a round of boosting does, whatever the trees: the scores of the training rows are differentiated, trees are
//! grown on the derivatives, and the scores take up what the trees say.

use super::binned::BinnedMatrix;
use super::binning::Binner;
use super::clock::Clock;
use super::gradient::Curvature;
use super::grower::{Grower, Shape};
use super::leaves::Step;
use super::model::{BoostModel, BoostedTree};
use super::options::BoostOptions;
use super::statistics::{Limits, Statistics};
use crate::simd::Kernels;

/// Scores of the training rows and what trees are grown on. [`super::per_class`] grows a tree an output,
/// [`super::vector`] one for all.
pub(super) trait Rounds: std::fmt::Debug + Send + Sync {
    /// Sets the scores to where the problem starts plus what the trees of `model` say.
    fn restart(&mut self, model: &BoostModel);
    /// Derivatives of round `round` at the scores as they are; the sum of weighted losses.
    fn derive(&mut self, round: usize, clock: &Clock) -> f64;
    /// Takes the mean second derivative of a row as it is now for that of an average row.
    fn measure(&mut self);
    /// The trees of the round, which the scores will then include.
    fn grow(&mut self, plan: &Plan<'_>) -> Vec<BoostedTree>;
    /// Logits of the training rows, `N x K`.
    fn logits(&self, model: &BoostModel) -> Vec<f32>;
    /// Fewest rows of a leaf in trees of `output` where `wanted` are asked for.
    fn min_rows(&self, output: usize, wanted: usize) -> usize;
}

/// How the trees of a round are grown.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub features: &'a BinnedMatrix,
    pub binner: &'a Binner,
    pub options: &'a BoostOptions,
    pub classes: usize,
    /// Which features the tree of an output may use.
    pub usable: &'a (dyn Fn(usize) -> Vec<bool> + Sync),
    /// Rows to grow on, ascending; `None` for all.
    pub rows: Option<&'a [u32]>,
    pub clock: &'a Clock,
    pub kernels: &'static Kernels,
}

impl Plan<'_> {
    /// Limits of cuts where an average row counts as `unit`; a step is limited only where statistics have a Hessian.
    pub(super) fn limits(&self, min_rows: usize, unit: f64, max_delta_step: f64) -> Limits {
        Limits {
            min_rows: min_rows as u32,
            min_weight: self.options.min_child_weight * unit,
            l2: self.options.l2(self.classes) * unit,
            min_gain: self.options.min_gain,
            max_delta_step,
            category_smoothing: self.options.category_smoothing * unit,
        }
    }

    /// How derivatives become values of leaves, where `average_row` is the Hessian of an average row.
    pub(super) fn step(&self, average_row: f64) -> Step {
        // In logits: what an answer can be wrong by is then mended in a few rounds, and no leaf of sure rows, whose
        // Hessian has all but vanished, can throw the others off.
        const NEWTON_LIMIT: f64 = 4.0;
        let newton = self.options.curvature(self.classes) == Curvature::Newton;
        Step {
            learning_rate: self.options.learning_rate,
            l2: self.options.l2(self.classes) * average_row,
            max_delta_step: self.options.max_delta_step.unwrap_or(if newton { NEWTON_LIMIT } else { 0.0 }),
        }
    }

    /// What grows a tree on `statistics` with the features `usable`.
    pub(super) fn grower<'g, S: Statistics>(
        &'g self,
        statistics: &'g S,
        usable: &'g [bool],
        limits: Limits,
        threshold: &'g (dyn Fn(usize, u8) -> f32 + Sync),
    ) -> Grower<'g, S> {
        let max_depth = self.options.max_depth.unwrap_or(usize::MAX);
        Grower {
            statistics,
            matrix: self.features,
            usable,
            limits,
            threads: rayon::current_num_threads(),
            shape: Shape { max_leaves: self.options.max_leaves, max_depth },
            threshold,
            clock: self.clock,
            kernels: self.kernels,
        }
    }

    /// The rows to grow on.
    pub(super) fn chosen_rows(&self) -> Vec<u32> {
        self.rows.map_or_else(|| (0..self.features.rows() as u32).collect(), <[u32]>::to_vec)
    }
}

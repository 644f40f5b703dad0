//! What a command holds in memory besides dense rows of features, held against the limit before hours of work.

use super::scoring::say_spilled;
use super::talk::Talk;
use crate::Result;
use crate::data::dataset::{Dataset, each_beside};
use crate::linear::fit::Optimizer;
use crate::linear::solver::metric::{hard_row_bytes, hessian_bytes};
use crate::loss::Loss;
use crate::matrix::{Dtype, Matrix};
use crate::memory::MemoryLimit;
use crate::report::format::{bytes, thousands};
use crate::report::text;

/// Bytes that a row costs besides its features at least while fits are made: label, weights, its place in the lists of
/// rows.
pub(super) const ROW_BYTES: u64 = 40;
/// Bytes of a row and class while trees grow: score, slope and curvature.
const GRADIENT_BYTES: u64 = 12;

/// Vectors of parameters that L-BFGS holds at least: five pairs, points, gradients and directions.
const LBFGS_VECTORS: u64 = 16;
/// Those of minibatches: parameters, gradient, velocity.
const MINIBATCH_VECTORS: u64 = 3;

/// What is certain to be needed, which is less than the run will take.
#[derive(Debug, Default)]
pub(super) struct Need {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    what: String,
    bytes: u64,
    /// How to make do with less.
    mend: &'static str,
}

/// A linear fit of `rows` rows.
pub(super) struct LinearNeed<'f> {
    pub loss: Loss,
    pub classes: usize,
    pub features: usize,
    pub rows: usize,
    /// `None` for a closed form.
    pub optimizer: Option<&'f Optimizer>,
    /// Whether l2 is searched for.
    pub is_search: bool,
}

impl Need {
    /// And so many bytes as the product of `factors` for `what`; `mend` makes them fewer.
    pub fn and(mut self, what: impl Into<String>, factors: &[u64], mend: &'static str) -> Self {
        self.parts.push(Part { what: what.into(), bytes: product(factors), mend });
        self
    }

    /// And the larger one of two that come one after the other.
    pub fn and_larger(mut self, first: Need, second: Need) -> Self {
        let larger = if first.total() < second.total() { second } else { first };
        self.parts.extend(larger.parts);
        self
    }

    /// And rows that each take `each` bytes besides their features.
    pub fn rows(self, rows: usize, each: u64) -> Self {
        let what = format!("{} rows without their features", thousands(rows as u64));
        self.and(what, &[rows as u64, each], "take fewer rows")
    }

    /// And a model whose file has `size` bytes.
    pub fn model(self, size: u64) -> Self {
        self.and("the model", &[size], "fit a smaller model")
    }

    /// And what fits linear functions.
    pub fn linear_fit(self, fit: &LinearNeed<'_>) -> Self {
        let parameters = fit.classes.saturating_mul(fit.features.saturating_add(1));
        let vectors = match fit.optimizer {
            None => 1,
            Some(Optimizer::Lbfgs { .. }) => LBFGS_VECTORS,
            Some(Optimizer::Minibatch { .. }) => MINIBATCH_VECTORS,
        };
        let what = format!("a model of {} classes with its solver", thousands(fit.classes as u64));
        let factors = [parameters as u64, vectors, size_of::<f32>() as u64];
        let need = self.and(what, &factors, "take fewer classes or features");
        // One fit may end before it takes hard rows or its Hessian; of the fits of a search, one hardly will not.
        if !(fit.is_search && matches!(fit.optimizer, Some(Optimizer::Lbfgs { .. }))) {
            return need;
        }
        need.curvature(fit.loss, fit.classes, fit.features, fit.rows, "give --l2")
    }

    /// And what the metric of an L-BFGS fit that has settled is made of.
    pub fn curvature(
        self,
        loss: Loss,
        classes: usize,
        features: usize,
        rows: usize,
        mend: &'static str,
    ) -> Self {
        let parameters = classes.saturating_mul(features.saturating_add(1));
        let what = format!("the Hessian of {} parameters", thousands(parameters as u64));
        self.and("the curvature of hard rows", &[hard_row_bytes(loss, classes, features, rows)], mend).and(
            what,
            &[hessian_bytes(loss, classes, features, rows)],
            mend,
        )
    }

    /// And what boosts trees on `rows` rows of `features`, whose bins are held `copies` times.
    pub fn boosted_fit(self, features: &Matrix, rows: usize, classes: usize, copies: u64) -> Self {
        // Bins of sparse rows take as little as these do.
        let binned = if features.dtype() == Dtype::Sparse { 0 } else { features.rows() as u64 };
        let outputs = if classes == 2 { 1 } else { classes as u64 };
        self.and("bins", &[binned, features.cols() as u64, copies], "select fewer features with --features")
            .and(
                format!("gradients of {} classes", thousands(classes as u64)),
                &[rows as u64, outputs, GRADIENT_BYTES],
                "take fewer rows or classes",
            )
    }

    /// Refuses what cannot stay within `memory` together with sparse rows among `sets`, and takes dense rows to disk that do
    /// not fit in beside it. With each set are the bytes that will be made of its rows while they are in memory.
    ///
    /// # Errors
    /// [`crate::Error::OverMemory`]; [`crate::Error::Io`] of the disk.
    pub fn hold(
        mut self,
        memory: Option<&MemoryLimit>,
        sets: Vec<(u64, &mut Dataset)>,
        talk: &Talk,
    ) -> Result<()> {
        let Some(memory) = memory else { return Ok(()) };
        let (sparse, dense): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|(_, set)| set.features.dtype() == Dtype::Sparse);
        for (more, set) in sparse {
            let what = format!("sparse rows of {}", text::printable(&set.source.name));
            let size = set.features.bytes().saturating_add(more);
            self = self.and(what, &[size], "select fewer features with --features");
        }
        let need = self.check(memory)?;
        let (more, dense): (Vec<u64>, Vec<_>) = dense.into_iter().unzip();
        let mut more = more.into_iter();
        each_beside(Some(&memory.clone().besides(need)), dense, |set, memory| {
            let was_in_file = set.features.is_in_file();
            set.make_room(memory, more.next().unwrap_or(0))?;
            if !was_in_file {
                say_spilled(talk, set, memory);
            }
            Ok(())
        })
    }

    /// The bytes of all parts.
    pub fn total(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }

    /// The same, where they are within `memory`.
    fn check(mut self, memory: &MemoryLimit) -> Result<u64> {
        let total = self.total();
        self.parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        let named: Vec<String> = (self.parts.iter().filter(|part| part.bytes > total / 20))
            .map(|part| format!("{} ({})", part.what, bytes(part.bytes)))
            .collect();
        let mend = self.parts.first().map_or("", |part| part.mend);
        memory.check(named.join(", "), total, format!("raise --memory-limit, or {mend}"))?;
        Ok(total)
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1u64, |product, &factor| product.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::default_folder;

    #[test]
    fn what_is_too_much_is_named_by_its_large_parts() {
        let need = || {
            Need::default().rows(1000, ROW_BYTES).and("scores", &[1000, 1_000_000], "take fewer").and(
                "a crumb",
                &[7],
                "sweep",
            )
        };
        let total = need().check(&MemoryLimit::new(1_000_040_007, default_folder())).unwrap();
        assert_eq!(total, 1_000_040_007);
        let error = need().check(&MemoryLimit::new(1_000_040_006, default_folder())).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("scores (1.0 GB)") && !said.contains("crumb") && !said.contains("rows"),
            "{said}"
        );
        assert!(error.help().ends_with("or take fewer"), "{}", error.help());
        let endless = Need::default().and("scores", &[u64::MAX, 2], "").rows(1, 1);
        assert_eq!(
            endless.check(&MemoryLimit::new(u64::MAX - 1, default_folder())).unwrap_err().code(),
            "E0802"
        );
    }
}

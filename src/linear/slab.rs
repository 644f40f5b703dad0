//! Rows whose residuals are held together, while tasks that own a part of the gradient each add all of them up: parts of
//! some classes, or of some features where rows are sparse.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use super::pass::{Pass, SEGMENT_UNIT, add_rows, flush_rows, ranges};
use super::problem::Problem;
use super::products::{Block, BlockBuffer, GradientSums};
use crate::stop::Stop;

/// Residuals of a slab: 32 MiB of f32, more where the fewest rows of a slab have more.
const SLAB_LOGITS: usize = 1 << 23;
/// Rows of a slab of very many classes, and of a block of it: more take more memory than the sums of the gradient do, fewer
/// make adding those up cost as much as the products.
const FEW_ROWS: usize = 128;
const FEW_BLOCK_ROWS: usize = 32;
/// Parts of the gradient of sparse rows.
const FEATURE_PARTS: u64 = 16;
/// Rows whose entries are counted together.
const COUNTED_ROWS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Slab {
    rows: usize,
    block_rows: usize,
    /// Features of each part of the gradient of sparse rows, with about as many entries in each.
    parts: Vec<Range<u32>>,
    blocks: Vec<BlockBuffer>,
    z: Vec<f32>,
    spare: Mutex<Vec<GradientSums>>,
}

/// A block of a slab: its loss, the sums of its residuals, its rows.
type Loaded<'b> = (f64, Vec<f64>, Block<'b>);

impl Slab {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let most = flush_rows(problem);
        let rows = (SLAB_LOGITS / problem.classes.max(1)).min(most) / SEGMENT_UNIT * SEGMENT_UNIT;
        let (rows, block_rows) = if rows == 0 { (FEW_ROWS, FEW_BLOCK_ROWS) } else { (rows, SEGMENT_UNIT) };
        let parts = if problem.rows.is_sparse() { parts_of_features(problem) } else { Vec::new() };
        Slab {
            rows: rows.min(problem.rows.len().max(1)),
            block_rows,
            parts,
            blocks: Vec::new(),
            z: Vec::new(),
            spare: Mutex::default(),
        }
    }

    /// Rows of a slab at most.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Gives back its buffers.
    pub(super) fn rest(&mut self) {
        (self.blocks, self.z, self.spare) = (Vec::new(), Vec::new(), Mutex::default());
    }

    /// Adds the gradient of `rows` to `gradient` and returns their loss.
    pub(super) fn run(&mut self, pass: &Pass<'_>, rows: Range<usize>, gradient: &mut [f64]) -> f64 {
        let problem = pass.problem;
        if problem.rows.is_stopped() {
            return 0.0;
        }
        let (classes, features) = (problem.classes, problem.rows.features());
        let block_rows = pass.arithmetic.block_rows().min(self.block_rows);
        self.z.resize(rows.len() * classes, 0.0);
        self.blocks.resize_with(rows.len().div_ceil(block_rows), BlockBuffer::default);
        let starts: Vec<Range<usize>> = ranges(rows, block_rows).collect();
        let loaded: Vec<Loaded<'_>> = self
            .blocks
            .par_iter_mut()
            .zip(self.z.par_chunks_mut(block_rows * classes))
            .zip(starts)
            .map(|((buffer, z), rows)| {
                let start = rows.start;
                let x = buffer.load(&problem.rows, pass.centre, rows, pass.arithmetic);
                let mut sums = vec![0.0; classes];
                if problem.rows.is_stopped() {
                    return (0.0, sums, x);
                }
                let loss = pass.residuals(x, start, z);
                add_rows(z, classes, &mut sums);
                (loss, sums, x)
            })
            .collect();
        let (weight, bias) = gradient.split_at_mut(classes * features);
        for (_, sums, _) in &loaded {
            bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias += sum);
        }
        let residuals = Residuals {
            z: &self.z,
            classes,
            block_values: block_rows * classes,
            loaded: &loaded,
            stop: problem.rows.stop(),
        };
        let spare = &self.spare;
        let add_part = |first: usize, classes: usize, columns: Range<u32>, part: &mut [f64]| {
            let mut sums = spare.lock().ok().and_then(|mut s| s.pop()).unwrap_or_default();
            sums.reset(classes, columns, pass.arithmetic);
            residuals.add_up(first, &mut sums);
            sums.add_to(part);
            if let Ok(mut spare) = spare.lock() {
                spare.push(sums);
            }
        };
        let all = 0..features as u32;
        if problem.rows.is_sparse() {
            let mut rest = weight;
            let mut parts = Vec::with_capacity(self.parts.len());
            for columns in &self.parts {
                let (part, others) = std::mem::take(&mut rest).split_at_mut(columns.len() * classes);
                parts.push((columns.clone(), part));
                rest = others;
            }
            parts.into_par_iter().for_each(|(columns, part)| add_part(0, classes, columns, part));
        } else {
            let some = pass.arithmetic.tile_classes();
            weight.par_chunks_mut((some * features).max(1)).enumerate().for_each(|(tile, part)| {
                add_part(tile * some, part.len() / features.max(1), all.clone(), part);
            });
        }
        loaded.iter().map(|(loss, ..)| loss).sum()
    }
}

/// The residuals of a slab and the rows they belong to.
struct Residuals<'s> {
    z: &'s [f32],
    classes: usize,
    block_values: usize,
    loaded: &'s [Loaded<'s>],
    stop: &'s Stop,
}

impl Residuals<'_> {
    /// Adds the gradient of all rows in the classes from `first` on to `sums`.
    fn add_up(&self, first: usize, sums: &mut GradientSums) {
        for ((.., x), z) in self.loaded.iter().zip(self.z.chunks(self.block_values)) {
            if self.stop.is_set() {
                return;
            }
            x.accumulate_gradient(&z[first..], self.classes, sums);
        }
    }
}

/// Features in consecutive parts of about as many entries each.
fn parts_of_features(problem: &Problem<'_>) -> Vec<Range<u32>> {
    let features = problem.rows.features();
    let mut entries = vec![0u64; features];
    for rows in ranges(0..problem.rows.len(), COUNTED_ROWS) {
        if problem.rows.is_stopped() {
            break;
        }
        problem.rows.visit(rows, |_, row| row.for_each_entry(|feature, _| entries[feature] += 1));
    }
    let target = entries.iter().sum::<u64>().div_ceil(FEATURE_PARTS).max(1);
    let (mut parts, mut start, mut held) = (Vec::new(), 0, 0);
    for (feature, &entries) in entries.iter().enumerate() {
        held += entries;
        if held >= target || feature + 1 == features {
            parts.push(start..feature as u32 + 1);
            (start, held) = (feature as u32 + 1, 0);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::objective::Objective;
    use crate::linear::rows::Rows;
    use crate::loss::Loss;
    use crate::matrix::{Matrix, SparseRows, Storage};
    use crate::simd::Kernels;

    #[test]
    fn parts_cover_all_features_and_share_the_entries() {
        let mut rows = SparseRows::default();
        for row in 0..320u32 {
            rows.push(&[0, 3 + row % 40, 50], &[1.0, 2.0, 3.0]);
        }
        let matrix = Matrix::from_storage(Storage::Sparse(rows), 60);
        let problem = Problem::new(Rows::all(&matrix), &[0; 320], &[1.0; 320], 2, Loss::Softmax, 0.1);
        let parts = parts_of_features(&problem);
        assert_eq!((parts[0].clone(), parts[parts.len() - 1].end), (0..1, 60));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(parts.len() > 4 && parts.len() <= 16, "{parts:?}");
    }

    #[test]
    fn a_pass_is_broken_off_at_any_of_its_blocks() {
        const FEATURES: usize = 90_000;
        let mut rows = SparseRows::default();
        for row in 0..20_000u32 {
            rows.push(&[row % 7, 100 + row * 31 % 80_000], &[1.0, 0.5]);
        }
        let labels: Vec<u32> = (0..20_000).map(|row| row % 3).collect();
        let weights = vec![1.0; labels.len()];
        let evaluated = |stop: &Stop| {
            let matrix = Matrix::from_storage(Storage::Sparse(rows.clone()), FEATURES).stopped_by(stop);
            let problem = Problem::new(Rows::all(&matrix), &labels, &weights, 3, Loss::Softmax, 0.1);
            let mut objective = Objective::new(problem, Kernels::best());
            let before = stop.asked();
            let value = objective.evaluate(&problem.start(), &mut vec![0.0; problem.parameters()]);
            (before, stop.asked(), value.loss)
        };
        let (before, after, loss) = evaluated(&Stop::after(usize::MAX));
        assert!((loss - 3f64.ln()).abs() < 1e-6 && after - before > 50);
        for blocks in [before, before + 1, before + 5, before + 20, after - 30] {
            let (_, asked, part) = evaluated(&Stop::after(blocks));
            assert!(asked > blocks && asked <= after, "{asked} of {after} after {blocks}");
            // The last places are those of the gradient, whose losses are summed already.
            assert!(part < loss || blocks > before + 20 && part == loss, "{blocks}: {part}");
        }
    }
}

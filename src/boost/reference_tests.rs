//! A booster that is slow and plainly right: every histogram is summed anew from the rows, in whole numbers as the
//! fast one's, every cut is tried one by one, and rows are counted. Its trees have to be those of the fast one, to the
//! last bit.

use super::binned::{BINS, BinnedMatrix, FeatureInfo, MISSING};
use super::columns::chunk_rows;
use super::gradient::Curvature;
use super::options::BoostOptions;
use super::tree::{Child, Test, Tree};
use crate::simd::{Kernels, PackedSum};

/// Sums over a set of rows: fixed-point gradient and Hessian, and rows.
type Sums = (i64, i64, usize);

pub(super) struct Reference<'a> {
    pub matrix: &'a BinnedMatrix,
    pub options: &'a BoostOptions,
    pub gradients: Vec<f32>,
    pub hessians: Vec<f32>,
    /// Mean Hessian at the start.
    pub unit: f64,
    pub min_rows: usize,
}

/// A leaf of the reference: its rows, and the best cut.
struct Leaf {
    rows: Vec<u32>,
    depth: usize,
    cut: Option<ReferenceCut>,
    parent: Option<(usize, usize)>,
}

#[derive(Clone)]
struct ReferenceCut {
    gain: f64,
    feature: usize,
    left: [bool; BINS],
    missing_left: bool,
    last: Option<u8>,
}

impl Reference<'_> {
    /// A tree with its leaf values.
    pub(super) fn tree(&self) -> (Tree, Vec<f32>) {
        let rows = self.gradients.len();
        let size = chunk_rows(rows);
        // Sums go chunk by chunk, in lanes within a chunk.
        let chunked = |values: &dyn Fn(usize) -> f64| -> f64 {
            let chunk = |c: usize| (c * size..((c + 1) * size).min(rows)).map(values).collect::<Vec<_>>();
            let chunk = |c: usize| in_lanes(&chunk(c), 32);
            (0..rows.div_ceil(size)).map(chunk).sum()
        };
        let magnitudes = chunked(&|row| f64::from(self.gradients[row].abs()));
        let curvature = chunked(&|row| f64::from(self.hessians[row]));
        let scales = PackedSum::scales(magnitudes, curvature, rows);
        let mut words = vec![PackedSum::ZERO; rows];
        Kernels::best().pack_rows(&self.gradients, &self.hessians, scales, &mut words);
        let fixed: Vec<(i64, i64)> =
            words.iter().map(|w| (i64::from(w.gradient()), i64::from(w.hessian()))).collect();

        let mut tree = Tree::default();
        let all: Vec<u32> = (0..rows as u32).collect();
        let mut leaves =
            vec![Leaf { cut: self.seek(&all, 0, &fixed, scales), rows: all, depth: 0, parent: None }];
        while leaves.len() < self.options.max_leaves {
            let mut best: Option<usize> = None;
            for (at, leaf) in leaves.iter().enumerate() {
                let gain = |at: usize| leaves[at].cut.as_ref().map_or(0.0, |cut| cut.gain);
                if leaf.cut.is_some() && best.is_none_or(|best| gain(at) > gain(best)) {
                    best = Some(at);
                }
            }
            let Some(at) = best else { break };
            let cut = leaves[at].cut.clone().unwrap();
            let goes_left = |row: &u32| cut.left[usize::from(self.matrix.bin(*row as usize, cut.feature))];
            let (left, right): (Vec<u32>, Vec<u32>) = leaves[at].rows.iter().partition(|row| goes_left(row));
            let (node, depth) = (tree.nodes.len(), leaves[at].depth + 1);
            if let Some((parent, side)) = leaves[at].parent {
                tree.nodes[parent].children[side] = Child::Node(node as u32);
            }
            let mut set = [0u64; BINS / 64];
            (0..BINS).filter(|&bin| cut.left[bin]).for_each(|bin| set[bin / 64] |= 1 << (bin % 64));
            let test = cut.last.map_or(Test::Among(set), |bin| Test::UpTo { bin, threshold: f32::from(bin) });
            tree.nodes.push(super::tree::Node {
                feature: cut.feature as u32,
                test,
                missing_left: cut.missing_left,
                children: [Child::Leaf(at as u32), Child::Leaf(leaves.len() as u32)],
                gain: cut.gain as f32,
                cover: leaves[at].rows.len() as u32,
                left_cover: left.len() as u32,
            });
            let leaf = |rows: Vec<u32>, side| Leaf {
                cut: self.seek(&rows, depth, &fixed, scales),
                rows,
                depth,
                parent: Some((node, side)),
            };
            leaves[at] = leaf(left, 0);
            leaves.push(leaf(right, 1));
        }
        let values = leaves.iter().map(|leaf| self.value(&leaf.rows)).collect();
        (tree, values)
    }

    fn value(&self, rows: &[u32]) -> f32 {
        let (mut g, mut h) = (0.0, 0.0);
        let size = chunk_rows(self.gradients.len());
        for chunk in 0..self.gradients.len().div_ceil(size) {
            let here = rows.iter().map(|&row| row as usize).filter(|row| row / size == chunk);
            let of = |values: &[f32]| here.clone().map(|row| f64::from(values[row])).collect::<Vec<_>>();
            (g, h) = (g + in_lanes(&of(&self.gradients), 4), h + in_lanes(&of(&self.hessians), 4));
        }
        let full = -g / (h + self.options.l2.unwrap_or(16.0) * self.unit);
        if !full.is_finite() {
            return 0.0;
        }
        let limit = self.limit();
        (self.options.learning_rate * full.max(-limit).min(limit)) as f32
    }

    fn limit(&self) -> f64 {
        match self.options.max_delta_step {
            Some(0.0) => f64::INFINITY,
            Some(limit) => limit,
            None if self.options.curvature != Some(Curvature::Absolute) => 4.0,
            None => f64::INFINITY,
        }
    }

    fn seek(
        &self,
        rows: &[u32],
        depth: usize,
        fixed: &[(i64, i64)],
        scales: (f64, f64),
    ) -> Option<ReferenceCut> {
        if depth >= self.options.max_depth.unwrap_or(usize::MAX) || rows.len() / 2 < self.min_rows {
            return None;
        }
        let mut best: Option<ReferenceCut> = None;
        for (feature, info) in self.matrix.features().iter().enumerate() {
            let mut bins = [(0, 0, 0); BINS];
            for &row in rows {
                let bin = &mut bins[usize::from(self.matrix.bin(row as usize, feature))];
                let (g, h) = fixed[row as usize];
                *bin = (bin.0 + g, bin.1 + h, bin.2 + 1);
            }
            let cut = self.best_of_feature(feature, info, &bins, scales);
            if let Some(cut) = cut
                && best.as_ref().is_none_or(|best| cut.gain > best.gain)
            {
                best = Some(cut);
            }
        }
        best
    }

    /// Every cut of a feature: numeric ones with missing values right, then left; categories by their ratio.
    fn best_of_feature(
        &self,
        feature: usize,
        info: &FeatureInfo,
        bins: &[Sums; BINS],
        scales: (f64, f64),
    ) -> Option<ReferenceCut> {
        let all = sum(bins, |_| true);
        let missing = bins[usize::from(MISSING)].2 > 0;
        let mut candidates: Vec<([bool; BINS], Option<u8>)> = Vec::new();
        if info.categorical {
            let smoothing = self.options.category_smoothing * self.unit * scales.1;
            let ratio = |bin: usize| bins[bin].0 as f64 / (bins[bin].1 as f64 + smoothing).max(1.0);
            let mut order: Vec<usize> = (0..BINS).filter(|&bin| bins[bin].2 > 0).collect();
            order.sort_by(|&a, &b| ratio(a).total_cmp(&ratio(b)).then(a.cmp(&b)));
            let mut left = [false; BINS];
            for bin in order {
                left[bin] = true;
                candidates.push((left, None));
            }
        } else {
            for missing_left in [false, true] {
                for last in 1..=info.values {
                    let mut left = [false; BINS];
                    (0..=usize::from(last)).for_each(|bin| left[bin] = bin > 0 || missing_left);
                    if missing || !missing_left {
                        candidates.push((left, Some(last)));
                    }
                }
            }
        }
        let l2 = self.options.l2.unwrap_or(16.0) * self.unit * scales.1;
        let max_step = self.limit() * scales.0 / scales.1;
        // H times the score of a leaf whose step is limited.
        let reach = |g: f64, h: f64| {
            let taken = g.abs().min(max_step * h);
            taken * (2.0 * g.abs() - taken)
        };
        let score = |(g, h, _): Sums| reach(g as f64, h as f64 + l2) / (h as f64 + l2);
        let least = (self.options.min_child_weight * self.unit * scales.1).max(1.0);
        let mut best: Option<(f64, [bool; BINS], Option<u8>)> = None;
        for (left, last) in candidates {
            let (l, r) = (sum(bins, |bin| left[bin]), sum(bins, |bin| !left[bin]));
            if l.2.min(r.2) < self.min_rows || (l.1.min(r.1) as f64) < least {
                continue;
            }
            // Over the common denominator, as it is rounded there.
            let ((gl, hl), (gr, hr)) = ((l.0 as f64, l.1 as f64 + l2), (r.0 as f64, r.1 as f64 + l2));
            let both = (reach(gl, hl) * hr + reach(gr, hr) * hl) / (hl * hr);
            if best.as_ref().is_none_or(|(best, ..)| both > *best) {
                best = Some((both, left, last));
            }
        }
        let (both, mut left, last) = best?;
        let (difference, parent) = (both - score(all), score(all));
        let gain = difference * (scales.1 / (scales.0 * scales.0) / 2.0);
        if !(difference > 1e-10 * parent && gain > self.options.min_gain) {
            return None;
        }
        if !missing {
            let (l, r) = (sum(bins, |bin| left[bin]), sum(bins, |bin| !left[bin]));
            left[usize::from(MISSING)] = l.1 > r.1;
        }
        Some(ReferenceCut { gain, feature, left, missing_left: left[usize::from(MISSING)], last })
    }
}

/// The sum of every so many-th value, and of these sums.
fn in_lanes(values: &[f64], lanes: usize) -> f64 {
    (0..lanes)
        .map(|lane| values.iter().skip(lane).step_by(lanes).fold(0.0, |sum, x| sum + x))
        .fold(0.0, |sum, x| sum + x)
}

fn sum(bins: &[Sums; BINS], takes: impl Fn(usize) -> bool) -> Sums {
    let taken = bins.iter().enumerate().filter(|(bin, _)| takes(*bin));
    taken.fold((0, 0, 0), |(g, h, n), (_, bin)| (g + bin.0, h + bin.1, n + bin.2))
}

/// Whether two trees are equal, thresholds of raw values left aside: the reference knows bins only.
pub(super) fn matches(found: &Tree, wanted: &Tree) -> bool {
    found.nodes.len() == wanted.nodes.len()
        && found.nodes.iter().zip(&wanted.nodes).all(|(a, b)| {
            let same_test = match (a.test, b.test) {
                (Test::UpTo { bin: a, .. }, Test::UpTo { bin: b, .. }) => a == b,
                (Test::Among(a), Test::Among(b)) => a == b,
                _ => false,
            };
            same_test
                && (a.feature, a.missing_left, a.children, a.cover, a.left_cover)
                    == (b.feature, b.missing_left, b.children, b.cover, b.left_cover)
                && a.gain.to_bits() == b.gain.to_bits()
        })
}

//! The passes over scores of [`super::score_rows`], written once for all instruction sets.
//!
//! Sums over classes run in sixteen lanes whatever the width of a vector is and are folded in one order, so that all
//! instruction sets with a fused multiply-add give the same bytes.

use super::lanes::Lanes;
use super::math::{LOWEST, exp};
use super::memory::prefetch_at;
use super::padded::LINE;
use super::score_rows::{
    ClassRows, Curvature, LeafRows, LeafSum, MAX_DIRECTIONS, RowSlope, ScoreLoss, SketchOut,
};
use super::terms::{SoftmaxEnd, one_vs_rest_term};

/// Lines whose exponentials are kept in registers while the directions pass by.
const GROUP: usize = 4;
/// Rows of a leaf summed side by side: each sum is loaded and stored once for all of them.
const TILE: usize = 4;

/// Sums over the classes of a row, sixteen lanes each: of values, then along each direction.
#[repr(align(64))]
struct Sums([[f32; LINE]; MAX_DIRECTIONS + 1]);

/// What is summed over the classes of a row or over the rows of a leaf. A trait and no closure: closures would not be
/// compiled for the instruction set of the kernel that they end up in.
trait Terms<L: Lanes>: Copy {
    /// Whether the second term is wanted.
    const BOTH: bool = true;
    /// Two terms of a score.
    fn terms(self, z: L) -> (L, L);
    /// The same with the numbers of a row filled in.
    ///
    /// # Safety
    /// The machine must have the instruction set.
    unsafe fn of_row(self, slope: &RowSlope) -> Self;
}

/// Softmax: the exponential, twice.
#[derive(Clone, Copy)]
struct Exponential<L> {
    peak: L,
}

/// Softmax: residual and, with `BOTH`, second derivative.
#[derive(Clone, Copy)]
struct SoftmaxSlope<L, const BOTH: bool> {
    peak: L,
    factor: L,
    inverse_total: L,
    one: L,
}

/// One-vs-rest: value and residual of a row without its weight.
#[derive(Clone, Copy)]
struct Term<L, const FOCAL: bool> {
    gamma: L,
    zero: L,
    one: L,
}

/// One-vs-rest: residual and, with `BOTH`, second derivative.
#[derive(Clone, Copy)]
struct TermSlope<L, const FOCAL: bool, const BOTH: bool> {
    term: Term<L, FOCAL>,
    weight: L,
}

impl<L: Lanes> Terms<L> for Exponential<L> {
    #[inline(always)]
    fn terms(self, z: L) -> (L, L) {
        let e = exp(z.sub(self.peak));
        (e, e)
    }
    #[inline(always)]
    unsafe fn of_row(self, slope: &RowSlope) -> Self {
        // SAFETY: handed on from the caller.
        Exponential { peak: unsafe { L::splat(slope.peak) } }
    }
}

impl<L: Lanes, const BOTH: bool> Terms<L> for SoftmaxSlope<L, BOTH> {
    const BOTH: bool = BOTH;
    #[inline(always)]
    fn terms(self, z: L) -> (L, L) {
        let e = exp(z.sub(self.peak));
        let g = self.factor.mul(e);
        (g, if BOTH { g.mul(self.one.sub(e.mul(self.inverse_total))) } else { g })
    }
    #[inline(always)]
    unsafe fn of_row(self, slope: &RowSlope) -> Self {
        // SAFETY: handed on from the caller.
        unsafe {
            SoftmaxSlope {
                peak: L::splat(slope.peak),
                factor: L::splat(slope.factor),
                inverse_total: L::splat(slope.inverse_total),
                one: self.one,
            }
        }
    }
}

impl<L: Lanes, const FOCAL: bool> Terms<L> for Term<L, FOCAL> {
    #[inline(always)]
    fn terms(self, u: L) -> (L, L) {
        one_vs_rest_term::<L, FOCAL>(u, self.gamma, self.zero, self.one)
    }
    #[inline(always)]
    unsafe fn of_row(self, _: &RowSlope) -> Self {
        self
    }
}

impl<L: Lanes, const FOCAL: bool, const BOTH: bool> Terms<L> for TermSlope<L, FOCAL, BOTH> {
    const BOTH: bool = BOTH;
    #[inline(always)]
    fn terms(self, u: L) -> (L, L) {
        let g = self.weight.mul(self.term.terms(u).1);
        (g, if BOTH { g.mul(right(u, self.term.zero, self.term.one)) } else { g })
    }
    #[inline(always)]
    unsafe fn of_row(self, slope: &RowSlope) -> Self {
        // SAFETY: handed on from the caller.
        TermSlope { term: self.term, weight: unsafe { L::splat(slope.factor) } }
    }
}

/// Sixteen lanes to one, halves folded onto each other.
#[inline(always)]
fn folded(mut lanes: [f32; LINE]) -> f32 {
    let mut half = LINE / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// See [`super::Kernels::sketch_rows`].
///
/// # Safety
/// Shapes and indices must have been checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn sketch_rows<L: Lanes>(
    rows: ClassRows<'_>,
    leaves: Option<LeafRows<'_>>,
    directions: &[f32],
    (loss, curvature): (ScoreLoss, Curvature),
    out: SketchOut<'_>,
) -> f64 {
    let stride = rows.stride;
    let count = directions.len() / stride;
    let mut sums = Sums([[0.0; LINE]; MAX_DIRECTIONS + 1]);
    let mut value = 0.0;
    for (row, (&label, &weight)) in rows.labels.iter().zip(rows.weights).enumerate() {
        let z = &mut rows.z[row * stride..][..stride];
        let own = &mut rows.own[row];
        let step = leaves.map(|leaves| &leaves.values[leaves.leaf_of[row] as usize * stride..][..stride]);
        if let Some(step) = step {
            *own += step[label as usize];
        }
        // SAFETY: `z` and `step` are whole lines; the caller vouches for the instruction set.
        let largest = unsafe { add_and_largest::<L>(z, step) };
        let sketch = &mut out.sketch[row * count..][..count];
        if weight == 0.0 {
            sketch.fill(0.0);
            // The peak keeps its exponentials finite where a leaf sums them times 0.
            out.slopes[row] = RowSlope { peak: own.max(largest), ..RowSlope::default() };
            continue;
        }
        sums.0[..=count].fill([0.0; LINE]);
        let (row_loss, slope) = match loss {
            ScoreLoss::Softmax { gamma } => {
                let peak = own.max(largest);
                // SAFETY: as above; directions are `count` times the length of `z`.
                let own_exp = unsafe {
                    let exponential = Exponential { peak: L::splat(peak) };
                    project(z, directions, &mut sums, exponential);
                    exponential.terms(L::splat(*own)).0.largest()
                };
                softmax_slope(*own, peak, own_exp, folded(sums.0[0]), gamma, weight, curvature)
            }
            ScoreLoss::OneVsRest { gamma: 0.0 } => {
                // SAFETY: as above.
                unsafe { one_vs_rest::<L, false>(z, *own, directions, &mut sums, 0.0, weight, curvature) }
            }
            ScoreLoss::OneVsRest { gamma } => {
                // SAFETY: as above.
                unsafe {
                    one_vs_rest::<L, true>(z, *own, directions, &mut sums, gamma as f32, weight, curvature)
                }
            }
        };
        value += f64::from(weight) * row_loss;
        for (direction, to) in sketch.iter_mut().enumerate() {
            let own_share = slope.own_gradient * directions[direction * stride + label as usize];
            *to = slope.factor * folded(sums.0[direction + 1]) + own_share;
        }
        out.slopes[row] = slope;
    }
    value
}

/// Adds the leaf values to the scores and returns the largest of these.
///
/// # Safety
/// Both slices must be of equal length, a multiple of 16; the machine must have the instruction set.
#[inline(always)]
unsafe fn add_and_largest<L: Lanes>(z: &mut [f32], step: Option<&[f32]>) -> f32 {
    // SAFETY: every access lies within whole lines.
    unsafe {
        // Four chains: one would wait for the latency of each maximum.
        let mut largest = [L::splat(LOWEST); 4];
        let mut at = 0;
        while at < z.len() {
            for (chain, largest) in largest.iter_mut().enumerate() {
                let from = at + chain * L::N;
                if from < z.len() {
                    let place = z.as_mut_ptr().add(from);
                    let mut score = L::load(place);
                    if let Some(step) = step {
                        score = score.add(L::load(step.as_ptr().add(from)));
                        score.store(place);
                    }
                    *largest = score.max(*largest);
                }
            }
            at += 4 * L::N;
        }
        let [a, b, c, d] = largest;
        a.max(b).max(c.max(d)).largest()
    }
}

/// Adds the first terms of the classes to the first sums, and the products of the second terms with the directions to
/// the others.
///
/// # Safety
/// `z` must be whole lines and `directions` a multiple of it, at most [`MAX_DIRECTIONS`]; the machine must have the
/// instruction set.
#[inline(always)]
unsafe fn project<L: Lanes>(z: &[f32], directions: &[f32], sums: &mut Sums, terms: impl Terms<L>) {
    let whole = z.len() / (GROUP * LINE) * (GROUP * LINE);
    for at in (0..whole).step_by(GROUP * LINE) {
        // SAFETY: the lines of the group lie within `z`.
        unsafe { project_lines::<L, GROUP>(z, at, directions, sums, terms) };
    }
    for at in (whole..z.len()).step_by(LINE) {
        // SAFETY: the line lies within `z`.
        unsafe { project_lines::<L, 1>(z, at, directions, sums, terms) };
    }
}

/// [`project`] for some lines from `at` on.
///
/// # Safety
/// As for [`project`], and the lines must lie within `z`.
#[inline(always)]
unsafe fn project_lines<L: Lanes, const LINES: usize>(
    z: &[f32],
    at: usize,
    directions: &[f32],
    sums: &mut Sums,
    terms: impl Terms<L>,
) {
    for part in (0..LINE).step_by(L::N) {
        // SAFETY: `part + N` is within a line, the lines within `z` and within each direction; a sum is a line long.
        unsafe {
            let mut slopes = [L::splat(0.0); LINES];
            let to = sums.0[0].as_mut_ptr().add(part);
            let mut sum = L::load(to);
            for (line, kept) in slopes.iter_mut().enumerate() {
                let (value, slope) = terms.terms(L::load(z.as_ptr().add(at + line * LINE + part)));
                sum = sum.add(value);
                *kept = slope;
            }
            sum.store(to);
            for (direction, sum) in directions.chunks_exact(z.len()).zip(&mut sums.0[1..]) {
                let to = sum.as_mut_ptr().add(part);
                let mut sum = L::load(to);
                for (line, slope) in slopes.iter().enumerate() {
                    sum = slope.mul_add(L::load(direction.as_ptr().add(at + line * LINE + part)), sum);
                }
                sum.store(to);
            }
        }
    }
}

/// Loss of a softmax row, and what its residuals are made from.
#[inline(always)]
fn softmax_slope(
    own: f32,
    peak: f32,
    own_exp: f32,
    others: f32,
    gamma: f64,
    weight: f32,
    curvature: Curvature,
) -> (f64, RowSlope) {
    let end = SoftmaxEnd::new(own, peak, own_exp, f64::from(others), gamma);
    let own_gradient = end.own_residual(weight);
    let own_hessian = match curvature {
        Curvature::Newton => -own_gradient * end.hit(),
        Curvature::Absolute => -own_gradient,
    };
    let (factor, inverse_total) = (end.others_factor(weight), end.inverse_total());
    (end.loss, RowSlope { peak, factor, inverse_total, own_gradient, own_hessian })
}

/// Loss of a one-vs-rest row, and what its residuals are made from.
///
/// # Safety
/// As for [`project`].
#[inline(always)]
unsafe fn one_vs_rest<L: Lanes, const FOCAL: bool>(
    z: &[f32],
    own: f32,
    directions: &[f32],
    sums: &mut Sums,
    gamma: f32,
    weight: f32,
    curvature: Curvature,
) -> (f64, RowSlope) {
    // SAFETY: handed on from the caller.
    unsafe {
        let term = Term::<L, FOCAL> { gamma: L::splat(gamma), zero: L::splat(0.0), one: L::splat(1.0) };
        project(z, directions, sums, term);
        let u = L::splat(-own);
        let (value, slope) = term.terms(u);
        let own_gradient = -weight * slope.largest();
        let own_hessian = match curvature {
            Curvature::Newton => weight * slope.mul(right(u, term.zero, term.one)).largest(),
            Curvature::Absolute => -own_gradient,
        };
        let loss = f64::from(folded(sums.0[0])) + f64::from(value.largest());
        (loss, RowSlope { peak: 0.0, factor: weight, inverse_total: 0.0, own_gradient, own_hessian })
    }
}

/// Probability `1 / (1 + e^u)` of the right side of a one-vs-rest term, `u = -z^t`.
#[inline(always)]
fn right<L: Lanes>(u: L, zero: L, one: L) -> L {
    let e = exp(zero.sub(u.abs()));
    let near = one.div(one.add(e));
    u.if_less(zero, near, e.mul(near))
}

/// See [`super::Kernels::sum_leaf`].
///
/// # Safety
/// Shapes and indices must have been checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn sum_leaf<L: Lanes>(
    leaf: LeafSum<'_>,
    (loss, curvature): (ScoreLoss, Curvature),
    gradient: &mut [f32],
    hessian: &mut [f32],
) {
    // SAFETY: handed on from the caller.
    unsafe {
        match (loss, curvature) {
            (ScoreLoss::Softmax { .. }, Curvature::Absolute) => {
                softmax_leaf::<L, false>(leaf, gradient, hessian)
            }
            (ScoreLoss::Softmax { .. }, Curvature::Newton) => {
                softmax_leaf::<L, true>(leaf, gradient, hessian)
            }
            (ScoreLoss::OneVsRest { gamma: 0.0 }, Curvature::Absolute) => {
                one_vs_rest_leaf::<L, false, false>(leaf, 0.0, gradient, hessian)
            }
            (ScoreLoss::OneVsRest { gamma: 0.0 }, Curvature::Newton) => {
                one_vs_rest_leaf::<L, false, true>(leaf, 0.0, gradient, hessian)
            }
            (ScoreLoss::OneVsRest { gamma }, Curvature::Absolute) => {
                one_vs_rest_leaf::<L, true, false>(leaf, gamma as f32, gradient, hessian)
            }
            (ScoreLoss::OneVsRest { gamma }, Curvature::Newton) => {
                one_vs_rest_leaf::<L, true, true>(leaf, gamma as f32, gradient, hessian)
            }
        }
    }
}

/// # Safety
/// As for [`sum_leaf`].
#[inline(always)]
unsafe fn softmax_leaf<L: Lanes, const BOTH: bool>(
    leaf: LeafSum<'_>,
    gradient: &mut [f32],
    hessian: &mut [f32],
) {
    // SAFETY: handed on from the caller, who vouches for the instruction set.
    unsafe {
        let one = L::splat(1.0);
        let terms = SoftmaxSlope::<L, BOTH> { peak: one, factor: one, inverse_total: one, one };
        tiles(leaf, gradient, hessian, terms);
    }
}

/// # Safety
/// As for [`sum_leaf`].
#[inline(always)]
unsafe fn one_vs_rest_leaf<L: Lanes, const FOCAL: bool, const BOTH: bool>(
    leaf: LeafSum<'_>,
    gamma: f32,
    gradient: &mut [f32],
    hessian: &mut [f32],
) {
    // SAFETY: handed on from the caller, who vouches for the instruction set.
    unsafe {
        let (zero, one) = (L::splat(0.0), L::splat(1.0));
        let term = Term::<L, FOCAL> { gamma: L::splat(gamma), zero, one };
        tiles(leaf, gradient, hessian, TermSlope::<L, FOCAL, BOTH> { term, weight: one });
    }
}

/// Sums `terms` over the rows, [`TILE`] of them at a time.
///
/// # Safety
/// As for [`sum_leaf`].
#[inline(always)]
unsafe fn tiles<L: Lanes>(
    leaf: LeafSum<'_>,
    gradient: &mut [f32],
    hessian: &mut [f32],
    terms: impl Terms<L>,
) {
    let whole = leaf.rows.len() / TILE * TILE;
    for from in (0..whole).step_by(TILE) {
        // SAFETY: the rows lie within the list.
        unsafe { tile::<L, TILE, _>(leaf, from, gradient, hessian, terms) };
    }
    for from in whole..leaf.rows.len() {
        // SAFETY: as above.
        unsafe { tile::<L, 1, _>(leaf, from, gradient, hessian, terms) };
    }
}

/// [`tiles`] for `ROWS` rows from the `from`-th of the list on.
///
/// # Safety
/// As for [`sum_leaf`], and the list must have so many rows.
#[inline(always)]
unsafe fn tile<L: Lanes, const ROWS: usize, T: Terms<L>>(
    leaf: LeafSum<'_>,
    from: usize,
    gradient: &mut [f32],
    hessian: &mut [f32],
    terms: T,
) {
    // SAFETY: rows are below the number of rows of `z`, places in a row below the stride.
    unsafe {
        let mut places = [leaf.z.as_ptr(); ROWS];
        let mut row_terms = [terms; ROWS];
        for (index, (place, terms)) in places.iter_mut().zip(&mut row_terms).enumerate() {
            let row = leaf.rows[from + index] as usize;
            *place = leaf.z.as_ptr().add(row * leaf.stride);
            *terms = terms.of_row(&leaf.slopes[row]);
        }
        // Rows of a leaf lie apart, so the processor does not see the next ones coming.
        let mut ahead = places;
        for (index, place) in ahead.iter_mut().enumerate() {
            if let Some(&row) = leaf.rows.get(from + ROWS + index) {
                *place = leaf.z.as_ptr().add(row as usize * leaf.stride);
            }
        }
        for at in (0..leaf.stride).step_by(L::N) {
            let to = gradient.as_mut_ptr().add(at);
            let to_hessian = hessian.as_mut_ptr().add(at);
            let mut sum = L::load(to);
            let mut second = if T::BOTH { L::load(to_hessian) } else { sum };
            for ((place, ahead), terms) in places.iter().zip(&ahead).zip(&row_terms) {
                prefetch_at(ahead.add(at));
                let (g, h) = terms.terms(L::load(place.add(at)));
                sum = sum.add(g);
                if T::BOTH {
                    second = second.add(h);
                }
            }
            sum.store(to);
            if T::BOTH {
                second.store(to_hessian);
            }
        }
    }
}

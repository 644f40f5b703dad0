//! The losses of [`super::rows`] for rows side by side, one a lane: for few classes, and where logits lie class by class.
//!
//! With ten classes a vector along the row would idle six of sixteen lanes, and its masked store would hold up the
//! load of the next row, which overlaps it in memory.

use super::lanes::Lanes;
use super::math::{LOWEST, exp};
use super::terms::{SoftmaxEnd, one_vs_rest_term};
use super::{Layout, RowBlock};

/// Up to this many classes rows are taken side by side.
pub(super) const NARROW: usize = 64;

const MAX_LANES: usize = Layout::LANES;

/// Rows transposed: the logit of class `c` in lane `r` is at `c * N + r`.
#[repr(align(64))]
struct Columns([f32; NARROW * MAX_LANES]);

impl Columns {
    fn gather<L: Lanes>(&mut self, z: &[f32], stride: usize, classes: usize) {
        for (lane, row) in z.chunks(stride).enumerate() {
            for (to, &logit) in self.0.chunks_exact_mut(L::N).zip(&row[..classes]) {
                to[lane] = logit;
            }
        }
    }

    fn scatter<L: Lanes>(&self, z: &mut [f32], stride: usize, classes: usize) {
        for (lane, row) in z.chunks_mut(stride).enumerate() {
            for (from, logit) in self.0.chunks_exact(L::N).zip(&mut row[..classes]) {
                *logit = from[lane];
            }
        }
    }
}

/// As many rows as there are lanes, or fewer.
struct Group<'g> {
    /// The logit of class `c` in lane `r` is at `c * stride + r`; lanes beyond the labels hold anything.
    z: &'g mut [f32],
    stride: usize,
    classes: usize,
    labels: &'g [u32],
    weights: &'g [f32],
}

impl Group<'_> {
    /// Where the logits are: N of each class, `stride` apart.
    fn start<L: Lanes>(&mut self) -> *mut f32 {
        assert!(self.z.len() >= self.classes.saturating_sub(1) * self.stride + L::N);
        self.z.as_mut_ptr()
    }

    fn turn_own_signs(&mut self) {
        for (lane, (&label, &weight)) in self.labels.iter().zip(self.weights).enumerate() {
            if weight != 0.0 {
                let own = &mut self.z[label as usize * self.stride + lane];
                *own = -*own;
            }
        }
    }

    fn clear_lane(&mut self, lane: usize) {
        self.z.chunks_mut(self.stride).take(self.classes).for_each(|class| class[lane] = 0.0);
    }
}

/// A loss of a group. A trait and no closure, so that it is compiled for the instruction set.
trait GroupLoss {
    /// Sum of `weight * loss`; the logits become `weight * gradient`.
    ///
    /// # Safety
    /// The machine must have the instruction set.
    unsafe fn group<L: Lanes>(&self, group: Group<'_>) -> f64;
}

/// The loss of all rows of a block.
///
/// # Safety
/// `block` checked, of at most [`NARROW`] classes where it lies row by row; the machine must have the instruction set.
#[inline(always)]
unsafe fn side_by_side<L: Lanes>(block: &mut RowBlock<'_>, loss: impl GroupLoss) -> f64 {
    let classes = block.classes;
    let mut value = 0.0;
    let rows = block.labels.chunks(L::N).zip(block.weights.chunks(L::N));
    match block.layout {
        Layout::Classes { stride } => {
            for (at, (labels, weights)) in rows.enumerate() {
                let z = &mut block.z[at * L::N..];
                // SAFETY: handed on from the caller.
                value += unsafe { loss.group::<L>(Group { z, stride, classes, labels, weights }) };
            }
        }
        Layout::Rows { stride } => {
            let mut columns = Columns([0.0; NARROW * MAX_LANES]);
            for (z, (labels, weights)) in block.z.chunks_mut(L::N * stride).zip(rows) {
                let z = &mut z[..labels.len() * stride];
                columns.gather::<L>(z, stride, classes);
                let group = Group { z: &mut columns.0, stride: L::N, classes, labels, weights };
                // SAFETY: handed on from the caller.
                value += unsafe { loss.group::<L>(group) };
                columns.scatter::<L>(z, stride, classes);
            }
        }
    }
    value
}

/// A value for each lane.
#[repr(align(64))]
struct Lane([f32; MAX_LANES]);

impl Lane {
    /// # Safety
    /// The machine must have the instruction set.
    #[inline(always)]
    unsafe fn of<L: Lanes>(lanes: L) -> Lane {
        let mut values = Lane([0.0; MAX_LANES]);
        // SAFETY: no instruction set has more than MAX_LANES lanes.
        unsafe { lanes.store(values.0.as_mut_ptr()) };
        values
    }

    /// # Safety
    /// The machine must have the instruction set.
    #[inline(always)]
    unsafe fn lanes<L: Lanes>(&self) -> L {
        // SAFETY: no instruction set has more than MAX_LANES lanes.
        unsafe { L::load(self.0.as_ptr()) }
    }
}

/// As [`super::rows::softmax`].
///
/// # Safety
/// `block` checked, of at most [`NARROW`] classes where it lies row by row; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn softmax<L: Lanes>(block: &mut RowBlock<'_>, gamma: f64) -> f64 {
    // SAFETY: handed on from the caller.
    unsafe { side_by_side::<L>(block, Softmax { gamma }) }
}

struct Softmax {
    gamma: f64,
}

impl GroupLoss for Softmax {
    #[inline(always)]
    unsafe fn group<L: Lanes>(&self, mut group: Group<'_>) -> f64 {
        let (stride, classes, labels, weights) = (group.stride, group.classes, group.labels, group.weights);
        let mut own = Lane([0.0; MAX_LANES]);
        for (lane, (&label, own)) in labels.iter().zip(&mut own.0).enumerate() {
            if weights[lane] != 0.0 {
                *own = std::mem::replace(&mut group.z[label as usize * stride + lane], LOWEST);
            }
        }
        let at = group.start::<L>();
        // SAFETY: the caller vouches for the instruction set; N logits from that of each class on are there.
        let (peak, poison, others, own_exp) = unsafe {
            let own = own.lanes::<L>();
            let zero = L::splat(0.0);
            let (mut peak, mut poison) = (own, own.mul(zero));
            for class in 0..classes {
                let z = L::load(at.add(class * stride));
                peak = z.max(peak);
                poison = z.mul_add(zero, poison);
            }
            let mut others = zero;
            for class in 0..classes {
                let e = exp(L::load(at.add(class * stride)).sub(peak));
                others = others.add(e);
                e.store(at.add(class * stride));
            }
            (Lane::of(peak), Lane::of(poison), Lane::of(others), Lane::of(exp(own.sub(peak))))
        };
        let (mut factor, mut own_residual) = (Lane([0.0; MAX_LANES]), [0.0f32; MAX_LANES]);
        let mut value = 0.0;
        for (lane, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            let end = SoftmaxEnd::new(
                own.0[lane],
                peak.0[lane],
                own_exp.0[lane],
                f64::from(others.0[lane]),
                self.gamma,
            );
            value += f64::from(weight) * end.loss + f64::from(poison.0[lane]);
            factor.0[lane] = end.others_factor(weight);
            own_residual[lane] = end.own_residual(weight);
        }
        // SAFETY: as above.
        unsafe {
            let factor = factor.lanes::<L>();
            for class in 0..classes {
                L::load(at.add(class * stride)).mul(factor).store(at.add(class * stride));
            }
        }
        for (lane, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
            if weight == 0.0 {
                group.clear_lane(lane); // a NaN times 0 is no 0
            } else {
                group.z[label as usize * stride + lane] = own_residual[lane];
            }
        }
        value
    }
}

/// As [`super::rows::one_vs_rest`].
///
/// # Safety
/// `block` checked, of at most [`NARROW`] classes where it lies row by row; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn one_vs_rest<L: Lanes, const FOCAL: bool>(block: &mut RowBlock<'_>, gamma: f32) -> f64 {
    // SAFETY: handed on from the caller.
    unsafe { side_by_side::<L>(block, OneVsRest::<FOCAL> { gamma }) }
}

struct OneVsRest<const FOCAL: bool> {
    gamma: f32,
}

impl<const FOCAL: bool> GroupLoss for OneVsRest<FOCAL> {
    #[inline(always)]
    unsafe fn group<L: Lanes>(&self, mut group: Group<'_>) -> f64 {
        let (stride, classes, weights) = (group.stride, group.classes, group.weights);
        group.turn_own_signs();
        let mut weight = Lane([0.0; MAX_LANES]);
        weight.0[..weights.len()].copy_from_slice(weights);
        let at = group.start::<L>();
        // SAFETY: the caller vouches for the instruction set; N logits from that of each class on are there.
        let loss = unsafe {
            let (zero, one, gamma) = (L::splat(0.0), L::splat(1.0), L::splat(self.gamma));
            let weight = weight.lanes::<L>();
            let mut sum = zero;
            for class in 0..classes {
                let u = L::load(at.add(class * stride));
                let (term, slope) = one_vs_rest_term::<L, FOCAL>(u, gamma, zero, one);
                // The product with zero makes the sum NaN where the logit is not finite.
                sum = sum.add(u.mul_add(zero, term));
                slope.mul(weight).store(at.add(class * stride));
            }
            Lane::of(sum)
        };
        let mut value = 0.0;
        for (&loss, &weight) in loss.0.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            value += f64::from(weight) * f64::from(loss);
        }
        group.turn_own_signs();
        for (lane, _) in weights.iter().enumerate().filter(|(_, weight)| **weight == 0.0) {
            group.clear_lane(lane);
        }
        value
    }
}

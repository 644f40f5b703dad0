//! The losses of [`super::rows`] for few classes: as many rows as there are lanes side by side, one row a lane.
//!
//! With ten classes a vector along the row would idle six of sixteen lanes, and its masked store would hold up the
//! load of the next row, which overlaps it in memory.

use super::RowBlock;
use super::lanes::Lanes;
use super::math::{LOWEST, exp};
use super::terms::{SoftmaxEnd, one_vs_rest_term};

/// Up to this many classes rows are taken side by side.
pub(super) const NARROW: usize = 64;

/// Lanes of the widest instruction set.
const MAX_LANES: usize = 16;

/// Rows transposed: the logit of class `c` in lane `r` is at `c * N + r`.
#[repr(align(64))]
struct Columns([f32; NARROW * MAX_LANES]);

/// A value for each lane.
#[repr(align(64))]
struct Lane([f32; MAX_LANES]);

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

    /// # Safety
    /// `class < NARROW`; the machine must have the instruction set.
    #[inline(always)]
    unsafe fn class<L: Lanes>(&self, class: usize) -> L {
        // SAFETY: NARROW classes of at most MAX_LANES lanes fit.
        unsafe { L::load(self.0.as_ptr().add(class * L::N)) }
    }

    /// # Safety
    /// `class < NARROW`; the machine must have the instruction set.
    #[inline(always)]
    unsafe fn set_class<L: Lanes>(&mut self, class: usize, lanes: L) {
        // SAFETY: NARROW classes of at most MAX_LANES lanes fit.
        unsafe { lanes.store(self.0.as_mut_ptr().add(class * L::N)) }
    }
}

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
/// At most [`NARROW`] classes, `block` checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn softmax<L: Lanes>(block: &mut RowBlock<'_>, gamma: f64) -> f64 {
    let (stride, classes) = (block.stride, block.classes);
    let mut value = 0.0;
    let mut columns = Columns([0.0; NARROW * MAX_LANES]);
    let rows = block.labels.chunks(L::N).zip(block.weights.chunks(L::N));
    for (z, (labels, weights)) in block.z.chunks_mut(L::N * stride).zip(rows) {
        let z = &mut z[..labels.len() * stride];
        columns.gather::<L>(z, stride, classes);
        let mut own = Lane([0.0; MAX_LANES]);
        for (lane, (&label, own)) in labels.iter().zip(&mut own.0).enumerate() {
            if weights[lane] != 0.0 {
                *own = std::mem::replace(&mut columns.0[label as usize * L::N + lane], LOWEST);
            }
        }
        // SAFETY: the caller vouches for the instruction set and the number of classes.
        let (peak, poison, others, own_exp) = unsafe {
            let own = own.lanes::<L>();
            let zero = L::splat(0.0);
            let (mut peak, mut poison) = (own, own.mul(zero));
            for class in 0..classes {
                let z = columns.class::<L>(class);
                peak = z.max(peak);
                poison = z.mul_add(zero, poison);
            }
            let mut others = zero;
            for class in 0..classes {
                let e = exp(columns.class::<L>(class).sub(peak));
                others = others.add(e);
                columns.set_class(class, e);
            }
            (Lane::of(peak), Lane::of(poison), Lane::of(others), Lane::of(exp(own.sub(peak))))
        };
        let (mut factor, mut own_residual) = (Lane([0.0; MAX_LANES]), [0.0f32; MAX_LANES]);
        for (lane, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            let end =
                SoftmaxEnd::new(own.0[lane], peak.0[lane], own_exp.0[lane], f64::from(others.0[lane]), gamma);
            value += f64::from(weight) * end.loss + f64::from(poison.0[lane]);
            factor.0[lane] = end.others_factor(weight);
            own_residual[lane] = end.own_residual(weight);
        }
        // SAFETY: as above.
        unsafe {
            let factor = factor.lanes::<L>();
            for class in 0..classes {
                columns.set_class(class, columns.class::<L>(class).mul(factor));
            }
        }
        for (lane, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
            if weight == 0.0 {
                set_lane::<L>(&mut columns, lane, classes, 0.0); // a NaN times 0 is no 0
            } else {
                columns.0[label as usize * L::N + lane] = own_residual[lane];
            }
        }
        columns.scatter::<L>(z, stride, classes);
    }
    value
}

/// As [`super::rows::one_vs_rest`].
///
/// # Safety
/// At most [`NARROW`] classes, `block` checked; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn one_vs_rest<L: Lanes, const FOCAL: bool>(block: &mut RowBlock<'_>, gamma: f32) -> f64 {
    let (stride, classes) = (block.stride, block.classes);
    let mut value = 0.0;
    let mut columns = Columns([0.0; NARROW * MAX_LANES]);
    let rows = block.labels.chunks(L::N).zip(block.weights.chunks(L::N));
    for (z, (labels, weights)) in block.z.chunks_mut(L::N * stride).zip(rows) {
        let z = &mut z[..labels.len() * stride];
        columns.gather::<L>(z, stride, classes);
        turn_own_signs::<L>(&mut columns, labels, weights);
        let mut weight = Lane([0.0; MAX_LANES]);
        weight.0[..weights.len()].copy_from_slice(weights);
        // SAFETY: the caller vouches for the instruction set and the number of classes.
        let loss = unsafe {
            let (zero, one, gamma) = (L::splat(0.0), L::splat(1.0), L::splat(gamma));
            let weight = weight.lanes::<L>();
            let mut sum = zero;
            for class in 0..classes {
                let u = columns.class::<L>(class);
                let (term, slope) = one_vs_rest_term::<L, FOCAL>(u, gamma, zero, one);
                // The product with zero makes the sum NaN where the logit is not finite.
                sum = sum.add(u.mul_add(zero, term));
                columns.set_class(class, slope.mul(weight));
            }
            Lane::of(sum)
        };
        for (&loss, &weight) in loss.0.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            value += f64::from(weight) * f64::from(loss);
        }
        turn_own_signs::<L>(&mut columns, labels, weights);
        for (lane, _) in weights.iter().enumerate().filter(|(_, weight)| **weight == 0.0) {
            set_lane::<L>(&mut columns, lane, classes, 0.0);
        }
        columns.scatter::<L>(z, stride, classes);
    }
    value
}

fn turn_own_signs<L: Lanes>(columns: &mut Columns, labels: &[u32], weights: &[f32]) {
    for (lane, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
        if weight != 0.0 {
            let own = &mut columns.0[label as usize * L::N + lane];
            *own = -*own;
        }
    }
}

fn set_lane<L: Lanes>(columns: &mut Columns, lane: usize, classes: usize, value: f32) {
    for class in columns.0.chunks_exact_mut(L::N).take(classes) {
        class[lane] = value;
    }
}

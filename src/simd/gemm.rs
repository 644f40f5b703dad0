//! The two matrix products of a linear model: logits (X W^T) and gradient (R^T X).
//!
//! Both are "C += A B" with rows of B contiguous: one register tile of `M` items by `V` vectors serves both. The
//! forward product reads B from packed class panels, the backward one reads feature vectors where they lie.
//! Every element of C is summed in an order fixed by the depth alone, so a row's logits do not depend on the rows
//! around it.

use super::lanes::{Lanes, load_up_to, store_up_to};
use super::pack::PackedWeights;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Depth summed in registers before it is added to C: a panel of three vectors over it stays in the L1 cache.
const DEPTH: usize = 256;

/// Logits that stay in a second-level cache.
const CACHED: usize = 1 << 17;

/// Widest register tile: three vectors of sixteen lanes.
const MAX_WIDTH: usize = 48;

/// Room for the features of [`DEPTH`] rows in one column block.
#[repr(align(64))]
struct XPanel {
    _values: [f32; DEPTH * MAX_WIDTH],
}

/// `C += A B`: A is items x depth with both strides free, B is depth x vectors, C items x vectors.
#[derive(Clone, Copy)]
struct Product {
    items: usize,
    depth: usize,
    a: *const f32,
    a_item: usize,
    a_step: usize,
    b: *const f32,
    b_step: usize,
    c: *mut f32,
    c_item: usize,
}

/// `M` items by `V` vectors in registers. With `PARTIAL` the last vector has `lanes` lanes, else all.
///
/// # Safety
/// The pointers of `product` must cover `M` items, its depth and `V` vectors; the machine must have the
/// instruction set.
#[inline(always)]
unsafe fn tile<L: Lanes, const M: usize, const V: usize, const PARTIAL: bool>(
    product: Product,
    lanes: usize,
) {
    // SAFETY: the caller vouches for pointers and instruction set; partial vectors touch `lanes` values only.
    unsafe {
        let zero = L::splat(0.0);
        let mut sums = [[zero; V]; M];
        let (mut a, mut b) = (product.a, product.b);
        for _ in 0..product.depth {
            let mut right = [zero; V];
            for (v, vector) in right.iter_mut().enumerate() {
                *vector = load_vector::<L, PARTIAL>(b.add(v * L::N), v + 1 == V, lanes, zero);
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let left = L::splat(*a.add(m * product.a_item));
                for (sum, vector) in sums.iter_mut().zip(right) {
                    *sum = left.mul_add(vector, *sum);
                }
            }
            a = a.wrapping_add(product.a_step);
            b = b.wrapping_add(product.b_step);
        }
        for (m, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let c = product.c.add(m * product.c_item + v * L::N);
                let before = load_vector::<L, PARTIAL>(c, v + 1 == V, lanes, zero);
                let n = if PARTIAL && v + 1 == V { lanes } else { L::N };
                store_up_to(before.add(*sum), c, n);
            }
        }
    }
}

/// # Safety
/// `from` must be readable for `lanes` values in the last vector of a partial tile, else for all lanes.
#[inline(always)]
unsafe fn load_vector<L: Lanes, const PARTIAL: bool>(
    from: *const f32,
    last: bool,
    lanes: usize,
    zero: L,
) -> L {
    // SAFETY: handed on from the caller.
    unsafe { if PARTIAL && last { load_up_to(from, lanes, zero) } else { L::load(from) } }
}

/// All items against one column block of `V` vectors, in tiles of at most `M` items of nearly equal height (ten
/// classes are cut 5 + 5, not 8 + 2: a low tile leaves the multipliers waiting for its own sums).
///
/// # Safety
/// As in [`tile`], for all items.
#[inline(always)]
unsafe fn stripe<L: Lanes, const M: usize, const V: usize, const PARTIAL: bool>(
    mut product: Product,
    lanes: usize,
) {
    let tiles = product.items.div_ceil(M);
    for done in 0..tiles {
        let height = product.items.div_ceil(tiles - done);
        // SAFETY: `height` items are left; the caller vouches for the rest.
        unsafe {
            match height {
                1 => tile::<L, 1, V, PARTIAL>(product, lanes),
                2 => tile::<L, 2, V, PARTIAL>(product, lanes),
                3 => tile::<L, 3, V, PARTIAL>(product, lanes),
                4 => tile::<L, 4, V, PARTIAL>(product, lanes),
                5 if M >= 5 => tile::<L, 5, V, PARTIAL>(product, lanes),
                6 if M >= 6 => tile::<L, 6, V, PARTIAL>(product, lanes),
                7 if M >= 7 => tile::<L, 7, V, PARTIAL>(product, lanes),
                _ => tile::<L, M, V, PARTIAL>(product, lanes),
            }
        }
        product.items -= height;
        product.a = product.a.wrapping_add(height * product.a_item);
        product.c = product.c.wrapping_add(height * product.c_item);
    }
}

/// `z[r * stride + c] = x_r . w_c + bias_c`.
///
/// # Safety
/// `x` is rows x features, `packed` was packed for this lane count and `V`, `bias` has its classes, `z` has rows x
/// stride values with stride >= classes; the machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn logits<L: Lanes, const M: usize, const V: usize>(
    x: &[f32],
    packed: &PackedWeights,
    bias: &[f32],
    z: &mut [f32],
    stride: usize,
    rows: usize,
) {
    let (features, classes) = (packed.features(), packed.classes());
    let in_panels = packed.classes_in_panels();
    // Rows of z start with the bias; so many of them that they would be out of the caches by then, panel by panel.
    let by_panel = rows * classes > CACHED && features > 0;
    let fill = |z: &mut [f32], classes: Range<usize>| {
        for row in z.chunks_exact_mut(stride).take(rows) {
            row[classes.clone()].copy_from_slice(&bias[classes.clone()]);
        }
    };
    fill(z, if by_panel { in_panels } else { 0 }..classes);
    for start in (0..features).step_by(DEPTH) {
        let mut class = 0;
        while class < in_panels {
            let width = packed.panel_width(class);
            let panel = packed.panel(class);
            if by_panel && start == 0 {
                fill(z, class..(class + width).min(in_panels));
            }
            // SAFETY: the panel is features x width; the columns class.. of z have room for the lanes asked for.
            unsafe {
                let product = Product {
                    items: rows,
                    depth: DEPTH.min(features - start),
                    a: x.as_ptr().add(start),
                    a_item: features,
                    a_step: 1,
                    b: panel.as_ptr().add(start * width),
                    b_step: width,
                    c: z.as_mut_ptr().add(class),
                    c_item: stride,
                };
                if width == L::N {
                    stripe::<L, M, 1, true>(product, L::N.min(in_panels - class));
                } else {
                    stripe::<L, M, V, false>(product, L::N);
                }
            }
            class += width;
        }
    }
    // SAFETY: the caller vouches for the shapes.
    unsafe { remaining_logits::<L>(x, packed, z, stride, rows) }
}

/// Adds the few classes that are left of the panels, vectors running along the features so that no lane idles.
///
/// # Safety
/// As in [`logits`].
#[inline(always)]
unsafe fn remaining_logits<L: Lanes>(
    x: &[f32],
    packed: &PackedWeights,
    z: &mut [f32],
    stride: usize,
    rows: usize,
) {
    const ROWS: usize = 4;
    let features = packed.features();
    let first_class = packed.classes_in_panels();
    let remaining = packed.classes() - first_class;
    let groups = remaining.div_ceil(4);
    for row in (0..rows).step_by(ROWS) {
        let mut done = 0;
        for group in 0..groups {
            let count = (remaining - done).div_ceil(groups - group);
            // SAFETY: rows, classes and features lie within the slices by the shapes the caller vouches for.
            unsafe {
                let mut dots = Dots {
                    features,
                    x: x.as_ptr().add(row * features),
                    w: packed.remaining().as_ptr().add(done * features),
                    z: z.as_mut_ptr().add(row * stride + first_class + done),
                    stride,
                };
                if rows - row >= ROWS {
                    dots.rows_by_classes::<L, ROWS>(count);
                } else {
                    for _ in row..rows {
                        dots.rows_by_classes::<L, 1>(count);
                        dots.x = dots.x.wrapping_add(features);
                        dots.z = dots.z.wrapping_add(stride);
                    }
                }
            }
            done += count;
        }
    }
}

/// Inner products of some rows of x with some rows of w, both `features` long, added to z.
struct Dots {
    features: usize,
    x: *const f32,
    w: *const f32,
    z: *mut f32,
    stride: usize,
}

impl Dots {
    /// # Safety
    /// The pointers must cover `ROWS` rows and `classes` (1 to 4) classes.
    #[inline(always)]
    unsafe fn rows_by_classes<L: Lanes, const ROWS: usize>(&self, classes: usize) {
        // SAFETY: handed on from the caller.
        unsafe {
            match classes {
                1 => self.tile::<L, ROWS, 1>(),
                2 => self.tile::<L, ROWS, 2>(),
                3 => self.tile::<L, ROWS, 3>(),
                _ => self.tile::<L, ROWS, 4>(),
            }
        }
    }

    /// # Safety
    /// The pointers must cover `ROWS` rows and `CLASSES` classes.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const ROWS: usize, const CLASSES: usize>(&self) {
        // SAFETY: handed on from the caller; the last step reads the features that are left only.
        unsafe {
            let zero = L::splat(0.0);
            let mut sums = [[zero; ROWS]; CLASSES];
            let mut at = 0;
            while at < self.features {
                let n = self.features - at;
                let mut rows = [zero; ROWS];
                for (r, row) in rows.iter_mut().enumerate() {
                    *row = load_up_to(self.x.add(r * self.features + at), n, zero);
                }
                for (c, sums) in sums.iter_mut().enumerate() {
                    let weights = load_up_to(self.w.add(c * self.features + at), n, zero);
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        *sum = row.mul_add(weights, *sum);
                    }
                }
                at += L::N;
            }
            for (c, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    *self.z.add(r * self.stride + c) += sum.sum();
                }
            }
        }
    }
}

/// `g[c * features + d] += sum over rows of r[row * stride + c] * x[row * features + d]`.
///
/// With `UPPER`, elements below the diagonal of `g` may be left out.
///
/// # Safety
/// `x` is rows x features, `r` reaches to class `classes` of the last of its rows of `stride` >= classes, `g` is classes x features; the
/// machine must have the instruction set.
#[inline(always)]
pub(super) unsafe fn accumulate_gradient<L: Lanes, const M: usize, const V: usize, const UPPER: bool>(
    r: &[f32],
    stride: usize,
    classes: usize,
    x: &[f32],
    features: usize,
    g: &mut [f32],
) {
    let rows = x.len() / features;
    const { assert!(V * L::N <= MAX_WIDTH) };
    let width = V * L::N;
    // Copied side by side, the features of a block of rows stay in the L1 cache: where they lie, rows a power of two
    // apart push each other out. Few classes do not read them often enough to pay for the copy.
    let mut copy = MaybeUninit::<XPanel>::uninit();
    for start in (0..rows).step_by(DEPTH) {
        let depth = DEPTH.min(rows - start);
        let mut feature = 0;
        while feature < features {
            let whole = feature + width <= features;
            let mut product = Product {
                items: if UPPER { classes.min(feature + width) } else { classes },
                depth,
                a: r[start * stride..].as_ptr(),
                a_item: 1,
                a_step: stride,
                b: x[start * features + feature..].as_ptr(),
                b_step: features,
                c: g[feature..].as_mut_ptr(),
                c_item: features,
            };
            if whole && classes > 2 * M {
                let to = copy.as_mut_ptr().cast::<f32>();
                for row in 0..depth {
                    // SAFETY: `depth` rows of `width` values fit the panel, which is MAX_WIDTH wide.
                    unsafe {
                        product.b.add(row * features).copy_to_nonoverlapping(to.add(row * width), width)
                    };
                }
                product.b = to;
                product.b_step = width;
            }
            // SAFETY: `feature` is a column of x and g, and the vectors taken end before `features`.
            unsafe {
                if whole {
                    stripe::<L, M, V, false>(product, L::N);
                    feature += width;
                } else {
                    stripe::<L, M, 1, true>(product, L::N.min(features - feature));
                    feature += L::N;
                }
            }
        }
    }
}

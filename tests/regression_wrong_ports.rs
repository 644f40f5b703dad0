//! Mistakes found in published ports of the class-balanced loss (docs/METHODS.md section 7). Each test writes the
//! wrong formula down, shows that it gives another number, and that ours is the right one.

use cbfit::loss::Loss;
use cbfit::simd::{Kernels, Layout, RowBlock};

const Z: [f64; 6] = [1.5, -0.5, 0.25, -2.0, 0.75, 1.0];
const LABELS: [usize; 2] = [0, 2];
const CLASSES: usize = 3;
/// Class weights alpha; the rows have those of their labels.
const ALPHA: [f64; 3] = [0.25, 1.0, 2.5];

fn rows() -> impl Iterator<Item = (&'static [f64], usize)> {
    Z.chunks(CLASSES).zip(LABELS)
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let total: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / total).collect()
}

/// Binary cross entropy of probability `p` against `class == label`.
fn binary_cross_entropy(p: f64, own: bool) -> f64 {
    -if own { p.ln() } else { (1.0 - p).ln() }
}

/// Weighted value and residuals of the two rows.
/// Logits row by row without gaps.
fn by_row<'a>(z: &'a mut [f32], classes: usize, labels: &'a [u32], weights: &'a [f32]) -> RowBlock<'a> {
    RowBlock { z, layout: Layout::Rows { stride: classes }, classes, labels, weights }
}

fn ours(loss: Loss) -> (f64, Vec<f64>) {
    let mut z = Z.map(|z| z as f32);
    let weights = LABELS.map(|y| ALPHA[y] as f32);
    let value = loss.residuals(Kernels::best(), by_row(&mut z, CLASSES, &LABELS.map(|y| y as u32), &weights));
    (value, z.map(f64::from).to_vec())
}

fn assert_right_and_not_wrong(found: f64, right: f64, wrong: f64) {
    assert!((found - right).abs() <= 1e-6 * right.abs(), "ours {found}, right {right}");
    assert!(
        (found - wrong).abs() > 1e-3 * right.abs(),
        "the wrong formula {wrong} is no different from {found}"
    );
}

#[test]
fn port_1_forgets_the_weights_in_the_sigmoid_branch() {
    let row = |z: &[f64], y| -> f64 {
        z.iter().enumerate().map(|(c, &z)| binary_cross_entropy(logistic(z), c == y)).sum()
    };
    let right: f64 = rows().map(|(z, y)| ALPHA[y] * row(z, y)).sum();
    let wrong: f64 = rows().map(|(z, y)| row(z, y)).sum();
    assert_right_and_not_wrong(ours(Loss::Sigmoid).0, right, wrong);
}

#[test]
fn port_1_scales_every_class_of_a_row_by_the_weight_of_its_label() {
    // Not like `pos_weight`, which would leave the terms of the other classes alone.
    let (_, residuals) = ours(Loss::Sigmoid);
    for (r, (z, y)) in rows().enumerate() {
        for (c, &z) in z.iter().enumerate() {
            let unweighted = logistic(z) - f64::from(c == y);
            let pos_weighted = if c == y { ALPHA[y] * unweighted } else { unweighted };
            let found = residuals[r * CLASSES + c];
            assert!((found - ALPHA[y] * unweighted).abs() < 1e-6);
            assert!(c == y || (found - pos_weighted).abs() > 1e-3);
        }
    }
}

#[test]
fn port_2_calls_the_binary_cross_entropy_of_softmax_outputs_softmax() {
    let right: f64 = rows().map(|(z, y)| -ALPHA[y] * softmax(z)[y].ln()).sum();
    let wrong: f64 = rows()
        .map(|(z, y)| {
            let terms = softmax(z).into_iter().enumerate().map(|(c, p)| binary_cross_entropy(p, c == y));
            ALPHA[y] * terms.sum::<f64>()
        })
        .sum();
    assert_right_and_not_wrong(ours(Loss::Softmax).0, right, wrong);
}

#[test]
fn port_3_takes_the_mean_over_rows_times_classes() {
    let row = |z: &'static [f64], y| {
        z.iter().enumerate().map(move |(c, &z)| binary_cross_entropy(logistic(z), c == y))
    };
    let right: f64 = rows().map(|(z, y)| ALPHA[y] * row(z, y).sum::<f64>()).sum();
    let wrong: f64 = rows().map(|(z, y)| ALPHA[y] * row(z, y).sum::<f64>() / CLASSES as f64).sum();
    assert_right_and_not_wrong(ours(Loss::Sigmoid).0, right, wrong);
}

#[test]
fn port_4_puts_the_class_weight_inside_the_focal_modulator() {
    let gamma = 2.0;
    let terms = |z: &'static [f64], y| {
        z.iter().enumerate().map(move |(c, &z)| binary_cross_entropy(logistic(z), c == y))
    };
    let right: f64 = rows()
        .map(|(z, y)| ALPHA[y] * terms(z, y).map(|ce| (1.0 - (-ce).exp()).powf(gamma) * ce).sum::<f64>())
        .sum();
    // p "recovered" from the cross entropy after it was weighted.
    let wrong: f64 = rows()
        .map(|(z, y)| {
            terms(z, y).map(|ce| ALPHA[y] * ce).map(|ce| (1.0 - (-ce).exp()).powf(gamma) * ce).sum::<f64>()
        })
        .sum();
    assert_right_and_not_wrong(ours(Loss::Focal { gamma }).0, right, wrong);
}

#[test]
fn port_5_multiplies_all_rows_by_one_scalar_instead_of_the_weight_of_their_label() {
    // The sum of alpha over the integer labels, as if they were a 0/1 target.
    let scalar: f64 = LABELS.iter().map(|&y| y as f64 * ALPHA[1]).sum();
    let right: f64 = rows().map(|(z, y)| -ALPHA[y] * softmax(z)[y].ln()).sum();
    let wrong: f64 = rows().map(|(z, y)| -scalar * softmax(z)[y].ln()).sum();
    assert_right_and_not_wrong(ours(Loss::Softmax).0, right, wrong);
}

#[test]
fn port_6_puts_softmax_probabilities_into_binary_focal_formulas() {
    let gamma = 2.0;
    let binary_slope = |p: f64, own: bool| {
        // dL/dz of one binary focal term, where p is the probability of what is true.
        let (p, sign) = if own { (p, 1.0) } else { (1.0 - p, -1.0) };
        sign * (1.0 - p).powf(gamma) * (gamma * p * p.ln() - (1.0 - p))
    };
    let (_, residuals) = ours(Loss::SoftmaxFocal { gamma });
    for (r, (z, y)) in rows().enumerate() {
        let wrong: f64 = softmax(z).into_iter().enumerate().map(|(c, p)| binary_slope(p, c == y)).sum();
        let found: f64 = residuals[r * CLASSES..(r + 1) * CLASSES].iter().sum();
        // Softmax does not change when a constant is added to all logits, so its gradient sums to zero.
        assert!(found.abs() < 1e-6, "row {r}: {found}");
        assert!(wrong.abs() > 1e-2, "row {r}: {wrong}");
    }
}

#[test]
fn the_published_focal_modulator_overflows_for_the_hardest_rows() {
    // exp(-g y z - g log1p(exp(-z))) of a positive with z = -100, in f32: the easiest weight, 0, instead of 1.
    let (gamma, z) = (2.0f32, -100.0f32);
    let published = (-gamma * z - gamma * (-z).exp().ln_1p()).exp();
    assert_eq!(published, 0.0);
    let mut block = [z, -z];
    let value = Loss::Focal { gamma: 2.0 }.residuals(Kernels::best(), by_row(&mut block, 2, &[0], &[1.0]));
    assert!((value - 200.0).abs() < 1e-3, "{value}");
    assert!((f64::from(block[0]) + 1.0).abs() < 1e-6 && (f64::from(block[1]) - 1.0).abs() < 1e-6);
}

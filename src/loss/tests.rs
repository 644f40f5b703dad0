use super::*;
use crate::rng::CounterRng;
use crate::simd::{Isa, Layout};

/// A block of logits that lie row by row.
fn by_row<'a>(
    z: &'a mut [f32],
    stride: usize,
    classes: usize,
    labels: &'a [u32],
    weights: &'a [f32],
) -> RowBlock<'a> {
    RowBlock { z, layout: Layout::Rows { stride }, classes, labels, weights }
}

const LOSSES: [Loss; 10] = [
    Loss::Softmax,
    Loss::Sigmoid,
    Loss::Focal { gamma: 0.0 },
    Loss::Focal { gamma: 0.5 },
    Loss::Focal { gamma: 1.0 },
    Loss::Focal { gamma: 2.0 },
    Loss::Focal { gamma: 5.0 },
    Loss::SoftmaxFocal { gamma: 0.0 },
    Loss::SoftmaxFocal { gamma: 0.5 },
    Loss::SoftmaxFocal { gamma: 2.0 },
];

fn available() -> impl Iterator<Item = &'static Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::for_isa)
}

fn random_row(rng: &mut CounterRng, classes: usize, spread: f64) -> Vec<f64> {
    (0..classes).map(|_| (rng.next_f64() - 0.5) * 2.0 * spread).collect()
}

/// Value, gradient and Hessian diagonal of `loss`.
fn row(loss: Loss, z: &[f64], label: usize) -> (f64, Vec<f64>, Vec<f64>) {
    let (mut gradient, mut hessian) = (vec![0.0; z.len()], vec![0.0; z.len()]);
    let value = loss.row_f64(z, label, &mut gradient, &mut hessian);
    (value, gradient, hessian)
}

fn close(found: f64, wanted: f64, relative: f64, absolute: f64) -> bool {
    (found - wanted).abs() <= relative * wanted.abs() + absolute
}

#[test]
fn gradient_and_hessian_are_the_differences_of_the_value() {
    let mut rng = CounterRng::new(1, 0);
    let h = 1e-4;
    for loss in LOSSES {
        for classes in [2, 5] {
            for spread in [0.5, 4.0, 12.0] {
                let z = random_row(&mut rng, classes, spread);
                let label = rng.below(classes);
                let (value, gradient, hessian) = row(loss, &z, label);
                assert!(value.is_finite());
                for c in 0..classes {
                    let at = |step: f64| {
                        let mut moved = z.clone();
                        moved[c] += step;
                        row(loss, &moved, label)
                    };
                    let slope = (at(h).0 - at(-h).0) / (2.0 * h);
                    assert!(close(gradient[c], slope, 1e-6, 1e-7), "{loss:?} {z:?}: {} {slope}", gradient[c]);
                    let curvature = (at(h).1[c] - at(-h).1[c]) / (2.0 * h);
                    assert!(
                        close(hessian[c], curvature, 1e-6, 1e-7),
                        "{loss:?} {z:?}: {} {curvature}",
                        hessian[c]
                    );
                }
            }
        }
    }
}

#[test]
fn kernels_agree_with_the_f64_row() {
    for kernels in available() {
        let mut rng = CounterRng::new(2, 0);
        for loss in LOSSES {
            for (classes, stride) in [
                (2, 2),
                (3, 5),
                (4, 4),
                (10, 16),
                (64, 64),
                (65, 65),
                (16, 16),
                (17, 17),
                (151, 160),
                (1000, 1003),
            ] {
                for spread in [1e-3, 1.0, 10.0, 80.0, 1e4] {
                    let rows = 21;
                    let labels: Vec<u32> = (0..rows).map(|_| rng.below(classes) as u32).collect();
                    let weights: Vec<f32> =
                        (0..rows).map(|r| if r == 3 { 0.0 } else { 0.5 + r as f32 }).collect();
                    let z: Vec<f32> =
                        (0..rows * stride).map(|_| ((rng.next_f64() - 0.5) * 2.0 * spread) as f32).collect();
                    let mut residuals = z.clone();
                    let found =
                        loss.residuals(kernels, by_row(&mut residuals, stride, classes, &labels, &weights));
                    let mut wanted = 0.0;
                    for r in 0..rows {
                        let logits: Vec<f64> =
                            z[r * stride..][..classes].iter().map(|&z| f64::from(z)).collect();
                        let (value, gradient, _) = row(loss, &logits, labels[r] as usize);
                        let weight = f64::from(weights[r]);
                        wanted += weight * value;
                        for (c, g) in gradient.iter().enumerate() {
                            let got = f64::from(residuals[r * stride + c]);
                            let scale = weight * g.abs().max(1e-3);
                            let context =
                                || format!("{} {loss:?} C={classes} spread={spread}", kernels.isa().name());
                            // z - max is rounded to f32, 1e-3 of a logit at 1e4: felt only where p is tiny.
                            assert!(
                                (got - weight * g).abs() <= 2e-6 * scale,
                                "{}: {got} {}",
                                context(),
                                weight * g
                            );
                        }
                        assert_eq!(
                            residuals[r * stride + classes..(r + 1) * stride],
                            z[r * stride + classes..(r + 1) * stride]
                        );
                    }
                    assert!(
                        close(found, wanted, 1e-6, 1e-12),
                        "{} {loss:?} C={classes} spread={spread}: {found} {wanted}",
                        kernels.isa().name()
                    );
                }
            }
        }
    }
}

#[test]
fn a_well_fitted_row_keeps_its_small_loss_and_residual() {
    for kernels in available() {
        for loss in
            [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 2.0 }, Loss::SoftmaxFocal { gamma: 2.0 }]
        {
            let z = [15.0f32, -14.0, -14.5];
            let mut residuals = z;
            let found = loss.residuals(kernels, by_row(&mut residuals, 3, 3, &[0], &[1.0]));
            let (wanted, gradient, _) = row(loss, &z.map(f64::from), 0);
            assert!(wanted > 0.0 && close(found, wanted, 2e-6, 1e-30), "{loss:?}: {found} {wanted}");
            for (found, wanted) in residuals.iter().zip(gradient) {
                assert!(close(f64::from(*found), wanted, 3e-6, 1e-30), "{loss:?}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn a_logit_that_is_not_finite_makes_the_value_nan() {
    for kernels in available() {
        for loss in LOSSES {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for place in 0..19 {
                    let mut z = vec![0.25f32; 2 * 19];
                    z[19 + place] = bad;
                    let labels = [3, 7];
                    let value = loss.residuals(kernels, by_row(&mut z, 19, 19, &labels, &[1.0, 1.0]));
                    assert!(value.is_nan(), "{loss:?} {bad}");
                    let mut row64 = vec![0.25; 19];
                    row64[place] = f64::from(bad);
                    assert!(row(loss, &row64, 7).0.is_nan());
                }
            }
        }
    }
}

#[test]
fn a_row_without_weight_is_left_out_whatever_it_holds() {
    for kernels in available() {
        for loss in LOSSES {
            let mut z = [f32::NAN, 1.0, 9.0, 0.5, -0.5, 9.0];
            let both = loss.residuals(kernels, by_row(&mut z, 3, 2, &[u32::MAX, 1], &[0.0, 2.0]));
            let mut alone = [0.5, -0.5];
            assert_eq!(both, loss.residuals(kernels, by_row(&mut alone, 2, 2, &[1], &[2.0])));
            assert_eq!(z, [0.0, 0.0, 9.0, alone[0], alone[1], 9.0]);
        }
    }
}

#[test]
fn gamma_zero_is_the_plain_loss() {
    for kernels in available() {
        let z: Vec<f32> = (0..33).map(|i| (i as f32 * 0.7).sin() * 9.0).collect();
        for (focal, plain) in
            [(Loss::Focal { gamma: 0.0 }, Loss::Sigmoid), (Loss::SoftmaxFocal { gamma: 0.0 }, Loss::Softmax)]
        {
            let (mut a, mut b) = (z.clone(), z.clone());
            let values = [(focal, &mut a), (plain, &mut b)]
                .map(|(loss, z)| loss.residuals(kernels, by_row(z, 33, 33, &[4], &[1.5])));
            assert_eq!(values[0], values[1]);
            assert_eq!(a, b);
        }
        // The focal kernel itself, not only the dispatch.
        let block = |z| by_row(z, 33, 33, &[4], &[1.5]);
        let (mut a, mut b) = (z.clone(), z.clone());
        let focal = kernels.focal_rows(block(&mut a), 0.0);
        let plain = kernels.sigmoid_rows(block(&mut b));
        assert!(close(focal, plain, 1e-7, 0.0));
        assert!(a.iter().zip(&b).all(|(a, b)| close(f64::from(*a), f64::from(*b), 1e-6, 1e-12)));
    }
}

#[test]
fn softmax_residuals_of_a_row_sum_to_zero() {
    for kernels in available() {
        for loss in [Loss::Softmax, Loss::SoftmaxFocal { gamma: 1.5 }] {
            let mut z: Vec<f32> = (0..100).map(|i| (i as f32 * 1.3).cos() * 6.0).collect();
            loss.residuals(kernels, by_row(&mut z, 100, 100, &[42], &[1.0]));
            let sum: f64 = z.iter().map(|&r| f64::from(r)).sum();
            assert!(sum.abs() < 1e-6, "{loss:?}: {sum}");
        }
    }
}

#[test]
fn the_peak_of_a_row_is_its_own() {
    // One row in a hundred scaled by 40: with a maximum taken over the block, the other rows would vanish in f32.
    let (rows, classes) = (200, 20);
    for kernels in available() {
        let mut rng = CounterRng::new(5, 0);
        let mut z = vec![0.0f32; rows * classes];
        for (r, row) in z.chunks_exact_mut(classes).enumerate() {
            let scale = if r % 100 == 0 { 40.0 } else { 1.0 };
            row.fill_with(|| (rng.next_f64() as f32 - 0.5) * 10.0 * scale);
        }
        let logits = z.clone();
        let labels: Vec<u32> = (0..rows).map(|_| rng.below(classes) as u32).collect();
        Loss::Softmax.residuals(kernels, by_row(&mut z, classes, classes, &labels, &vec![1.0; rows]));
        for r in 0..rows {
            let one: Vec<f64> = logits[r * classes..][..classes].iter().map(|&z| f64::from(z)).collect();
            let (_, gradient, _) = row(Loss::Softmax, &one, labels[r] as usize);
            for (found, wanted) in z[r * classes..].iter().zip(gradient) {
                assert!(close(f64::from(*found), wanted, 2e-6, 1e-9), "row {r}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn curvature_bounds_are_those_of_the_table() {
    for (gamma, bound) in [(0.0, 0.25), (0.5, 0.325), (1.0, 0.390), (2.0, 0.496), (5.0, 0.701)] {
        assert!((Loss::Focal { gamma }.curvature_bound() - bound).abs() < 6e-4, "gamma {gamma}");
    }
    assert!((Loss::Sigmoid.curvature_bound() - 0.25).abs() < 1e-12);
    assert!((Loss::Softmax.curvature_bound() - 0.5).abs() < 1e-12);
}

#[test]
fn no_direction_is_curved_more_than_the_bound() {
    let mut rng = CounterRng::new(9, 0);
    for loss in LOSSES {
        let bound = loss.curvature_bound();
        let mut largest = 0.0f64;
        for trial in 0..4000 {
            let classes = [2, 3, 8][trial % 3];
            let spread = [1.0, 3.0, 6.0][trial / 3 % 3];
            let z = random_row(&mut rng, classes, spread);
            let label = rng.below(classes);
            let mut direction = random_row(&mut rng, classes, 1.0);
            if trial % 2 == 0 {
                // Mass moving between the true class and one other is the worst direction.
                direction.fill(0.0);
                direction[label] = 1.0;
                direction[(label + 1) % classes] = -1.0;
            }
            let h = 1e-4;
            let along = |sign: f64| {
                let moved: Vec<f64> = z.iter().zip(&direction).map(|(z, d)| z + sign * h * d).collect();
                row(loss, &moved, label).1.iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>()
            };
            let squared: f64 = direction.iter().map(|d| d * d).sum();
            largest = largest.max((along(1.0) - along(-1.0)) / (2.0 * h) / squared);
        }
        assert!(largest <= bound * (1.0 + 1e-6), "{loss:?}: {largest} above {bound}");
        assert!(largest >= bound * 0.95, "{loss:?}: the bound {bound} is loose, {largest} found");
    }
}

#[test]
fn bias_starts_at_the_log_odds_of_one_class() {
    assert_eq!(Loss::Sigmoid.bias_start(10), -(9f64.ln()) as f32);
    assert_eq!(Loss::Focal { gamma: 2.0 }.bias_start(2), 0.0);
    assert_eq!(Loss::Softmax.bias_start(10), 0.0);
    assert_eq!(Loss::Sigmoid.bias_start(1), 0.0);
}

#[test]
fn logits_class_by_class_give_the_same_residuals() {
    let (rows, stride) = (45, 48);
    for kernels in Isa::ALL.into_iter().filter_map(Kernels::for_isa) {
        for classes in [1, 2, 7, 64, 65, 100] {
            let mut rng = CounterRng::new(8, classes as u64);
            let labels: Vec<u32> = (0..rows).map(|_| rng.below(classes) as u32).collect();
            let weights: Vec<f32> = (0..rows).map(|row| [0.0, 0.7, 2.0][row % 3]).collect();
            let z: Vec<f32> = (0..rows * classes).map(|_| rng.next_f64() as f32 * 20.0 - 10.0).collect();
            let mut by_class = vec![f32::NAN; stride * classes];
            for (row, z) in z.chunks_exact(classes).enumerate() {
                z.iter().enumerate().for_each(|(class, &z)| by_class[class * stride + row] = z);
            }
            for loss in LOSSES {
                let (mut one, mut other) = (z.clone(), by_class.clone());
                let wanted = loss.residuals(kernels, by_row(&mut one, classes, classes, &labels, &weights));
                let found = loss.residuals(
                    kernels,
                    RowBlock {
                        layout: Layout::Classes { stride },
                        ..by_row(&mut other, stride, classes, &labels, &weights)
                    },
                );
                assert!((found - wanted).abs() <= 1e-6 * wanted, "{kernels:?} {loss:?} {classes}");
                for (row, residuals) in one.chunks_exact(classes).enumerate() {
                    for (class, &residual) in residuals.iter().enumerate() {
                        let found = other[class * stride + row];
                        // Up to 64 classes rows are taken side by side either way.
                        let near = if classes > 64 { 4e-6 } else { 0.0 };
                        assert!(
                            (found - residual).abs() <= near,
                            "{kernels:?} {loss:?} {classes}: {found} {residual}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn losses_survive_json() {
    for loss in LOSSES {
        let text = serde_json::to_string(&loss).unwrap();
        assert_eq!(serde_json::from_str::<Loss>(&text).unwrap(), loss);
    }
}

#[test]
fn losses_without_focusing_are_the_convex_ones() {
    for (loss, name, is_convex) in [
        (Loss::Softmax, "softmax", true),
        (Loss::Sigmoid, "sigmoid", true),
        (Loss::Focal { gamma: 0.0 }, "focal", true),
        (Loss::Focal { gamma: 0.5 }, "focal", false),
        (Loss::SoftmaxFocal { gamma: 2.0 }, "softmax-focal", false),
    ] {
        assert_eq!((loss.name(), loss.is_convex()), (name, is_convex));
        let plain = if matches!(loss, Loss::Softmax | Loss::SoftmaxFocal { .. }) {
            Loss::Softmax
        } else {
            Loss::Sigmoid
        };
        let ratio = loss.curvature_bound() / plain.curvature_bound();
        assert!((loss.relative_curvature() - ratio).abs() < 1e-12, "{loss:?}");
    }
}

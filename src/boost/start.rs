//! Scores before the first tree.

use serde::{Deserialize, Serialize};

use crate::loss::Loss;

/// Where scores start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// The constant that minimises the weighted loss: log shares of the weight, centred (softmax), their log-odds
    /// (sigmoid), or what a Newton search finds (focal losses, whose minimum is no log-odds).
    Weighted,
    /// `-log(K - 1)`, one class among K, for one-vs-rest losses (Cui et al. 2019), else 0.
    Paper,
    /// 0.
    Zero,
}

/// Base scores for classes whose rows weigh `totals` (not all 0), one an output; `offsets` are added inside the loss.
pub(super) fn base_scores(init: Init, loss: Loss, totals: &[f64], offsets: Option<&[f32]>) -> Vec<f32> {
    let classes = totals.len();
    let binary = classes == 2;
    let outputs = if binary { 1 } else { classes };
    match init {
        Init::Zero => return vec![0.0; outputs],
        // With two classes one among K is the other among K: the log-odds are 0.
        Init::Paper => return vec![if binary { 0.0 } else { loss.bias_start(classes) }; outputs],
        Init::Weighted => {}
    }
    let totals = without_empty(totals);
    let mut scores: Vec<f64> =
        if binary { vec![binary_score(loss, &totals)] } else { constant_minimiser(loss, &totals) };
    if let Some(offsets) = offsets {
        scores.iter_mut().zip(offsets).for_each(|(score, &offset)| *score -= f64::from(offset));
    }
    scores.into_iter().map(|score| score as f32).collect()
}

/// Shares of the total; an empty class counts as half the smallest that is not: its logarithm would be infinite.
fn without_empty(totals: &[f64]) -> Vec<f64> {
    let smallest = totals.iter().copied().filter(|&t| t > 0.0).fold(f64::INFINITY, f64::min);
    let filled: Vec<f64> = totals.iter().map(|&t| if t > 0.0 { t } else { smallest / 2.0 }).collect();
    let sum: f64 = filled.iter().sum();
    filled.into_iter().map(|t| t / sum).collect()
}

fn binary_score(loss: Loss, shares: &[f64]) -> f64 {
    let log_odds = (shares[1] / shares[0]).ln();
    let gamma = loss.gamma();
    if gamma == 0.0 {
        return log_odds;
    }
    let term = Loss::Focal { gamma };
    newton(&[log_odds], |z, sums| {
        let (mut slope, mut curvature) = ([0.0], [0.0]);
        for (share, sign) in [(shares[1], 1.0), (shares[0], -1.0)] {
            term.row_f64(&[sign * z[0]], 0, &mut slope, &mut curvature);
            add(&mut sums[0], share, sign * slope[0], curvature[0]);
        }
    })[0]
}

fn constant_minimiser(loss: Loss, shares: &[f64]) -> Vec<f64> {
    let logs = shares.iter().map(|share| share.ln());
    let start: Vec<f64> = match loss {
        Loss::Softmax | Loss::SoftmaxFocal { .. } => {
            let mean = logs.clone().sum::<f64>() / shares.len() as f64;
            logs.map(|log| log - mean).collect()
        }
        // One class alone has nothing against it: its log-odds stop short of infinity.
        Loss::Sigmoid | Loss::Focal { .. } => {
            shares.iter().map(|share| (share / (1.0 - share).max(1e-12)).ln()).collect()
        }
    };
    if loss.gamma() == 0.0 {
        return start;
    }
    let classes = shares.len();
    let (mut slope, mut curvature) = (vec![0.0; classes], vec![0.0; classes]);
    newton(&start, |z, sums| {
        for (class, share) in shares.iter().enumerate() {
            loss.row_f64(z, class, &mut slope, &mut curvature);
            for ((sums, &slope), &curvature) in sums.iter_mut().zip(&slope).zip(&curvature) {
                add(sums, *share, slope, curvature);
            }
        }
    })
}

fn add(sums: &mut [f64; 3], share: f64, slope: f64, curvature: f64) {
    sums[0] += share * slope;
    sums[1] += share * curvature;
    sums[2] += share * slope.abs();
}

/// Diagonal Newton steps of at most 1 from `start`; `derive` adds gradient, Hessian and mean magnitude of the gradient at
/// a point.
///
/// The magnitude bounds the steps: twice a cross entropy's variance, it sees to it that outputs which move at the same
/// time do not overshoot together.
fn newton(start: &[f64], mut derive: impl FnMut(&[f64], &mut [[f64; 3]])) -> Vec<f64> {
    const STEPS: usize = 300;
    let mut z = start.to_vec();
    let mut sums = vec![[0.0; 3]; z.len()];
    for _ in 0..STEPS {
        sums.fill([0.0; 3]);
        derive(&z, &mut sums);
        let mut largest = 0.0f64;
        for (z, [g, h, magnitude]) in z.iter_mut().zip(&sums) {
            let step = (g / h.max(*magnitude).max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0);
            *z -= step;
            largest = largest.max(step.abs());
        }
        if largest < 1e-9 {
            break;
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weighted_start_minimises_the_loss() {
        for loss in [
            Loss::Softmax,
            Loss::Sigmoid,
            Loss::Focal { gamma: 2.0 },
            Loss::SoftmaxFocal { gamma: 1.0 },
            Loss::Focal { gamma: 0.5 },
        ] {
            for totals in [vec![900.0, 90.0, 10.0], vec![5.0, 5.0, 5.0, 5.0]] {
                let base = base_scores(Init::Weighted, loss, &totals, None);
                let z: Vec<f64> = base.iter().map(|&z| f64::from(z)).collect();
                let (mut g, mut h) = (vec![0.0; z.len()], vec![0.0; z.len()]);
                let mut total = vec![0.0; z.len()];
                for (class, weight) in totals.iter().enumerate() {
                    loss.row_f64(&z, class, &mut g, &mut h);
                    total.iter_mut().zip(&g).for_each(|(t, g)| *t += weight * g);
                }
                assert!(total.iter().all(|g| g.abs() < 1e-3), "{loss:?} {total:?}");
            }
        }
    }

    #[test]
    fn two_classes_start_where_their_one_score_does() {
        let at = |loss| base_scores(Init::Weighted, loss, &[30.0, 10.0], None)[0];
        assert_eq!([at(Loss::Softmax), at(Loss::Sigmoid)], [-(3f64.ln()) as f32; 2]);
        let focal = at(Loss::Focal { gamma: 2.0 });
        assert!(focal < 0.0 && focal > at(Loss::Sigmoid), "{focal}");
        let adjusted = base_scores(Init::Weighted, Loss::Softmax, &[30.0, 10.0], Some(&[0.5]));
        assert_eq!(adjusted, [-(3f64.ln()) as f32 - 0.5]);
    }

    #[test]
    fn empty_classes_leave_numbers_finite() {
        for loss in [Loss::Softmax, Loss::Sigmoid, Loss::Focal { gamma: 2.0 }] {
            for totals in [vec![3.0, 0.0, 1.0], vec![0.0, 2.0], vec![4.0]] {
                let base = base_scores(Init::Weighted, loss, &totals, None);
                assert!(base.iter().all(|z| z.is_finite()), "{loss:?} {totals:?} {base:?}");
            }
        }
        assert_eq!(base_scores(Init::Paper, Loss::Sigmoid, &[1.0; 5], None), [-(4f64.ln()) as f32; 5]);
        assert_eq!(base_scores(Init::Zero, Loss::Sigmoid, &[1.0; 5], None), [0.0; 5]);
    }
}

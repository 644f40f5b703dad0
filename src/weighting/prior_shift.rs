//! The prior of a batch whose class frequencies are unknown: expectation maximisation of Saerens, Latinne and
//! Decaestecker (Neural Computation 2002).

use rayon::prelude::*;
use serde::Serialize;

use crate::{Error, Result};

const MAX_ITERATIONS: usize = 1000;
/// Largest change of a class share at which the iteration stops.
const TOLERANCE: f64 = 1e-10;
/// Rows whose sum is formed by one task; fixed, so that sums do not depend on the number of threads.
const CHUNK_ROWS: usize = 512;

/// Class shares estimated for a batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PriorEstimate {
    /// Share of each class; sums to 1.
    pub prior: Vec<f64>,
    /// Iterations taken.
    pub iterations: usize,
    /// The last change of every share was below 1e-10; else the iteration ended at 1,000.
    pub converged: bool,
}

/// Estimates the class shares of a batch from its `natural` posteriors (row-major `rows x C`, under the training
/// shares `pi`): the shares that maximise the likelihood of the rows. Classes with `pi = 0` keep share 0; rows whose
/// posterior is not a number are passed over. [`Error::NoRows`] where no row is left, [`Error::BadPrior`] where the
/// length of `natural` is no multiple of C.
pub fn estimate_prior(natural: &[f32], pi: &[f64]) -> Result<PriorEstimate> {
    let classes = pi.len();
    if classes == 0 || !natural.len().is_multiple_of(classes) {
        return Err(Error::BadPrior {
            place: "prior em".into(),
            detail: format!("{} probabilities do not make rows of {classes} classes", natural.len()),
        });
    }
    let mut prior = pi.to_vec();
    for iteration in 1..=MAX_ITERATIONS {
        let ratio: Vec<f64> =
            prior.iter().zip(pi).map(|(rho, pi)| if *pi > 0.0 { rho / pi } else { 0.0 }).collect();
        let (sums, rows) = summed_posteriors(natural, &ratio);
        if rows == 0 {
            let why = " with usable probabilities to estimate a prior from".to_string();
            return Err(Error::NoRows { file: "prior em".into(), why });
        }
        let mut change = 0.0_f64;
        for (rho, sum) in prior.iter_mut().zip(&sums) {
            let next = sum / rows as f64;
            change = change.max((next - *rho).abs());
            *rho = next;
        }
        if change < TOLERANCE {
            return Ok(PriorEstimate { prior, iterations: iteration, converged: true });
        }
    }
    Ok(PriorEstimate { prior, iterations: MAX_ITERATIONS, converged: false })
}

/// Sum over rows of the posteriors re-weighted by `ratio`, and the number of rows that had any.
fn summed_posteriors(natural: &[f32], ratio: &[f64]) -> (Vec<f64>, usize) {
    let classes = ratio.len();
    let chunk_sums: Vec<(Vec<f64>, usize)> = natural
        .par_chunks(CHUNK_ROWS * classes)
        .map(|chunk| {
            let mut sums = vec![0.0; classes];
            let mut rows = 0;
            for row in chunk.chunks_exact(classes) {
                let total: f64 = row.iter().zip(ratio).map(|(&p, r)| f64::from(p) * r).sum();
                if total > 0.0 && total.is_finite() {
                    rows += 1;
                    for ((sum, &p), r) in sums.iter_mut().zip(row).zip(ratio) {
                        *sum += f64::from(p) * r / total;
                    }
                }
            }
            (sums, rows)
        })
        .collect();
    let mut sums = vec![0.0; classes];
    let mut rows = 0;
    for (chunk, n) in &chunk_sums {
        sums.iter_mut().zip(chunk).for_each(|(sum, part)| *sum += part);
        rows += n;
    }
    (sums, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    /// Posteriors under `pi` of points drawn under `rho` from three discrete densities over eight cells.
    fn drawn(rho: &[f64; 3], pi: &[f64; 3], rows: usize) -> Vec<f32> {
        const DENSITY: [[f64; 8]; 3] = [
            [0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05],
            [0.05, 0.05, 0.3, 0.3, 0.1, 0.1, 0.05, 0.05],
            [0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.3, 0.3],
        ];
        let mut rng = CounterRng::new(3, 0);
        let mut pick = |shares: &[f64]| {
            let mut left = rng.next_f64();
            shares.iter().position(|share| {
                left -= share;
                left < 0.0
            })
        };
        let mut out = Vec::new();
        for _ in 0..rows {
            let class = pick(rho).unwrap_or(2);
            let cell = pick(&DENSITY[class]).unwrap_or(7);
            let joint: Vec<f64> = (0..3).map(|c| pi[c] * DENSITY[c][cell]).collect();
            let sum: f64 = joint.iter().sum();
            out.extend(joint.iter().map(|j| (j / sum) as f32));
        }
        out
    }

    #[test]
    fn a_shifted_prior_is_found() {
        let (pi, rho) = ([0.8, 0.15, 0.05], [0.2, 0.3, 0.5]);
        let estimate = estimate_prior(&drawn(&rho, &pi, 40_000), &pi).unwrap();
        assert!(estimate.converged && estimate.iterations > 1, "{estimate:?}");
        assert!((estimate.prior.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        for (found, expected) in estimate.prior.iter().zip(&rho) {
            assert!((found - expected).abs() < 0.02, "{estimate:?}");
        }
    }

    #[test]
    fn every_thread_count_gives_the_same_bytes() {
        let pi = [0.8, 0.15, 0.05];
        let batch = drawn(&[0.3, 0.3, 0.4], &pi, 3_000);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| estimate_prior(&batch, &pi).unwrap())
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn classes_without_rows_and_broken_rows_are_left_out() {
        let natural = [0.9, 0.1, 0.0, f32::NAN, 0.5, 0.5, 0.2, 0.8, 0.0];
        let estimate = estimate_prior(&natural, &[0.5, 0.5, 0.0]).unwrap();
        assert_eq!(estimate.prior[2], 0.0);
        assert!((estimate.prior.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(estimate_prior(&[f32::NAN; 3], &[0.5, 0.5, 0.0]).unwrap_err().code(), "E0301");
        assert_eq!(estimate_prior(&[0.5; 4], &[0.5, 0.5, 0.0]).unwrap_err().code(), "E0321");
    }
}

//! One pass over the probabilities: what each row says about its own label.

use rayon::prelude::*;

use super::Scored;

/// Rows of one task; fixed, so that sums do not depend on the number of threads.
const CHUNK_ROWS: usize = 1024;

/// Score of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowScore {
    /// The class decided for: the most probable one (of equal ones the first) unless decisions are given.
    pub predicted: u32,
    /// The most probable class; of equal ones the first.
    pub top: u32,
    /// Probability of that class.
    pub confidence: f64,
    /// Number of classes ranked before the true one: the predicted one first, the others by probability (equal ones in
    /// class order); `u32::MAX` if unseen.
    pub before: u32,
    /// `-log p_y`, finite; NaN if unseen.
    pub log_loss: f64,
    /// `sum_c (p_c - [c = y])^2`; NaN if unseen.
    pub brier: f64,
}

/// Scores of all rows in row order, and the mean probability of each class over all rows.
pub(super) fn score_rows(scored: &Scored<'_>) -> (Vec<RowScore>, Vec<f64>) {
    let chunks: Vec<(Vec<RowScore>, Vec<f64>)> = scored
        .probabilities
        .par_chunks(CHUNK_ROWS * scored.classes)
        .enumerate()
        .map(|(chunk, values)| {
            let mut sums = vec![0.0; scored.classes];
            let first = chunk * CHUNK_ROWS;
            let rows = values.chunks_exact(scored.classes).enumerate().map(|(row, p)| {
                let weight = scored.weight(first + row);
                sums.iter_mut().zip(p).for_each(|(sum, &p)| *sum += weight * f64::from(p));
                score_row(p, scored.label(first + row))
            });
            (rows.collect(), sums)
        })
        .collect();
    let mut means = vec![0.0; scored.classes];
    let mut rows = Vec::with_capacity(scored.labels.len());
    for (scores, sums) in chunks {
        rows.extend(scores);
        means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum / scored.total_weight);
    }
    (rows, means)
}

/// Puts `decision` in the place of the most probable class of a row with probabilities `p`.
pub(super) fn decide(score: &mut RowScore, decision: u32, p: &[f32], label: Option<usize>) {
    score.predicted = decision;
    let (Some(y), Some(&decided)) = (label, p.get(decision as usize)) else { return };
    let was_ahead = decided > p[y] || (decided == p[y] && (decision as usize) < y);
    if decision as usize == y {
        score.before = 0;
    } else if !was_ahead {
        score.before += 1;
    }
}

fn score_row(p: &[f32], label: Option<usize>) -> RowScore {
    let mut best = 0;
    for (class, value) in p.iter().enumerate() {
        if *value > p[best] {
            best = class;
        }
    }
    let mut score = RowScore {
        predicted: best as u32,
        top: best as u32,
        confidence: f64::from(p[best]),
        before: u32::MAX,
        log_loss: f64::NAN,
        brier: f64::NAN,
    };
    if let Some(y) = label {
        let ahead = p[..y].iter().filter(|&&other| other >= p[y]).count();
        let behind = p[y + 1..].iter().filter(|&&other| other > p[y]).count();
        score.before = (ahead + behind) as u32;
        // Probabilities that underflowed in f32 cost as much as the smallest normal f32, 87.3 nats.
        score.log_loss = -f64::from(p[y].clamp(f32::MIN_POSITIVE, 1.0)).ln();
        let squares = |p: &[f32]| p.iter().map(|&p| f64::from(p).powi(2)).sum::<f64>();
        score.brier = squares(&p[..y]) + (1.0 - f64::from(p[y])).powi(2) + squares(&p[y + 1..]);
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_class_in_prediction_and_in_rank() {
        let p = [0.1, 0.4, 0.4, 0.1];
        assert_eq!(score_row(&p, Some(1)).predicted, 1);
        let before = [0, 1, 2, 3].map(|y| score_row(&p, Some(y)).before);
        assert_eq!(before, [2, 0, 1, 3]);
        assert_eq!(score_row(&p, None).before, u32::MAX);
    }

    #[test]
    fn a_decision_goes_before_the_ranks_by_probability() {
        let p = [0.1, 0.4, 0.3, 0.2];
        let before = |decision, y| {
            let mut score = score_row(&p, Some(y));
            decide(&mut score, decision, &p, Some(y));
            assert_eq!((score.predicted, score.top, score.confidence), (decision, 1, f64::from(0.4f32)));
            score.before
        };
        // Ranks 3, 1, 2, 0.
        assert_eq!([0, 1, 2, 3].map(|y| before(3, y)), [3, 1, 2, 0]);
        assert_eq!([0, 1, 2, 3].map(|y| before(1, y)), [3, 0, 1, 2]);
    }

    #[test]
    fn a_probability_of_zero_costs_a_finite_loss() {
        let score = score_row(&[1.0, 0.0], Some(1));
        assert!((score.log_loss - 87.336_544_750_553_1).abs() < 1e-9, "{}", score.log_loss);
        assert_eq!(score.brier, 2.0);
        assert_eq!(score_row(&[1.0, 0.0], Some(0)).log_loss, 0.0);
    }
}

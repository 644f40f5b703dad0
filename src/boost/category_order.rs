//! The order in which categories are cut when many classes are fitted at once.
//!
//! With one number a row the best set of categories is a prefix of them by their means (Fisher 1958). With vectors the
//! means are sorted along the direction in which they vary most, which Coppersmith, Hong and Hosking (1999) found nearly as
//! good as all sets for nominal attributes.

use super::binned::MISSING;
use super::statistics::FeatureHistogram;
use crate::simd::LaneBin;

/// Steps of the power iteration; the order needs no digits of the direction.
const STEPS: usize = 12;

/// Largest number of directions.
const MOST: usize = 16;

/// Bins of the categories that have rows, missing values as one of them, by their smoothed means along the direction
/// of most variation; the lower bin first where means are equal.
///
/// `smoothing` is added to the weight of each, so that rare categories come to the middle.
pub(super) fn ordered_categories<B: LaneBin>(
    bins: &FeatureHistogram<B>,
    values: u8,
    directions: usize,
    smoothing: f64,
) -> Vec<u8> {
    let weight_lane = directions;
    let mut order: Vec<u8> =
        (MISSING..=values).filter(|&bin| bins[usize::from(bin)].lanes()[weight_lane] > 0).collect();
    let weight = |bin: u8| f64::from(bins[usize::from(bin)].lanes()[weight_lane]);
    let lane = |bin: u8, direction: usize| f64::from(bins[usize::from(bin)].lanes()[direction]);
    let total: f64 = order.iter().map(|&bin| weight(bin)).sum();
    let mut centre = [0.0; MOST];
    for (direction, centre) in centre.iter_mut().enumerate().take(directions) {
        *centre = order.iter().map(|&bin| lane(bin, direction)).sum::<f64>() / total.max(1.0);
    }
    let mean = |bin: u8, direction: usize| {
        (lane(bin, direction) - weight(bin) * centre[direction]) / (weight(bin) + smoothing)
    };
    let mut scatter = [[0.0; MOST]; MOST];
    for &bin in &order {
        for (a, row) in scatter.iter_mut().enumerate().take(directions) {
            for (b, entry) in row.iter_mut().enumerate().take(directions) {
                *entry += weight(bin) * mean(bin, a) * mean(bin, b);
            }
        }
    }
    let axis = leading_axis(&scatter, directions);
    let along =
        |bin: u8| (0..directions).map(|direction| axis[direction] * mean(bin, direction)).sum::<f64>();
    order.sort_by(|&a, &b| along(a).total_cmp(&along(b)).then(a.cmp(&b)));
    order
}

/// Nearly the eigenvector of the largest eigenvalue, from the column of the largest diagonal entry on.
fn leading_axis(scatter: &[[f64; MOST]; MOST], directions: usize) -> [f64; MOST] {
    let widest =
        (0..directions).fold(0, |best, at| if scatter[at][at] > scatter[best][best] { at } else { best });
    let mut axis = scatter[widest];
    for _ in 0..STEPS {
        let length = axis.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length == 0.0 {
            axis[widest] = 1.0;
            return axis;
        }
        axis.iter_mut().for_each(|value| *value /= length);
        let mut next = [0.0; MOST];
        for (next, row) in next.iter_mut().zip(scatter).take(directions) {
            *next = row.iter().zip(&axis).map(|(entry, value)| entry * value).sum();
        }
        axis = next;
    }
    axis
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Lanes4;

    #[test]
    fn categories_are_sorted_along_the_direction_in_which_they_differ() {
        let mut bins = [Lanes4::default(); 256];
        // The first direction says nothing, the second sorts 3, 1, 4; bin 2 has no rows.
        for (bin, lanes) in [(1, [5, 0, 0, 10]), (3, [5, -90, 1, 10]), (4, [5, 70, 0, 10])] {
            bins[bin].lanes_mut().copy_from_slice(&lanes);
        }
        let mut order = ordered_categories(&bins, 5, 3, 0.0);
        if order[0] == 4 {
            order.reverse(); // the axis has no sign
        }
        assert_eq!(order, [3, 1, 4]);
    }

    #[test]
    fn equal_and_absent_categories_keep_the_order_of_their_bins() {
        let mut bins = [Lanes4::default(); 256];
        assert!(ordered_categories(&bins, 200, 3, 1.0).is_empty());
        for bin in [0, 7, 9] {
            bins[bin].lanes_mut()[3] = 4;
        }
        assert_eq!(ordered_categories(&bins, 200, 3, 1.0), [0, 7, 9]);
    }
}

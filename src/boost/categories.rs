//! Levels of a categorical feature.

/// Codes that get a bin each, ascending: all of them, or the `max_bins` with most rows, the lower code of equals. The
/// others share the bin of missing values, as do codes that training never saw.
pub(super) fn kept(counted: &[(f32, usize)], max_bins: usize) -> Vec<f32> {
    let mut levels = counted.to_vec();
    levels.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows)); // stable: equals stay ascending
    levels.truncate(max_bins);
    let mut codes: Vec<f32> = levels.into_iter().map(|(code, _)| code).collect();
    codes.sort_by(f32::total_cmp);
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_codes_stay() {
        let counted = [(0.0, 1), (1.0, 5), (2.0, 1), (3.0, 7)];
        assert_eq!(kept(&counted, 3), [0.0, 1.0, 3.0]);
        assert_eq!(kept(&counted, 9), [0.0, 1.0, 2.0, 3.0]);
    }
}

//! Samples of rows that keep the shares of the classes.

use std::collections::BTreeMap;

use crate::rng::CounterRng;

/// Rows, ascending, drawn without replacement: of the `n` rows of every class `wanted(n)` (at most n). Labels that are
/// no class count as one.
pub(super) fn stratified(labels: &[u32], wanted: impl Fn(usize) -> usize, mut rng: CounterRng) -> Vec<u32> {
    let mut sizes = BTreeMap::<u32, usize>::new();
    labels.iter().for_each(|&label| *sizes.entry(label).or_default() += 1);
    let mut open: BTreeMap<u32, (usize, usize)> =
        sizes.into_iter().map(|(class, n)| (class, (wanted(n).min(n), n))).collect();
    let mut chosen = Vec::with_capacity(open.values().map(|(wanted, _)| wanted).sum());
    for (row, label) in labels.iter().enumerate() {
        // Each row with the probability that what is left of its class leaves: exactly as many as wanted are chosen.
        let Some((wanted, left)) = open.get_mut(label) else { continue };
        if rng.below(*left) < *wanted {
            *wanted -= 1;
            chosen.push(row as u32);
        }
        *left -= 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_gives_what_is_wanted_of_it() {
        let labels: Vec<u32> = (0..10_000).map(|row| u32::from(row % 250 == 0)).collect();
        let draw = |seed| stratified(&labels, |n| n / 10, CounterRng::new(seed, 0));
        let rows = draw(7);
        let of = |class: u32| rows.iter().filter(|&&row| labels[row as usize] == class).count();
        assert_eq!((of(0), of(1)), (996, 4));
        assert!(rows.is_sorted_by(|a, b| a < b));
        assert_ne!(rows, draw(8));
        assert_eq!(stratified(&labels, |n| 2 * n, CounterRng::new(7, 0)).len(), 10_000);
    }

    #[test]
    fn every_row_is_equally_likely() {
        let mut hits = [0u32; 10];
        for stream in 0..2000 {
            let rows = stratified(&[0; 10], |_| 3, CounterRng::new(1, stream));
            rows.iter().for_each(|&row| hits[row as usize] += 1);
        }
        // 600 expected, standard deviation 20: five of them.
        assert!(hits.iter().all(|&n| n.abs_diff(600) < 100), "{hits:?}");
    }
}

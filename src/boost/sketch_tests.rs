use super::*;
use crate::boost::binned::BinnedMatrix;
use crate::simd::{Isa, Lanes4, Lanes8, Lanes16};

/// Rows of random bins in one feature, their sketches, and weights that differ or not.
struct Made<B> {
    bins: Vec<u8>,
    rows: SketchRows<B>,
}

impl<B: LaneBin> Made<B> {
    fn new(count: usize, values: usize, even: bool, seed: u64) -> Self {
        let mut rng = CounterRng::new(seed, 3);
        let bins: Vec<u8> =
            (0..count).map(|_| if rng.below(6) == 0 { 0 } else { 1 + rng.below(values) as u8 }).collect();
        let weights: Vec<f32> =
            (0..count).map(|row| if even { 1.0 } else { [0.5, 1.5, 2.0, 0.0][row % 4] }).collect();
        let mut rows = SketchRows::<B>::new(&weights, Kernels::best());
        let d = rows.directions();
        let pulled = |bin: u8| f32::from(u8::from(bin > 5)) - 0.4;
        let sketch: Vec<f32> = bins
            .iter()
            .zip(&weights)
            .flat_map(|(&bin, &w)| {
                let noise: Vec<f32> = (0..d).map(|_| rng.next_f64() as f32 - 0.5).collect();
                noise.into_iter().map(move |noise| w * (pulled(bin) + noise))
            })
            .collect();
        rows.set(&sketch);
        Made { bins, rows }
    }

    fn histogram(&self) -> FeatureHistogram<B> {
        let mut bins = [B::default(); BINS];
        for (row, &bin) in self.bins.iter().enumerate() {
            bins[usize::from(bin)] = LaneBin::plus(bins[usize::from(bin)], self.rows.rows[row]);
        }
        bins
    }

    /// Gain of a cut by whole numbers summed row by row; `None` where it breaks a limit.
    fn gain(&self, limits: &Limits, goes_left: impl Fn(u8) -> bool) -> Option<f64> {
        let d = self.rows.directions();
        let mut sides = [(vec![0i64; d], 0i64, 0u32), (vec![0; d], 0, 0)];
        for (row, &bin) in self.bins.iter().enumerate() {
            let (sketch, weight, rows) = &mut sides[usize::from(!goes_left(bin))];
            let lanes = self.rows.rows[row].lanes();
            sketch.iter_mut().zip(lanes).for_each(|(sum, &lane)| *sum += i64::from(lane));
            *weight += i64::from(lanes[d]);
            *rows += 1;
        }
        let l2 = limits.l2 * self.rows.weight_scale;
        let score = |sketch: &[i64], weight: i64| {
            sketch.iter().map(|&s| (s as f64).powi(2)).sum::<f64>() / (weight as f64 + l2)
        };
        let all: Vec<i64> = sides[0].0.iter().zip(&sides[1].0).map(|(a, b)| a + b).collect();
        let gain = score(&sides[0].0, sides[0].1) + score(&sides[1].0, sides[1].1)
            - score(&all, sides[0].1 + sides[1].1);
        let least = (limits.min_weight * self.rows.weight_scale).ceil() as i64;
        let kept = sides.iter().all(|(_, weight, rows)| *rows >= limits.min_rows && *weight >= least.max(1));
        kept.then_some(0.5 * gain * self.rows.weight_scale / self.rows.scale.powi(2))
    }
}

fn limits(min_rows: u32, min_weight: f64) -> Limits {
    Limits { min_rows, min_weight, l2: 1.0, min_gain: 0.0, max_delta_step: 0.0, category_smoothing: 2.0 }
}

fn feature(values: u8, categorical: bool) -> FeatureInfo {
    FeatureInfo { column: 0, values, categorical }
}

fn cuts_are_the_best_of_all<B: LaneBin>() {
    for (count, values, even) in [(40, 9, true), (300, 60, false), (2000, 254, true), (500, 254, false)] {
        for (min_rows, min_weight) in [(1, 0.0), (7, 3.5), (150, 0.0)] {
            let made = Made::<B>::new(count, values, even, (count + values) as u64);
            let all: Vec<u32> = (0..count as u32).collect();
            let leaf = LeafTotals { sum: made.rows.total(&all), rows: count as u32 };
            let limits = limits(min_rows, min_weight);
            let histogram = made.histogram();
            let found = made.rows.best_cut(&histogram, &feature(values as u8, false), &leaf, &limits);
            let tried =
                (1..=values as u8).flat_map(|last| [false, true].map(|missing_left| (last, missing_left)));
            let best = tried
                .filter_map(|(last, missing_left)| {
                    made.gain(&limits, |bin| if bin == MISSING { missing_left } else { bin <= last })
                })
                .filter(|&gain| gain > 0.0)
                .fold(None, |best: Option<f64>, gain| Some(best.map_or(gain, |best| best.max(gain))));
            match (found, best) {
                (Some(cut), Some(best)) => {
                    let own = made.gain(&limits, |bin| cut.left_bins()[usize::from(bin)]).unwrap();
                    assert!((cut.gain - own).abs() <= 1e-9 * own, "{} {own}", cut.gain);
                    assert!(own >= best * (1.0 - 1e-5), "{own} {best}");
                }
                (None, None) => {}
                (found, best) => panic!("{found:?} {best:?}"),
            }
        }
    }
}

#[test]
fn cuts_are_the_best_of_all_for_any_lanes() {
    cuts_are_the_best_of_all::<Lanes4>();
    cuts_are_the_best_of_all::<Lanes8>();
    cuts_are_the_best_of_all::<Lanes16>();
}

#[test]
fn all_instruction_sets_find_the_same_cut() {
    let made = Made::<Lanes8>::new(900, 200, false, 8);
    let (histogram, all): (_, Vec<u32>) = (made.histogram(), (0..900).collect());
    let search = PrefixSearch {
        bins: &histogram,
        order: 1..=200,
        start: Lanes8::default(),
        total: made.rows.total(&all),
        directions: made.rows.directions(),
        count_lane: 7,
        counts: (10, 890),
        least_weight: 1,
        l2: 3.0,
    };
    let found: Vec<_> = Isa::ALL
        .into_iter()
        .filter_map(Kernels::for_isa)
        .map(|kernels| kernels.best_prefix(search.clone()))
        .collect();
    assert!(found[0].is_some() && found.iter().all(|cut| cut == &found[0]), "{found:?}");
}

#[test]
fn equal_cuts_give_the_lowest_bin() {
    // Bins 4 to 9 are empty, so that cuts behind 3 to 9 are the same cut.
    let mut rows = SketchRows::<Lanes8>::new(&[1.0; 20], Kernels::best());
    let sketch: Vec<f32> = (0..20).flat_map(|row| [if row < 10 { 1.0 } else { -1.0 }; 7]).collect();
    rows.set(&sketch);
    let mut bins = [Lanes8::default(); BINS];
    for row in 0..20 {
        let bin = if row < 10 { 1 + row % 3 } else { 10 + row % 3 };
        bins[bin] = LaneBin::plus(bins[bin], rows.rows[row]);
    }
    let all: Vec<u32> = (0..20).collect();
    let leaf = LeafTotals { sum: rows.total(&all), rows: 20 };
    let cut = rows.best_cut(&bins, &feature(12, false), &leaf, &limits(1, 0.0)).unwrap();
    assert_eq!(cut.left, Side::UpTo(3));
}

#[test]
fn categories_are_cut_as_well_as_any_prefix_of_their_order() {
    let made = Made::<Lanes8>::new(600, 12, false, 4);
    let all: Vec<u32> = (0..600).collect();
    let leaf = LeafTotals { sum: made.rows.total(&all), rows: 600 };
    let limits = limits(5, 0.0);
    let cut = made.rows.best_cut(&made.histogram(), &feature(12, true), &leaf, &limits).unwrap();
    let own = made.gain(&limits, |bin| cut.left_bins()[usize::from(bin)]).unwrap();
    assert!((cut.gain - own).abs() <= 1e-9 * own);
    // The classes are pulled apart between bins 5 and 6: no cut of an order that knows can be worse.
    assert!(own >= made.gain(&limits, |bin| bin > 5).unwrap() * (1.0 - 1e-6));
}

#[test]
fn no_sum_leaves_its_integers() {
    // All rows on one side, of one sign, and of very different sizes.
    for count in [1, 3, 5000, 300_000] {
        let weights: Vec<f32> = (0..count).map(|row| if row == 0 { 900.0 } else { 1.0 }).collect();
        let mut rows = SketchRows::<Lanes4>::new(&weights, Kernels::best());
        let d = rows.directions();
        let sketch: Vec<f32> = weights.iter().flat_map(|&w| vec![-3.0 * w; d]).collect();
        rows.set(&sketch);
        for lane in 0..=d {
            let sum: i64 = rows.rows.iter().map(|row| i64::from(row.lanes()[lane])).sum();
            assert!(sum.abs() <= i64::from(i32::MAX), "{count} rows, lane {lane}: {sum}");
            assert!(sum.abs() > 1 << 19, "{count} rows, lane {lane}: {sum} is needlessly coarse");
        }
    }
}

#[test]
fn directions_have_mean_0_and_variance_1_over_their_number() {
    let drawn = directions(3, 9, 4000, 7);
    let values: Vec<f64> = (0..7).flat_map(|d| drawn.row(d).to_vec()).map(f64::from).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64 * 7.0;
    assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    let fewer = directions(3, 9, 10, 7);
    assert!((0..7).all(|d| fewer.row(d) == &drawn.row(d)[..10]), "a class keeps its directions");
    assert_ne!(directions(3, 10, 10, 7).row(0), fewer.row(0));
}

#[test]
fn histograms_of_blocks_are_the_sums_of_their_rows() {
    let mut rng = CounterRng::new(1, 1);
    for features in [1, 5, 8, 16] {
        let columns: Vec<Vec<u8>> =
            (0..features).map(|_| (0..5000).map(|_| rng.below(255) as u8).collect()).collect();
        let matrix = BinnedMatrix::from_columns(&columns);
        let made = Made::<Lanes8>::new(5000, 200, false, 2);
        let rows: Vec<u32> = (0..5000).filter(|row| row % 3 != 1).collect();
        let mut histogram = vec![[Lanes8::default(); BINS]; features];
        made.rows.accumulate(&matrix.blocks()[0], &rows, &mut histogram);
        for (column, found) in columns.iter().zip(&histogram) {
            let mut wanted = [Lanes8::default(); BINS];
            for &row in &rows {
                let slot = &mut wanted[usize::from(column[row as usize])];
                *slot = LaneBin::plus(*slot, made.rows.rows[row as usize]);
            }
            assert!(found == &wanted);
        }
    }
}

//! A comparison that is cut short compares what is finished, as if less had been asked for.

use std::ops::ControlFlow;

use cbfit::Result;
use cbfit::boost::binning::BinningOptions;
use cbfit::boost::options::BoostOptions;
use cbfit::experiment::boost_fits::BoostSettings;
use cbfit::experiment::compare::{Question, compare};
use cbfit::experiment::fold_fits::{FitSettings, FoldData, FoldTable, FoldWatch, fit_folds};
use cbfit::experiment::folds::Folds;
use cbfit::experiment::linear_fits::LinearSettings;
use cbfit::experiment::strength::Strength;
use cbfit::experiment::treatment::{Treatment, standard_treatments};
use cbfit::labels::ClassCounts;
use cbfit::linear::fit::Optimizer;
use cbfit::linear::problem::Decay;
use cbfit::loss::Loss;
use cbfit::matrix::Matrix;
use cbfit::metrics::Metric;
use cbfit::model::Learner;
use cbfit::rng::CounterRng;
use cbfit::simd::Kernels;
use cbfit::weighting::Prior;

/// Ends the fits in the third treatment of a fold of a repeat.
struct EndsIn {
    place: (usize, usize),
    here: (usize, usize),
    treatments: Vec<String>,
}

impl FoldWatch for EndsIn {
    fn fold(&mut self, repeat: usize, fold: usize) {
        self.here = (repeat, fold);
        self.treatments.clear();
    }

    fn begin(&mut self, treatment: &Treatment, _: Strength) {
        let name = treatment.to_string();
        if !self.treatments.contains(&name) {
            self.treatments.push(name);
        }
    }

    fn progress(&mut self, _: usize) -> ControlFlow<()> {
        let ends = self.here == self.place && self.treatments.len() == 3;
        if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

struct Problem {
    matrix: Matrix<'static>,
    labels: Vec<u32>,
    counts: ClassCounts,
    treatments: Vec<Treatment>,
}

impl Problem {
    fn new() -> Result<Self> {
        let labels: Vec<u32> =
            (0..300).map(|row| u32::from(row % 4 == 0) + u32::from(row % 20 == 0)).collect();
        let mut rng = CounterRng::new(3, 0);
        let values = labels.iter().flat_map(|&label| {
            let noise = [rng.next_f64(), rng.next_f64()].map(|x| 2.0 * x as f32);
            [label as f32 + noise[0], noise[1] - label as f32]
        });
        let matrix = Matrix::from_f32(values.collect(), 2);
        let counts = ClassCounts::of(&labels, None, 3);
        let treatments = standard_treatments(Loss::Softmax, &counts)?;
        Ok(Problem { matrix, labels, counts, treatments })
    }

    fn fits(&self, folds: &[Folds], place: (usize, usize)) -> Result<Option<FoldTable>> {
        let features = |_: Learner, _: &[usize]| self.matrix.reborrow();
        let data = FoldData { labels: &self.labels, row_weights: None, classes: 3, features: &features };
        let settings = FitSettings {
            linear: LinearSettings {
                l2: Some(0.1),
                optimizer: Optimizer::Lbfgs { tolerance: 1e-4, max_iterations: 100, certified: false },
                decay: Decay::Weights,
            },
            boost: BoostSettings {
                rounds: Some(4),
                options: BoostOptions::default(),
                binning: BinningOptions::default(),
            },
            near: None,
            prior: Prior::AsTrained,
            taus: vec![0.0, 1.0],
            max_weight: None,
            metric: Metric::MacroRecall,
            seed: 0,
        };
        let mut watch = EndsIn { place, here: (0, 0), treatments: Vec::new() };
        fit_folds(data, folds, &self.treatments, &settings, Kernels::best(), &mut watch)
    }

    fn macro_recalls(&self, folds: &[Folds], table: &FoldTable) -> Result<Vec<f64>> {
        let question = Question {
            labels: &self.labels,
            counts: &self.counts,
            folds,
            candidates: &self.treatments,
            metric: Metric::MacroRecall,
            taus: 2,
            seed: 0,
        };
        let comparison = compare(&question, table)?;
        (0..self.treatments.len()).map(|c| comparison.score(&question, c, Metric::MacroRecall)).collect()
    }
}

#[test]
fn finished_folds_and_repeats_are_compared() {
    let problem = Problem::new().unwrap();
    let folds: Vec<Folds> =
        (0..2).map(|repeat| Folds::new(&problem.labels, 3, 4, 0, repeat).unwrap()).collect();

    assert!(problem.fits(&folds, (0, 0)).unwrap().is_none());
    assert!(problem.fits(&folds, (0, 1)).unwrap().is_none());

    let part = problem.fits(&folds, (0, 3)).unwrap().unwrap();
    assert_eq!(part.finished, [3, 0]);
    let left = part.finished_folds(&folds);
    assert_eq!(left, [folds[0].clone().first(3)]);
    let held = (0..problem.labels.len()).filter(|&row| folds[0].fold_of(row).is_some_and(|fold| fold < 3));
    assert_eq!(left[0].scored(), held.collect::<Vec<_>>());
    let asked = problem.fits(&left, (9, 9)).unwrap().unwrap();
    let recalls = |table: &FoldTable| problem.macro_recalls(&left, table).unwrap();
    assert_eq!(recalls(&part), recalls(&asked));

    let whole = problem.fits(&folds, (1, 2)).unwrap().unwrap();
    assert_eq!(whole.finished, [4, 2]);
    assert_eq!(whole.finished_folds(&folds), folds[..1]);
    assert_eq!(problem.fits(&folds, (9, 9)).unwrap().unwrap().finished_folds(&folds), folds);
}

//! Fits that are cancelled in the midst of anything: at each of the places that ask, one fit after the other.

use super::tests::rows;
use super::*;
use crate::boost::gradient::Curvature;
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::model::Learner;
use crate::stop::Stop;
use std::ops::ControlFlow;

type Model = Fitted<&'static str>;

/// A fit that is cancelled after so many blocks of work, and how many it asked for.
fn cut(estimator: &impl Estimator, seed: u64, start: Option<&Model>, blocks: usize) -> (Model, usize) {
    let (x, y) = rows(seed);
    let cancel = Cancel { stop: Stop::after(blocks) };
    let request = Request { cancel: Some(&cancel), warm_start: start, ..Request::default() };
    let model = estimator.fit_with(&(&x[..], 4), &y, request).unwrap();
    (model, cancel.stop.asked())
}

/// Fits that are cancelled at places all over the fit, the first of them before any work.
fn cuts(estimator: &impl Estimator, seed: u64, most: usize) -> (Model, Vec<Model>) {
    let (whole, blocks) = cut(estimator, seed, None, usize::MAX);
    let places = (0..blocks).step_by(blocks.div_ceil(most));
    let of = |place: usize| {
        let (model, asked) = cut(estimator, seed, None, place);
        assert!(asked <= blocks + place, "{asked} places asked, {place} found it off, {blocks} in all");
        assert!(place > 0 || 2 * asked < blocks, "{asked} of {blocks} places asked without any work");
        model
    };
    (whole, places.map(of).collect())
}

/// The fit that a watch ends after the step `last`.
fn after_step(estimator: &impl Estimator, seed: u64, last: usize) -> Model {
    let (x, y) = rows(seed);
    let mut watch = |step: &Step| match step.done < last {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let request = Request { watch: Some(&mut watch), ..Request::default() };
    estimator.fit_with(&(&x[..], 4), &y, request).unwrap()
}

fn weights(model: &Model) -> Vec<f32> {
    let (weights, bias) = model.coefficients().unwrap();
    assert!(bias.iter().all(|b| b.is_finite()));
    weights
}

#[test]
fn a_linear_fit_keeps_its_last_whole_iteration() {
    let softmax = Linear::softmax().l2(1e-4).tolerance(1e-6);
    for linear in [softmax.clone(), softmax.standardize(true), Linear::focal(2.0).l2(1e-2).tolerance(1e-4)] {
        let (whole, cuts) = cuts(&linear, 6, 40);
        assert!(weights(&cuts[0]).iter().all(|&w| w == 0.0) && cuts[0].report().steps == 0);
        let (mut reached, mut expected) = (0, weights(&cuts[0]));
        for model in &cuts {
            let done = model.report().steps;
            if done != reached {
                assert!(done > reached, "{done} after {reached}");
                (reached, expected) = (done, weights(&after_step(&linear, 6, done)));
            }
            // Between iterations the biases alone may move.
            assert_eq!(weights(model), expected);
            assert!(!model.report().converged || model == &whole);
        }
        assert!(reached > 3, "{reached}");
    }
}

#[test]
fn a_linear_fit_that_looks_for_l2_ends_with_numbers() {
    let linear = Linear::softmax().standardize(true);
    let (whole, cuts) = cuts(&linear, 6, 20);
    assert_eq!((cuts[0].report().l2, cuts[0].report().steps), (0.0, 0));
    for model in &cuts {
        assert!(weights(model).iter().all(|w| w.is_finite()));
        assert!(!model.report().converged || model == &whole);
    }
    assert!(cuts.iter().any(|model| model.report().l2 > 0.0));
}

#[test]
fn a_boosted_fit_keeps_its_last_whole_round() {
    let options = |trees, curvature| BoostOptions { trees, curvature, ..BoostOptions::default() };
    let newton = Some(Curvature::Newton);
    let sampled = BoostOptions { row_sample: 0.7, ..options(Trees::PerClass, None) };
    for (boost, options) in [
        (Boost::softmax(), options(Trees::PerClass, newton)),
        (Boost::focal(2.0), options(Trees::PerClass, newton)),
        (Boost::sigmoid(), options(Trees::Vector(Lanes::Four), None)),
        (Boost::softmax(), sampled),
    ] {
        let boost = boost.options(options).rounds(4);
        let (whole, cuts) = cuts(&boost, 5, 60);
        let steps: Vec<Model> = (1..=4).map(|last| after_step(&boost, 5, last)).collect();
        let (x, y) = rows(5);
        let mut reached = Vec::new();
        for model in &cuts {
            let done = model.report().steps;
            reached.push(done);
            match done.checked_sub(1) {
                None => assert!(model.trees().unwrap().trees.is_empty()),
                Some(at) => assert_eq!(model.trees(), steps[at].trees()),
            }
            assert!(!model.report().converged || model == &whole);
            assert!(model.predict_proba(&(&x[..], 4)).unwrap().iter().all(|p| p.is_finite()));
        }
        reached.dedup();
        assert_eq!(reached[..3], [0, 1, 2]);
        // What was cancelled before anything was known is no worse a start than none.
        let request = Request { warm_start: Some(&cuts[0]), ..Request::default() };
        assert_eq!(boost.fit_with(&(&x[..], 4), &y, request).unwrap().trees(), whole.trees());
    }
}

#[test]
fn what_a_fit_started_from_is_left_to_it() {
    let linear = Linear::softmax().l2(1e-3).standardize(true);
    let (first, _) = cut(&linear, 7, None, usize::MAX);
    // What was cancelled before it had a scale is no worse a start than none.
    let (nothing, _) = cut(&linear, 7, None, 0);
    assert_eq!(weights(&cut(&linear, 7, Some(&nothing), usize::MAX).0), weights(&first));
    let boost = Boost::softmax().rounds(3);
    let (trees, _) = cut(&boost, 7, None, usize::MAX);
    for blocks in [0, 1, 2, 3, 5, 8, 13] {
        let (again, _) = cut(&linear, 7, Some(&first), blocks);
        assert_eq!(weights(&again), weights(&first));
        let (more, _) = cut(&boost, 7, Some(&trees), blocks);
        assert_eq!(more.trees(), trees.trees());
    }
}

#[test]
fn a_comparison_that_is_cut_in_its_first_folds_says_nothing() {
    let (x, y) = rows(9);
    for learner in [Learner::Linear, Learner::Boost] {
        let weightings = Some(vec![Weighting::inverse()]);
        let contest = Contest { learners: vec![learner], weightings, folds: 3, ..Contest::default() };
        for blocks in [0, 1, 10, 40, 90, 200] {
            let cancel = Cancel { stop: Stop::after(blocks) };
            assert_eq!(compare(&(&x[..], 4), &y, &contest, &cancel).unwrap(), None);
        }
    }
}

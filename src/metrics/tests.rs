use proptest::prelude::*;

use super::tallied::Tallied;
use super::*;
use crate::labels::UNSEEN;
use crate::rng::CounterRng;

fn floats(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn assert_equal(found: f64, expected: &serde_json::Value, what: &str) {
    match expected.as_f64() {
        None => assert!(found.is_nan(), "{what}: {found} where nothing is defined"),
        Some(expected) => assert!((found - expected).abs() <= 1e-12, "{what}: {found} against {expected}"),
    }
}

#[test]
fn scores_are_those_of_scikit_learn() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap();
    for problem in golden.as_array().unwrap() {
        let name = problem["name"].as_str().unwrap();
        let grid = problem["grid"].as_f64().unwrap();
        let p: Vec<f32> = floats(&problem["probabilities"]).iter().map(|k| (k / grid) as f32).collect();
        let labels: Vec<u32> = floats(&problem["labels"]).iter().map(|&y| y as u32).collect();
        let classes = problem["classes"].as_u64().unwrap() as usize;
        let weights = problem["row_weights"].is_array().then(|| floats(&problem["row_weights"]));
        let counts = ClassCounts::from_rows(vec![50; classes]);
        let seen = evaluate(&p, &labels, &counts, weights.as_deref()).unwrap();
        for (key, expected) in problem["scores"].as_object().unwrap() {
            let found = match key.as_str() {
                "macro_recall_error" => seen.macro_recall_error,
                metric => Metric::parse(metric).unwrap().value(&seen),
            };
            assert_equal(found, expected, &format!("{name}: {key}"));
        }
        let trained: Vec<u64> = floats(&problem["train_counts"]).iter().map(|&n| n as u64).collect();
        let tailed = evaluate(&p, &labels, &ClassCounts::from_rows(trained), weights.as_deref()).unwrap();
        for (band, expected) in tailed.bands.iter().zip(problem["band_ece"].as_array().unwrap()) {
            assert_equal(band.ece, expected, &format!("{name}: ECE of {}", band.name));
        }
        let expected = problem["per_class"].as_array().unwrap();
        assert_eq!(seen.per_class.len(), expected.len());
        for (class, expected) in seen.per_class.iter().zip(expected) {
            for (key, expected) in expected.as_object().unwrap() {
                let found = match key.as_str() {
                    "precision" => class.precision,
                    "recall" => class.recall,
                    "recall_low" => class.recall_low,
                    "recall_high" => class.recall_high,
                    "average_precision" => class.average_precision,
                    "mean_probability" => class.mean_probability,
                    "predicted_share" => class.predicted_share,
                    other => panic!("the fixture has an unknown score {other}"),
                };
                assert_equal(found, expected, &format!("{name}, class {}: {key}", class.class));
            }
        }
    }
}

#[test]
fn unseen_rows_are_wrong_predictions_without_a_probability() {
    let p = [0.9, 0.1, 0.2, 0.8, 0.7, 0.3];
    let counts = ClassCounts::from_rows(vec![10, 10]);
    let known = evaluate(&p[..4], &[0, 1], &counts, None).unwrap();
    let with_unseen = evaluate(&p, &[0, 1, UNSEEN], &counts, None).unwrap();
    assert_eq!((with_unseen.unseen_rows, known.unseen_rows), (1, 0));
    assert_eq!((known.top1, with_unseen.top1), (1.0, 2.0 / 3.0));
    assert_eq!(with_unseen.per_class[0].precision, 0.5);
    assert!(with_unseen.mcc < 1.0 && with_unseen.auprc == known.auprc);
    for metric in [Metric::MacroRecall, Metric::LogLoss, Metric::Brier, Metric::Ece, Metric::ClasswiseEce] {
        assert_eq!(metric.value(&with_unseen), metric.value(&known), "{metric}");
    }
    // One of three rows belongs to neither class and was given to class 0.
    assert!((with_unseen.share_distance - 1.0 / 3.0).abs() < 1e-15);
    let nothing_known = evaluate(&p[..2], &[UNSEEN], &counts, None).unwrap();
    assert_eq!(nothing_known.top1, 0.0);
    assert!(
        nothing_known.log_loss.is_nan() && nothing_known.macro_recall.is_nan() && nothing_known.ece.is_nan()
    );
    assert_eq!((nothing_known.worst_class, nothing_known.classes_present), (None, 0));
}

#[test]
fn decisions_change_what_is_predicted_and_no_probability() {
    let p = [0.5, 0.3, 0.2, 0.1, 0.6, 0.3, 0.4, 0.35, 0.25, 0.3, 0.3, 0.4];
    let labels = [1, 1, 2, UNSEEN];
    let counts = ClassCounts::from_rows(vec![10; 3]);
    let plain = evaluate(&p, &labels, &counts, None).unwrap();
    let same = evaluate_decisions(&p, &labels, &counts, None, &[0, 1, 0, 2]).unwrap();
    assert_eq!(serde_json::to_string(&same).unwrap(), serde_json::to_string(&plain).unwrap());
    let decided = evaluate_decisions(&p, &labels, &counts, None, &[1, 1, 2, 0]).unwrap();
    assert_eq!((plain.top1, decided.top1, decided.macro_recall), (0.25, 0.75, 1.0));
    for metric in [Metric::LogLoss, Metric::Brier, Metric::Ece, Metric::ClasswiseEce, Metric::Auprc] {
        assert_eq!(metric.value(&decided), metric.value(&plain), "{metric}");
    }
    assert_eq!(evaluate_decisions(&p, &labels, &counts, None, &[0; 3]).unwrap_err().code(), "E0315");
    let error = evaluate_decisions(&p, &labels, &counts, None, &[0, 0, 3, 4]).unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { left_rows: 2, right_rows: 4, .. }), "{error}");
}

#[test]
fn bad_input_is_refused() {
    let counts = ClassCounts::from_rows(vec![10, 10]);
    let code =
        |p: &[f32], labels: &[u32], w: Option<&[f64]>| evaluate(p, labels, &counts, w).unwrap_err().code();
    assert_eq!(code(&[], &[], None), "E0301");
    assert_eq!(code(&[0.5; 3], &[0], None), "E0315");
    assert_eq!(code(&[0.5; 2], &[0], Some(&[1.0, 1.0])), "E0315");
    assert_eq!(code(&[0.5; 2], &[0], Some(&[0.0])), "E0316");
    for bad in [f32::NAN, f32::INFINITY, -0.5] {
        let error = evaluate(&[0.5, 0.5, bad, 0.5], &[0, 0], &counts, None).unwrap_err();
        assert_eq!(error.code(), "E0323");
        assert!(error.to_string().contains("1 of 2 rows") && error.to_string().contains("row 2"), "{error}");
    }
}

#[test]
fn probabilities_of_a_block_can_be_checked_alone() {
    assert!(check_probabilities(&[0.0, 1.0, 0.5, 0.5], 2).is_ok());
    assert!(check_probabilities(&[], 0).is_ok());
    let error = check_probabilities(&[0.5, 0.5, f32::NAN, f32::NAN, 0.5, 0.5, -1.0, 2.0], 2).unwrap_err();
    assert!(matches!(error, Error::BadProbabilities { count: 2, rows: 4, first_row: 2 }), "{error}");
}

#[test]
fn rows_added_one_by_one_give_the_scores_of_all() {
    let (p, labels, weights) = random_problem(400, 5, 11);
    // Two classes in each band but the last.
    let train = [900, 500, 60, 30, 4];
    let counts = ClassCounts::from_rows(train.to_vec());
    let whole = evaluate(&p, &labels, &counts, Some(&weights)).unwrap();
    let rows = row_scores(&p, &labels, 5).unwrap();
    let mut tallied = Tallied::new(5);
    tallied.add(1, 2, 7.0, 3.0);
    let names = [
        "top1",
        "top5",
        "macro_recall",
        "macro_f1",
        "worst_class",
        "worst_decile",
        "g_mean",
        "mcc",
        "auprc",
        "many",
        "medium",
        "few",
        "log_loss",
        "balanced_log_loss",
        "brier",
        "ece",
        "classwise_ece",
    ];
    for metric in names.map(|name| Metric::parse(name).unwrap()) {
        tallied.clear();
        for (row, score) in rows.iter().enumerate() {
            let loss = if metric == Metric::Brier { score.brier } else { score.log_loss };
            tallied.add(labels[row], score.predicted, weights[row], loss);
        }
        let needs_more = matches!(metric, Metric::Top5 | Metric::Auprc | Metric::Ece | Metric::ClasswiseEce);
        assert_eq!(metric.is_tallied(), !needs_more, "{metric}");
        if let Some(found) = tallied.value(metric, &train) {
            let expected = metric.value(&whole);
            assert!((found - expected).abs() < 1e-12, "{metric}: {found} against {expected}");
        }
    }
    assert!((tallied.macro_recall_error() - whole.macro_recall_error).abs() < 1e-15);
    // A prediction of no class is wrong, and nobody's.
    let share = |tallied: &Tallied| tallied.value(Metric::Top1, &train).unwrap();
    let (before, total) = (share(&tallied), weights.iter().sum::<f64>());
    tallied.add(0, UNSEEN, 2.0, 1.0);
    assert!((share(&tallied) - before * total / (total + 2.0)).abs() < 1e-12);
}

#[test]
fn rows_beyond_the_first_task_keep_their_labels_and_weights() {
    let mut rng = CounterRng::new(8, 0);
    let labels: Vec<u32> = (0..3_000).map(|_| rng.below(3) as u32).collect();
    let weights: Vec<f64> = labels.iter().map(|_| 0.25 + rng.next_f64()).collect();
    let p: Vec<f32> =
        labels.iter().flat_map(|&y| [0, 1, 2].map(|class| f32::from(u8::from(class == y)))).collect();
    let counts = ClassCounts::of(&labels, Some(&weights), 3);
    let seen = evaluate(&p, &labels, &ClassCounts::from_rows(counts.rows), Some(&weights)).unwrap();
    assert_eq!((seen.top1, seen.log_loss, seen.brier), (1.0, 0.0, 0.0));
    for (class, weight) in seen.per_class.iter().zip(&counts.weighted) {
        let share = weight / weights.iter().sum::<f64>();
        assert!((class.mean_probability - share).abs() < 1e-12 && (class.true_share - share).abs() < 1e-12);
    }
}

#[test]
fn a_class_counts_by_its_rows_or_its_band_or_once() {
    for metric in [Metric::Top1, Metric::Mcc, Metric::LogLoss, Metric::Brier] {
        assert_eq!(metric.class_share(7, 50), 7.0, "{metric}");
    }
    for (metric, shares) in [
        (Metric::Many, [1.0, 0.0, 0.0]),
        (Metric::Medium, [0.0, 1.0, 0.0]),
        (Metric::Few, [0.0, 0.0, 1.0]),
        (Metric::MacroRecall, [1.0; 3]),
    ] {
        assert_eq!([101, 100, 19].map(|rows| metric.class_share(7, rows)), shares, "{metric}");
    }
}

#[test]
fn undefined_scores_are_null_in_json() {
    let counts = ClassCounts::from_rows(vec![500, 10]);
    let seen = evaluate(&[0.9, 0.1], &[0], &counts, None).unwrap();
    let json = serde_json::to_value(&seen).unwrap();
    assert!(json["top5"].is_null() && json["per_class"][1]["recall"].is_null());
    assert!(json["bands"][1]["recall"].is_null());
    // The medium band is empty, hence the terciles.
    assert_eq!(json["terciles"][0]["name"], "head");
    let full = ClassCounts::from_rows(vec![500, 50, 5]);
    let p = [0.8, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.8];
    assert!(evaluate(&p, &[0, 1, 2], &full, None).unwrap().terciles.is_none());
}

/// Random rows on a coarse grid (many ties), some labels unseen.
fn random_problem(rows: usize, classes: usize, seed: u64) -> (Vec<f32>, Vec<u32>, Vec<f64>) {
    let mut rng = CounterRng::new(seed, 0);
    let mut p = Vec::with_capacity(rows * classes);
    let mut labels = Vec::with_capacity(rows);
    let mut weights = Vec::with_capacity(rows);
    for _ in 0..rows {
        let raw: Vec<f64> = (0..classes).map(|_| rng.below(9) as f64).collect();
        let sum: f64 = raw.iter().sum::<f64>().max(1.0);
        p.extend(raw.iter().map(|v| (v / sum) as f32));
        let label = rng.below(classes + 1);
        labels.push(if label == classes { UNSEEN } else { label as u32 });
        weights.push(0.25 + rng.next_f64());
    }
    (p, labels, weights)
}

#[test]
fn every_thread_count_gives_the_same_bytes() {
    let (p, labels, weights) = random_problem(3_000, 37, 5);
    let counts = ClassCounts::from_rows((0..37).map(|c| c * 7).collect());
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let seen = pool.install(|| evaluate(&p, &labels, &counts, Some(&weights)).unwrap());
        serde_json::to_string(&seen).unwrap()
    };
    assert_eq!(with(1), with(3));
}

proptest! {
    #[test]
    fn the_order_of_rows_does_not_matter(rows in 1usize..60, classes in 1usize..20, seed in any::<u64>()) {
        let (p, labels, weights) = random_problem(rows, classes, seed);
        let counts = ClassCounts::from_rows(vec![50; classes]);
        let mut order: Vec<usize> = (0..rows).collect();
        CounterRng::new(seed, 1).shuffle(&mut order);
        let shuffled_p: Vec<f32> =
            order.iter().flat_map(|&r| p[r * classes..(r + 1) * classes].to_vec()).collect();
        let shuffled_labels: Vec<u32> = order.iter().map(|&r| labels[r]).collect();
        let shuffled_weights: Vec<f64> = order.iter().map(|&r| weights[r]).collect();
        let before = evaluate(&p, &labels, &counts, Some(&weights)).unwrap();
        let after = evaluate(&shuffled_p, &shuffled_labels, &counts, Some(&shuffled_weights)).unwrap();
        for name in Metric::names() {
            let metric = Metric::parse(name).unwrap();
            let (before, after) = (metric.value(&before), metric.value(&after));
            let same = before.is_nan() && after.is_nan() || (before - after).abs() < 1e-9;
            prop_assert!(same, "{}: {} and {}", name, before, after);
        }
    }

    #[test]
    fn scores_stay_in_their_bounds(rows in 1usize..60, classes in 1usize..20, seed in any::<u64>()) {
        let (p, labels, weights) = random_problem(rows, classes, seed);
        let counts = ClassCounts::from_rows((0..classes as u64).map(|c| c * 10).collect());
        let seen = evaluate(&p, &labels, &counts, Some(&weights)).unwrap();
        let tolerance = 1e-6; // The grid of f32 rows does not sum to exactly 1.
        for name in Metric::names() {
            let value = Metric::parse(name).unwrap().value(&seen);
            let (low, high) = match name {
                "mcc" => (-1.0, 1.0),
                "brier" => (0.0, 2.0),
                "log_loss" | "balanced_log_loss" => (0.0, 88.0),
                _ => (0.0, 1.0),
            };
            let inside = (low - tolerance..=high + tolerance).contains(&value);
            prop_assert!(value.is_nan() || inside, "{}: {}", name, value);
            prop_assert!(value != 0.0 || value.is_sign_positive(), "{} is a negative zero", name);
        }
        prop_assert!(seen.worst_class_recall.is_nan() || seen.worst_class_recall <= seen.macro_recall + tolerance);
        prop_assert!(seen.g_mean.is_nan() || seen.g_mean <= seen.macro_recall + tolerance);
        let shares: f64 = seen.per_class.iter().map(|c| c.predicted_share).sum();
        prop_assert!((shares - 1.0).abs() < 1e-9);
        let rows_in_classes: u64 = seen.per_class.iter().map(|c| c.rows).sum();
        prop_assert_eq!(rows_in_classes + seen.unseen_rows, rows as u64);
    }

    #[test]
    fn an_integer_row_weight_equals_repeated_rows(
        rows in 1usize..40, classes in 2usize..12, seed in any::<u64>(),
    ) {
        let (p, labels, _) = random_problem(rows, classes, seed);
        let counts = ClassCounts::from_rows(vec![50; classes]);
        let times: Vec<f64> = (0..rows).map(|row| (row % 3 + 1) as f64).collect();
        let repeated: Vec<usize> = (0..rows).flat_map(|r| std::iter::repeat_n(r, times[r] as usize)).collect();
        let many_p: Vec<f32> =
            repeated.iter().flat_map(|&r| p[r * classes..(r + 1) * classes].to_vec()).collect();
        let many_labels: Vec<u32> = repeated.iter().map(|&r| labels[r]).collect();
        let weighted = evaluate(&p, &labels, &counts, Some(&times)).unwrap();
        let plain = evaluate(&many_p, &many_labels, &counts, None).unwrap();
        for name in Metric::names() {
            let metric = Metric::parse(name).unwrap();
            let (weighted, plain) = (metric.value(&weighted), metric.value(&plain));
            let same = weighted.is_nan() && plain.is_nan() || (weighted - plain).abs() < 1e-9;
            prop_assert!(same, "{}: {} and {}", name, weighted, plain);
        }
    }
}

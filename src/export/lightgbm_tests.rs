use super::super::lightgbm_reader::LightgbmTrees;
use super::super::probe::probe_rows;
use super::*;
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::matrix::Matrix;
use crate::rng::CounterRng;
use crate::simd::Kernels;

/// Numbers with gaps and two categorical columns that tell the class.
fn model(classes: usize, loss: Loss, trees: Trees, rounds: usize) -> BoostModel {
    let mut rng = CounterRng::new(8, 0);
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..700 {
        let (x, colour, town) = (rng.next_f64() * 9.0 - 3.0, rng.below(5), rng.below(70));
        let gap = rng.below(6) == 0;
        values.extend([if gap { f32::NAN } else { x as f32 }, 3.0, colour as f32]);
        values.push(if rng.below(9) == 0 { f32::NAN } else { town as f32 });
        let class = usize::from(gap || x > 1.0) + usize::from(colour == 3) + usize::from(town % 7 == 2);
        labels.push((class % classes) as u32);
    }
    let matrix = Matrix::from_f32(values, 4);
    let binning = BinningOptions { categorical: vec![2, 3], max_bins: 60, ..Default::default() };
    let binner = Binner::fit(&matrix, &labels, &binning).unwrap();
    let features = binner.bin(&matrix).unwrap();
    let problem = BoostProblem {
        features: &features,
        binner: &binner,
        labels: &labels,
        weights: &[1.0; 700],
        classes,
        loss,
        offsets: None,
        start: None,
    };
    let options = BoostOptions { trees, min_rows: 2, max_leaves: 9, ..BoostOptions::default() };
    let mut trainer = Trainer::new(problem, &options, Kernels::best()).unwrap();
    for _ in 0..rounds {
        trainer.round();
    }
    trainer.into_model()
}

fn models() -> Vec<BoostModel> {
    vec![
        model(2, Loss::Softmax, Trees::Auto, 12),
        model(2, Loss::Focal { gamma: 1.0 }, Trees::Auto, 4),
        model(4, Loss::Softmax, Trees::PerClass, 5),
        model(3, Loss::Sigmoid, Trees::PerClass, 5),
        model(3, Loss::SoftmaxFocal { gamma: 1.0 }, Trees::Vector(Lanes::Four), 6),
        model(3, Loss::Softmax, Trees::PerClass, 0),
    ]
}

fn names() -> Names {
    let columns = ["a b", "a,b", "colour", ""].map(str::to_owned).to_vec();
    let towns = (0..70).map(|town| format!("town \"{town}\"")).collect();
    let colours = ["blue", "red", "green", "grey", "pink"].map(str::to_owned).to_vec();
    Names { classes: Vec::new(), columns, levels: vec![None, None, Some(colours), Some(towns)] }
}

#[test]
fn read_back_every_test_decides_alike() {
    for model in models() {
        let names = names();
        let shift: Vec<f64> = (0..model.classes).map(|class| class as f64 * 0.25 - 0.1).collect();
        let text = LightgbmText::new(&model, &names, &shift).unwrap().render();
        let read = LightgbmTrees::parse(&text).unwrap();
        let outputs = model.outputs();
        assert_eq!((read.outputs, read.tree_count()), (outputs, model.rounds().max(1) * outputs));
        let rows = probe_rows(&model.binner, 500);
        let wanted = model.scores(&rows).unwrap();
        for (row, wanted) in wanted.chunks_exact(outputs).enumerate() {
            let values: Vec<f64> = (0..4).map(|column| f64::from(rows.get(row, column))).collect();
            let mut found = vec![0.0; outputs];
            read.add_scores(&values, &mut found);
            for (output, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                let shift = if model.classes == 2 { shift[1] - shift[0] } else { shift[output] };
                assert!((found - f64::from(*wanted) - shift).abs() < 1e-5, "row {row}: {found}, {wanted}");
            }
        }
    }
}

#[test]
fn the_probes_reach_most_leaves() {
    // A check by rows that all take one way would be none.
    let model = model(2, Loss::Softmax, Trees::Auto, 6);
    let rows = probe_rows(&model.binner, 500);
    for boosted in &model.trees {
        let mut reached = vec![false; boosted.tree.leaves()];
        for row in 0..rows.rows() {
            let features = model.binner.features();
            let bin = |at: usize| features[at].bin(rows.get(row, features[at].column as usize));
            reached[boosted.tree.leaf(bin)] = true;
        }
        assert!(reached.iter().filter(|&&reached| reached).count() * 4 >= reached.len() * 3, "{reached:?}");
    }
}

#[test]
fn f64_values_decide_as_their_f32_roundings_do() {
    let mut rng = CounterRng::new(4, 0);
    let mut thresholds =
        vec![0.0, -0.0, 1.0, -1.0, f32::MAX, f32::MIN, 1e-45, -1e-45, 0.1, f32::MIN_POSITIVE];
    thresholds.extend((0..500).map(|_| f32::from_bits(rng.next_u64() as u32)).filter(|x| x.is_finite()));
    for threshold in thresholds {
        let exported = last_rounding_to(threshold);
        assert!(f64::from(threshold) <= exported);
        for x in [exported, exported.next_up(), exported.next_down(), f64::from(threshold), exported * 1.001]
        {
            assert_eq!(x <= exported, x as f32 <= threshold, "{x:?} at {threshold:?}");
        }
    }
    assert_eq!(last_rounding_to(f32::INFINITY), 1e300);
}

#[test]
fn the_head_has_what_lightgbm_asks_for() {
    let names = names();
    let heads = [
        "binary sigmoid:1",
        "binary sigmoid:1",
        "multiclass num_class:4",
        "multiclassova num_class:3 sigmoid:1",
        "multiclass num_class:3",
        "multiclass num_class:3",
    ];
    for (model, objective) in models().iter().zip(heads) {
        let text = LightgbmText::new(model, &names, &vec![0.0; model.classes]).unwrap().render();
        assert!(text.starts_with(&format!("tree\nversion=v4\nnum_class={}\n", model.outputs())));
        assert!(text.contains(&format!("\nobjective={objective}\n")), "{objective}");
        // Names without spaces and commas, each one once.
        assert!(text.contains("\nfeature_names=a_b a_b_2 colour Column_3\n"));
        assert!(text.contains("\nfeature_infos=[-inf:inf] none 0:1:2:3:4 "));
        let last = text.lines().last().and_then(|line| line.strip_prefix("pandas_categorical:")).unwrap();
        let categories: Vec<Vec<String>> = serde_json::from_str(last).unwrap();
        assert_eq!((categories[0][1].as_str(), categories[1][69].as_str()), ("red", "town \"69\""));
    }
}

#[test]
fn what_lightgbm_cannot_say_is_refused() {
    let good = model(2, Loss::Softmax, Trees::Auto, 2);
    let names = names();
    let code =
        |model: &BoostModel, shift: &[f64]| LightgbmText::new(model, &names, shift).unwrap_err().code();
    assert_eq!(code(&good, &[0.0]), "E0208");
    assert_eq!(code(&good, &[0.0, f64::NEG_INFINITY]), "E0208");
    for codes in [vec![-1.0, 2.0], vec![0.5, 1.0], vec![0.0, 1e6]] {
        let features = vec![BinnedFeature { column: 2, values: Values::Categorical(codes) }];
        let binner = Binner::from_features(4, features).unwrap();
        let model = BoostModel { binner, trees: Vec::new(), ..good.clone() };
        assert_eq!(code(&model, &[0.0, 0.0]), "E0208");
    }
}

#[test]
fn damaged_text_is_not_read() {
    let names = names();
    let model = model(3, Loss::Softmax, Trees::PerClass, 2);
    let text = LightgbmText::new(&model, &names, &[0.0; 3]).unwrap().render();
    for (from, to) in [
        ("tree_sizes=", "tree_sizes=1"),
        ("num_leaves=", "num_leaves=1"),
        ("left_child=1", "left_child=0"),
        ("split_feature=", "split_feature=9"),
        ("feature_names=a_b", "feature_names=a b"),
        ("cat_boundaries=0", "cat_boundaries=7"),
        ("leaf_value=", "leaf_value=x"),
        ("end of trees", "end of tree"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(LightgbmTrees::parse(&text.replacen(from, to, 1)).is_err(), "{from} to {to}");
    }
}

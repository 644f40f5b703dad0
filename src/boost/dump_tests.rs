use super::*;
use crate::boost::binning::BinningOptions;
use crate::boost::options::{BoostOptions, Lanes, Trees};
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::matrix::Matrix;
use crate::simd::Kernels;

/// A number with gaps and a category, which tell the class together.
fn model(classes: usize, trees: Trees) -> BoostModel {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for row in 0..300usize {
        let number = if row % 13 == 0 { f32::NAN } else { ((row * 7919) % 301) as f32 / 3.0 };
        let colour = row * 31 % 17 % 4;
        values.extend([number, 5.0, colour as f32]);
        labels.push(((usize::from(number > 40.0) + usize::from(colour == 2)) % classes) as u32);
    }
    let matrix = Matrix::from_f32(values, 3);
    let binning = BinningOptions { categorical: vec![2], ..Default::default() };
    let binner = Binner::fit(&matrix, &labels, &binning).unwrap();
    let features = binner.bin(&matrix).unwrap();
    let problem = BoostProblem {
        features: &features,
        binner: &binner,
        labels: &labels,
        weights: &[1.0; 300],
        classes,
        loss: Loss::Softmax,
        offsets: None,
        start: None,
    };
    let options = BoostOptions { trees, min_rows: 2, max_leaves: 6, ..BoostOptions::default() };
    let mut trainer = Trainer::new(problem, &options, Kernels::best()).unwrap();
    while trainer.round().number < 4 {}
    trainer.into_model()
}

fn models() -> [BoostModel; 3] {
    [model(2, Trees::Auto), model(3, Trees::PerClass), model(3, Trees::Vector(Lanes::Four))]
}

fn names() -> Names {
    let text = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    Names {
        classes: text(&["no", "yes, but", "maybe"]),
        columns: text(&["number", "constant", "colour"]),
        levels: vec![None, None, Some(text(&["blue", "dark red", "green", "grey"]))],
    }
}

fn json(model: &BoostModel) -> Vec<u8> {
    let mut out = Vec::new();
    write_json(model, &names(), &mut out).unwrap();
    out
}

#[test]
fn json_brings_back_every_bit() {
    for mut model in models() {
        // Values that short decimals are far from, and a test for gaps alone.
        model.base[0] = f32::from_bits(0x0000_0001);
        model.trees[0].values[0] = f32::from_bits(0x3eaa_aaab);
        model.trees[0].values[1] = -0.0;
        let back = read_json(&json(&model)[..]).unwrap();
        assert_eq!(back, model);
        let bits = |model: &BoostModel| -> Vec<u32> {
            let values = model.trees.iter().flat_map(|tree| &tree.values);
            model.base.iter().chain(values).map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&back), bits(&model));
        assert_eq!(json(&back), json(&model));
    }
}

#[test]
fn other_readers_understand_it() {
    for model in models() {
        let value: serde_json::Value = serde_json::from_slice(&json(&model)).unwrap();
        assert_eq!(value["features"][1]["levels"][1], "dark red");
        assert_eq!(value["trees"].as_array().map(Vec::len), Some(model.trees.len()));
        let cover = value["trees"][0]["nodes"][0]["cover"].as_u64();
        assert_eq!(cover, Some(300));
    }
}

#[test]
fn damaged_json_is_refused() {
    let text = String::from_utf8(json(&model(3, Trees::PerClass))).unwrap();
    for (from, to) in [
        ("cbfit.trees/1", "cbfit.trees/9"),
        ("\"left\":-1", "\"left\":-9000000000"),
        ("\"left\":-1", "\"left\":7"),
        ("\"bin\":", "\"codes\":[],\"bin\":"),
        ("\"output\":0", "\"output\":8"),
        ("\"codes\":[0.0,1.0,2.0,3.0]", "\"codes\":[3.0,1.0]"),
        ("\"cuts\":", "\"tucs\":"),
        ("\"feature\":0", "\"feature\":11"),
        ("\"cover\":300", "\"cover\":0"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(read_json(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} to {to}");
    }
    (0..text.len() - 1).step_by(97).for_each(|end| assert!(read_json(&text.as_bytes()[..end]).is_err()));
}

#[test]
fn text_shows_tests_by_name_and_every_leaf() {
    for model in models() {
        let mut out = Vec::new();
        write_text(&model, &names(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("classes  no, \"yes, but\""), "{text}");
        assert!(text.contains("if number <= ") && text.contains("colour in {"), "{text}");
        assert!(text.contains("green") && !text.contains("constant"), "{text}");
        let lines = |what: &str| text.lines().filter(|line| line.trim_start().starts_with(what)).count();
        let inner: usize = model.trees.iter().map(|tree| tree.tree.nodes.len()).sum();
        assert_eq!((lines("if "), lines("else")), (inner, inner));
        let leaves = text.lines().filter(|line| line.ends_with(" rows]") && !line.contains("gain")).count();
        assert_eq!(leaves, inner + model.trees.len());
    }
}

#[test]
fn rows_of_the_leaves_add_up() {
    let mut out = Vec::new();
    let model = model(2, Trees::Auto);
    write_text(&model, &names(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let first = text.split("\ntree ").nth(1).unwrap();
    let rows = first
        .lines()
        .filter(|line| !line.contains("gain"))
        .filter_map(|line| line.strip_suffix(" rows]")?.rsplit_once('[')?.1.parse::<u32>().ok());
    assert_eq!(rows.sum::<u32>(), 300);
}

//! Scores and contributions of trees against those that LightGBM gives for the same trees (`golden/make_lightgbm.py`).

mod common;

use cbfit::boost::dump::read_json;
use cbfit::boost::shap::{Explained, Explainer};
use cbfit::matrix::Matrix;
use serde_json::Value;

use common::cli::numbers;

#[test]
fn lightgbm_gives_the_same_scores_and_contributions() {
    let text = std::fs::read_to_string(common::repo("tests/golden/lightgbm.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 3);
    for (name, case) in cases {
        let model = read_json(case["model"].to_string().as_bytes()).unwrap();
        let rows = case["rows"].as_array().unwrap();
        let value = |cell: &Value| cell.as_f64().map_or(f32::NAN, |value| value as f32);
        let values = rows.iter().flat_map(|row| row.as_array().unwrap().iter().map(value)).collect();
        let matrix = Matrix::from_f32(values, 3);
        let scores = model.scores(&matrix).unwrap();
        let every: Vec<u32> = (0..model.outputs() as u32).collect();
        let explainer = Explainer::new(&model).unwrap();
        let contributions = explainer.contributions(&matrix, Explained::Outputs(&every)).unwrap();
        let differ = |what: &str, ours: &[f32]| {
            let theirs: Vec<f64> = case[what].as_array().unwrap().iter().flat_map(numbers).collect();
            assert_eq!(ours.len(), theirs.len(), "{name}: {what}");
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                assert!((f64::from(*ours) - theirs).abs() < 1e-6, "{name}: {what} {at}: {ours}, {theirs}");
            }
        };
        differ("scores", &scores);
        differ("contributions", &contributions);
    }
}

use serde_json::json;

use super::tests::rows;
use super::*;
use crate::calibrate::Calibration;
use crate::calibrate::offsets::{OffsetMetric, Offsets};
use crate::data::encode::{FeatureEncoder, InputColumn};
use crate::data::missing::Missing;
use crate::data::scale::{Scale, Scaler};
use crate::hybrid::features::LinearFeatures;
use crate::hybrid::model::{HybridModel, LinearStart};
use crate::labels::{LabelKind, LabelMap};
use crate::matrix::Matrix;
use crate::model::Model;
use crate::model_file::{LinearStartRecord, SavedModel, from_bytes, to_bytes};
use crate::simd::Kernels;
use crate::weighting::Prior;

fn labels() -> LabelMap {
    LabelMap { kind: LabelKind::Text, names: ["common", "rare", "rarest"].map(String::from).to_vec() }
}

/// A number, a vector of two and a number.
fn columns(missing: Missing) -> FeatureEncoder {
    let number = |name: &str, mean| InputColumn::Numeric { name: name.into(), mean };
    let mean = |value| (missing == Missing::Mean).then_some(value);
    let means = (missing == Missing::Mean).then(|| vec![0.5, -2.0]);
    let vector = InputColumn::Vector { name: "v".into(), len: 2, means };
    FeatureEncoder { inputs: vec![number("a", mean(1.5)), vector, number("b", mean(0.125))], missing }
}

/// As the command line would have it, with everything a file may hold.
fn complete(mut saved: SavedModel, missing: Missing, calibration: Option<Calibration>) -> SavedModel {
    let metadata = &mut saved.metadata;
    metadata.encoder = columns(missing);
    metadata.calibration = calibration;
    let offset = vec![-0.5, 0.0, 2.5];
    metadata.offsets = Some(Offsets { metric: OffsetMetric::MacroF1, tau: 0.5, offset });
    metadata.config = json!({ "l2": 0.5, "metric": "macro_f1" });
    metadata.data_fingerprint = "0123".into();
    metadata.metrics = json!({ "valid": { "top1": 0.5 } });
    metadata.certificate = json!({ "relative_gap": 0.25 });
    metadata.history = json!([{ "l2": 0.5 }]);
    metadata.format_version = metadata.needed_version();
    saved
}

fn linear(missing: Missing, calibration: Option<Calibration>) -> SavedModel {
    let (x, y) = rows(20);
    let linear = Linear::softmax().weighting(Weighting::inverse()).standardize(true).l2(1e-3);
    complete(linear.fit(&(&x[..], 4), &y).unwrap().to_saved(labels(), None).unwrap(), missing, calibration)
}

fn boosted(calibration: Option<Calibration>) -> SavedModel {
    let (x, y) = rows(21);
    let boost = Boost::softmax().weighting(Weighting::sqrt()).rounds(4);
    let saved = boost.fit(&(&x[..], 4), &y).unwrap().to_saved(labels(), None).unwrap();
    complete(saved, Missing::Keep, calibration)
}

/// Trees on linear functions that fill gaps and standardise for themselves.
fn hybrid(calibration: Option<Calibration>) -> SavedModel {
    let SavedModel { model: Model::Linear(model), scaler, .. } = linear(Missing::Error, None) else {
        panic!("not linear")
    };
    let mut saved = boosted(calibration);
    let Model::Boost(trees) = saved.model else { panic!("no trees") };
    let fill = vec![0.5, 1.0, -1.0, 2.0];
    let features = LinearFeatures::from_parts(&saved.metadata.encoder, fill, scaler).unwrap();
    saved.metadata.linear_start = Some(LinearStartRecord::of(0.0625, &features));
    saved.model = Model::Hybrid(HybridModel { start: LinearStart { features, model }, trees });
    saved.metadata.format_version = saved.metadata.needed_version();
    saved
}

fn all() -> Vec<SavedModel> {
    let temperature = || Some(Calibration::Temperature { scale: 0.5 });
    let vector = Calibration::Vector { scale: vec![0.5, 1.0, 1.5], offset: vec![0.0, 0.25, -1.0] };
    vec![
        linear(Missing::Error, Some(Calibration::Prior)),
        linear(Missing::Mean, Some(vector)),
        linear(Missing::Zero, None),
        boosted(temperature()),
        hybrid(None),
        hybrid(temperature()),
    ]
}

/// Rows of a test with gaps where the model takes them.
fn other_rows(saved: &SavedModel) -> Matrix<'static> {
    let (mut x, _) = rows(22);
    if saved.metadata.encoder.missing != Missing::Error {
        x.iter_mut().step_by(7).for_each(|x| *x = f32::NAN);
    }
    Matrix::from_f32(x, 4)
}

/// What `cbfit predict` writes: probabilities and names of classes.
fn of_the_command(saved: &SavedModel, prior: &Prior) -> (Vec<f32>, Vec<String>) {
    let mut features = other_rows(saved);
    saved.metadata.encoder.fill_missing(&mut features);
    saved.scaler.apply(&mut features);
    let mut values = saved.model.logits(&features, Kernels::best()).unwrap();
    let posterior = saved.metadata.posterior(prior).unwrap();
    let decided = saved.metadata.decisions().unwrap().of(&posterior, &mut values);
    (values, decided.iter().map(|&at| saved.metadata.label_map.names[at as usize].clone()).collect())
}

#[test]
fn a_file_predicts_what_the_command_does_and_is_written_again_as_it_was() {
    for saved in all() {
        assert_eq!(from_bytes(&to_bytes(&saved).unwrap()).unwrap(), saved);
        let fitted = Fitted::from_saved(saved.clone()).unwrap();
        let x = other_rows(&saved);
        for prior in [Prior::AsTrained, Prior::Natural, Prior::Uniform, Prior::Given(vec![0.2, 0.5, 0.3])] {
            let found = (fitted.predict_proba_under(&x, &prior).unwrap(), fitted.predict_under(&x, &prior));
            let (probabilities, names) = of_the_command(&saved, &prior);
            assert_eq!((found.0, found.1.unwrap()), (probabilities, names));
        }
        let own = if saved.metadata.calibration.is_some() { Prior::Natural } else { Prior::AsTrained };
        assert_eq!(fitted.own_prior(), own);
        let (probabilities, names) = of_the_command(&saved, &own);
        assert_eq!(fitted.predict_proba(&x).unwrap(), probabilities);
        assert_eq!(fitted.predict(&x).unwrap(), names);

        assert_eq!(fitted.to_saved(labels(), None).unwrap(), saved);
        let own_names = saved.metadata.encoder.feature_names().collect();
        assert_eq!(fitted.to_saved(labels(), Some(own_names)).unwrap(), saved);
        let text = serde_json::to_string(&fitted).unwrap();
        assert_eq!(serde_json::from_str::<Fitted<String>>(&text).unwrap(), fitted);
        let renamed = fitted.with_classes(vec![1, 2, 3]).unwrap();
        assert_eq!(renamed.to_saved(labels(), None).unwrap(), saved);
    }
}

#[test]
fn other_names_of_features_leave_predictions_as_they_are() {
    for saved in all() {
        let fitted = Fitted::from_saved(saved.clone()).unwrap();
        let names = ["p", "q", "r", "s"].map(String::from).to_vec();
        let renamed = fitted.to_saved(labels(), Some(names.clone())).unwrap();
        let renamed = from_bytes(&to_bytes(&renamed).unwrap()).unwrap();
        assert!(renamed.metadata.encoder.feature_names().eq(names));
        assert_eq!(renamed.metadata.encoder.fills(), saved.metadata.encoder.fills());
        let (x, again) = (other_rows(&saved), Fitted::from_saved(renamed).unwrap());
        assert_eq!(again.predict_proba(&x).unwrap(), fitted.predict_proba(&x).unwrap());
        assert_eq!(again.predict(&x).unwrap(), fitted.predict(&x).unwrap());
    }
}

#[test]
fn fits_know_no_fill_and_refuse_what_files_fill() {
    let saved = linear(Missing::Mean, None);
    let x = other_rows(&saved);
    assert!(Fitted::from_saved(saved).unwrap().predict(&x).is_ok());
    assert_eq!(
        Fitted::from_saved(linear(Missing::Error, None)).unwrap().predict(&x).unwrap_err().code(),
        "E0310"
    );
    // No reader of files makes such a model, but a file may say so.
    let mut kept = linear(Missing::Error, None);
    (kept.metadata.encoder.missing, kept.scaler) = (Missing::Keep, Scaler::none());
    kept.metadata.scale = Scale::None;
    let kept = from_bytes(&to_bytes(&kept).unwrap()).unwrap();
    assert_eq!(Fitted::from_saved(kept).unwrap().predict(&x).unwrap_err().code(), "E0310");
}

#[test]
fn text_columns_are_refused_by_name() {
    let mut saved = hybrid(None);
    let levels = vec!["blue".into(), "red".into()];
    let code = |name: &str| InputColumn::Codes { name: name.into(), levels: Vec::clone(&levels) };
    saved.metadata.encoder.inputs[0] = code("colour");
    let refused = |saved: SavedModel| Fitted::from_saved(saved).unwrap_err();
    let error = refused(saved.clone());
    assert!(error.to_string().contains("reads \"colour\" as text"), "{error}");
    assert_eq!((error.code(), error.help().as_str()), ("E0208", "use cbfit predict"));
    saved.metadata.encoder.inputs[2] = code("shape");
    let error = refused(saved).to_string();
    assert!(error.contains("reads \"colour\" and 1 more as text"), "{error}");
}

#[test]
fn parts_of_a_model_are_not_taken_for_the_whole() {
    let (x, y) = rows(23);
    let x = (&x[..], 4);
    let named = |saved| Fitted::from_saved(saved).unwrap().with_classes(vec!["common", "rare", "rarest"]);
    let trees = named(hybrid(None)).unwrap();
    assert!(trees.linear().is_none() && trees.coefficients().is_none() && trees.trees().is_some());
    assert!(matches!(trees.model(), Model::Hybrid(_)));
    let request = Request { warm_start: Some(&trees), ..Request::default() };
    let refused = Boost::softmax().rounds(2).fit_with(&x, &y, request).unwrap_err();
    assert!(refused.code() == "E0503" && refused.to_string().contains("--init-model"), "{refused}");
    // A fit that starts from a calibrated model is another model, which has no calibration.
    let mut start = linear(Missing::Error, Some(Calibration::Prior));
    start.scaler = Scaler::none();
    start.metadata.scale = Scale::None;
    let start = named(start).unwrap();
    let request = Request { warm_start: Some(&start), ..Request::default() };
    let fitted = Linear::softmax().l2(1e-3).fit_with(&x, &y, request).unwrap();
    assert!(fitted.calibration().is_none() && fitted.offsets().is_none());
    assert_eq!(fitted.encoder(), &FeatureEncoder::of_vector(4, Missing::Error));
}

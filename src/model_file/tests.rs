//! Round trips and hostile files.

use super::*;
use crate::boost::binning::{Binner, BinningOptions};
use crate::boost::options::{BoostOptions, Trees};
use crate::boost::trainer::{BoostProblem, Trainer};
use crate::boost::tree::Test;
use crate::data::encode::{FeatureEncoder, InputColumn};
use crate::data::missing::Missing;
use crate::labels::{ClassCounts, LabelKind, LabelMap};
use crate::loss::Loss;
use crate::matrix::Matrix;
use crate::simd::Kernels;
use crate::weighting::LogitLink;
use proptest::prelude::*;
use serde_json::json;

/// Three classes, two features.
pub(super) fn example() -> SavedModel {
    let loss = Loss::Focal { gamma: 0.5 };
    let model = LinearModel {
        weight: vec![0.5, -1.25, f32::MIN_POSITIVE, 3e38, -0.0, 1.0 / 3.0],
        bias: vec![-0.75, 0.0, 2.0],
        features: 2,
        loss,
    };
    let scaler = Scaler { scale: Scale::Standard, mean: vec![1.0, -2.0], deviation: vec![0.5, 4.0] };
    let metadata = ModelMetadata {
        format_version: 1,
        cbfit_version: "0.1.0".into(),
        learner: Learner::Linear,
        linear_start: None,
        loss,
        label_map: LabelMap {
            kind: LabelKind::Text,
            names: vec!["cat".into(), "d\"og\n".into(), "Löwe".into()],
        },
        counts: ClassCounts::from_rows(vec![100, 10, 1]),
        class_weights: vec![0.25, 1.0 / 3.0, 2.5],
        weighting: WeightingRecord {
            scheme: "effective".into(),
            beta: Some("1-1e-7".into()),
            normalisation: "samples".into(),
        },
        logit_adjust: 0.0,
        logit_link: LogitLink::default(),
        encoder: FeatureEncoder {
            inputs: vec![InputColumn::Vector { name: "embedding".into(), len: 2, means: None }],
            missing: Missing::Error,
        },
        scale: Scale::Standard,
        config: json!({"l2": 1e-3, "seed": 0}),
        data_fingerprint: "8f3a".into(),
        metrics: json!({"macro_recall": 0.5}),
        certificate: json!({"gradient_norm": 1e-9}),
        history: json!([]),
        calibration: None,
        offsets: None,
    };
    SavedModel { model: Model::Linear(model), scaler, metadata }
}

fn linear(saved: &mut SavedModel) -> &mut LinearModel {
    match &mut saved.model {
        Model::Linear(model) => model,
        Model::Boost(_) | Model::Hybrid(_) => panic!("a model of trees"),
    }
}

/// Trees over a number that may be missing and a category, two classes (a tree a round) or three (one for all).
pub(super) fn boosted(classes: usize, trees: Trees) -> SavedModel {
    let rows = 120;
    let mut values = Vec::new();
    for row in 0..rows {
        let number = if row % 11 == 0 { f32::NAN } else { (row * 37 % rows) as f32 };
        values.extend([number, (row % 5) as f32, 1.0]);
    }
    let labels: Vec<u32> = (0..rows).map(|row| ((row * 37 % rows) / 50 + row % 5 / 3) as u32).collect();
    let labels: Vec<u32> = labels.into_iter().map(|label| label.min(classes as u32 - 1)).collect();
    let matrix = Matrix::from_f32(values, 3);
    let bins = BinningOptions { categorical: vec![1], ..BinningOptions::default() };
    let binner = Binner::fit(&matrix, &labels, &bins).unwrap();
    let binned = binner.bin(&matrix).unwrap();
    let problem = BoostProblem {
        features: &binned,
        binner: &binner,
        labels: &labels,
        weights: &vec![1.0; rows],
        classes,
        loss: Loss::Softmax,
        offsets: None,
        start: None,
    };
    let options = BoostOptions { trees, min_rows: 2, ..BoostOptions::default() };
    let mut trainer = Trainer::new(problem, &options, Kernels::best()).unwrap();
    for _ in 0..4 {
        trainer.round();
    }
    let model = trainer.into_model();
    let tests: Vec<&Test> = model.trees.iter().flat_map(|t| &t.tree.nodes).map(|node| &node.test).collect();
    assert!(tests.iter().any(|test| matches!(test, Test::Among(_))));
    assert!(tests.iter().any(|test| matches!(test, Test::UpTo { .. })));
    let mut saved = example();
    let names = ["cat", "dog", "Löwe"].map(str::to_owned)[..classes].to_vec();
    saved.metadata = ModelMetadata {
        format_version: 3,
        learner: Learner::Boost,
        loss: Loss::Softmax,
        label_map: LabelMap { kind: LabelKind::Text, names },
        counts: ClassCounts::from_rows(vec![10; classes]),
        class_weights: vec![1.0; classes],
        encoder: FeatureEncoder {
            inputs: vec![InputColumn::Vector { name: "x".into(), len: 3, means: None }],
            missing: Missing::Keep,
        },
        scale: Scale::None,
        ..saved.metadata
    };
    SavedModel { model: Model::Boost(model), scaler: unscaled_scaler(), metadata: saved.metadata }
}

fn all_boosted() -> [SavedModel; 3] {
    [
        boosted(2, Trees::Auto),
        boosted(3, Trees::PerClass),
        boosted(3, Trees::Vector(crate::boost::options::Lanes::Four)),
    ]
}

pub(super) fn unscaled_scaler() -> Scaler {
    Scaler { scale: Scale::None, mean: Vec::new(), deviation: Vec::new() }
}

fn in_folder<T>(test: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    test(&folder.path().join("m.cbfit"))
}

pub(super) fn bytes_of(saved: &SavedModel) -> Vec<u8> {
    in_folder(|path| {
        let length = save(path, saved).unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    })
}

pub(super) fn load_bytes(bytes: &[u8]) -> Result<SavedModel> {
    in_folder(|path| {
        fs::write(path, bytes).unwrap();
        let loaded = load(path);
        // Whoever reads only the header must never be worse off.
        assert!(loaded.is_err() || read_metadata(path).is_ok());
        loaded
    })
}

/// A container with the header `header` and `data_bytes` zero bytes after it.
fn container_of(header: &serde_json::Value, data_bytes: usize) -> Vec<u8> {
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

fn header_of(bytes: &[u8]) -> serde_json::Value {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

#[test]
fn a_model_comes_back_bit_for_bit() {
    let mut unscaled = example();
    unscaled.scaler = unscaled_scaler();
    unscaled.metadata.scale = Scale::None;
    for saved in [example(), unscaled] {
        let bytes = bytes_of(&saved);
        let loaded = load_bytes(&bytes).unwrap();
        assert_eq!(loaded, saved);
        assert!(loaded.model.linear().unwrap().weight[4].is_sign_negative());
        assert_eq!(bytes_of(&loaded), bytes);
        assert_eq!(to_bytes(&saved).unwrap(), bytes);
        assert_eq!(from_bytes(&bytes).unwrap(), saved);
        assert_eq!(from_bytes(&bytes[..bytes.len() - 1]).unwrap_err().code(), "E0501");
    }
}

#[test]
fn trees_come_back_bit_for_bit() {
    for saved in all_boosted() {
        let bytes = bytes_of(&saved);
        let loaded = load_bytes(&bytes).unwrap();
        assert_eq!(loaded, saved);
        assert_eq!(bytes_of(&loaded), bytes);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("boost.nodes").unwrap().dtype(), safetensors::Dtype::U32);
    }
}

#[test]
fn a_flipped_bit_of_trees_is_an_error_or_another_sound_model() {
    let rows = Matrix::from_f32(vec![f32::NAN, 0.0, 1.0, 50.0, 3.0, 1.0, 7.0, 9.0, f32::INFINITY], 3);
    for saved in all_boosted() {
        let bytes = bytes_of(&saved);
        let data_start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut refused = 0;
        for at in data_start..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            match load_bytes(&flipped) {
                Ok(loaded) => {
                    assert_eq!(
                        loaded.model.logits(&rows, Kernels::best()).unwrap().len(),
                        3 * saved.model.classes()
                    );
                }
                Err(Error::BadModel { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > 20, "{refused}");
    }
}

#[test]
fn a_model_of_one_kind_is_none_of_the_other() {
    for spoil in [
        |s: &mut SavedModel| s.metadata.learner = Learner::Linear,
        |s: &mut SavedModel| s.metadata.format_version = 2,
        |s: &mut SavedModel| s.model = example().model,
        |s: &mut SavedModel| {
            (s.metadata.scale, s.scaler) = (Scale::L2, Scaler { scale: Scale::L2, ..unscaled_scaler() })
        },
    ] {
        let mut saved = boosted(3, Trees::Auto);
        spoil(&mut saved);
        in_folder(|path| assert!(matches!(save(path, &saved), Err(Error::BadModel { .. }))));
    }
}

#[test]
fn other_readers_of_safetensors_open_it() {
    let saved = example();
    let bytes = bytes_of(&saved);
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (safetensors::Dtype::F32, &[3, 2][..]));
    let values: Vec<u8> = saved.model.linear().unwrap().weight.iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!(weight.data(), values);
    assert_eq!(tensors.tensor("scaler.scale").unwrap().shape(), [2]);
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
}

#[test]
fn metadata_is_readable_alone() {
    in_folder(|path| {
        save(path, &example()).unwrap();
        assert_eq!(read_metadata(path).unwrap(), (example().metadata, 2));
    });
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let bytes = bytes_of(&example());
    for length in 0..bytes.len() {
        assert_eq!(load_bytes(&bytes[..length]).unwrap_err().exit_status(), 5, "at {length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(load_bytes(&longer).unwrap_err().to_string().contains("its header describes"));
}

#[test]
fn a_newer_format_is_told_from_a_damaged_file() {
    let mut header = header_of(&bytes_of(&example()));
    header["__metadata__"]["cbfit"] = r#"{"format_version": 7, "forest": []}"#.into();
    header["trees"] = json!({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]});
    let error = load_bytes(&container_of(&header, 0)).unwrap_err();
    assert_eq!(error.code(), "E0502");
    assert!(error.to_string().contains("format 7"), "{error}");
}

#[test]
fn hostile_headers_are_refused_before_memory_is_taken() {
    let good = bytes_of(&example());
    let huge = 1u64 << 62;
    let edits: Vec<(&str, serde_json::Value, &str)> = vec![
        ("/weight/shape", json!([3, huge]), "not f32"),
        ("/weight/shape", json!([1u64 << 32, 1u64 << 32]), "not f32"),
        ("/weight/data_offsets", json!([0, huge]), "not f32"),
        ("/weight/data_offsets", json!([24, 0]), "not f32"),
        ("/weight/dtype", json!("F16"), "not f32"),
        ("/bias/data_offsets", json!([28, 40]), "not f32"),
        ("/weight/shape", json!([2, 3]), "3 classes, but its weight"),
        ("/weight/shape", json!([6]), "3 classes, but its weight"),
        ("/scaler.mean/shape", json!([1, 2]), "scaler.mean is ["),
        ("/weight/shape", json!([-1, 2]), "header: invalid value"),
        ("/__metadata__/cbfit", json!("{\"format_version\": 0}"), "missing field"),
        ("/__metadata__/cbfit", json!("["), "metadata: "),
        ("/__metadata__/cbfit", json!("[".repeat(100_000)), "metadata: "),
        ("/__metadata__", json!({}), "did not write"),
        ("/bias", json!(null), "header: invalid type"),
    ];
    for (pointer, value, expected) in edits {
        let mut header = header_of(&good);
        *header.pointer_mut(pointer).unwrap() = value;
        let error = load_bytes(&container_of(&header, 52)).unwrap_err();
        assert_eq!(error.code(), "E0501", "{pointer}: {error}");
        assert!(error.to_string().contains(expected), "{pointer}: {error}");
        assert!(error.to_string().len() < 1_000, "{pointer}");
    }
    let mut longest = u64::MAX.to_le_bytes().to_vec();
    longest.extend(&good);
    assert!(load_bytes(&longest).unwrap_err().to_string().contains("the limit is"));
    let foreign = container_of(&json!({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), 4);
    assert!(load_bytes(&foreign).unwrap_err().to_string().contains("did not write"));
}

#[test]
fn a_sparse_file_of_absurd_size_is_refused() {
    in_folder(|path| {
        let mut header = header_of(&bytes_of(&example()));
        let (classes, features) = (3u64, MAX_FEATURES as u64 + 1);
        let end = classes * features * 4;
        header["weight"] = json!({"dtype": "F32", "shape": [classes, features], "data_offsets": [0, end]});
        header["bias"] = json!({"dtype": "F32", "shape": [3], "data_offsets": [end, end + 12]});
        let header = header.as_object_mut().unwrap();
        header.retain(|name, _| !name.starts_with("scaler"));
        let start = container_of(&json!(header), 0);
        fs::write(path, &start).unwrap();
        File::options().write(true).open(path).unwrap().set_len(start.len() as u64 + end + 12).unwrap();
        let error = load(path).unwrap_err();
        assert!(error.to_string().contains("1000001 features"), "{error}");
    });
}

#[test]
fn nonsense_is_not_saved_and_an_old_model_survives() {
    type Spoil = fn(&mut SavedModel);
    let spoilers: [(Spoil, &str); 10] = [
        (|s| linear(s).weight[3] = f32::NAN, "row 1, feature 1 is NaN"),
        (|s| linear(s).bias[0] = f32::INFINITY, "is inf"),
        (|s| (linear(s).features, s.scaler) = (3, unscaled_scaler()), "6 values of weight for shape [3, 3]"),
        (|s| linear(s).bias.truncate(2), "3 classes"),
        (|s| s.scaler.deviation[0] = 0.0, "scaled by 0"),
        (|s| s.scaler.mean.truncate(1), "scaler.mean is ["),
        (|s| s.metadata.scale = Scale::None, "scaling does not fit"),
        (|s| s.metadata.encoder.inputs.clear(), "its columns make 0 features"),
        (|s| s.metadata.encoder.missing = Missing::Keep, "does not go with codes of text or missing values"),
        (|s| s.metadata.loss = Loss::Softmax, "different losses"),
    ];
    in_folder(|path| {
        save(path, &example()).unwrap();
        for (spoil, expected) in spoilers {
            let mut saved = example();
            spoil(&mut saved);
            let error = save(path, &saved).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} instead of {expected}");
        }
        assert_eq!(load(path).unwrap(), example());
    });
}

#[test]
fn not_finite_tensors_are_refused() {
    let bytes = bytes_of(&example());
    for value in [f32::NAN, f32::INFINITY] {
        let mut spoiled = bytes.clone();
        let last = spoiled.len() - 4;
        spoiled[last..].copy_from_slice(&value.to_le_bytes());
        assert!(load_bytes(&spoiled).unwrap_err().to_string().contains("scaler.scale"));
    }
}

#[test]
fn a_missing_model_names_its_neighbours() {
    in_folder(|path| {
        let folder = path.parent().unwrap();
        for name in ["digits.cbfit", "flowers.cbfit", "notes.txt"] {
            fs::write(folder.join(name), "").unwrap();
        }
        match load(folder.join("digit.cbfit")).unwrap_err() {
            Error::NotFound { near, .. } => assert_eq!(near, ["digits.cbfit", "flowers.cbfit"]),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_flipped_bit_is_an_error_or_another_valid_model() {
    let bytes = bytes_of(&example());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(loaded) = load_bytes(&flipped) {
                loaded.metadata.validate().unwrap();
                assert!(loaded.model.linear().unwrap().weight.iter().all(|value| value.is_finite()));
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), lengthy: bool) {
        if lengthy && bytes.len() >= 8 {
            let length = (bytes.len() as u64 - 8).to_le_bytes();
            bytes[..8].copy_from_slice(&length);
        }
        prop_assert!(load_bytes(&bytes).is_err());
    }

    #[test]
    fn any_finite_model_survives(weight in prop::collection::vec(-1e30f32..1e30, 6), gamma in 0.0f64..5.0) {
        let mut saved = example();
        let model = linear(&mut saved);
        model.weight = weight;
        model.loss = Loss::SoftmaxFocal { gamma };
        saved.metadata.loss = saved.model.loss();
        prop_assert_eq!(load_bytes(&bytes_of(&saved)).unwrap(), saved);
    }
}

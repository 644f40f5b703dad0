//! Text columns as codes of their levels, and missing values that stay missing: what training sees, and what a model's
//! reader makes of later files.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

use std::fs::{self, File};
use std::sync::Arc;

use cbfit::Result;
use cbfit::data::dataset::{Dataset, read_training};
use cbfit::data::dataset_reader::DatasetReader;
use cbfit::data::encode::{FeatureEncoder, InputColumn, MOST_CODES};
use cbfit::data::missing::Missing;
use cbfit::data::options::{Categories, ReadOptions};
use cbfit::data::roles::LabelNeed;
use cbfit::matrix::{Dtype, Matrix};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

const NAN: f32 = f32::NAN;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn with(categories: Categories, missing: Missing) -> ReadOptions {
    ReadOptions { categories, missing, ..ReadOptions::default() }
}

fn codes() -> ReadOptions {
    with(Categories::Codes, Missing::Keep)
}

fn train(text: &str, options: &ReadOptions) -> Result<Dataset> {
    let folder = Folder::new();
    read_training(&[folder.write("train.csv", text)], options)
}

/// Reads a later file with options that say nothing of codes or missing values: the encoder knows.
fn read_for(model: &Dataset, path: String) -> Result<Dataset> {
    let options = ReadOptions::default();
    DatasetReader::open(&[path], &options, &model.encoder, &model.label_map, LabelNeed::Optional)?.read_all()
}

fn read_text_for(model: &Dataset, text: &str) -> Result<Dataset> {
    let folder = Folder::new();
    read_for(model, folder.write("later.csv", text))
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/formats/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Values row by row; NaN equals NaN.
#[track_caller]
fn assert_features(features: &Matrix, expected: &[&[f32]]) {
    let bits = |values: Vec<f32>| -> Vec<u32> {
        values.into_iter().map(|x| if x.is_nan() { NAN } else { x }.to_bits()).collect()
    };
    assert_eq!(features.rows(), expected.len());
    for (row, expected) in expected.iter().enumerate() {
        let found: Vec<f32> = (0..features.cols()).map(|col| features.get(row, col)).collect();
        assert_eq!(bits(found.clone()), bits(expected.to_vec()), "row {row}: {found:?}");
    }
}

const MIXED: &str = "age,color,member,label\n30,red,true,yes\n,blue,false,no\n18,,,no\n25,red,true,yes\n";

#[test]
fn text_becomes_one_feature_and_missing_values_stay() {
    let data = train(MIXED, &codes()).unwrap();
    let expected: [&[f32]; 4] = [&[30.0, 1.0, 1.0], &[NAN, 0.0, 0.0], &[18.0, NAN, NAN], &[25.0, 1.0, 1.0]];
    assert_features(&data.features, &expected);
    assert_eq!(data.encoder.feature_names().collect::<Vec<_>>(), ["age", "color", "member"]);
    assert_eq!(data.encoder.categories(), [None, Some(2), None]);
    let levels = vec!["blue".into(), "red".into()];
    assert_eq!(data.encoder.inputs[1], InputColumn::Codes { name: "color".into(), levels });
    assert_eq!(data.notes, ["3 missing feature values stay missing"]);
    assert_eq!(data.features.dtype(), Dtype::F32);
    // Nothing is filled later on either.
    let mut again = data.clone();
    again.fill_missing(&[0, 1, 2, 3]);
    assert_features(&again.features, &expected);
    let later = read_text_for(&data, MIXED).unwrap();
    assert_features(&later.features, &expected);
    assert_eq!(later.source.fingerprint, data.source.fingerprint);
}

#[test]
fn a_later_file_may_reorder_columns_and_hold_new_levels() {
    let model = train(MIXED, &codes()).unwrap();
    let later = read_text_for(
        &model,
        "label,member,color,extra,age\nyes,,green,1,5\nno,true,blue,2,\nno,false,,3,6\n",
    );
    let later = later.unwrap();
    assert_features(&later.features, &[&[5.0, NAN, NAN], &[NAN, 0.0, 1.0], &[6.0, NAN, 0.0]]);
    assert_eq!(later.unseen_levels, 1);
    let absent = read_text_for(&model, "age,member\n1,true\n").unwrap_err();
    assert!(absent.to_string().contains("1 of 3 columns missing: color"), "{absent}");
}

#[test]
fn an_unseen_level_is_no_missing_value() {
    let model = train("c,x,label\na,1,0\nb,2,1\n", &with(Categories::Codes, Missing::Error)).unwrap();
    let later = read_text_for(&model, "c,x\nz,1\nb,2\n7,3\n").unwrap();
    assert_features(&later.features, &[&[NAN, 1.0], &[1.0, 2.0], &[NAN, 3.0]]);
    assert_eq!(later.unseen_levels, 2);
    // Cells are those of the file, each of them once.
    let missing = read_text_for(&model, "c,x\nz,1\n,\n").unwrap_err();
    assert!(
        missing.to_string().ends_with("2 missing feature values (50.00 %), first in row 2, column c"),
        "{missing}"
    );
    let in_training =
        train("c,x,label\na,1,0\n,2,1\n", &with(Categories::Codes, Missing::Error)).unwrap_err();
    assert!(
        in_training.to_string().ends_with("1 missing feature values (25.00 %), first in row 2, column c")
    );
}

#[test]
fn missing_codes_are_not_filled() {
    let text = "x,c,label\n1,a,0\n,,1\n3,b,1\n";
    let mut mean = train(text, &with(Categories::Codes, Missing::Mean)).unwrap();
    mean.fill_missing(&[0, 1, 2]);
    assert_features(&mean.features, &[&[1.0, 0.0], &[2.0, NAN], &[3.0, 1.0]]);
    let notes = [
        "1 missing feature values filled with the mean of the training rows",
        "1 missing feature values stay missing",
    ];
    assert_eq!(mean.notes, notes);
    let zero = train(text, &with(Categories::Codes, Missing::Zero)).unwrap();
    assert_features(&zero.features, &[&[1.0, 0.0], &[0.0, NAN], &[3.0, 1.0]]);
    let later = read_text_for(&mean, "x,c\n,\n").unwrap();
    assert_features(&later.features, &[&[2.0, NAN]]);
}

#[test]
fn text_of_too_many_levels_keeps_one_feature_a_level() {
    let of = |levels: usize| {
        let mut text = String::from("c,d,x,label\n");
        (0..levels).for_each(|i| text.push_str(&format!("l{i:03},d{},{i},{}\n", i % 3, i % 2)));
        train(&(text + ",,1,0\n"), &codes()).unwrap()
    };
    let most = of(MOST_CODES);
    assert_eq!(most.encoder.categories(), [Some(254), Some(3), None]);
    assert_eq!((most.features.dtype(), most.features.get(253, 0)), (Dtype::F32, 253.0));
    assert_eq!(most.notes, ["2 missing feature values stay missing"]);
    let more = of(MOST_CODES + 1);
    assert!(matches!(&more.encoder.inputs[..], [InputColumn::OneHot { .. }, InputColumn::Codes { .. }, _]));
    let notes = [
        "text column \"c\" has 255 levels, codes hold at most 254: it has one feature a level",
        "1 missing feature values filled with zero",
        "1 missing feature values stay missing",
        "features kept sparse: at most 3 of 257 values a row",
    ];
    assert_eq!(more.notes, notes);
    let categories = more.encoder.categories();
    assert_eq!((categories.len(), categories[254], categories[255]), (257, None, Some(3)));
    // Code 0 is no entry of a sparse row, a missing code is one.
    let tail = |row: usize| [254, 255, 256].map(|col| more.features.get(row, col));
    assert_eq!((more.features.dtype(), tail(0), tail(254)), (Dtype::Sparse, [0.0; 3], [1.0, 2.0, 254.0]));
    assert!(tail(255)[0] == 0.0 && tail(255)[1].is_nan());
}

#[test]
fn codes_do_not_make_features_sparse() {
    let text = |name: &str| InputColumn::Codes {
        name: name.into(),
        levels: (0..200).map(|level| level.to_string()).collect(),
    };
    let encoder = FeatureEncoder { inputs: vec![text("a"), text("b")], missing: Missing::Keep };
    assert_eq!((encoder.width(), encoder.most_values(), encoder.is_sparse()), (2, 2, false));
}

#[test]
fn codes_do_not_hang_on_the_order_of_rows_or_files() {
    let folder = Folder::new();
    let paths = [folder.write("0.csv", "c,label\n2,u\nb,v\n"), folder.write("1.csv", "label,c\nu,10\nv,2\n")];
    let data = read_training(&paths, &codes()).unwrap();
    // In byte order: "10", "2", "b"; the numbers of the second file are text as the first one spells it.
    assert_features(&data.features, &[&[1.0], &[2.0], &[0.0], &[1.0]]);
    let later = read_for(&data, paths[1].clone()).unwrap();
    assert_features(&later.features, &[&[0.0], &[1.0]]);
    let mut long = String::from("c,label\n");
    (0..40_000).for_each(|row| long.push_str(&format!("l{},{}\n", (40_000 - row) / 7 % 90, row % 2)));
    let data = train(&long, &codes()).unwrap();
    let again = read_text_for(&data, &long).unwrap();
    assert_eq!((again.features, again.unseen_levels), (data.features, 0));
}

/// A Parquet file of a text column `c`, a number `x` and a label, one row group for each block of rows.
fn write_parquet(path: &str, blocks: &[&[(Option<&str>, f64, &str)]]) {
    let schema = "message m { optional binary c (UTF8); required double x; required binary label (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
    for rows in blocks {
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<ByteArray> = rows.iter().filter_map(|row| row.0).map(ByteArray::from).collect();
        let present: Vec<i16> = rows.iter().map(|row| i16::from(row.0.is_some())).collect();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let numbers: Vec<f64> = rows.iter().map(|row| row.1).collect();
        column.typed::<DoubleType>().write_batch(&numbers, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let labels: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row.2)).collect();
        column.typed::<ByteArrayType>().write_batch(&labels, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn parquet_text_has_the_same_codes_as_csv() {
    let folder = Folder::new();
    let path = folder.path("train.parquet");
    let first = [(Some("red"), 1.0, "u"), (None, 2.0, "v")];
    let second = [(Some("blue"), f64::NAN, "u"), (Some("red"), 4.0, "v"), (Some(""), 5.0, "v")];
    write_parquet(&path, &[&first, &second]);
    let data = read_training(std::slice::from_ref(&path), &codes()).unwrap();
    let expected: [&[f32]; 5] = [&[2.0, 1.0], &[NAN, 2.0], &[1.0, NAN], &[2.0, 4.0], &[0.0, 5.0]];
    assert_features(&data.features, &expected);
    assert_features(&read_for(&data, path).unwrap().features, &expected);
    let text = "label,x,c\nu,1,red\nv,2,\nu,,blue\nv,4,red\n";
    let from_csv = read_text_for(&data, text).unwrap();
    assert_features(&from_csv.features, &expected[..4]);
    let csv = train(text, &codes()).unwrap();
    assert_features(&csv.features, &[&[1.0, 1.0], &[2.0, NAN], &[NAN, 0.0], &[4.0, 1.0]]);
    let later = folder.path("later.parquet");
    write_parquet(&later, &[&[(Some("green"), 1.0, "u"), (Some("blue"), 2.0, "w")]]);
    let later = read_for(&csv, later).unwrap();
    assert_features(&later.features, &[&[1.0, NAN], &[2.0, 0.0]]);
    assert_eq!(later.unseen_levels, 1);
}

#[test]
fn dictionary_columns_become_codes() {
    let folder = Folder::new();
    let labels = folder.write("labels.csv", "u\nv\nu\n");
    let options = |features: &str| ReadOptions {
        features: Some(features.into()),
        label_file: Some(labels.clone()),
        has_header: false,
        ..codes()
    };
    let parquet = read_training(&[golden("scalars_c.parquet")], &options("bool,string,dictionary")).unwrap();
    assert_features(&parquet.features, &[&[1.0, 0.0, 0.0], &[NAN, NAN, NAN], &[0.0, 1.0, 0.0]]);
    assert_eq!(parquet.encoder.categories(), [None, Some(2), Some(1)]);
    let arrow =
        read_training(&[golden("texts_b.arrow")], &options("dictionary,string_view,numbers")).unwrap();
    arrow.features.visit_rows([1], |_, missing| missing.for_each_entry(|_, x| assert!(x.is_nan())));
    let levels = ["b".to_owned(), "longer than twelve bytes".to_owned()];
    assert_eq!(arrow.encoder.inputs[1].levels(), Some(&levels[..]));
    assert_features(&arrow.features.select_rows(&[0, 2]), &[&[0.0, 0.0, 30.0], &[0.0, 1.0, 10.0]]);
}

#[test]
fn vectors_keep_missing_values_and_their_width() {
    let folder = Folder::new();
    let labels = folder.write("labels.csv", "u\nv\nu\n");
    let options =
        |missing| ReadOptions { label_file: Some(labels.clone()), ..with(Categories::OneHot, missing) };
    for (file, dtype) in [("list_float16.parquet", Dtype::F16), ("list_float32.parquet", Dtype::F32)] {
        let options = |missing| ReadOptions { has_header: false, ..options(missing) };
        let kept = read_training(&[golden(file)], &options(Missing::Keep)).unwrap();
        let expected: [&[f32]; 3] = [&[1.0, 2.0], &[NAN, NAN], &[1.0, NAN]];
        assert_features(&kept.features, &expected);
        assert_eq!((kept.features.dtype(), kept.encoder.categories()), (dtype, vec![None, None]));
        assert_features(&read_for(&kept, golden(file)).unwrap().features, &expected);
        let refused = read_training(&[golden(file)], &options(Missing::Error)).unwrap_err();
        assert!(refused.to_string().contains("3 missing feature values"), "{refused}");
        let strict = FeatureEncoder { missing: Missing::Error, ..kept.encoder.clone() };
        let strict = read_for(&Dataset { encoder: strict, ..kept }, golden(file)).unwrap_err();
        assert!(strict.to_string().contains("3 missing feature values"), "{strict}");
    }
}

#[test]
fn infinite_values_are_refused_where_missing_ones_are_kept() {
    let infinite = train("x,label\n1,0\n,1\ninf,1\n", &codes()).unwrap_err();
    assert!(
        infinite.to_string().contains("1 infinite feature values (33.33 %), first in row 3"),
        "{infinite}"
    );
    let model = train("x,c,label\n1,a,0\n,b,1\n", &codes()).unwrap();
    let later = read_text_for(&model, "x,c\n1,\n-inf,z\n").unwrap_err();
    assert!(later.to_string().contains("1 infinite feature values (25.00 %), first in row 2"), "{later}");
    let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    array.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }").bytes());
    array.extend([1.0, NAN, f32::INFINITY, 4.0].map(f32::to_le_bytes).concat());
    let folder = Folder::new();
    let labels = folder.write("labels.csv", "label\nu\nv\n");
    let options = ReadOptions { label_file: Some(labels), ..codes() };
    let vectors = read_training(&[folder.write("x.npy", array)], &options).unwrap_err();
    assert!(vectors.to_string().contains("1 infinite feature values (25.00 %), first in row 2"), "{vectors}");
}

#[test]
fn encoders_survive_json_and_old_ones_load() {
    let encoder = train(MIXED, &codes()).unwrap().encoder;
    let text = serde_json::to_string(&encoder).unwrap();
    assert!(text.contains(r#"{"kind":"codes","name":"color","levels":["blue","red"]}"#), "{text}");
    assert_eq!(serde_json::from_str::<FeatureEncoder>(&text).unwrap(), encoder);
    let old = r#"{"inputs":[{"kind":"numeric","name":"age"},{"kind":"onehot","name":"color","levels":["red"]},
        {"kind":"vector","name":"v","len":2,"means":[0.5,1.5]}],"missing":"mean"}"#;
    let old: FeatureEncoder = serde_json::from_str(old).unwrap();
    assert_eq!((old.width(), old.missing, old.categories()), (4, Missing::Mean, vec![None; 4]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The two encodings of the same columns say the same, in training and of later rows with other levels.
    #[test]
    fn codes_are_the_places_of_the_ones(
        rows in prop::collection::vec((prop::option::of("l[a-d]{1,2}"), prop::option::of("l[a-c]"), 0u8..2), 1..60),
        more in prop::collection::vec((prop::option::of("l[a-f]{1,2}"), prop::option::of("l[a-f]")), 1..30),
    ) {
        let cell = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut text = String::from("c,x,d,label\nla,1,lb,0\nlb,2,la,1\n");
        rows.iter().for_each(|(c, d, label)| text += &format!("{},3,{},{label}\n", cell(c), cell(d)));
        let mut later = String::from("d,c,x\n");
        more.iter().for_each(|(c, d)| later += &format!("{},{},4\n", cell(d), cell(c)));
        let one_hot = train(&text, &with(Categories::OneHot, Missing::Zero)).unwrap();
        let coded = train(&text, &codes()).unwrap();
        let later = (read_text_for(&one_hot, &later).unwrap(), read_text_for(&coded, &later).unwrap());
        prop_assert_eq!(later.0.unseen_levels, later.1.unseen_levels);
        let width = |input: usize| one_hot.encoder.inputs[input].width();
        for (ones, codes) in [(&one_hot.features, &coded.features), (&later.0.features, &later.1.features)] {
            prop_assert_eq!((ones.rows(), codes.cols()), (codes.rows(), 3));
            for row in 0..ones.rows() {
                prop_assert_eq!(ones.get(row, width(0)), codes.get(row, 1));
                for (start, levels, column) in [(0, width(0), 0), (width(0) + 1, width(2), 2)] {
                    let place = (0..levels).find(|&level| ones.get(row, start + level) == 1.0);
                    let code = codes.get(row, column);
                    prop_assert_eq!(place, (!code.is_nan()).then_some(code as usize));
                }
            }
        }
    }
}

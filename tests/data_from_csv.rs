//! From text files to data sets: what training sees, and what a model's reader makes of later files.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

use std::fs;

use cbfit::data::dataset::{Dataset, read_training};
use cbfit::data::dataset_reader::DatasetReader;
use cbfit::data::encode::InputColumn;
use cbfit::data::missing::Missing;
use cbfit::data::options::{ReadOptions, Unlabeled};
use cbfit::data::roles::LabelNeed;
use cbfit::data::split::Part;
use cbfit::data::table::ColumnBuffer;
use cbfit::labels::{LabelKind, UNSEEN};
use cbfit::matrix::Matrix;
use cbfit::{Error, Result};
use proptest::prelude::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn train(text: &str, options: &ReadOptions) -> Result<Dataset> {
    let folder = Folder::new();
    read_training(&[folder.write("train.csv", text)], options)
}

fn read_for(model: &Dataset, text: &str, options: &ReadOptions, need: LabelNeed) -> Result<Dataset> {
    let folder = Folder::new();
    let paths = [folder.write("test.csv", text)];
    DatasetReader::open(&paths, options, &model.encoder, &model.label_map, need)?.read_all()
}

fn auto() -> ReadOptions {
    ReadOptions::default()
}

const MIXED: &str = "id,age,color,label\n007,30,red,yes\n008,41.5,blue,no\n009,18,red,no\n";

#[test]
fn mixed_columns_become_a_data_set() {
    let data = train(MIXED, &auto()).unwrap();
    assert_eq!(data.label_map.names, ["no", "yes"]);
    assert_eq!(data.labels.as_deref(), Some(&[1, 0, 0][..]));
    assert_eq!(data.features, Matrix::from_f32(vec![30.0, 0.0, 1.0, 41.5, 1.0, 0.0, 18.0, 0.0, 1.0], 3));
    assert_eq!(data.counts(None).rows, [2, 1]);
    assert_eq!(data.counts(Some(&[0, 1])).rows, [1, 1]);
    assert_eq!((data.label_column.as_deref(), data.source.rows), (Some("label"), 3));
    assert_eq!(data.notes, ["not among the features: id (identifies rows)"]);
    let Some((name, ColumnBuffer::Text(ids))) = &data.ids else { panic!("{:?}", data.ids) };
    assert_eq!((name.as_str(), ids.get(0)), ("id", Some("007")));
}

#[test]
fn a_later_file_may_reorder_columns_and_hold_new_levels_and_classes() {
    let model = train(MIXED, &auto()).unwrap();
    let text = "label,color,extra,age\nyes,green,1,5\nperhaps,blue,2,6\nperhaps,7,2,6\n";
    let data = read_for(&model, text, &auto(), LabelNeed::Required).unwrap();
    assert_eq!(data.features, Matrix::from_f32(vec![5.0, 0.0, 0.0, 6.0, 1.0, 0.0, 6.0, 0.0, 0.0], 3));
    assert_eq!(data.labels.as_deref(), Some(&[1, UNSEEN, UNSEEN][..]));
    assert_eq!((data.unseen, data.unseen_levels), (vec![("perhaps".to_string(), 2)], 2));
}

#[test]
fn labels_may_be_absent_where_they_are_not_needed() {
    let model = train(MIXED, &auto()).unwrap();
    let text = "age,color\n5,red\n";
    assert!(read_for(&model, text, &auto(), LabelNeed::Optional).unwrap().labels.is_none());
    assert!(read_for(&model, MIXED, &auto(), LabelNeed::Ignored).unwrap().labels.is_none());
    assert_eq!(read_for(&model, text, &auto(), LabelNeed::Required).unwrap_err().code(), "E0203");
}

#[test]
fn files_that_do_not_fit_say_why() {
    let model = train(MIXED, &auto()).unwrap();
    let fail = |text: &str| read_for(&model, text, &auto(), LabelNeed::Ignored).unwrap_err();
    let absent = fail("color,years\nred,1\n");
    assert!(
        absent.to_string().ends_with("columns missing: age; columns the model does not know: years"),
        "{absent}"
    );
    let word = fail("age,color\n1,red\nold,red\n");
    assert!(word.to_string().contains("\"old\" in row 2"), "{word}");
    assert_eq!([absent.code(), word.code()], ["E0503", "E0503"]);
    assert_eq!(fail("age,color\n,red\n").code(), "E0310");
}

#[test]
fn headerless_files_go_by_position() {
    let options = ReadOptions { label: Some("0".into()), has_header: false, ..auto() };
    let model = train("a,1,2\nb,3,4\n", &options).unwrap();
    let data = read_for(&model, "5,6\n", &options, LabelNeed::Ignored).unwrap();
    assert_eq!(data.features, Matrix::from_f32(vec![5.0, 6.0], 2));
    assert_eq!(read_for(&model, "5,6,7,8\n", &options, LabelNeed::Ignored).unwrap().features.get(0, 0), 6.0);
}

#[test]
fn padded_class_codes_keep_their_spelling() {
    let data = train("x,label\n1,007\n2,07\n3,7\n", &auto()).unwrap();
    assert_eq!(
        (data.label_map.kind, data.label_map.names),
        (LabelKind::Text, vec!["007".into(), "07".into(), "7".into()])
    );
    let plain = train("x,label\n1,10\n2,9\n3,-1\n", &auto()).unwrap();
    assert_eq!(
        (plain.label_map.kind, plain.label_map.names),
        (LabelKind::Int, vec!["-1".into(), "9".into(), "10".into()])
    );
}

#[test]
fn missing_values_are_an_error_until_they_are_filled() {
    let text = "x,c,label\n1,a,0\nNA,?,1\n3,b,1\n";
    let error = train(text, &auto()).unwrap_err();
    assert!(
        error.to_string().ends_with("2 missing feature values (33.33 %), first in row 2, column c"),
        "{error}"
    );
    let mut mean = train(text, &ReadOptions { missing: Missing::Mean, ..auto() }).unwrap();
    assert!(mean.features.get(1, 0).is_nan());
    mean.fill_missing(&[0, 1, 2]);
    assert_eq!(mean.features.select_rows(&[1]), Matrix::from_f32(vec![2.0, 0.0, 0.0], 3));
    assert_eq!(mean.encoder.inputs[0], InputColumn::Numeric { name: "x".into(), mean: Some(2.0) });
    // Rows held out have no part in the means.
    let mut split = train(text, &ReadOptions { missing: Missing::Mean, ..auto() }).unwrap();
    split.fill_missing(&[0, 1]);
    assert_eq!(split.features.select_rows(&[1]), Matrix::from_f32(vec![1.0, 0.0, 0.0], 3));
    assert_eq!(split.source.fingerprint, mean.source.fingerprint);
    // Later files are filled with the means of training.
    let later = read_for(&mean, "x,c\n,a\n100,b\n", &auto(), LabelNeed::Ignored).unwrap();
    assert_eq!(later.features.get(0, 0), 2.0);
    let infinite = train("x,label\n1,0\ninf,1\n", &ReadOptions { missing: Missing::Zero, ..auto() });
    assert!(infinite.unwrap_err().to_string().contains("1 infinite"));
}

#[test]
fn rows_without_a_label_are_an_error_or_dropped_everywhere() {
    let text = "id,x,w,split,label\n1,10,1,train,a\n2,20,2,val,\n3,30,3,test,b\n4,,4,dev,NA\n5,50,5,dev,b\n";
    let options = ReadOptions {
        weight_col: Some("w".into()),
        split_col: Some("split".into()),
        unlabeled: Unlabeled::Drop,
        missing: Missing::Zero,
        ..auto()
    };
    let strict = train(text, &ReadOptions { unlabeled: Unlabeled::Error, ..options.clone() }).unwrap_err();
    assert!(strict.to_string().ends_with("2 of 5 labels are missing, first in row 2"), "{strict}");
    let data = train(text, &options).unwrap();
    assert_eq!((data.dropped_unlabeled, data.source.rows), (2, 3));
    assert_eq!(data.features, Matrix::from_f32(vec![10.0, 30.0, 50.0], 1));
    assert_eq!(data.row_weights.as_deref(), Some(&[1.0, 3.0, 5.0][..]));
    assert_eq!(data.parts.as_deref(), Some(&[Part::Train, Part::Test, Part::Valid][..]));
    assert_eq!(data.rows_of(Part::Valid), Some(vec![2]));
    let Some((_, ColumnBuffer::Int { values, .. })) = &data.ids else { panic!("{:?}", data.ids) };
    assert_eq!(values, &[1, 3, 5]);
    assert_eq!(data.counts(None).weighted, [1.0, 8.0]);
    let again = read_for(&data, text, &options, LabelNeed::Required).unwrap();
    assert_eq!((again.features, again.source.fingerprint), (data.features, data.source.fingerprint));
}

#[test]
fn bad_weights_and_splits_are_placed() {
    let weighted = ReadOptions { weight_col: Some("w".into()), ..auto() };
    for value in ["0", "-1", "", "inf"] {
        let error = train(&format!("x,w,label\n1,1.5,a\n2,{value},b\n"), &weighted).unwrap_err();
        assert!(error.code() == "E0316" && error.to_string().contains("row 2"), "{error}");
    }
    let split = ReadOptions { split_col: Some("s".into()), ..auto() };
    let error = train("x,s,label\n1,train,a\n2,holdout,b\n", &split).unwrap_err();
    assert!(error.to_string().ends_with("split column \"s\" holds \"holdout\" in row 2"), "{error}");
}

#[test]
fn one_class_fractions_and_no_rows_are_refused() {
    let code = |text: &str| train(text, &auto()).unwrap_err().code();
    assert_eq!(code("x,label\n1,a\n2,a\n"), "E0307");
    assert_eq!(code("x,label\n1,0.5\n2,1\n"), "E0306");
    assert_eq!(code("x,label\n"), "E0301");
    assert_eq!(code("label\na\nb\n"), "E0206");
    let drop = ReadOptions { unlabeled: Unlabeled::Drop, ..auto() };
    assert_eq!(train("x,label\n1,\n2,\n", &drop).unwrap_err().code(), "E0301");
}

#[test]
fn several_files_are_one_after_the_other() {
    let folder = Folder::new();
    let paths =
        [folder.write("0.csv", "x,c,label\n1,1,a\n2,2,b\n"), folder.write("1.csv", "label,c,x\nc,two,3.5\n")];
    let data = read_training(&paths, &auto()).unwrap();
    assert_eq!(data.labels.as_deref(), Some(&[0, 1, 2][..]));
    assert_eq!(data.source.files, 2);
    let expected = vec![1.0, 1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 3.5, 0.0, 0.0, 1.0];
    assert_eq!(data.features, Matrix::from_f32(expected, 4));
    // Row numbers count within their file.
    let gap = [paths[0].clone(), folder.write("2.csv", "label,c,x\nc,1,\n")];
    let error = read_training(&gap, &auto()).unwrap_err();
    assert!(error.to_string().starts_with(&gap[1]) && error.to_string().contains("row 1"), "{error}");
}

#[test]
fn labels_may_come_from_another_file() {
    let folder = Folder::new();
    let data = [folder.write("x.csv", "x\n1\n2\n3\n")];
    let with = |label_file: String| ReadOptions { label_file: Some(label_file), ..auto() };
    let meta = folder.write("meta.csv", "url,kind\nu,b\nv,a\nw,b\n");
    let found = read_training(&data, &with(format!("{meta}:kind"))).unwrap();
    assert_eq!(found.labels.as_deref(), Some(&[1, 0, 1][..]));
    let model = &found;
    let mut reader = DatasetReader::open(
        &data,
        &with(format!("{meta}:kind")),
        &model.encoder,
        &model.label_map,
        LabelNeed::Required,
    )
    .unwrap();
    assert_eq!(reader.next_block().unwrap().unwrap().labels, found.labels);
    for rows in ["kind\nb\na\n", "kind\nb\na\nb\nb\n"] {
        let error = read_training(&data, &with(folder.write("y.csv", rows))).unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { left_rows: 3, .. }), "{error}");
    }
    let gap = with(folder.write("y.csv", "kind,other\nb,1\n,2\na,3\n") + ":kind");
    assert_eq!(read_training(&data, &gap).unwrap_err().code(), "E0305");
    let dropped = read_training(&data, &ReadOptions { unlabeled: Unlabeled::Drop, ..gap }).unwrap();
    assert_eq!(dropped.features, Matrix::from_f32(vec![1.0, 3.0], 1));
    assert_eq!((dropped.labels.as_deref(), dropped.dropped_unlabeled), (Some(&[1, 0][..]), 1));
}

#[test]
fn separator_and_header_hold_for_a_label_file_of_text() {
    let folder = Folder::new();
    let labels = folder.write("y.csv", "b;u\na;v\nb;w\n");
    let options = ReadOptions {
        label: None,
        label_file: Some(folder.write("one.csv", "b\na\nb\n")),
        has_header: false,
        ..auto()
    };
    let rows = folder.write("x.csv", "1\n2\n3\n");
    let found = read_training(&[rows], &options).unwrap();
    assert_eq!(found.labels.as_deref(), Some(&[1, 0, 1][..]));
    // An array has neither; they are then meant for the labels alone.
    let mut array = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    array.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1), }").bytes());
    array.extend([1.0f32, 2.0, 3.0].map(f32::to_le_bytes).concat());
    let path = folder.0.path().join("x.npy");
    std::fs::write(&path, array).unwrap();
    let array = [path.to_str().unwrap().to_owned()];
    let found = read_training(&array, &options).unwrap();
    assert_eq!(found.labels.as_deref(), Some(&[1, 0, 1][..]));
    let second = ReadOptions { label_file: Some(labels + ":0"), delimiter: Some(b';'), ..options.clone() };
    let found = read_training(&array, &second).unwrap();
    assert_eq!((found.label_map.names, found.labels.unwrap()), (vec!["a".into(), "b".into()], vec![1, 0, 1]));
    let neither = ReadOptions { label_file: Some(array[0].clone()), ..options };
    assert_eq!(read_training(&array, &neither).unwrap_err().code(), "E0201");
}

#[test]
fn labels_beyond_64_bits_are_names() {
    let text = "x,label\n1,18446744073709551615\n2,7\n3,18446744073709551615\n";
    let data = train(text, &auto()).unwrap();
    assert_eq!(data.label_map.names, ["18446744073709551615", "7"]);
    assert_eq!(data.labels.as_deref(), Some(&[0, 1, 0][..]));
}

#[test]
fn class_names_replace_numbers_and_must_suffice() {
    let folder = Folder::new();
    let names = |text: &str| ReadOptions { class_names: Some(folder.write("names.txt", text)), ..auto() };
    let data = train("x,label\n1,0\n2,1\n", &names("zebra\nant\n")).unwrap();
    assert_eq!((data.label_map.names, data.labels), (vec!["ant".into(), "zebra".into()], Some(vec![1, 0])));
    let short = train("x,label\n1,0\n2,5\n", &names("zebra\nant\n")).unwrap_err();
    assert!(short.to_string().ends_with("2 class names, but labels go up to 5"), "{short}");
    assert_eq!(train("x,label\n1,a\n2,b\n", &names("zebra\nant\n")).unwrap_err().code(), "E0201");
    assert_eq!(train("x,label\n1,0\n2,1\n", &names("a\na\n")).unwrap_err().code(), "E0314");
}

#[test]
fn long_files_come_in_blocks_that_add_up() {
    let mut text = String::from("x,label\n");
    (0..40_000).for_each(|row| text.push_str(&format!("{row},{}\n", row % 7)));
    let data = train(&text, &auto()).unwrap();
    let folder = Folder::new();
    let paths = [folder.write("test.csv", &text)];
    let open =
        || DatasetReader::open(&paths, &auto(), &data.encoder, &data.label_map, LabelNeed::Required).unwrap();
    let (mut reader, mut rows, mut blocks) = (open(), 0, 0);
    while let Some(block) = reader.next_block().unwrap() {
        assert_eq!(block.features.get(0, 0), rows as f32);
        rows += block.rows();
        blocks += 1;
    }
    assert_eq!(rows, 40_000);
    assert!(blocks > 1);
    let all = open().read_all().unwrap();
    assert_eq!((all.features, all.labels), (data.features, data.labels));
    assert_eq!(all.source.fingerprint, data.source.fingerprint);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Training data read again for its own model is the same data, whatever the columns hold.
    #[test]
    fn reading_again_changes_nothing(
        rows in prop::collection::vec(
            (prop::option::of(-1e6f64..1e6), prop::option::of(-50i64..50), prop::option::of("[a-c]"), any::<bool>(), 0u8..3),
            2..60,
        ),
    ) {
        let show = |value: Option<String>| value.unwrap_or_default();
        let mut text = String::from("f,i,t,b,label\n");
        for (f, i, t, b, label) in &rows {
            text.push_str(&format!(
                "{},{},{},{b},{label}\n",
                show(f.map(|x| x.to_string())),
                show(i.map(|x| x.to_string())),
                show(t.clone()),
            ));
        }
        let options = ReadOptions { missing: Missing::Mean, ..auto() };
        if let Ok(mut data) = train(&text, &options) {
            data.fill_missing(&(0..rows.len()).collect::<Vec<_>>());
            let again = read_for(&data, &text, &options, LabelNeed::Required).unwrap();
            prop_assert_eq!(&again.features, &data.features);
            prop_assert_eq!(&again.labels, &data.labels);
            prop_assert_eq!(again.source.fingerprint, data.source.fingerprint);
            prop_assert_eq!(data.encoder.feature_names().count(), data.features.cols());
            for (row, (f, i, ..)) in rows.iter().enumerate() {
                if let Some(f) = f {
                    prop_assert_eq!(data.features.get(row, 0), *f as f32);
                }
                if let Some(i) = i {
                    prop_assert_eq!(data.features.get(row, 1), *i as f32);
                }
            }
        } else {
            let first = rows[0].4;
            prop_assert!(rows.iter().all(|row| row.4 == first));
        }
    }
}

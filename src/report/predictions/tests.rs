//! Every format, read back.

use super::*;
use crate::data::table::TextColumn;
use proptest::prelude::*;

fn schema(kind: LabelKind, names: &[&str]) -> PredictionSchema {
    let labels = LabelMap { kind, names: names.iter().map(|name| name.to_string()).collect() };
    PredictionSchema {
        id: None,
        labels,
        top_k: 1,
        full_probabilities: false,
        with_truth: false,
        extra: Vec::new(),
    }
}

fn text_ids(ids: &[Option<&str>]) -> ColumnBuffer {
    let mut column = TextColumn::default();
    ids.iter().for_each(|id| column.push(*id));
    ColumnBuffer::Text(column)
}

fn written(format: PredictionFormat, schema: &PredictionSchema, blocks: &[PredictionBlock<'_>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p").display().to_string();
    let mut writer = PredictionWriter::create(&path, format, schema).unwrap();
    blocks.iter().for_each(|block| writer.write_block(block).unwrap());
    let rows = blocks.iter().map(|block| block.predicted.len() as u64).sum::<u64>();
    assert_eq!(writer.finish().unwrap(), rows);
    std::fs::read(path).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn csv_has_ids_ranks_and_probabilities_of_all_classes() {
    let id = Some(("key".to_string(), FieldKind::Text));
    let schema = PredictionSchema {
        id,
        top_k: 2,
        full_probabilities: true,
        ..schema(LabelKind::Text, &["a,b", "=1", "c"])
    };
    let ids = text_ids(&[Some("r\"1"), None]);
    let block = PredictionBlock {
        ids: Some(&ids),
        truth: None,
        predicted: &[1, 0],
        probabilities: &[0.25, 0.5, 0.25, 1.0, 0.0, 1e-30],
    };
    let expected = "key,prediction,probability,prediction_2,probability_2,\"p_a,b\",p_=1,p_c\n\
        \"r\"\"1\",'=1,0.5,\"a,b\",0.25,0.25,0.5,0.25\n\
        ,\"a,b\",1,c,1e-30,1,0,1e-30\n";
    assert_eq!(text(written(PredictionFormat::Csv, &schema, &[block])), expected);
    let tabs = text(written(PredictionFormat::Tsv, &schema, &[block]));
    assert!(tabs.starts_with("key\tprediction\t") && tabs.contains("\ta,b\t0.25"), "{tabs}");
}

#[test]
fn csv_keeps_negative_numbers_as_numbers() {
    let schema = schema(LabelKind::Int, &["-1", "1"]);
    let block = PredictionBlock { ids: None, truth: None, predicted: &[0], probabilities: &[0.75, 0.25] };
    assert_eq!(text(written(PredictionFormat::Csv, &schema, &[block])), "prediction,probability\n-1,0.75\n");
}

#[test]
fn jsonl_has_the_types_of_ids_and_labels() {
    let id = Some(("row".to_string(), FieldKind::Int));
    let schema =
        PredictionSchema { id, full_probabilities: true, ..schema(LabelKind::Bool, &["false", "true"]) };
    let ids = ColumnBuffer::Int { values: vec![7, 0], nulls: vec![1] };
    let block = PredictionBlock {
        ids: Some(&ids),
        truth: None,
        predicted: &[1, 0],
        probabilities: &[0.25, 0.75, 0.5, 0.5],
    };
    assert_eq!(
        text(written(PredictionFormat::Jsonl, &schema, &[block])),
        "{\"row\":7,\"prediction\":true,\"probability\":0.75,\"p_false\":0.25,\"p_true\":0.75}\n\
         {\"row\":null,\"prediction\":false,\"probability\":0.5,\"p_false\":0.5,\"p_true\":0.5}\n"
    );
}

#[test]
fn hostile_class_names_stay_inside_their_json_string() {
    let name = "\"}\n{\"x\":1,\u{0}</script>";
    let schema = PredictionSchema { full_probabilities: true, ..schema(LabelKind::Text, &[name, "b"]) };
    let block = PredictionBlock { ids: None, truth: None, predicted: &[0], probabilities: &[0.5, f32::NAN] };
    let line = text(written(PredictionFormat::Jsonl, &schema, &[block]));
    assert_eq!(line.lines().count(), 1);
    let row: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(row["prediction"], name);
    assert_eq!(row[format!("p_{name}")], 0.5);
    assert!(row["p_b"].is_null());
}

fn npy(bytes: &[u8]) -> (String, Vec<u8>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!((10 + length) % 64, 0);
    assert_eq!(bytes[10 + length - 1], b'\n');
    (text(bytes[10..10 + length].to_vec()).trim().to_owned(), bytes[10 + length..].to_vec())
}

#[test]
fn npy_holds_labels_or_probabilities_with_the_final_number_of_rows() {
    let block = PredictionBlock {
        ids: None,
        truth: None,
        predicted: &[1, 0],
        probabilities: &[0.25, 0.75, 1.0, 0.0],
    };
    let of = |schema: &PredictionSchema| npy(&written(PredictionFormat::Npy, schema, &[block, block]));

    let (header, data) = of(&schema(LabelKind::Int, &["-1", "300"]));
    assert_eq!(header, "{'descr': '<i8', 'fortran_order': False, 'shape': (4,), }");
    assert_eq!(data, [300i64, -1, 300, -1].map(i64::to_le_bytes).concat());

    let (header, data) = of(&schema(LabelKind::Text, &["ü", "cat"]));
    assert_eq!(header, "{'descr': '<U3', 'fortran_order': False, 'shape': (4,), }");
    assert_eq!(data[..24], ['c', 'a', 't', 'ü', '\0', '\0'].map(|c| u32::from(c).to_le_bytes()).concat());

    let all = PredictionSchema { full_probabilities: true, ..schema(LabelKind::Bool, &["false", "true"]) };
    let (header, data) = of(&all);
    assert_eq!(header, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }");
    assert_eq!(data[..16], [0.25f32, 0.75, 1.0, 0.0].map(f32::to_le_bytes).concat());
}

/// Rows of a Parquet file in the text form of the reader.
fn parquet_rows(bytes: Vec<u8>) -> Vec<String> {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};
    let file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut &file, &bytes).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect()
}

#[test]
fn parquet_has_typed_columns_and_a_list_of_probabilities() {
    let id = Some(("key".to_string(), FieldKind::Text));
    let schema =
        PredictionSchema { id, top_k: 2, full_probabilities: true, ..schema(LabelKind::Int, &["3", "5"]) };
    let ids = text_ids(&[Some("x"), None]);
    let block = PredictionBlock {
        ids: Some(&ids),
        truth: None,
        predicted: &[1, 0],
        probabilities: &[0.25, 0.75, 0.5, 0.5],
    };
    assert_eq!(
        parquet_rows(written(PredictionFormat::Parquet, &schema, &[block])),
        [
            "{key: \"x\", prediction: 5, probability: 0.75, prediction_2: 3, probability_2: 0.25, \
             probabilities: [0.25, 0.75]}",
            "{key: null, prediction: 3, probability: 0.5, prediction_2: 5, probability_2: 0.5, \
             probabilities: [0.5, 0.5]}",
        ]
    );
}

#[test]
fn rows_without_a_prediction_are_missing_in_every_format() {
    let schema = PredictionSchema {
        full_probabilities: true,
        with_truth: true,
        ..schema(LabelKind::Text, &["a", "b"])
    };
    let block = PredictionBlock {
        ids: None,
        truth: Some(Truth { first_row: 5, labels: &[1, 0, UNSEEN] }),
        predicted: &[0, UNSEEN, 1],
        probabilities: &[0.75, 0.25, f32::NAN, f32::NAN, 0.5, 0.5],
    };
    assert_eq!(
        text(written(PredictionFormat::Csv, &schema, &[block])),
        "row,label,prediction,probability,p_a,p_b\n5,b,a,0.75,0.75,0.25\n6,a,,,,\n7,,b,0.5,0.5,0.5\n"
    );
    assert_eq!(
        text(written(PredictionFormat::Jsonl, &schema, &[block])),
        "{\"row\":5,\"label\":\"b\",\"prediction\":\"a\",\"probability\":0.75,\"p_a\":0.75,\"p_b\":0.25}\n\
         {\"row\":6,\"label\":\"a\",\"prediction\":null,\"probability\":null,\"p_a\":null,\"p_b\":null}\n\
         {\"row\":7,\"label\":null,\"prediction\":\"b\",\"probability\":0.5,\"p_a\":0.5,\"p_b\":0.5}\n"
    );
    assert_eq!(
        parquet_rows(written(PredictionFormat::Parquet, &schema, &[block])),
        [
            "{row: 5, label: \"b\", prediction: \"a\", probability: 0.75, probabilities: [0.75, 0.25]}",
            "{row: 6, label: \"a\", prediction: null, probability: null, probabilities: null}",
            "{row: 7, label: null, prediction: \"b\", probability: 0.5, probabilities: [0.5, 0.5]}",
        ]
    );
    let (header, data) = npy(&written(PredictionFormat::Npy, &schema, &[block]));
    assert!(header.contains("(3, 2)"), "{header}");
    let values: Vec<f32> =
        data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    assert!(values[2].is_nan() && values[3].is_nan());
    assert_eq!((values[0], values[5]), (0.75, 0.5));
}

#[test]
fn parquet_cuts_many_rows_into_row_groups() {
    let schema = schema(LabelKind::Text, &["a", "b"]);
    let predicted: Vec<u32> = (0..50_000).map(|row| row % 2).collect();
    let probabilities = vec![0.5; 100_000];
    let block =
        PredictionBlock { ids: None, truth: None, predicted: &predicted, probabilities: &probabilities };
    let rows = parquet_rows(written(PredictionFormat::Parquet, &schema, &[block, block]));
    assert_eq!(rows.len(), 100_000);
    assert_eq!(rows[99_999], "{prediction: \"b\", probability: 0.5}");
}

#[test]
fn every_id_kind_survives_in_parquet() {
    let columns = [
        (FieldKind::Int, ColumnBuffer::Int { values: vec![0, -9], nulls: vec![0] }, "-9"),
        (FieldKind::Float, ColumnBuffer::Float(vec![f64::NAN, 2.5]), "2.5"),
        (FieldKind::Bool, ColumnBuffer::Bool { values: vec![false, true], nulls: vec![0] }, "true"),
        (FieldKind::Text, text_ids(&[None, Some("=x")]), "\"=x\""),
    ];
    for (kind, ids, second) in columns {
        let schema =
            PredictionSchema { id: Some(("id".into(), kind)), ..schema(LabelKind::Text, &["a", "b"]) };
        let block = PredictionBlock {
            ids: Some(&ids),
            truth: None,
            predicted: &[0, 0],
            probabilities: &[1.0, 0.0, 1.0, 0.0],
        };
        let rows = parquet_rows(written(PredictionFormat::Parquet, &schema, &[block]));
        assert!(rows[0].starts_with("{id: null,"), "{}", rows[0]);
        assert!(rows[1].starts_with(&format!("{{id: {second},")), "{}", rows[1]);
    }
}

#[test]
fn further_numbers_come_last() {
    let extra = vec!["c_x".to_string(), "c_y".to_string()];
    let schema = PredictionSchema {
        full_probabilities: true,
        extra: extra.clone(),
        ..schema(LabelKind::Text, &["a", "b"])
    };
    let block = PredictionBlock {
        ids: None,
        truth: None,
        predicted: &[1, 0],
        probabilities: &[0.25, 0.75, 0.5, 0.5],
    };
    let written = |format| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p").display().to_string();
        let mut writer = PredictionWriter::create(&path, format, &schema).unwrap();
        writer.write_block_with(&block, &[1.5, -2.0, 0.0, 1e-9]).unwrap();
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    };
    assert_eq!(
        text(written(PredictionFormat::Csv)),
        "prediction,probability,p_a,p_b,c_x,c_y\nb,0.75,0.25,0.75,1.5,-2\na,0.5,0.5,0.5,0,1e-9\n"
    );
    assert!(text(written(PredictionFormat::Jsonl)).ends_with(",\"c_x\":0,\"c_y\":1e-9}\n"));
    let rows = parquet_rows(written(PredictionFormat::Parquet));
    assert!(rows[0].ends_with("probabilities: [0.25, 0.75], c_x: 1.5, c_y: -2E0}"), "{}", rows[0]);
    let refused = |format, schema: &PredictionSchema| {
        PredictionWriter::create("p", format, schema).err().map(|error| error.code())
    };
    assert_eq!(refused(PredictionFormat::Npy, &schema), Some("E0201"));
    for name in ["p_a", "prediction", "c_x"] {
        let schema = PredictionSchema { extra: vec!["c_x".into(), name.into()], ..schema.clone() };
        assert_eq!(refused(PredictionFormat::Csv, &schema), Some("E0312"), "{name}");
    }
}

#[test]
fn no_rows_still_make_a_valid_file() {
    let schema = schema(LabelKind::Text, &["a", "b"]);
    assert_eq!(text(written(PredictionFormat::Csv, &schema, &[])), "prediction,probability\n");
    assert_eq!(parquet_rows(written(PredictionFormat::Parquet, &schema, &[])), Vec::<String>::new());
    assert!(npy(&written(PredictionFormat::Npy, &schema, &[])).0.contains("(0,)"));
}

#[test]
fn an_abandoned_file_never_appears() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.parquet").display().to_string();
    let schema = schema(LabelKind::Text, &["a", "b"]);
    let mut writer = PredictionWriter::create(&path, PredictionFormat::Parquet, &schema).unwrap();
    writer
        .write_block(&PredictionBlock { ids: None, truth: None, predicted: &[0], probabilities: &[1.0, 0.0] })
        .unwrap();
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn requests_that_cannot_be_met_are_refused_before_a_file_is_touched() {
    use PredictionFormat::{Csv, Npy, Parquet};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p").display().to_string();
    let plain = schema(LabelKind::Text, &["a", "b"]);
    let with_id = |name: &str, kind| PredictionSchema { id: Some((name.into(), kind)), ..plain.clone() };
    let cases = [
        (Csv, PredictionSchema { top_k: 3, ..plain.clone() }, "E0208"),
        (Csv, PredictionSchema { top_k: 0, ..plain.clone() }, "E0208"),
        (Npy, PredictionSchema { top_k: 2, ..plain.clone() }, "E0201"),
        (Npy, with_id("id", FieldKind::Int), "E0201"),
        (Parquet, with_id("prediction", FieldKind::Int), "E0312"),
        (Csv, PredictionSchema { full_probabilities: true, ..with_id("p_a", FieldKind::Int) }, "E0312"),
        (Csv, with_id("id", FieldKind::Other("map".into())), "E0318"),
        (Csv, PredictionSchema { with_truth: true, ..with_id("row", FieldKind::Int) }, "E0312"),
        (Npy, PredictionSchema { with_truth: true, ..plain.clone() }, "E0201"),
    ];
    for (format, schema, code) in cases {
        let refused = PredictionWriter::create(&path, format, &schema).err().map(|error| error.code());
        assert_eq!(refused, Some(code), "{schema:?}");
    }
    let streamed = PredictionWriter::create("-", Npy, &plain).err().map(|error| error.code());
    assert_eq!(streamed, Some("E0208"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_format_follows_the_extension() {
    assert_eq!(PredictionFormat::of_path("out/p.PARQUET").unwrap(), PredictionFormat::Parquet);
    assert_eq!(PredictionFormat::of_path("-").unwrap(), PredictionFormat::Csv);
    assert_eq!(PredictionFormat::of_path("p.jsonl").unwrap(), PredictionFormat::Jsonl);
    for path in ["p.xlsx", "p"] {
        let error = PredictionFormat::of_path(path).unwrap_err();
        assert!(error.code() == "E0208" && error.help().contains("parquet, csv"), "{error}");
    }
}

proptest! {
    #[test]
    fn ranks_equal_a_full_sort(
        levels in prop::collection::vec(0u8..4, 2..40),
        predicted: prop::sample::Index,
        k: prop::sample::Index,
    ) {
        let probabilities: Vec<f32> = levels.iter().map(|&level| f32::from(level) / 4.0).collect();
        let predicted = predicted.index(levels.len()) as u32;
        let top_k = k.index(levels.len()) + 1;
        let mut ranked = Vec::new();
        rank(predicted, &probabilities, top_k, &mut ranked);
        let mut sorted: Vec<u32> = (0..levels.len() as u32).collect();
        sorted.sort_by_key(|&code| (code != predicted, std::cmp::Reverse(levels[code as usize]), code));
        prop_assert_eq!(&ranked, &sorted[..top_k]);
    }

    #[test]
    fn floats_read_back_exactly(bits: u32) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut text = String::new();
        push_f32(&mut text, value);
        prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits);
        prop_assert!(text.len() < 50);
    }
}

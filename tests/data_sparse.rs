//! Sparse data from file to data set and through the commands: svmlight files, and tables of mostly zeros.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::io::Write;

use cbfit::Result;
use cbfit::data::dataset::{Dataset, read_training};
use cbfit::data::dataset_reader::DatasetReader;
use cbfit::data::missing::Missing;
use cbfit::data::options::ReadOptions;
use cbfit::data::roles::LabelNeed;
use cbfit::labels::LabelKind;
use cbfit::matrix::{Dtype, Matrix};
use common::cli::{Folder, number};

const TRAIN: &str = "# indices from 1\n1 1:0.5 4:2\n0 2:1 3:-1.5\n+1 1:1.25\n0 qid:3 3:1e2 2:7\n1\n0 4:1\n";

fn path(folder: &Folder, name: &str) -> String {
    folder.path(name).to_str().unwrap().to_owned()
}

fn train_files(folder: &Folder, names: &[&str]) -> Result<Dataset> {
    let paths: Vec<String> = names.iter().map(|name| path(folder, name)).collect();
    read_training(&paths, &ReadOptions::default())
}

fn train(name: &str, content: impl AsRef<[u8]>) -> Result<Dataset> {
    let folder = Folder::new();
    folder.write(name, content);
    train_files(&folder, &[name])
}

fn read_for(model: &Dataset, name: &str, content: impl AsRef<[u8]>) -> Result<Dataset> {
    let folder = Folder::new();
    folder.write(name, content);
    let (options, paths) = (ReadOptions::default(), [path(&folder, name)]);
    DatasetReader::open(&paths, &options, &model.encoder, &model.label_map, LabelNeed::Optional)?.read_all()
}

fn values(matrix: &Matrix) -> Vec<f32> {
    (0..matrix.rows()).flat_map(|row| (0..matrix.cols()).map(move |col| matrix.get(row, col))).collect()
}

/// Rows as a `.npy` file of f32.
fn npy(rows: usize, cols: usize, values: &[f32]) -> Vec<u8> {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{shape:<117}\n").bytes());
    bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// `rows` rows of 40 features, about 4 of them not 0, of 3 classes: as svmlight and as CSV.
fn both(rows: usize) -> (String, String) {
    let (mut svm, mut csv) = (String::new(), String::from("label"));
    (0..40).for_each(|col| csv += &format!(",f{col}"));
    csv += "\n";
    let mut state = 7u64;
    let mut random = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..rows {
        let label = row % 3;
        svm += &label.to_string();
        csv += &label.to_string();
        for col in 0..40 {
            // The last feature is there once, so that both files have all columns.
            let here = random(10) == 0 || (row == 0 && col == 39);
            let value = if here {
                format!("{}.{:03}", random(9), 1 + random(998) + label as u64)
            } else {
                "0".into()
            };
            csv += &format!(",{value}");
            if here {
                svm += &format!(" {col}:{value}");
            }
        }
        svm += "\n";
        csv += "\n";
    }
    (svm, csv)
}

#[test]
fn a_file_becomes_a_data_set_with_its_indices_as_they_stand() {
    for name in ["t.svm", "t.libsvm", "t.svmlight", "t.svml", "t", "t.txt"] {
        let data = train(name, TRAIN).unwrap();
        assert_eq!(
            (data.rows(), data.features.cols(), data.features.dtype()),
            (6, 5, Dtype::Sparse),
            "{name}"
        );
        assert_eq!(data.label_map.kind, LabelKind::Int);
        assert_eq!(data.label_map.names, ["0", "1"]);
        assert_eq!(data.labels.as_deref(), Some(&[1, 0, 1, 0, 1, 0][..]));
        let rows = data.features.select_rows(&[0, 3, 4]);
        let expected = [0.0, 0.5, 0.0, 0.0, 2.0, 0.0, 0.0, 7.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(values(&rows), expected);
        assert!(data.notes.is_empty(), "{:?}", data.notes);
    }
}

#[test]
fn the_same_rows_in_other_formats_have_the_same_values() {
    let (svm, csv) = both(200);
    let (sparse, dense) = (train("t.svm", &svm).unwrap(), train("t.csv", &csv).unwrap());
    assert_eq!(values(&sparse.features), values(&dense.features));
    assert_eq!(sparse.labels, dense.labels);
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(svm.as_bytes()).unwrap();
    let gz = packer.finish().unwrap();
    let zst = zstd::encode_all(svm.as_bytes(), 1).unwrap();
    for (name, content) in [("t.svm.gz", gz.clone()), ("t.gz", gz), ("t.svm.zst", zst)] {
        let packed = train(name, content).unwrap();
        assert_eq!(packed.features, sparse.features, "{name}");
        assert_eq!(packed.source.fingerprint, sparse.source.fingerprint, "{name}");
    }
    // A model of either reads both.
    let array = npy(200, 40, &values(&sparse.features));
    let later = read_for(&sparse, "t.npy", &array).unwrap();
    assert_eq!((later.features.dtype(), values(&later.features)), (Dtype::F32, values(&sparse.features)));
    let folder = Folder::new();
    folder.write("t.npy", &array).write("labels.csv", "label\n".to_owned() + &"0\n1\n".repeat(100));
    let options = ReadOptions { label_file: Some(path(&folder, "labels.csv")), ..ReadOptions::default() };
    let of_array = read_training(&[path(&folder, "t.npy")], &options).unwrap();
    let later = read_for(&of_array, "t.svm", &svm).unwrap();
    assert_eq!((later.features.dtype(), values(&later.features)), (Dtype::Sparse, values(&sparse.features)));
    assert_eq!(later.source.fingerprint, read_for(&sparse, "t.svm", &svm).unwrap().source.fingerprint);
    assert_eq!(read_for(&sparse, "t.npy", npy(1, 41, &[0.0; 41])).unwrap_err().code(), "E0503");
}

#[test]
fn files_of_different_widths_are_one_data_set() {
    let folder = Folder::new();
    folder.write("a.svm", "1 0:1\n2 2:1\n").write("b.svm", "1 6:1\n0.0 1:1\n").write("c.svm", "2\n");
    let data = train_files(&folder, &["a.svm", "b.svm", "c.svm"]).unwrap();
    assert_eq!((data.rows(), data.features.cols(), data.features.stored()), (5, 7, 4));
    assert_eq!(data.label_map.names, ["0", "1", "2"]);
    assert_eq!(data.features.get(2, 6), 1.0);
    // The widest file may come first.
    let turned = train_files(&folder, &["b.svm", "c.svm", "a.svm"]).unwrap();
    assert_eq!((turned.features.cols(), turned.features.get(0, 6), turned.features.get(3, 0)), (7, 1.0, 1.0));
}

#[test]
fn indices_that_training_never_met_are_left_out_and_counted() {
    let model = train("t.svm", TRAIN).unwrap();
    let narrow = read_for(&model, "n.svm", "1 1:3\n").unwrap();
    assert_eq!((values(&narrow.features), narrow.unseen_levels), (vec![0.0, 3.0, 0.0, 0.0, 0.0], 0));
    let wide = read_for(&model, "w.svm", "1 1:3 5:1 99:nan\n0 4:1 6:0 7:2\n").unwrap();
    assert_eq!((wide.features.cols(), wide.features.stored(), wide.unseen_levels), (5, 2, 3));
}

#[test]
fn hostile_files_are_errors_with_their_place() {
    let cases: [(&str, Vec<u8>, &str, &str); 10] = [
        ("t.svm", b"1 1:2\n0 3".to_vec(), "E0314", "line 2: \"3\" is no feature"),
        ("t.svm", b"1 1:2\n0 4294967296:1\n".to_vec(), "E0314", "4294967296:1"),
        (
            "t.svm",
            b"1 1:nan\n0 1:1\n".to_vec(),
            "E0310",
            "1 missing feature values (25.00 %), first in row 1, column features[1]",
        ),
        ("t.svm", b"1 1:1\n0 1:1e999\n".to_vec(), "E0310", "1 infinite feature values"),
        ("t.svm", b"1 1:1\n0 2:1 2:2\n".to_vec(), "E0314", "line 2: feature index 2 occurs twice"),
        ("t.svm", b"1,2 1:1\n0 2:1\n".to_vec(), "E0314", "several labels"),
        ("t.svm", b"\x7fELF\x01\x01\x00\x00".to_vec(), "E0303", "svmlight"),
        ("t.svm", b"\x7fELF\x01\xff\xfe\n".to_vec(), "E0314", "line 1"),
        ("t.svm", Vec::new(), "E0301", "empty"),
        ("t.svm", b"# nothing\n\n#\n".to_vec(), "E0301", "only comments"),
    ];
    for (name, content, code, word) in cases {
        let error = train(name, content).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(train("t.svm", "1\n0\n").unwrap_err().code(), "E0206");
    assert_eq!(train("t.svm", "0.5 1:1\n1 1:1\n").unwrap_err().code(), "E0306");
    // A line of 10 MB, without an end, is a row or a short message.
    let mut long = String::from("0 1:1\n1 ");
    (0..1_200_000).for_each(|i| long += &format!("{i}:{} ", i % 9));
    assert!(long.len() > 10_000_000);
    let data = train("t.svm", &long).unwrap();
    assert_eq!((data.rows(), data.features.cols()), (2, 1_200_000));
    let junk = train("t.svm", "1 1:1\n0 ".to_owned() + &"7".repeat(10_000_000)).unwrap_err();
    assert!(junk.to_string().len() < 300);
}

#[test]
fn missing_values_are_filled_in_sparse_rows() {
    let folder = Folder::new();
    folder.write("t.svm", "1 1:nan 2:1\n0 1:3\n1 2:5\n0\n");
    let options = ReadOptions { missing: Missing::Mean, ..ReadOptions::default() };
    let mut data = read_training(&[path(&folder, "t.svm")], &options).unwrap();
    data.fill_missing(&[0, 1, 2, 3]);
    // Absent entries are zeros and count: (3 + 0 + 0) / 3.
    assert_eq!(data.features.get(0, 1), 1.0);
    let options = ReadOptions { missing: Missing::Zero, ..ReadOptions::default() };
    let zero = read_training(&[path(&folder, "t.svm")], &options).unwrap();
    assert_eq!((zero.features.get(0, 1), zero.features.stored()), (0.0, 3));
    assert_eq!(zero.source.fingerprint, data.source.fingerprint);
}

#[test]
fn tables_of_many_levels_are_kept_sparse_with_the_same_values() {
    let mut table = String::from("city,n,shop,label\n");
    for row in 0..120 {
        table += &format!("c{},{},s{},{}\n", row % 37, row % 4, (row * 7) % 41, row % 2);
    }
    let data = train("t.csv", &table).unwrap();
    assert_eq!(data.notes, ["features kept sparse: at most 3 of 79 values a row"]);
    assert_eq!((data.features.dtype(), data.features.cols()), (Dtype::Sparse, 79));
    let names: Vec<String> = data.encoder.feature_names().collect();
    for row in 0..120 {
        for (col, name) in names.iter().enumerate() {
            let expected = match name.as_str() {
                "n" => (row % 4) as f32,
                name => f32::from(u8::from(
                    name == format!("city=c{}", row % 37) || name == format!("shop=s{}", (row * 7) % 41),
                )),
            };
            assert_eq!(data.features.get(row, col), expected, "{row} {name}");
        }
    }
    let later = read_for(&data, "later.csv", &table).unwrap();
    assert_eq!((&later.features, &later.source.fingerprint), (&data.features, &data.source.fingerprint));
    // Few rows of few levels: the encoder decides, not the block.
    let few = read_for(&data, "few.csv", "shop,city,n\ns1,c1,0\n").unwrap();
    assert_eq!((few.features.dtype(), few.features.stored()), (Dtype::Sparse, 2));
}

#[test]
fn commands_take_sparse_data_and_say_so() {
    let folder = Folder::new();
    let (svm, csv) = both(240);
    folder.write("t.svm", &svm).write("wide", format!("0 77:1 78:2\n{svm}")).write("t.csv", &csv);
    let quick = "--valid-fraction 0 --l2 0.1 --beta 0.9";
    let run = folder.ok(&format!("--train t.svm {quick} --test wide -o m.cbfit"));
    for words in [
        "240 rows x 40 sparse f32, ",
        "entries a row",
        "2 values are of text levels or feature indices unseen",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    let run = folder.ok("eval m.cbfit wide");
    assert!(run.stderr.contains("2 values are of"), "{}", run.stderr);
    let run = folder.ok("predict m.cbfit wide --proba -o p.npy");
    assert!(run.stderr.contains("2 values are of"), "{}", run.stderr);
    let inspected = folder.ok("inspect t.svm");
    assert!(inspected.text().contains("240 rows x 40 sparse f32, "), "{}", inspected.text());
    assert!(folder.ok("weights t.svm --beta 0.9").text().contains("80"));
    folder.fails(
        "inspect t.svm --delimiter ;",
        "E0201",
        &["--delimiter", "svmlight"],
        "leave --delimiter out",
    );
    folder.fails("inspect t.csv --format svmlight", "E0314", &["line 1"], "--format");
    // Standard input, with and without its format.
    for line in ["inspect - --format svmlight", "inspect -"] {
        let mut command = folder.command(line);
        command.stdin(std::fs::File::open(folder.path("t.svm")).unwrap());
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("240 rows x 40 sparse f32, "), "{line}: {text}");
    }
}

#[test]
fn sparse_fits_are_those_of_dense_rows() {
    let folder = Folder::new();
    let (svm, csv) = both(240);
    folder.write("t.svm", &svm).write("t.csv", &csv);
    let objective = |file: &str, scale: &str| {
        let flags = "--valid-fraction 0 --l2 0.01 --beta 0.9 --optimizer lbfgs --tolerance 1e-6 -o m.cbfit";
        let found = folder.json(&format!("--train {file} --scale {scale} {flags}"));
        number(&found, "/fit/certificate/objective")
    };
    // Standard scaling leaves the means of sparse columns; the bias makes up for it.
    for scale in ["none", "l2", "standard"] {
        let (sparse, dense) = (objective("t.svm", scale), objective("t.csv", scale));
        assert!((sparse / dense - 1.0).abs() < 1e-5, "{scale}: {sparse} {dense}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let folder = Folder::new();
    let (svm, _) = both(3000);
    folder.write("t.svm", &svm);
    let mut table = String::from("city,n,label\n");
    (0..3000).for_each(|row| table += &format!("c{},{},{}\n", row % 97, row % 5, row % 2));
    folder.write("t.csv", &table);
    for file in ["t.svm", "t.csv"] {
        let outcome = |threads: usize| {
            let flags = "--valid-fraction 0 --l2 0.1 --beta 0.9 --scale standard -o m.cbfit";
            folder.ok(&format!("--train {file} {flags} --threads {threads}"));
            folder.ok(&format!("predict m.cbfit {file} --proba -o p.npy --threads {threads}"));
            (folder.read("m.cbfit"), folder.read("p.npy"))
        };
        let one = outcome(1);
        assert!(outcome(2) == one && outcome(3) == one, "{file}");
    }
}

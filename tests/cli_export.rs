//! Models as files of other programs, importances and contributions, from the command line.

#![allow(clippy::unwrap_used)] // Helpers outside test functions.

mod common;

use cbfit::boost::dump::read_json;
use cbfit::data::encode::InputColumn;
use cbfit::export::lightgbm_reader::LightgbmTrees;
use cbfit::export::onnx::OnnxModel;
use cbfit::matrix::Matrix;
use cbfit::model::Model;
use cbfit::model_file::load;
use common::cli::{Folder, QUICK, TEST, TRAIN, cell, csv, digits_csv, number};

const BOOST: &str = "--learner boost --valid-fraction 0 --beta 0.99 --rounds 6 --max-leaves 8 --min-rows 5";

/// Numbers with gaps and a text column, which tell the class.
fn table(rows: usize) -> String {
    let mut text = String::from("number,colour,label\n");
    for row in 0..rows {
        let x = (row * 37 % 101) as f64 / 10.0;
        let colour = ["red", "dark green", "blue", "=grey"][row * 7 % 11 % 4];
        let label = if colour == "blue" || x > 6.0 { "yes" } else { "no" };
        let number = if row % 17 == 0 { String::new() } else { x.to_string() };
        text += &format!("{number},{colour},{label}\n");
    }
    text
}

fn mixed(flags: &str) -> Folder {
    let folder = Folder::new();
    folder.write("t.csv", table(600));
    folder.ok(&format!("--train t.csv --label label {BOOST} {flags} -o m.cbfit"));
    folder
}

#[test]
fn trees_are_written_for_lightgbm_and_read_back() {
    for (flags, objective, trees) in [
        ("", "multiclass num_class:10", 60),
        ("--trees per-class", "multiclass num_class:10", 60),
        ("--trees per-class --loss sigmoid", "multiclassova num_class:10 sigmoid:1", 60),
        ("--loss softmax-focal", "multiclass num_class:10", 60),
    ] {
        let folder = Folder::new();
        folder.ok(&format!("--train {TRAIN} {BOOST} {flags} -o m.cbfit"));
        let report = folder.json("export m.cbfit --to lightgbm -o m.txt");
        assert!(number(&report, "/largest_difference") < 1e-4, "{flags}: {report}");
        let text = String::from_utf8(folder.read("m.txt")).unwrap();
        assert_eq!(number(&report, "/bytes"), text.len() as f64);
        let read = LightgbmTrees::parse(&text).unwrap();
        assert_eq!((read.objective.as_str(), read.tree_count()), (objective, trees), "{flags}");
        let printed = folder.ok("export m.cbfit --to lightgbm");
        assert_eq!(printed.text(), text);
        assert!(printed.stderr.contains("Classes  0 = 0, 1 = 1"), "{}", printed.stderr);
    }
}

#[test]
fn categories_go_along_by_name() {
    let folder = mixed("");
    folder.ok("export m.cbfit --to lightgbm -o m.txt");
    let text = String::from_utf8(folder.read("m.txt")).unwrap();
    assert!(text.contains("\nobjective=binary sigmoid:1\n"));
    assert!(text.ends_with("pandas_categorical:[[\"=grey\",\"blue\",\"dark green\",\"red\"]]\n"));
    let shown = folder.ok("export m.cbfit --to text");
    assert!(shown.text().contains("if colour in {"), "{}", shown.text());
    assert!(shown.text().contains("score    log-odds of yes"));
}

#[test]
fn a_prior_is_folded_in_where_it_is_a_shift() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {BOOST} -o m.cbfit"));
    let leaf = |name: &str| -> Vec<f64> {
        let text = String::from_utf8(folder.read(name)).unwrap();
        let first = text.lines().find_map(|line| line.strip_prefix("leaf_value=")).unwrap().to_owned();
        first.split(' ').map(|value| value.parse().unwrap()).collect()
    };
    folder.ok("export m.cbfit --to lightgbm -o trained.txt");
    folder.ok("export m.cbfit --to lightgbm --prior natural -o natural.txt");
    let shifts: Vec<f64> = leaf("natural.txt").iter().zip(leaf("trained.txt")).map(|(n, t)| n - t).collect();
    assert!(
        shifts[0].abs() > 0.01 && shifts.iter().all(|shift| (shift - shifts[0]).abs() < 1e-12),
        "{shifts:?}"
    );
    folder.fails("export m.cbfit --to lightgbm --prior em", "E0208", &["estimated"], "trained");
    folder.fails("export m.cbfit --to text --prior natural", "E0201", &["--prior"], "LightGBM");
    for loss in ["sigmoid", "focal", "softmax-focal"] {
        folder.ok(&format!("--train {TRAIN} {BOOST} --loss {loss} -o m.cbfit"));
        folder.ok("export m.cbfit --to lightgbm -o m.txt");
        let line = "export m.cbfit --to lightgbm --prior natural";
        folder.fails(line, "E0208", &["natural", "shift"], "--prior trained");
    }
    // With two classes the odds of a sigmoid are those of a softmax.
    mixed("--loss sigmoid").ok("export m.cbfit --to lightgbm --prior natural");
    mixed("--loss sigmoid --logit-adjust 1").fails(
        "export m.cbfit --to lightgbm --prior natural",
        "E0208",
        &["shift"],
        "trained",
    );
}

/// Exports `m.cbfit` as ONNX, runs the file on the rows of a table whose last column is `label`, and holds probabilities and
/// labels against those of `predict`.
fn onnx_agrees(folder: &Folder, table: &str, flags: &str) {
    let report = folder.json(&format!("export m.cbfit --to onnx -o m.onnx {flags}"));
    assert!(number(&report, "/largest_difference") < 1e-5, "{flags}: {report}");
    let saved = load(folder.path("m.cbfit")).unwrap().metadata;
    let (columns, rows) = csv(&String::from_utf8(folder.read(table)).unwrap());
    let column = |input: &InputColumn| columns.iter().position(|name| name == input.name()).unwrap();
    let mut values = Vec::new();
    for row in &rows {
        for input in &saved.encoder.inputs {
            let cell = &row[column(input)];
            values.push(match input.levels() {
                None => cell.parse().unwrap_or(f32::NAN),
                Some(levels) => {
                    levels.iter().position(|level| level == cell).map_or(f32::NAN, |at| at as f32)
                }
            });
        }
    }
    let model = OnnxModel::parse(&folder.read("m.onnx")).unwrap();
    let found = model.run(&Matrix::from_f32(values, saved.encoder.inputs.len())).unwrap();
    let (header, predicted) = csv(folder.ok(&format!("predict m.cbfit {table} --proba {flags}")).text());
    let (classes, at) =
        (saved.label_map.classes(), header.iter().position(|name| name == "prediction").unwrap());
    assert_eq!(found.labels.len(), predicted.len());
    for (row, cells) in predicted.iter().enumerate() {
        let own = &found.probabilities[row * classes..(row + 1) * classes];
        for (found, cell) in own.iter().zip(&cells[cells.len() - classes..]) {
            let wanted: f32 = cell.parse().unwrap();
            assert!((found - wanted).abs() < 1e-5, "{flags}, row {row}: {found} {wanted}");
        }
        assert_eq!(found.labels[row], cells[at].trim_start_matches('\''), "{flags}, row {row}");
    }
}

#[test]
fn onnx_says_what_predict_says() {
    let folder = Folder::new();
    folder.write("digits.csv", digits_csv());
    for (flags, exports) in [
        ("--loss softmax --scale standard", &["", "--prior uniform"][..]),
        ("--loss sigmoid --scale l2 --logit-adjust 1", &["--prior natural", "--prior trained"]),
        ("--loss focal --gamma 2", &["--prior natural", "--prior trained"]),
        ("--loss sigmoid --ldam 0.5", &["--prior natural"]),
        ("--loss softmax --vs-gamma 0.2", &["--prior uniform"]),
        ("--calibrate vector --offsets macro_recall", &["", "--prior uniform"]),
        ("--learner boost --trees per-class --rounds 5 --loss sigmoid", &["--prior natural"]),
        ("--learner boost --rounds 5", &["", "--prior natural"]),
        ("--learner boost --rounds 5 --init linear:1e-3", &["", "--prior natural"]),
        (
            "--learner boost --trees per-class --rounds 5 --loss sigmoid --init linear:1e-3",
            &["--prior uniform"],
        ),
    ] {
        let quick = if flags.contains("boost") { "--valid-fraction 0 --beta 0.99" } else { QUICK };
        folder.ok(&format!("--train digits.csv --label label {quick} {flags} -o m.cbfit"));
        exports.iter().for_each(|prior| onnx_agrees(&folder, "digits.csv", prior));
    }
    folder.ok(&format!("--train digits.csv --label label {QUICK} --loss softmax --ldam 0.5 -o m.cbfit"));
    folder.fails("export m.cbfit --to onnx --prior natural -o m.onnx", "E0208", &["onnx"], "--prior trained");
    folder.fails("export m.cbfit --to onnx", "E0208", &["binary"], "--out");
}

#[test]
fn onnx_takes_gaps_and_categories() {
    for flags in
        ["", "--loss focal", "--hessian abs", "--init linear:1e-3", "--loss sigmoid --init linear:1e-3"]
    {
        let folder = mixed(flags);
        folder.write("u.csv", "number,colour,label\n,blue,no\n7.5,puce,yes\n1,,no\n,,no\n-3,red,no\n");
        ["t.csv", "u.csv"].iter().for_each(|table| onnx_agrees(&folder, table, ""));
    }
}

#[test]
fn trees_on_linear_functions_of_many_categories_are_exported_and_explained() {
    let folder = Folder::new();
    let mut text = String::from("town,shape,label\n");
    for row in 0..900 {
        let (town, shape) = (row * 7 % 41, ["round", "square", ""][row * 5 % 3]);
        let label = if town > 25 { "far" } else { ["near", "here"][(town + row) % 2] };
        text += &format!("t{town:02},{shape},{label}\n");
    }
    folder.write("t.csv", text);
    folder.ok(&format!("--train t.csv --label label {BOOST} --init linear:1e-3 -o m.cbfit"));
    onnx_agrees(&folder, "t.csv", "--prior natural");
    folder.fails("export m.cbfit --to json", "E0208", &["linear functions"], "--to onnx");
    let line = "predict m.cbfit t.csv --proba --contrib --class far here near";
    let (header, rows) = csv(folder.ok(line).text());
    let first = header.len() - 9;
    assert_eq!(header[first..first + 3], ["c_far_town", "c_far_shape", "expected_far"]);
    for row in &rows {
        let exp = |class: usize| (0..3).map(|at| cell(row, first + 3 * class + at)).sum::<f64>().exp();
        let exps = [0, 1, 2].map(exp);
        for (class, exp) in exps.iter().enumerate() {
            let probability = cell(row, first - 3 + class);
            assert!((exp / exps.iter().sum::<f64>() - probability).abs() < 1e-5, "{row:?}");
        }
    }
}

#[test]
fn json_is_the_model_to_the_last_bit() {
    for folder in [mixed(""), mixed("--loss focal")] {
        let run = folder.ok("export m.cbfit --to json -o m.json");
        assert!(run.stderr.contains("to the last bit"), "{}", run.stderr);
        let Model::Boost(model) = load(folder.path("m.cbfit")).unwrap().model else { panic!("no trees") };
        assert_eq!(read_json(&folder.read("m.json")[..]).unwrap(), model);
    }
}

#[test]
fn linear_models_are_a_table_of_weights() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} --scale standard -o m.cbfit"));
    let report = folder.json("export m.cbfit --to csv -o m.csv");
    assert!(number(&report, "/largest_difference") < 1e-4, "{report}");
    let (header, rows) = csv(&String::from_utf8(folder.read("m.csv")).unwrap());
    assert_eq!((header[0].as_str(), header.len(), rows[0][0].as_str()), ("feature", 11, "(intercept)"));
    assert_eq!(rows.len(), 65);
    folder.ok(&format!("--train {TRAIN} {QUICK} --scale l2 -o m.cbfit"));
    folder.fails("export m.cbfit --to csv", "E0208", &["length 1"], "--scale none");
    for form in ["lightgbm", "text", "json"] {
        folder.fails(&format!("export m.cbfit --to {form}"), "E0208", &["linear"], "--to csv");
    }
}

#[test]
fn exports_that_cannot_be_are_refused() {
    let folder = mixed("");
    folder.fails("export m.cbfit --to csv", "E0208", &["trees"], "--to lightgbm");
    folder.fails("export m.cbfit --to json --json", "E0201", &["--json"], "--out");
    folder.fails("export m.cbfit --to json -o m.cbfit", "E0208", &["m.cbfit"], "another file");
    folder.fails("export no.cbfit --to json", "E0401", &["no.cbfit"], "m.cbfit");
    assert_eq!(folder.run("export m.cbfit").status, Some(2));
}

#[test]
fn inspect_tells_what_the_trees_test() {
    let folder = mixed("");
    let text = folder.ok("inspect m.cbfit").text().to_owned();
    assert!(text.contains("boost/softmax, 2 classes x 2 features"), "{text}");
    assert!(text.contains("in 6 rounds") && text.contains("2 of 2 features are tested"), "{text}");
    for (measure, first) in [("gain", "gain"), ("splits", "splits"), ("cover", "cover")] {
        let value = folder.json(&format!("inspect m.cbfit --importance {measure}"));
        let features = value["trees"]["importance"]["features"].as_array().unwrap();
        let measures: Vec<f64> = features.iter().map(|feature| feature[first].as_f64().unwrap()).collect();
        assert!(features.len() == 2 && measures[0] >= measures[1], "{value}");
    }
    folder.fails("inspect m.cbfit --importance gain --class yes", "E0201", &["--class"], "per-class");
    folder.fails("inspect t.csv --label label --importance gain", "E0201", &["--importance"], "trees");

    folder.ok(&format!("--train {TRAIN} {BOOST} --trees per-class -o m.cbfit"));
    let splits = |line: &str| -> u64 {
        let value = folder.json(&format!("inspect m.cbfit --importance splits {line}"));
        let features = value["trees"]["importance"]["features"].as_array().unwrap();
        features.iter().map(|feature| feature["splits"].as_u64().unwrap()).sum()
    };
    let by_class: u64 = (0..10).map(|class| splits(&format!("--class {class}"))).sum();
    assert_eq!(splits(""), by_class);
    folder.fails("inspect m.cbfit --importance gain --class x", "E0208", &["--class"], "classes");
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    folder.fails("inspect m.cbfit --importance gain", "E0201", &["--importance"], "csv");
}

#[test]
fn contributions_add_up_to_the_score_of_the_predicted_class() {
    contributions_add_up(&mixed(""));
    contributions_add_up(&mixed("--init linear:1e-3"));
}

fn contributions_add_up(folder: &Folder) {
    let (header, rows) = csv(folder.ok("predict m.cbfit t.csv --contrib").text());
    assert_eq!(header, ["prediction", "probability", "c_number", "c_colour", "expected"]);
    for row in &rows {
        let score: f64 = (2..5).map(|at| cell(row, at)).sum();
        let probability = 1.0 / (1.0 + (-score).exp());
        assert!((probability - cell(row, 1)).abs() < 1e-5, "{row:?}");
    }
    let (header, both) = csv(folder.ok("predict m.cbfit t.csv --contrib --class no yes").text());
    assert_eq!(header[2..5], ["c_no_number", "c_no_colour", "expected_no"]);
    for (row, both) in rows.iter().zip(&both) {
        let (no, yes): (Vec<f64>, Vec<f64>) =
            ((2..5).map(|at| cell(both, at)).collect(), (5..8).map(|at| cell(both, at)).collect());
        assert!(no.iter().zip(&yes).all(|(no, yes)| no + yes == 0.0), "{both:?}");
        let own = if row[0] == "no" { no } else { yes };
        assert_eq!((2..5).map(|at| cell(row, at)).collect::<Vec<_>>(), own);
    }
}

#[test]
fn contributions_of_many_classes_are_the_softmax_of_the_probabilities() {
    let folder = Folder::new();
    for trees in ["vector", "per-class", "vector --init linear:1e-3"] {
        folder.ok(&format!("--train {TRAIN} {BOOST} --trees {trees} -o m.cbfit"));
        let classes = (0..10).map(|class| class.to_string()).collect::<Vec<_>>().join(" ");
        let line = format!("predict m.cbfit {TEST} --proba --contrib --class {classes}");
        let (_, rows) = csv(folder.ok(&line).text());
        for row in rows.iter().take(50) {
            let score = |class: usize| -> f64 { (0..65).map(|at| cell(row, 12 + 65 * class + at)).sum() };
            let total: f64 = (0..10).map(|class| score(class).exp()).sum();
            for class in 0..10 {
                assert!((score(class).exp() / total - cell(row, 2 + class)).abs() < 1e-5, "{trees}");
            }
        }
        for threads in [1, 3] {
            folder.ok(&format!("predict m.cbfit {TEST} --contrib --threads {threads} -o {threads}.parquet"));
        }
        assert_eq!(folder.read("1.parquet"), folder.read("3.parquet"));
    }
}

#[test]
fn contributions_that_cannot_be_are_refused() {
    let folder = mixed("");
    folder.fails("predict m.cbfit t.csv --contrib -o p.npy", "E0201", &["--contrib"], "CSV");
    folder.fails("predict m.cbfit t.csv --contrib --class maybe", "E0208", &["--class"], "classes");
    assert_eq!(folder.run("predict m.cbfit t.csv --class yes").status, Some(2));
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    folder.fails(&format!("predict m.cbfit {TEST} --contrib"), "E0208", &["--contrib", "trees"], "csv");
}

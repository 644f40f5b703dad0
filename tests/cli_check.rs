//! `cbfit check`: everything that is wrong or doubtful at once.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use cbfit::rng::CounterRng;
use common::cli::{Folder, QUICK, TEST, TRAIN};
use serde_json::Value;

/// Codes of the findings in their order, errors and warnings.
fn codes(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// The finding of a code, of which there is one.
fn finding<'a>(report: &'a Value, code: &str) -> &'a Value {
    let of_code: Vec<&Value> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == code).collect();
    assert_eq!(of_code.len(), 1, "{code}: {report:#}");
    of_code[0]
}

fn check(folder: &Folder, line: &str, status: i32) -> Value {
    let run = folder.run(&format!("check {line} --json"));
    run.expect_status(status);
    let report = run.json();
    assert_eq!(report["schema"], "cbfit.check/1");
    let all = report["findings"].as_array().unwrap();
    for finding in all {
        let filled = |key: &str| finding[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(filled("code") && filled("place") && filled("message") && filled("help"), "{finding}");
    }
    let of = |severity: &str| all.iter().filter(|finding| finding["severity"] == severity).count() as u64;
    assert_eq!(
        (report["errors"].as_u64(), report["warnings"].as_u64()),
        (Some(of("error")), Some(of("warning")))
    );
    report
}

#[test]
fn sound_data_pass() {
    let folder = Folder::new();
    let report = check(&folder, &format!("{TRAIN} --test {TEST}"), 0);
    assert_eq!((report["errors"].as_u64(), report["data"]["rows"].as_u64()), (Some(0), Some(490)));
    assert_eq!(
        (report["data"]["features"].as_u64(), report["data"]["classes"].as_u64()),
        (Some(64), Some(10))
    );
    let text = folder.ok(&format!("check {TRAIN}")).text().to_owned();
    assert!(text.starts_with("Data      ") && text.contains("\nLabels    10 classes"), "{text}");
    assert!(text.contains("\nChecked   0 errors, "), "{text}");
}

#[test]
fn errors_are_all_told_and_not_only_the_first() {
    let folder = Folder::new();
    let mut text = String::from("id,x,big,word,w,split,label\n");
    for row in 0..10_100 {
        let x = if row == 3 || row == 5 { String::new() } else { row.to_string() };
        let big = if row == 7 { "1e39".to_owned() } else { (row % 31).to_string() };
        let label = if row % 1000 == 9 { "" } else { ["owl", "elk"][row % 2] };
        let weight = if row == 2 { "-1" } else { "1" };
        let split = if row == 4 { "holdout" } else { "train" };
        text += &format!("{row},{x},{big},word {row},{weight},{split},{label}\n");
    }
    folder.write("bad.csv", text);
    let report = check(&folder, "bad.csv --weight-col w --split-col split", 3);
    let mut found = codes(&report);
    found.retain(|code| code.starts_with('E'));
    found.sort_unstable();
    assert_eq!(found, ["E0305", "E0310", "E0310", "E0313", "E0316", "E0319"]);
    assert_eq!(finding(&report, "E0305")["count"], 11);
    assert_eq!(finding(&report, "E0305")["place"], "bad.csv, row 10");
    assert!(finding(&report, "E0316")["message"].as_str().unwrap().contains("row 3"));
    let missing = report["findings"].as_array().unwrap().iter().find(|finding| {
        finding["code"] == "E0310" && finding["message"].as_str().unwrap().contains("2 missing")
    });
    assert_eq!(missing.unwrap()["place"], "bad.csv, row 4, column x");
    // What is left is read: warnings come as well.
    assert_eq!(report["data"]["rows"], 10_089);
    let text = folder.run("check bad.csv");
    text.expect_status(3);
    for part in ["Error     E0305  bad.csv: 11 of 10100", "help: leave these rows out", "Checked   4 errors"]
    {
        assert!(text.text().contains(part), "{part}: {}", text.text());
    }
}

#[test]
fn files_are_checked_one_by_one_and_what_ends_the_check_is_said() {
    let folder = Folder::new();
    folder.write("good.csv", "x,label\n1,a\n2,b\n3,a\n4,b\n").write("cut.csv", "x,label\n1,a\n2\n");
    folder.write("other.csv", "y,label\n1,a\n").write("none.csv", "x,lable\n1,a\n2,b\n");
    let report = check(&folder, "good.csv cut.csv other.csv gone.csv", 3);
    let mut found = codes(&report);
    found.retain(|code| code.starts_with('E'));
    found.sort_unstable();
    assert_eq!(found, ["E0314", "E0320", "E0401"]);
    assert_eq!(report["data"]["rows"], 4);
    let report = check(&folder, "none.csv", 3);
    assert_eq!((codes(&report), &report["data"]), (vec!["E0203"], &Value::Null));
    assert!(folder.run("check none.csv").text().contains("further ones cannot be looked for"));
    let report = check(&folder, "none.csv --label label", 3);
    assert_eq!(codes(&report), ["E0202", "E0203"]);
    folder.fails("check -", "E0208", &["only once"], "file");
    folder.fails("check good.csv -q", "E0201", &["--quiet"], "leave");
    folder.fails("check good.csv --learner boost --missing mean", "E0201", &["--missing"], "trees");
}

#[test]
fn doubtful_rows_and_columns_are_warned_of() {
    let folder = Folder::new();
    let mut text = String::from("still,none,x,z,label\n");
    for row in 0..2000 {
        text += &format!("7,,{},{},big\n", 1 + row, 1 + (row * 37) % 2011);
    }
    text += "7,,1,1,small\n7,,2,38,big\n7,,3000.5,7,\"li\tlo\"\n";
    folder.write("odd.csv", text);
    let report = check(&folder, "odd.csv --missing mean", 0);
    assert_eq!(finding(&report, "W01")["count"], 2);
    assert!(finding(&report, "W02")["message"].as_str().unwrap().ends_with("same in all rows: still"));
    assert!(finding(&report, "W03")["message"].as_str().unwrap().ends_with("in any row: none"));
    assert_eq!(
        (&finding(&report, "W05")["count"], &finding(&report, "W06")["count"]),
        (&Value::from(2), &Value::from(1))
    );
    let conflict = finding(&report, "W06")["message"].as_str().unwrap();
    assert!(conflict.contains("row 2001 (small) to row 1 (big)"), "{conflict}");
    assert!(finding(&report, "W08")["message"].as_str().unwrap().contains("times the rows of the smallest"));
    let text = folder.ok("check odd.csv --missing mean").text().to_owned();
    assert!(text.contains("li\\tlo") && !text.contains('\t'), "{text}");
}

#[test]
fn vectors_are_looked_at_by_their_length_and_their_neighbours() {
    let folder = Folder::new();
    // A NumPy file: 40 rows of 50 features, of which some are zero, copies or nearly so.
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let mut rng = CounterRng::new(3, 0);
    for _ in 0..40 {
        rows.push((0..50).map(|_| rng.next_f64() as f32 - 0.5).collect());
    }
    rows[3] = vec![0.0; 50];
    rows[8] = rows[7].iter().map(|x| x * 1.000_01).collect();
    rows[9] = rows[9].iter().map(|x| x * 300.0).collect();
    let shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 50), }\n";
    let mut file =
        [b"\x93NUMPY\x01\0".as_slice(), &(shape.len() as u16).to_le_bytes(), shape.as_bytes()].concat();
    rows.iter().flatten().for_each(|value| file.extend(value.to_le_bytes()));
    let labels: String = (0..40).map(|row| ["a\n", "b\n"][row % 2]).collect();
    folder.write("v.npy", file).write("l.csv", format!("label\n{labels}"));
    let report = check(&folder, "v.npy --label-file l.csv", 0);
    assert_eq!(finding(&report, "W04")["count"], 1);
    assert!(finding(&report, "W04")["message"].as_str().unwrap().ends_with("first row 4"));
    assert!(finding(&report, "W07")["message"].as_str().unwrap().contains("2 rows are all but equal"));
    assert!(
        finding(&report, "W09")["message"].as_str().unwrap().contains("40 rows are fewer than 50 features")
    );
    assert!(finding(&report, "W10")["message"].as_str().unwrap().contains("norms"));
}

#[test]
fn held_out_rows_are_held_against_training_rows() {
    let folder = Folder::new();
    folder.write("train.csv", "x,word,label\n1,a,owl\n2,b,elk\n3,a,owl\n4,b,elk\n");
    folder.write("test.csv", "x,word,label\n9,a,owl\n2,b,elk\n7,c,yak\n3,a,elk\n");
    let report = check(&folder, "train.csv --test test.csv", 0);
    assert_eq!(finding(&report, "W11")["count"], 2);
    assert!(
        finding(&report, "W11")["message"].as_str().unwrap().contains("first row 2 to row 2 of train.csv")
    );
    assert!(finding(&report, "W12")["message"].as_str().unwrap().contains("yak"));
    assert_eq!(finding(&report, "W14")["count"], 1);
    folder.write("gap.csv", "x,word,label\n9,a,owl\n,b,\n");
    let report = check(&folder, "train.csv --valid gap.csv", 3);
    let mut found = codes(&report);
    found.retain(|code| code.starts_with('E'));
    assert_eq!(found, ["E0310", "E0305"]);
    folder.write("parts.csv", "x,split,label\n1,train,a\n2,train,b\n3,train,a\n2,test,b\n5,valid,a\n");
    assert_eq!(finding(&check(&folder, "parts.csv --split-col split", 0), "W11")["count"], 1);
}

#[test]
fn data_are_held_against_a_model() {
    let folder = Folder::new();
    folder.write("train.csv", "size,word,label\n1,a,0\n2,b,1\n3,a,0\n4,b,1\n5,a,2\n");
    folder.ok("--train train.csv --valid-fraction 0 --l2 1 --beta 0.9 -o m.cbfit");
    folder.ok(&format!("--train {TRAIN} {QUICK} -o v.cbfit"));
    folder.write("new.csv", "word,size\na,1\nz,2\n").write("other.csv", "length,word\n1,a\n");
    folder.write("seen.csv", "size,word,label\n1,a,0\n2,b,7\n,b,1\n");
    let report = check(&folder, "new.csv --against m.cbfit", 0);
    assert_eq!(
        (finding(&report, "W14")["count"].as_u64(), report["data"]["rows"].as_u64()),
        (Some(1), Some(2))
    );
    let report = check(&folder, "other.csv --against m.cbfit", 3);
    assert!(finding(&report, "E0503")["message"].as_str().unwrap().contains("missing: size"));
    let report = check(&folder, "golden/matrix_f4.npy --against v.cbfit", 3);
    assert!(finding(&report, "E0503")["message"].as_str().unwrap().contains("vectors of 64"));
    let report = check(&folder, "seen.csv --against m.cbfit", 3);
    assert_eq!(finding(&report, "E0310")["place"], "seen.csv, row 3, column size");
    assert!(finding(&report, "W12")["message"].as_str().unwrap().contains("1 rows are of 1 classes"));
    assert!(
        finding(&report, "W13")["message"]
            .as_str()
            .unwrap()
            .contains("1 of 3 classes of the model have no row: 2")
    );
    let report = check(&folder, "seen.csv --against train.csv", 3);
    assert_eq!(codes(&report), ["E0506"]);
    folder.fails("check seen.csv --against m.cbfit --features size", "E0201", &["--features"], "model");
}

//! One provocation a row of the catalogue of errors, through the binary, and a check that no row and no code is left out.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::collections::BTreeSet;

use cbfit::catalogue::{CATALOGUE, WARNINGS};
use cbfit::checkpoint::codec::bytes_of;
use cbfit::checkpoint::file;
use cbfit::checkpoint::journal::Settings;
use common::cli::{Folder, QUICK, TEST, TRAIN};

/// A row of the catalogue, files to be written, the command, its code (or none, where it only says something) and words
/// of what it says.
struct Row {
    number: u32,
    files: &'static [(&'static str, &'static str)],
    line: &'static str,
    code: Option<&'static str>,
    words: &'static [&'static str],
}

const fn row(
    number: u32,
    files: &'static [(&'static str, &'static str)],
    line: &'static str,
    code: &'static str,
    words: &'static [&'static str],
) -> Row {
    Row { number, files, line, code: Some(code), words }
}

const fn remark(
    number: u32,
    files: &'static [(&'static str, &'static str)],
    line: &'static str,
    words: &'static [&'static str],
) -> Row {
    Row { number, files, line, code: None, words }
}

/// What stands in `Row::number` for codes beyond the numbered rows.
const FURTHER: u32 = 0;

/// Trains in no time, where the data are sound.
const ODD: &str = "x,still,label\n1,5,rare\n2,5,a\n3,5,b\n2,5,a\n4,5,b\n1,5,a\n5,5,b\n2,5,a\n";

/// `DATA` stands for the digits to train on, `TEST` for those to score, `m.cbfit` for a model of them, `small.cbfit` for
/// one of `size,label`.
const ROWS: &[Row] = &[
    row(1, &[("train.csv", ODD)], "--train tran.csv", "E0401", &["tran.csv", "train.csv"]),
    row(2, &[("a.csv", "")], "--train a.csv", "E0301", &["0 rows"]),
    row(
        2,
        &[("a.csv", "x,label\n1,\n2,\n")],
        "--train a.csv --unlabeled drop",
        "E0301",
        &["0 rows with a label"],
    ),
    row(3, &[("a.parquet", "PAR1 and no more")], "--train a.parquet", "E0302", &["byte 16", "PAR1"]),
    row(4, &[("a.parquet", ODD)], "--train a.parquet", "E0303", &["Parquet", "CSV"]),
    row(5, &[("a.pt", "PK\u{3}\u{4}")], "--train a.pt", "E0304", &["execute code"]),
    row(5, &[], "--train golden/objects.npy", "E0304", &["Python objects"]),
    row(6, &[("a.csv", "x,lable\n1,a\n2,b\n")], "--train a.csv --label label", "E0202", &["x, lable"]),
    row(6, &[("a.csv", "x,lable\n1,a\n2,b\n")], "--train a.csv", "E0203", &["x, lable"]),
    row(7, &[("a.csv", "x,label,target\n1,a,0\n2,b,1\n")], "--train a.csv", "E0204", &["label, target"]),
    row(8, &[("a.csv", "x,label\n1,a\n2,\n3,b\n")], "--train a.csv", "E0305", &["1 of 3", "row 2"]),
    row(9, &[("a.csv", "x,y\n1,2\n2,0.5\n")], "--train a.csv", "E0306", &["0.5 in row 2", "regression"]),
    row(10, &[("a.csv", "x,label\n1,owl\n2,owl\n")], "--train a.csv", "E0307", &["\"owl\" (2 rows)"]),
    remark(
        11,
        &[("a.csv", ODD)],
        "--train a.csv --l2 1 --valid-fraction 0.3 -o o.cbfit",
        &["1 classes are too small to split"],
    ),
    remark(11, &[("a.csv", ODD)], "check a.csv", &["W01", "1 classes have one row: rare"]),
    row(
        12,
        &[("a.csv", "size,label\n1,yak\n")],
        "eval small.cbfit a.csv --unseen error",
        "E0308",
        &["1 rows", "yak"],
    ),
    remark(
        12,
        &[("a.csv", "size,label\n1,yak\n2,owl\n")],
        "eval small.cbfit a.csv",
        &["1 of 2 rows", "yak 1", "wrong"],
    ),
    row(
        13,
        &[("a.csv", "x,label\n1,0\n2,5\n"), ("n", "a\nb\n")],
        "--train a.csv --class-names n",
        "E0309",
        &["2 class names", "5"],
    ),
    row(14, &[("a.csv", "x,label\n1,a\n,b\n")], "--train a.csv", "E0310", &["1 missing", "row 2, column x"]),
    row(
        15,
        &[("a.csv", "x,label\n1,a\n1e39,b\n")],
        "--train a.csv",
        "E0310",
        &["1 infinite", "row 2, column x"],
    ),
    row(
        16,
        &[("l.csv", "label\na\nb\na\n")],
        "--train golden/ragged.parquet --label-file l.csv",
        "E0311",
        &["row 3 has 1", "row 1 has 2"],
    ),
    row(
        17,
        &[("l.csv", "label\na\nb\na\n")],
        "--train golden/vectors.arrow --label-file l.csv",
        "E0205",
        &["list, large, half, fixed"],
    ),
    row(
        18,
        &[("a.csv", "x,q,x,label\n1,0,2,0\n3,0,4,1\n")],
        "--train a.csv",
        "E0312",
        &["\"x\"", "positions 1, 3"],
    ),
    remark(
        19,
        &[("a.csv", ODD)],
        "--train a.csv --l2 1 --valid-fraction 0.3 -o o.cbfit",
        &["1 constant columns"],
    ),
    remark(
        19,
        &[("a.csv", "x,none,still,label\n1,,5,a\n2,,5,b\n")],
        "check a.csv --missing mean",
        &["W02", "still", "W03", "none"],
    ),
    row(20, &[], "--train golden/vectors.arrow --label list", "E0318", &["\"list\"", "label"]),
    row(21, &[("a.csv", "x,label\n1,0\n2,1,7\n")], "--train a.csv", "E0314", &["line 3", "3 fields"]),
    row(21, &[("a.csv", "x,label\n1,\"a\n2,b\n")], "--train a.csv", "E0314", &["line 2", "quote"]),
    row(
        22,
        &[("l.csv", "label\na\n")],
        "--train data/digits_lt_train_features.npy --label-file l.csv",
        "E0315",
        &["490 rows", "l.csv has 1"],
    ),
    row(
        23,
        &[("a.csv", "length,label\n1,a\n")],
        "predict small.cbfit a.csv",
        "E0503",
        &["missing: size", "not know: length"],
    ),
    row(24, &[], "--train DATA --beta 0,9999", "E0207", &["comma"]),
    row(24, &[], "--train DATA --beta 1", "E0207", &["\"1\""]),
    remark(
        25,
        &[("a.csv", ODD)],
        "--train a.csv --l2 1 --beta 0 --valid-fraction 0 -o o.cbfit",
        &["equals --weighting none"],
    ),
    remark(
        25,
        &[("a.csv", ODD)],
        "--train a.csv --l2 1 --beta 0.9999 --valid-fraction 0 -o o.cbfit",
        &["within 5 % of inverse"],
    ),
    row(
        26,
        &[("a.csv", "x,w,label\n1,1,a\n2,-1,b\n")],
        "--train a.csv --weight-col w",
        "E0316",
        &["row 2", "-1"],
    ),
    row(27, &[], "--train DATA --gamma 2", "E0201", &["--gamma", "--loss softmax"]),
    row(
        28,
        &[],
        "--train DATA --optimizer sgd --lr 1e30 --valid-fraction 0 --l2 1 --beta 0.9",
        "E0601",
        &["diverged", "learning rate"],
    ),
    row(
        29,
        &[],
        "--train DATA --valid-fraction 0 --l2 1 --beta 0.9 -o no/such/folder/m.cbfit",
        "E0402",
        &["no/such/folder"],
    ),
    row(
        30,
        &[],
        "--train DATA --valid-fraction 0 --l2 1 --beta 0.9 -o held.cbfit",
        "E0403",
        &["held.cbfit", "one that has just begun"],
    ),
    row(
        31,
        &[],
        "--train DATA --valid-fraction 0 --l2 1 --beta 0.9 --resume -o other.cbfit",
        "E0505",
        &["other.cbfit.checkpoint", "data fingerprint 1f, not "],
    ),
    row(32, &[("a.cbfit", "class,count\na,3\n")], "predict a.cbfit TEST", "E0501", &["a.cbfit"]),
    row(32, &[], "predict newer.cbfit TEST", "E0502", &["format 9"]),
    row(
        33,
        &[],
        "--train wide.csv --head lda:0.5 --valid-fraction 0 --weighting none",
        "E0801",
        &["bytes", "limit"],
    ),
    row(FURTHER, &[("a.csv", "label,id\n0,1\n1,2\n")], "--train a.csv", "E0206", &["no feature columns"]),
    row(FURTHER, &[], "--train DATA --format arow", "E0208", &["--format", "\"arow\""]),
    row(FURTHER, &[], "--train wide_text.csv", "E0313", &["10001 different values"]),
    row(FURTHER, &[("c.csv", "class,count\na,10\nb,-3\n")], "weights c.csv", "E0317", &["row 2", "-3"]),
    row(
        FURTHER,
        &[("a.csv", "x,split,label\n1,train,a\n2,hold,b\n")],
        "--train a.csv --split-col split",
        "E0319",
        &["\"hold\"", "row 2"],
    ),
    row(
        FURTHER,
        &[("a.csv", ODD), ("b.csv", "x,label\n1,a\n")],
        "--train a.csv b.csv",
        "E0320",
        &["b.csv lacks", "\"still\""],
    ),
    row(
        FURTHER,
        &[("p.csv", "class,share\na,0.5\n")],
        "predict small.cbfit s.csv --prior p.csv",
        "E0321",
        &["p.csv"],
    ),
    row(FURTHER, &[], "--train golden/archive.npz", "E0322", &["npz"]),
    row(
        FURTHER,
        &[("a.csv", "size\n3e38\n")],
        "predict small.cbfit a.csv",
        "E0323",
        &["1 of 1 rows", "row 1"],
    ),
    row(
        FURTHER,
        &[("c.csv", "true,owl\nowl,0\n")],
        "predict small.cbfit s.csv --costs c.csv",
        "E0324",
        &["c.csv"],
    ),
    row(
        FURTHER,
        &[("cut.cbfit.checkpoint", "cbfit")],
        "--train DATA --valid-fraction 0 --l2 1 --beta 0.9 --resume -o cut.cbfit",
        "E0504",
        &["cut.cbfit.checkpoint", "ends early"],
    ),
    row(
        FURTHER,
        &[("a.csv", ODD)],
        "predict a.csv small.cbfit -o p.csv",
        "E0506",
        &["a.csv is no cbfit model", "looks like text, perhaps CSV", "small.cbfit is one"],
    ),
    remark(
        FURTHER,
        &[],
        "eval m.cbfit TEST --memory-limit 1M",
        &["W15", "--memory-limit 1.0 MB", "16.0 MB is the least"],
    ),
    row(FURTHER, &[], "eval m.cbfit TEST --min macro_recall=0.9999", "E0701", &["macro_recall"]),
];

#[test]
fn every_row_is_provoked_and_says_what_it_should() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit -q"));
    folder
        .write("s.csv", "size,label\n0,owl\n.01,owl\n.02,owl\n.03,owl\n.09,elk\n.1,elk\n.12,emu\n.13,emu\n");
    folder.ok("--train s.csv --scale none --valid-fraction 0 --l2 0.000001 --beta 0 -o small.cbfit -q");
    let mut newer = folder.read("m.cbfit");
    let version = newer.windows(19).position(|bytes| bytes == br#"format_version\":1,"#.as_slice()).unwrap();
    newer[version + 17] = b'9';
    folder.write("newer.cbfit", newer);
    let names: Vec<String> = (0..5000).map(|column| format!("c{column}")).collect();
    let wide = |value: usize, label: &str| format!("{}{label}\n", format!("{value},").repeat(5000));
    let rows: String = (0..6).map(|row| wide(row, ["a", "b"][row % 2])).collect();
    folder.write("wide.csv", format!("{},label\n{rows}", names.join(",")));
    let words: String = (0..10_001).map(|row| format!("w{row},{}\n", row % 2)).collect();
    folder.write("wide_text.csv", format!("word,label\n{words}"));
    // Held to the end of the test, as by a run that is at work.
    let held = std::fs::File::create(folder.path("held.cbfit.lock")).unwrap();
    held.lock().unwrap();
    let settings: Settings = vec![("data fingerprint".into(), "1f".into())];
    let checkpoint = folder.path("other.cbfit.checkpoint");
    let sections: [&[&[u8]]; 3] = [&[&bytes_of(&settings)], &[&bytes_of(&0usize)], &[&[0, 0]]];
    file::write(checkpoint.to_str().unwrap(), sections).unwrap();
    for Row { files, line, code, words, .. } in ROWS {
        for (name, content) in *files {
            folder.write(name, content);
        }
        let line = line.replace("DATA", TRAIN).replace("TEST", TEST);
        match code {
            Some(code) => folder.fails(&line, code, words, ""),
            None => {
                let run = folder.ok(&line);
                let said = run.text().to_owned() + &run.stderr;
                assert!(words.iter().all(|word| said.contains(word)), "cbfit {line}: {words:?}\n{said}");
            }
        }
    }
}

#[test]
fn no_row_and_no_code_is_left_out() {
    let rows: BTreeSet<u32> = ROWS.iter().map(|row| row.number).collect();
    let expected: BTreeSet<u32> = (0..=33).collect();
    assert_eq!(rows, expected);
    let provoked: BTreeSet<&str> = ROWS.iter().filter_map(|row| row.code).collect();
    // Codes of what takes more than a line to set up are provoked by tests of their own.
    let sources: String = std::fs::read_dir(common::repo("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cli_")))
        .filter(|path| !path.ends_with("cli_catalogue.rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for entry in CATALOGUE {
        let elsewhere = sources.contains(&format!("\"{}\"", entry.code));
        assert!(
            provoked.contains(entry.code) || elsewhere,
            "{} ({}) is provoked by no test",
            entry.code,
            entry.title
        );
    }
    let warned = |code: &str| {
        sources.contains(&format!("\"{code}\"")) || ROWS.iter().any(|row| row.words.contains(&code))
    };
    for entry in WARNINGS {
        assert!(warned(entry.code), "{} ({}) is provoked by no test", entry.code, entry.title);
    }
}

//! What a user gets for bad input: exit status, code, a message that names file, row, column, class and count, and a
//! help line that names the way out. Table by table after the catalogue of errors.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use common::cli::{Folder, QUICK, TEST, TRAIN, digits_csv};

/// A file with a content, the arguments, and what must come of them.
type Case<'a> = (&'a str, &'a [u8], &'a str, &'a str, &'a [&'a str], &'a str);

fn check(cases: &[Case<'_>]) {
    let folder = Folder::new();
    for &(name, content, line, code, words, remedy) in cases {
        if !name.is_empty() {
            folder.write(name, content);
        }
        folder.fails(line, code, words, remedy);
        assert!(!folder.names().iter().any(|name| name.ends_with(".cbfit")), "{line} left a model");
    }
}

/// Arguments in each other's place, or none where one is missing.
#[test]
fn a_model_and_data_in_each_others_place() {
    let folder = Folder::new();
    folder.write("rows.csv", digits_csv()).write("junk.bin", [7u8; 64]);
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit -q"));
    for command in ["predict", "eval", "report"] {
        let line = format!("{command} {TEST} m.cbfit");
        let words = ["Parquet", "no cbfit model", "m.cbfit is one"];
        folder.fails(&line, "E0506", &words, "look swapped: the model comes before the data, m.cbfit before");
    }
    folder.fails("eval rows.csv rows.csv", "E0506", &["rows.csv", "CSV"], "cbfit predict MODEL DATA");
    folder.fails("eval junk.bin rows.csv", "E0501", &["junk.bin", "not a usable"], "train the model again");

    let tip = |line: &str| {
        let run = folder.run(line);
        run.expect_status(2);
        run.stderr.lines().find(|line| line.contains("tip:")).unwrap_or_default().trim().to_owned()
    };
    assert_eq!(tip("rows.csv"), "tip: rows.csv is a file; to train on it: cbfit --train rows.csv");
    assert_eq!(tip("rows.csv --beta 0.9"), tip("rows.csv"));
    assert_eq!(
        tip("m.cbfit"),
        "tip: m.cbfit is a model: cbfit inspect m.cbfit, or cbfit predict m.cbfit DATA"
    );
    assert_eq!(tip("trian rows.csv"), "tip: a similar subcommand exists: 'train'");
}

#[test]
fn files_that_cannot_be_read() {
    let parquet = std::fs::read(common::repo(TRAIN)).unwrap();
    let npy = std::fs::read(common::repo("data/digits_lt_train_features.npy")).unwrap();
    let text = digits_csv();
    let cut = &parquet[..9000];
    check(&[
        (
            "train.csv",
            b"x,label\n1,a\n2,b\n",
            "--train tran.csv",
            "E0401",
            &["tran.csv", "train.csv"],
            "train.csv?",
        ),
        ("", b"", "--train no/such/file.npy", "E0401", &["no/such/file.npy"], "path"),
        ("e.csv", b"", "--train e.csv", "E0301", &["e.csv: 0 rows", "empty"], "path"),
        ("h.csv", b"x,label\n", "--train h.csv", "E0301", &["h.csv: 0 rows", "header"], "path"),
        ("t.parquet", cut, "--train t.parquet", "E0302", &["t.parquet", "byte 9000", "PAR1"], "copy"),
        ("t.npy", &npy[..9000], "--train t.npy", "E0302", &["125440 bytes", "holds 8872"], "copy"),
        ("t.csv.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "--train t.csv.gz", "E0302", &["t.csv.gz"], "copy"),
        (
            "w.parquet",
            text.as_bytes(),
            "--train w.parquet",
            "E0303",
            &["Parquet", "CSV", "first bytes"],
            "--format",
        ),
        ("", b"", "--train data/digits_lt_train.csv --format npy", "E0303", &["NumPy", "CSV"], "--format"),
        (
            "m.pkl",
            b"\x80\x05\x95\0\0",
            "--train m.pkl",
            "E0304",
            &["m.pkl", "pickle", "execute code"],
            "python -c",
        ),
        (
            "m.pt",
            b"PK\x03\x04",
            "--train m.pt",
            "E0304",
            &["m.pt", "PyTorch", "execute code"],
            "weights_only=True",
        ),
        ("", b"", "--train golden/objects.npy", "E0304", &["Python objects", "execute code"], "python -c"),
        ("", b"", "--train golden/archive.npz", "E0322", &["npz"], "numpy.load"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "--train a.h5", "E0322", &["a.h5", "HDF5"], "h5py"),
    ]);
}

#[test]
fn labels_that_cannot_be_learnt() {
    let five = b"x,label\n1,0\n2,1\n3,5\n";
    check(&[
        (
            "a.csv",
            b"x,lable\n1,a\n2,b\n",
            "--train a.csv --label label",
            "E0202",
            &["a.csv", "x, lable"],
            "\"lable\"?",
        ),
        ("", b"", "--train a.csv", "E0203", &["a.csv", "no label column", "x, lable"], "--label"),
        (
            "b.csv",
            b"x,label,target\n1,a,0\n2,b,1\n",
            "--train b.csv",
            "E0204",
            &["label, target"],
            "--label label",
        ),
        (
            "c.csv",
            b"x,label\n1,a\n2,\n3,b\n4,NA\n",
            "--train c.csv",
            "E0305",
            &["2 of 4", "row 2"],
            "--unlabeled drop",
        ),
        (
            "d.csv",
            b"x,y\n1,2\n2,0.5\n",
            "--train d.csv",
            "E0306",
            &["\"y\"", "0.5 in row 2", "regression"],
            "--label",
        ),
        (
            "e.csv",
            b"x,label\n1,owl\n2,owl\n",
            "--train e.csv",
            "E0307",
            &["\"owl\"", "2 rows"],
            "two classes",
        ),
        (
            "e2.csv",
            b"x,label\n1,owl\n2,\n",
            "--train e2.csv --unlabeled drop",
            "E0307",
            &["1 rows"],
            "two classes",
        ),
        ("f.csv", five, "--train f.csv --class-names data/README.md", "E0314", &["README.md, line 2"], ""),
        (
            "n.txt",
            b"zero\none\n",
            "--train f.csv --class-names n.txt",
            "E0309",
            &["n.txt", "2 class names", "5"],
            "name",
        ),
        (
            "",
            b"",
            "--train a.csv --label lable --class-names n.txt",
            "E0201",
            &["--class-names", "text"],
            "leave",
        ),
        ("", b"", "--train golden/vectors.arrow --label list", "E0318", &["\"list\"", "label"], "--label"),
        (
            "l.csv",
            b"label\na\nb\n",
            "--train data/digits_lt_train_features.npy --label-file l.csv",
            "E0315",
            &["490 rows", "l.csv has 2"],
            "same rows",
        ),
    ]);
}

#[test]
fn features_that_cannot_be_used() {
    let overflow = b"a,b,label\n1,2,0\n3,1e39,1\n4,-inf,1\n";
    let mut levels = String::from("word,label\n");
    (0..10_001).for_each(|row| levels += &format!("w{row},{}\n", row % 2));
    check(&[
        (
            "l.csv",
            b"label\na\nb\na\n",
            "--train golden/vectors.arrow --label-file l.csv",
            "E0205",
            &["list, large, half, fixed"],
            "--features list",
        ),
        (
            "",
            b"",
            "--train golden/ragged.parquet --label-file l.csv",
            "E0311",
            &["\"v\"", "row 3 has 1", "row 1 has 2"],
            "one length",
        ),
        (
            "o.csv",
            b"label,id\n0,1\n1,2\n",
            "--train o.csv",
            "E0206",
            &["o.csv", "no feature columns"],
            "--features",
        ),
        (
            "a.csv",
            b"a,b,label\n1,2,0\n3,,1\n,nan,1\n",
            "--train a.csv",
            "E0310",
            &["3 missing", "50.00 %", "row 2, column b"],
            "--missing mean",
        ),
        ("i.csv", overflow, "--train i.csv", "E0310", &["2 infinite", "33.33 %", "row 2, column b"], "f32"),
        ("", b"", "--train i.csv --missing zero", "E0310", &["2 infinite", "row 2, column b"], "f32"),
        (
            "d.csv",
            b"x,q,x,label\n1,0,2,0\n3,0,4,1\n",
            "--train d.csv",
            "E0312",
            &["\"x\"", "positions 1, 3"],
            "rename",
        ),
        ("w.csv", levels.as_bytes(), "--train w.csv", "E0313", &["\"word\"", "10000"], "--features '!word'"),
        (
            "r.csv",
            b"x,label\n1,0\n2,1,7\n",
            "--train r.csv",
            "E0314",
            &["line 3", "3 fields", "2 are"],
            "--delimiter",
        ),
        ("q.csv", b"x,label\n1,\"a\n2,b\n", "--train q.csv", "E0314", &["line 2", "quote"], "mend"),
        (
            "u.csv",
            b"x,label\n1,a\n2,\xff\n",
            "--train u.csv",
            "E0314",
            &["line 3", "field 2", "UTF-8"],
            "mend",
        ),
        ("", b"", "--train a.csv --features a,lable", "E0202", &["\"lable\"", "a, b, label"], "\"label\"?"),
        ("", b"", "--train a.csv --features a,label", "E0208", &["--features", "label"], "--label"),
        (
            "p.csv",
            b"x,label\n1,0\n",
            "--train a.csv p.csv",
            "E0320",
            &["p.csv lacks", "\"a\""],
            "same columns",
        ),
    ]);
}

#[test]
fn weights_and_splits_that_cannot_be_used() {
    let split = |value: &str| format!("x,split,label\n1,train,a\n2,{value},b\n3,train,b\n");
    let (holdout, train_only) = (split("holdout"), split("train"));
    check(&[
        (
            "w.csv",
            b"x,w,label\n1,1,a\n2,-1,b\n",
            "--train w.csv --weight-col w",
            "E0316",
            &["row 2", "-1", "\"w\""],
            "positive",
        ),
        (
            "z.csv",
            b"x,w,label\n1,1,a\n2,0,b\n",
            "--train z.csv --weight-col w",
            "E0316",
            &["row 2", "weight 0"],
            "positive",
        ),
        (
            "n.csv",
            b"x,w,label\n1,,a\n2,1,b\n",
            "--train n.csv --weight-col w",
            "E0316",
            &["row 1", "no row weight"],
            "positive",
        ),
        (
            "t.csv",
            b"x,w,label\n1,a,a\n2,b,b\n",
            "--train t.csv --weight-col w",
            "E0318",
            &["\"w\"", "weight"],
            "",
        ),
        ("", b"", "--train w.csv --weight-col wt", "E0202", &["\"wt\"", "weight", "x, w, label"], "\"w\"?"),
        (
            "c.csv",
            b"class,weight\n0,1\n1,0\n2,-3\n11,4\n2,1\n",
            &format!("--train {TRAIN} --weights c.csv"),
            "E0316",
            &["c.csv", "no weight for: 3, 4", "unknown classes: 11", "1 (0), 2 (-3)", "listed twice: 2"],
            "every class",
        ),
        ("", b"", &format!("--train {TRAIN} --weights none.csv"), "E0401", &["none.csv"], "path"),
        (
            "s.csv",
            holdout.as_bytes(),
            "--train s.csv --split-col split",
            "E0319",
            &["\"holdout\"", "row 2"],
            "valid",
        ),
        ("v.csv", train_only.as_bytes(), "--train v.csv --split-col split", "E0301", &["valid"], ""),
        ("", b"", "--train v.csv --valid-fraction 0.001", "E0301", &["for validation", "500 rows"], ""),
        (
            "y.csv",
            b"x,label\n1,zebra\n",
            "--train w.csv --features x --valid y.csv",
            "E0301",
            &["y.csv", "training"],
            "",
        ),
    ]);
}

#[test]
fn flags_that_cannot_act_are_errors() {
    let folder = Folder::new();
    folder.write("w.csv", "class,weight\n").ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    let train = [
        ("--gamma 2", "--gamma", "--loss softmax"),
        ("--gamma 2 --loss sigmoid", "--gamma", "--loss sigmoid"),
        ("--beta 0.9 --weighting none", "--beta", "--weighting none"),
        ("--beta 0.9 --weighting inverse", "--beta", "--weighting inverse"),
        ("--ratio 3 --weighting sqrt", "--ratio", "--weighting sqrt"),
        ("--max-weight 3 --weighting none", "--max-weight", "--weighting none"),
        ("--l2 1 --decay none", "--l2", "--decay none"),
        ("--batch 64", "--batch", "--optimizer auto"),
        ("--lr 1", "--lr", "--optimizer auto"),
        ("--schedule step", "--schedule", "--optimizer auto"),
        ("--epochs 3", "--epochs", "--optimizer auto"),
        ("--tolerance 1e-3", "--tolerance", "--optimizer auto"),
        ("--optimizer lbfgs --momentum 0.5", "--momentum", "--optimizer lbfgs"),
        ("--optimizer lbfgs --patience 3", "--patience", "--optimizer lbfgs"),
        ("--optimizer adamw --momentum 0.5", "--momentum", "--optimizer adamw"),
        ("--optimizer sgd --tolerance 1e-3", "--tolerance", "--optimizer sgd"),
        ("--optimizer nesterov --tolerance 1e-3", "--tolerance", "--optimizer nesterov"),
        ("--optimizer adamw --tolerance 1e-3", "--tolerance", "--optimizer adamw"),
        ("--optimizer sgd --patience 3 --valid-fraction 0", "--patience", "--valid-fraction 0"),
        ("--metric top1 --valid-fraction 0 --l2 1 --beta 0.9", "--metric", "--valid-fraction 0"),
        ("--no-refit --valid-fraction 0 --l2 1 --beta 0.9", "--no-refit", "--valid-fraction 0"),
        ("--no-refit --valid data/digits_lt_test.parquet", "--no-refit", "--valid"),
        ("--metric top1 --l2 1 --beta 0.9 --optimizer lbfgs", "--metric", "settings that are all given"),
        ("--quiet --progress always", "--progress", "--quiet"),
        ("--delimiter ;", "--delimiter", "Parquet"),
        ("--no-header", "--no-header", "Parquet"),
        ("--format parquet --no-header", "--no-header", "--format parquet"),
    ];
    for (flags, flag, with) in train {
        folder.fails(&format!("--train {TRAIN} {flags}"), "E0201", &[flag, "has no effect with", with], "");
    }
    let other = [
        (format!("predict m.cbfit {TEST} --json"), "--json", "--out -"),
        (format!("predict m.cbfit {TEST} --top-k 2 -o p.npy"), "--top-k", "npy"),
        ("inspect m.cbfit --label label".into(), "--label", "a model"),
        ("inspect m.cbfit --format csv".into(), "--format", "a model"),
        ("inspect m.cbfit --quiet".into(), "--quiet", "inspect"),
    ];
    for (line, flag, with) in other {
        folder.fails(&line, "E0201", &[flag, "has no effect with", with], "");
    }
    // Flags that could never act in a command are none of its flags.
    let foreign = [
        format!("predict m.cbfit {TEST} --label label"),
        format!("predict m.cbfit {TEST} --label-file w.csv"),
        format!("predict m.cbfit {TEST} --class-names w.csv"),
        format!("predict m.cbfit {TEST} --unlabeled drop"),
        format!("predict m.cbfit {TEST} --features embedding"),
        format!("predict m.cbfit {TEST} --weight-col w"),
        format!("eval m.cbfit {TEST} --features embedding"),
        format!("weights {TRAIN} --features embedding"),
        format!("weights {TRAIN} --id-col label"),
    ];
    for line in foreign {
        let run = folder.run(&line);
        run.expect_status(2);
        assert!(run.stderr.contains("unexpected argument"), "{line}: {}", run.stderr);
    }
    assert_eq!(folder.names(), ["m.cbfit", "w.csv"]);
}

//! Values, models, data and outputs that later commands refuse, what they accept with a remark, and how runs end.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use common::cli::{Folder, QUICK, Run, TEST, TRAIN, digits_csv};

#[test]
fn values_that_cannot_be_used() {
    let folder = Folder::new();
    let beta = "--weighting inverse";
    let cases: [(&str, &str, &[&str], &str); 24] = [
        ("--beta 0,9999", "E0207", &["\"0,9999\"", "comma"], "0.9999"),
        ("--beta 1", "E0207", &["\"1\""], beta),
        ("--beta 1.0", "E0207", &["\"1.0\""], beta),
        ("--beta -0.1", "E0207", &["\"-0.1\""], "[0, 1)"),
        ("--beta 1.5", "E0207", &["\"1.5\""], "[0, 1)"),
        ("--beta nan", "E0207", &["\"nan\""], "[0, 1)"),
        ("--beta N=0", "E0207", &["\"N=0\""], "N=10000"),
        ("--beta much", "E0207", &["\"much\""], "1-1e-7"),
        ("--ratio 0.5", "E0208", &["--ratio", "\"0.5\"", "between 1 and"], "imbalance factor"),
        ("--ratio 1e6", "E0208", &["--ratio", "between 1 and"], "imbalance factor"),
        ("--gamma -1 --loss focal", "E0208", &["--gamma", "negative"], "0 or more"),
        ("--l2 -1", "E0208", &["--l2", "negative"], "1e-3"),
        ("--l2 strong", "E0208", &["--l2", "\"strong\""], "auto"),
        ("--max-weight 0.5", "E0208", &["--max-weight", "mean weight"], "at least 1"),
        ("--max-weight -2", "E0208", &["--max-weight", "positive"], "20"),
        ("--valid-fraction 1", "E0208", &["--valid-fraction", "[0, 1)"], "share"),
        ("--valid-fraction 0", "E0208", &["choose l2"], "--l2"),
        ("--valid-fraction 0 --l2 1", "E0208", &["choose beta"], "--beta, --ratio"),
        ("--metric macrorecall", "E0208", &["\"macrorecall\""], "macro_recall?"),
        ("--optimizer sgd --momentum 1", "E0208", &["--momentum", "[0, 1)"], "0.9"),
        ("--optimizer sgd --batch 0", "E0208", &["--batch"], "from 1"),
        ("--optimizer lbfgs --tolerance 0", "E0208", &["--tolerance", "positive"], "above 0"),
        ("--threads 0", "E0208", &["--threads"], "from 1"),
        ("--format arow", "E0208", &["--format", "\"arow\""], "arrow"),
    ];
    for (flags, code, words, remedy) in cases {
        folder.fails(&format!("--train {TRAIN} {flags}"), code, words, remedy);
    }
    folder.fails("--train data/digits_lt_train.csv --delimiter ::", "E0208", &["--delimiter"], "tab");
    assert!(folder.names().is_empty());
}

#[test]
fn usage_errors_exit_with_2_and_say_nothing_on_stdout() {
    let folder = Folder::new();
    let cases = [
        ("--beta 0.9", "--train"),
        ("--train", "--train"),
        ("--trian x.csv", "--train"),
        ("--train x.csv --loss hinge", "softmax-focal"),
        ("--train x.csv --weighting inverse --weights w.csv", "cannot be used with"),
        ("--train x.csv --beta 0.9 --ratio 2", "cannot be used with"),
        ("--train x.csv --valid y.csv --valid-fraction 0.2", "cannot be used with"),
        ("--train x.csv --valid y.csv --split-col split", "cannot be used with"),
        ("--train x.csv --label a --label-file b", "cannot be used with"),
        ("--train x.csv --seed -1", "--seed"),
        ("predict m.cbfit", "<DATA>"),
        ("eval", "<MODEL>"),
    ];
    for (line, word) in cases {
        let run = folder.run(line);
        run.expect_status(2);
        assert!(run.stderr.contains(word) && run.stdout.is_empty(), "{line}: {}", run.stderr);
    }
    for line in ["", "help"] {
        let run = folder.run(line);
        assert!((run.text().to_owned() + &run.stderr).contains("predict"), "{line}");
    }
}

#[test]
fn models_that_cannot_be_used() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} -o good.cbfit"));
    let good = folder.read("good.cbfit");
    let version = good.windows(19).position(|bytes| bytes == br#"format_version\":1,"#.as_slice()).unwrap();
    let mut newer = good.clone();
    newer[version + 17] = b'9';
    let mut hostile = good.clone();
    hostile[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    let mut not_finite = good.clone();
    let last = not_finite.len() - 4;
    not_finite[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("cut.cbfit", &good[..good.len() - 100]).write("newer.cbfit", newer);
    folder
        .write("hostile.cbfit", hostile)
        .write("nan.cbfit", not_finite)
        .write("text.cbfit", "class,count\na,3\n");
    let cases: [(&str, &str, &[&str], &str); 7] = [
        ("goood.cbfit", "E0401", &["goood.cbfit", "good.cbfit"], "good.cbfit?"),
        ("cut.cbfit", "E0501", &["cut.cbfit"], "again"),
        ("newer.cbfit", "E0502", &["format 9", "up to 5"], "update"),
        ("hostile.cbfit", "E0501", &["bytes", "limit"], "again"),
        ("nan.cbfit", "E0501", &["nan.cbfit"], "again"),
        ("text.cbfit", "E0501", &["text.cbfit"], "again"),
        (TEST, "E0506", &["digits_lt_test.parquet", "no cbfit model", "Parquet"], "MODEL DATA"),
    ];
    for (model, code, words, remedy) in cases {
        folder.fails(&format!("predict {model} {TEST}"), code, words, remedy);
        folder.fails(&format!("eval {model} {TEST}"), code, words, remedy);
        if model.ends_with(".cbfit") && model != "nan.cbfit" {
            folder.fails(&format!("inspect {model}"), code, words, remedy);
        }
    }
}

#[test]
fn data_that_does_not_fit_the_model() {
    let folder = Folder::new();
    folder.write("train.csv", "size,word,label\n1,a,0\n2,b,1\n3,a,0\n4,b,1\n");
    folder.ok("--train train.csv --valid-fraction 0 --l2 1 --beta 0.9 -o m.cbfit");
    folder.ok(&format!("--train {TRAIN} {QUICK} -o v.cbfit"));
    folder.write("other.csv", "length,word,label\n1,a,0\n").write("text.csv", "size,word\n1,a\nbig,b\n");
    folder.write("nan.csv", "size,word\n1,a\n,b\n").write("classes.csv", "class,share\n0,0.5\n1,0\n7,0.5\n");
    folder.write("labels.csv", "label\n0\n1\n").write("gap.csv", "size,word,label\n1,a,0\n2,b,\n");
    let cases: [(&str, &str, &[&str], &str); 12] = [
        (
            "predict m.cbfit other.csv",
            "E0503",
            &["other.csv", "missing: size", "not know: length"],
            "inspect MODEL",
        ),
        ("predict m.cbfit text.csv", "E0503", &["\"size\"", "\"big\" in row 2"], "inspect MODEL"),
        ("predict v.cbfit golden/matrix_f4.npy", "E0503", &["vectors of", "vectors of 64"], "inspect MODEL"),
        (
            "predict v.cbfit data/digits_lt_train.csv",
            "E0503",
            &["missing: embedding", "pixel_0_0"],
            "inspect MODEL",
        ),
        ("predict m.cbfit nan.csv", "E0310", &["1 missing", "row 2, column size"], "train with --missing"),
        ("predict m.cbfit train.csv --id-col name", "E0202", &["\"name\"", "id"], "listed columns"),
        ("predict m.cbfit train.csv -o p.xls", "E0208", &["--out", "p.xls"], "parquet, csv"),
        ("predict m.cbfit train.csv --top-k 3", "E0208", &["--top-k", "2 classes"], "1 to 2"),
        ("predict m.cbfit train.csv --prior natrual", "E0208", &["--prior", "\"natrual\""], "natural?"),
        (
            "predict m.cbfit train.csv --prior classes.csv",
            "E0321",
            &["unknown classes: 7", "positive: 1 (0)"],
            "class,share",
        ),
        ("eval m.cbfit text.csv", "E0203", &["text.csv", "size, word"], "--label"),
        ("eval m.cbfit gap.csv", "E0305", &["1 of 2", "row 2"], "--unlabeled drop"),
    ];
    for (line, code, words, remedy) in cases {
        folder.fails(line, code, words, remedy);
    }
    folder.ok("eval m.cbfit gap.csv --unlabeled drop");
    folder.fails(
        "weights classes.csv --label class --weight-col shape",
        "E0202",
        &["\"shape\""],
        "\"share\"?",
    );
    let bad_counts: [(&str, &[&str]); 4] = [
        ("class,count\na,10\nb,-3\n", &["row 2", "-3"]),
        ("class,count\na,10\nb,x\n", &["\"count\"", "whole numbers"]),
        ("class,count\na,10\na,2\n", &["row 2", "\"a\"", "twice"]),
        ("class,count\na,0\nb,0\n", &["all counts are 0"]),
    ];
    for (text, words) in bad_counts {
        folder.write("counts.csv", text).fails("weights counts.csv", "E0317", words, "class,count");
    }
}

#[test]
fn unseen_classes_count_as_wrong_or_are_left_out_or_are_an_error() {
    let folder = Folder::new();
    let rows = "x,label\n0,owl\n1,owl\n2,owl\n9,elk\n10,elk\n11,elk\n";
    folder.write("train.csv", rows).ok("--train train.csv --valid-fraction 0 --l2 0.01 --beta 0 -o m.cbfit");
    folder
        .write("test.csv", "x,label\n0,owl\n10,elk\n5,yak\n6,yak\n1,emu\n")
        .write("yak.csv", "x,label\n5,yak\n");
    let wrong = folder.run("eval m.cbfit test.csv --json");
    assert_eq!(
        (wrong.json()["scores"]["top1"].as_f64(), wrong.json()["rows"].as_u64()),
        (Some(0.4), Some(5))
    );
    assert_eq!(
        wrong.json()["unseen"],
        serde_json::json!([{ "class": "emu", "rows": 1 }, { "class": "yak", "rows": 2 }])
    );
    let said = folder.ok("eval m.cbfit test.csv").stderr;
    assert!(
        said.contains("3 of 5 rows") && said.contains("emu 1, yak 2") && said.contains("wrong"),
        "{said}"
    );
    let known = folder.json("eval m.cbfit test.csv --unseen ignore");
    assert_eq!((known["scores"]["top1"].as_f64(), known["rows"].as_u64()), (Some(1.0), Some(2)));
    let error = "eval m.cbfit test.csv --unseen error";
    folder.fails(error, "E0308", &["test.csv", "3 rows", "2 classes", "emu, yak"], "--unseen ignore");
    folder.fails("eval m.cbfit yak.csv --unseen ignore", "E0301", &["yak.csv", "the model knows"], "");
}

#[test]
fn missing_values_stop_or_are_filled_with_mean_or_zero() {
    let folder = Folder::new();
    folder
        .write("nan.csv", "x,label\n1,a\n,a\n2,a\n7,b\n10,b\n,b\n")
        .write("new.csv", "x,label\n,a\n5,a\n0,a\n");
    let train = "--train nan.csv --scale none --valid-fraction 0 --l2 0.01 --beta 0 -o m.cbfit";
    folder.fails(train, "E0310", &["2 missing", "row 2, column x"], "--missing mean or --missing zero");
    let probabilities = |missing: &str| {
        folder.ok(&format!("{train} --missing {missing}"));
        let text = folder.ok("predict m.cbfit new.csv --proba").text().to_owned();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let (mean, zero) = (probabilities("mean"), probabilities("zero"));
    assert_eq!(mean[0], mean[1], "a missing value is the mean of training, 5");
    assert_eq!(zero[0], zero[2], "a missing value is 0");
    assert!(mean[0] != mean[2] && zero[0] != zero[1] && mean != zero);
}

#[test]
fn a_gate_that_is_not_met_exits_with_7_after_the_report() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    let eval = |gates: &str| folder.run(&format!("eval m.cbfit {TEST} {gates}"));
    eval("--min macro_recall=0.8 --min log_loss=1").expect_status(0);
    let missed = eval("--min macro_recall=0.999 --min log_loss=0.01 --min top1=0.5");
    missed.expect_failure("E0701", &["macro_recall 0.", "below 0.999", "log_loss 0.", "above 0.01"], "--min");
    assert!(missed.text().contains("macro recall") && !missed.stderr.contains("top1"));
    let json = eval("--min macro_recall=0.999 --json");
    json.expect_status(7);
    assert_eq!(json.json()["rows"], 300);
    for (gate, word) in [("macro_recall", "no ="), ("speed=1", "speed"), ("top1=high", "not a number")] {
        eval(&format!("--min {gate}")).expect_failure("E0208", &[word], "");
    }
}

#[test]
fn a_failed_save_leaves_the_old_model_as_it_was() {
    let folder = Folder::new();
    folder.write("m.cbfit", "old model").write("p.csv", "old predictions");
    std::fs::create_dir(folder.path("folder.cbfit")).unwrap();
    let train = format!("--train {TRAIN} {QUICK} -o ");
    for out in ["no/such/folder/m.cbfit", "folder.cbfit", "/proc/m.cbfit"] {
        let run = folder.run(&format!("{train}{out}"));
        run.expect_failure("E0402", &[out, "cannot create"], "writable");
        assert!(!run.stderr.contains("Fitted"), "{out} was found out after training");
    }
    // A model that breaks off in the middle: the limit on the size of files stands in for a full disk.
    let program = env!("CARGO_BIN_EXE_cbfit");
    let limited = |line: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 1; exec '{program}' {line}");
        let data = format!("{}/data/", env!("CARGO_MANIFEST_DIR"));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script.replace("data/", &data)]).current_dir(folder.path("."));
        Run::of(line, shell.output().unwrap())
    };
    limited(&format!("{train}m.cbfit")).expect_failure(
        "E0402",
        &["m.cbfit", "cannot write"],
        "disk has room",
    );
    folder.ok(&format!("{train}good.cbfit"));
    limited(&format!("predict good.cbfit {TEST} --proba -o p.csv")).expect_failure(
        "E0402",
        &["p.csv"],
        "disk",
    );
    if std::path::Path::new("/dev/full").exists() {
        folder.run(&format!("{train}/dev/full")).expect_failure(
            "E0402",
            &["/dev/full", "cannot write"],
            "disk",
        );
    }
    assert_eq!(
        (folder.read("m.cbfit"), folder.read("p.csv")),
        (b"old model".into(), b"old predictions".into())
    );
    assert_eq!(folder.names(), ["folder.cbfit", "good.cbfit", "m.cbfit", "p.csv"], "no temporary file stays");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = Folder::new();
    let mut counts = String::from("class,count\n");
    (1..=20_000).for_each(|class| counts += &format!("{class},{class}\n"));
    folder.write("counts.csv", counts).ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit"));
    let rows = digits_csv();
    let (header, rows) = rows.split_once('\n').unwrap();
    folder.write("many.csv", format!("{header}\n{}", rows.repeat(20)));
    folder.ok("--train data/digits_lt_train.csv --valid-fraction 0 --l2 1 --beta 0.99 -o c.cbfit");
    for line in ["weights counts.csv", "weights counts.csv --as json", "predict c.cbfit many.csv --proba"] {
        let mut child = folder
            .command(line)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let run = Run::of(line, child.wait_with_output().unwrap());
        run.expect_status(0);
        assert_eq!(run.stderr, "", "{line}");
    }
}

#[test]
fn training_that_runs_away_says_so_and_saves_nothing() {
    let folder = Folder::new();
    for optimizer in ["sgd", "nesterov", "adamw"] {
        let line = format!("--train {TRAIN} --optimizer {optimizer} --lr 1e30 {QUICK} -o m.cbfit");
        folder.fails(&line, "E0601", &["diverged", "(learning rate 1", "e30)"], "--lr");
    }
    assert!(folder.names().is_empty());
}

#[test]
fn oddities_that_are_no_errors_are_said() {
    let folder = Folder::new();
    let mut text = String::from("still,x,label\n5,3,rare\n");
    (0..50).for_each(|row| text += &format!("5,{},{}\n", row * 7 % 13, ["a", "b"][row % 2]));
    folder.write("odd.csv", text);
    let said = |line: &str| folder.ok(&format!("--train odd.csv --l2 0.01 {line}")).stderr;
    let all = said("");
    assert!(all.contains("1 classes are too small to split") && all.contains("1 constant columns"), "{all}");
    assert!(said("--beta 0").contains("equals --weighting none"));
    let saturated = said("--beta 0.99999");
    assert!(
        saturated.contains("within 5 % of inverse frequency") && saturated.contains("--beta 0.99 "),
        "{saturated}"
    );
}

#[test]
fn codes_are_explained_and_the_page_of_errors_is_up_to_date() {
    let folder = Folder::new();
    let text = folder.ok("explain e0310").text().to_owned();
    for part in ["E0310: missing or infinite", "--missing mean|zero", "exit: 3, data"] {
        assert!(text.contains(part), "{text}");
    }
    folder.fails("explain E9999", "E0208", &["E9999", "no code"], "lists all codes");
    assert!(folder.ok("explain").text().lines().count() >= 40);
    let page = folder.ok("explain --markdown").text().to_owned();
    let committed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap();
    assert!(page == committed, "docs/errors.md is old: cbfit explain --markdown > docs/errors.md");
}

#[test]
fn shells_and_man_get_every_command() {
    let folder = Folder::new();
    let commands =
        ["train", "predict", "eval", "compare", "tune", "weights", "influence", "inspect", "export"];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = folder.ok(&format!("completions {shell}"));
        let lacks: Vec<_> = commands.iter().filter(|command| !script.text().contains(**command)).collect();
        assert!(lacks.is_empty() && script.text().contains("logit-adjust"), "{shell} lacks {lacks:?}");
    }
    folder.ok("man pages");
    for command in commands {
        let page = String::from_utf8(folder.read(&format!("pages/cbfit-{command}.1"))).unwrap();
        assert!(page.contains(&format!("cbfit\\-{command}")), "{page}");
    }
    assert!(String::from_utf8(folder.read("pages/cbfit.1")).unwrap().contains("logit\\-adjust"));
    folder.run("completions tcsh").expect_status(2);
}

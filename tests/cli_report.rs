//! `cbfit report`: one HTML file from models and comparisons, and what it refuses.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use common::cli::{Folder, QUICK, TEST, TRAIN};
use serde_json::{Value, json};

/// Names that would be markup, a formula or an end of the script where they were not escaped.
const HOSTILE_ROWS: &str = "x,z,label
0.1,1.0,</script><script>alert(1)</script>
0.2,1.1,</script><script>alert(1)</script>
0.3,0.9,</script><script>alert(1)</script>
2.1,0.1,=1+1
2.2,0.2,=1+1
5.1,5.2,\"<img src=x onerror=\"\"alert(1)\"\">\"
";

fn page(folder: &Folder, name: &str) -> String {
    String::from_utf8(folder.read(name)).unwrap()
}

fn folder_with_model() -> Folder {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} {QUICK} -o m.cbfit -q"));
    folder
}

fn comparison() -> Value {
    let candidate = |name: &str, value: f64, gain: Value| {
        json!({
            "name": name, "loss": "softmax", "flags": "--weighting none", "weight_ratio": 1.0, "l2": [0.1, 0.3],
            "tau": [], "scores": { "top1": 0.8, "macro_recall": value, "log_loss": 0.5, "bands": [0.9, 0.6, null] },
            "natural_log_loss": 0.5, "natural_ece": null, "value": value, "fold_sd": 0.01, "against_baseline": gain,
            "against_best": null, "class_recall": [0.9, value], "test": { "value": 0.7, "standard_error": 0.02 },
        })
    };
    let gain =
        json!({ "value": 0.1, "low": 0.05, "high": 0.15, "p": 0.001, "p_holm": 0.002, "p_folds": null });
    json!({
        "schema": "cbfit.compare/1", "cbfit": "0.1.0", "source": "rows.parquet", "rows": 60, "class_names": ["a", "b"],
        "class_rows": [50, 10], "unscored_classes": 0, "folds": 5, "repeats": 2, "metric": "macro_recall",
        "higher_is_better": true,
        "candidates": [candidate("none", 0.6, Value::Null), candidate("inverse", 0.7, gain)],
        "verdict": { "recommended": 1, "best": 1, "sentence": "inverse is better.", "command": "cbfit --train x" },
        "warnings": ["few rows"], "fits": 40, "passes": 400, "seconds": 2.5,
    })
}

#[test]
fn a_model_is_drawn_with_its_scores() {
    let folder = folder_with_model();
    let told = folder.json(&format!("report m.cbfit {TEST}"));
    assert_eq!((told["schema"].as_str(), told["out"].as_str()), (Some("cbfit.report/1"), Some("m.html")));
    let page = page(&folder, "m.html");
    assert_eq!(told["bytes"].as_u64(), Some(page.len() as u64));
    let eval = folder.json(&format!("eval m.cbfit {TEST}"));
    let recall = eval["scores"]["macro_recall"].as_f64().unwrap();
    assert!(page.contains(&format!("Mean recall over 10 classes is {recall:.3}")), "{recall}");
    for figure in ["recall", "bands", "reliability", "shares", "norms", "confusion", "labels", "weights"] {
        assert!(page.contains(&format!("id=\"{figure}\"")), "{figure}");
    }
    // Nothing was searched, nothing is compared, and no folder is given away.
    for absent in [
        "id=\"heat\"",
        "id=\"path\"",
        "id=\"movers\"",
        "id=\"comparison\"",
        "digits_lt_test.parquet/",
        "/data/",
    ] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("digits_lt_test.parquet") && page.contains("as trained"));
}

#[test]
fn runs_lie_over_each_other_and_the_bytes_depend_on_nothing_else() {
    let folder = folder_with_model();
    folder.ok(&format!("--train {TRAIN} --valid-fraction 0 --l2 1 --weighting none -o none.cbfit -q"));
    let line = format!("report m.cbfit {TEST} --against none.cbfit m.cbfit --prior natural");
    folder.ok(&format!("{line} -o one.html --threads 1"));
    folder.ok(&format!("{line} -o two.html --threads 3"));
    assert_eq!(folder.read("one.html"), folder.read("two.html"));
    let page = page(&folder, "one.html");
    for text in ["id=\"movers\"", "against none.cbfit", "under the natural prior", "m.cbfit (2)"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn what_the_search_tried_is_drawn() {
    let folder = Folder::new();
    folder.ok(&format!("--train {TRAIN} -o m.cbfit -q"));
    folder.ok(&format!("report m.cbfit {TEST} -o r.html"));
    let page = page(&folder, "r.html");
    assert!(page.contains("id=\"path\"") && page.contains("id=\"losses\""));
}

#[test]
fn a_comparison_is_drawn_with_and_without_a_model() {
    let folder = folder_with_model();
    folder.write("c.json", comparison().to_string());
    folder.ok("report --compare c.json");
    let alone = page(&folder, "c.html");
    for text in
        ["inverse is better.", "few rows", "cbfit --train x", "+0.050 to +0.150", "0.700 \u{b1} 0.020"]
    {
        assert!(alone.contains(text), "{text}");
    }
    assert!(!alone.contains("id=\"recall\""));
    folder.ok(&format!("report m.cbfit {TEST} --compare c.json -o both.html"));
    let both = page(&folder, "both.html");
    assert!(both.contains("inverse is better.") && both.contains("id=\"recall\""));
}

#[test]
fn names_of_classes_are_never_markup() {
    let folder = Folder::new();
    folder.write("rows.csv", HOSTILE_ROWS);
    folder.ok("--train rows.csv --valid-fraction 0 --l2 1 --weighting inverse -o m.cbfit -q");
    folder.ok("report m.cbfit rows.csv -o r.html");
    let page = page(&folder, "r.html");
    assert_eq!(page.matches("<script").count(), 2);
    assert!(!page.contains("<img") && page.contains("&lt;img src=x"));
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let folder = folder_with_model();
    folder.write("rows.csv", HOSTILE_ROWS);
    folder.ok("--train rows.csv --valid-fraction 0 --l2 1 --weighting inverse -o other.cbfit -q");
    let m = format!("report m.cbfit {TEST}");
    folder.fails(&format!("{m} --against other.cbfit"), "E0208", &["other.cbfit", "m.cbfit"], "same classes");
    folder.fails(&format!("{m} --against a b c d e"), "E0208", &["5 models"], "at most 4");
    folder.fails("report m.cbfit - --against m.cbfit", "E0208", &["stdin is read once"], "save the rows");
    folder.fails(&format!("{m} -o m.cbfit"), "E0208", &["input"], "--out");
    folder.fails(&format!("{m} -o no/such.html"), "E0402", &["no/such.html"], "");
    folder.fails("report --compare absent.json", "E0401", &["absent.json"], "");
    assert_eq!(folder.run("report m.cbfit").status, Some(2));
    assert_eq!(folder.run("report").status, Some(2));

    folder.write("c.json", comparison().to_string());
    let alone = "report --compare c.json";
    folder.fails(
        &format!("{alone} --prior natural"),
        "E0201",
        &["--prior", "comparison alone"],
        "leave it out",
    );
    folder.fails(&format!("{alone} --label y"), "E0201", &["--label"], "leave it out");
    assert_eq!(folder.run(&format!("{alone} --against m.cbfit")).status, Some(2));

    type Spoil = fn(&mut Value);
    let spoilt: [(Spoil, &str, &str); 5] = [
        (|c| c["schema"] = "cbfit.eval/1".into(), "E0303", "cbfit.eval/1"),
        (|c| c["rows"] = "many".into(), "E0303", "invalid type"),
        (|c| c["verdict"]["best"] = 7.into(), "E0302", "candidate 7 of 2"),
        (|c| c["class_rows"] = json!([1]), "E0302", "1 row counts"),
        (|c| c["candidates"][1]["class_recall"] = json!([]), "E0302", "0 recalls of \"inverse\""),
    ];
    for (spoil, code, word) in spoilt {
        let mut value = comparison();
        spoil(&mut value);
        folder.write("bad.json", value.to_string());
        folder.fails("report --compare bad.json", code, &[word], "");
    }
    folder.write("bad.json", "{\"schema\":");
    folder.fails("report --compare bad.json", "E0303", &["bad.json", "comparison"], "");
    assert!(!folder.names().iter().any(|name| name.ends_with(".html")));
}

//! Whole pages: what they hold, what they must not hold, how large they are.

use base64::Engine as _;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::data::encode::{FeatureEncoder, InputColumn};
use crate::data::missing::Missing;
use crate::data::scale::Scale;
use crate::labels::{ClassCounts, LabelKind};
use crate::loss::Loss;
use crate::metrics::{ClassScore, evaluate, reliability};
use crate::model_file::{FORMAT_VERSION, WeightingRecord};
use crate::report::compare::{CandidateReport, Difference, Verdict};
use crate::report::train::BriefScores;
use crate::rng::CounterRng;

const HOSTILE: &str = "</script><script>alert(1)</script><b onclick='x' a=\"\u{2028}\u{202E}]]>--><!--";

fn metadata(names: Vec<String>, rows: Vec<u64>) -> ModelMetadata {
    let class_weights = rows.iter().map(|&n| 1.0 / n as f64).collect();
    let trial = |scheme: &str, l2: f64, macro_recall: f64| {
        json!({
            "scheme": scheme, "l2": l2, "objective": 1.0, "relative_gap": null, "steps": 9, "passes": 12,
            "valid": { "top1": 0.5, "macro_recall": macro_recall, "log_loss": 1.5, "bands": [0.7, null, 0.2] },
            "best": true,
        })
    };
    ModelMetadata {
        format_version: FORMAT_VERSION,
        cbfit_version: "0.1.0".into(),
        learner: crate::model::Learner::Linear,
        linear_start: None,
        loss: Loss::Softmax,
        label_map: LabelMap { kind: LabelKind::Text, names },
        counts: ClassCounts::from_rows(rows),
        class_weights,
        weighting: WeightingRecord {
            scheme: "effective".into(),
            beta: Some("0.999".into()),
            normalisation: "samples".into(),
        },
        logit_adjust: 0.0,
        logit_link: crate::weighting::LogitLink::default(),
        encoder: FeatureEncoder {
            inputs: vec![InputColumn::Vector { name: "embedding".into(), len: 2, means: None }],
            missing: Missing::Error,
        },
        scale: Scale::None,
        config: json!({"l2": 1e-3, "metric": "macro_recall", "seed": 0}),
        data_fingerprint: "8f3a".into(),
        metrics: json!(null),
        certificate: json!({"relative_gap": 1e-4}),
        history: json!([
            trial("none", 0.1, 0.3),
            trial("none", 0.01, 0.4),
            trial("effective 0.9", 0.01, 0.5)
        ]),
        calibration: None,
        offsets: None,
    }
}

/// Three classes, six rows.
fn small(name: &str, classes: [&str; 3]) -> Run {
    let p = [0.8, 0.1, 0.1, 0.3, 0.6, 0.1, 0.5, 0.4, 0.1, 0.2, 0.2, 0.6, 0.7, 0.2, 0.1, 0.1, 0.8, 0.1];
    let labels = [0, 0, 1, 2, 2, 1];
    let metadata = metadata(classes.map(String::from).to_vec(), vec![500, 50, 5]);
    let known = reliability(&p, &labels, None, 3).unwrap();
    Run {
        name: name.into(),
        weight_norms: vec![2.0, 1.5, 1.0],
        scores: evaluate(&p, &labels, &metadata.counts, None).unwrap(),
        confusion: Confusion::of(&labels, &[0, 1, 0, 2, 0, 1], None, 3),
        natural: Reliability { ece: 0.5, ..known.clone() },
        trained: known,
        metadata,
    }
}

/// A long tail of classes with names of two made words, five rows each.
fn large(name: &str, classes: usize) -> Run {
    const SYLLABLES: [&str; 24] = [
        "al", "be", "ca", "do", "el", "fi", "ga", "ho", "is", "ju", "ka", "li", "mo", "ne", "or", "pa",
        "qui", "ro", "sa", "ti", "ul", "vi", "xa", "ze",
    ];
    let mut rng = CounterRng::new(11, 0);
    let mut pick = |n: usize| (rng.next_f64() * n as f64) as usize;
    let mut word = |parts: usize| (0..parts).map(|_| SYLLABLES[pick(24)]).collect::<String>();
    let names: Vec<String> = (0..classes).map(|_| format!("{} {}us", word(3), word(4))).collect();
    let rows: Vec<u64> = (1..=classes).map(|rank| (5e4 * (rank as f64).powf(-0.9)) as u64 + 1).collect();
    let mut run = small(name, ["a", "b", "c"]);
    let share = |rows: usize| rows as f64 / (5 * classes) as f64;
    let mut predicted = Vec::with_capacity(5 * classes);
    let truth: Vec<u32> = (0..classes).flat_map(|class| [class as u32; 5]).collect();
    run.scores.per_class = (0..classes)
        .map(|class| {
            let hits = pick(6);
            predicted.extend((0..5).map(|row| if row < hits { class } else { pick(classes) } as u32));
            let recall = hits as f64 / 5.0;
            ClassScore {
                class,
                train_rows: rows[class],
                rows: 5,
                recall,
                recall_low: recall - 0.1,
                recall_high: recall + 0.1,
                precision: hits as f64 / (1 + hits + pick(6)) as f64,
                f1: recall * 0.9,
                average_precision: f64::NAN,
                calibration_error: 0.1,
                log_loss: 1.0,
                true_share: share(5),
                predicted_share: share(hits + pick(6)),
                mean_probability: share(5),
            }
        })
        .collect();
    run.scores.rows = 5 * classes as u64;
    run.confusion = Confusion::of(&truth, &predicted, None, classes);
    run.weight_norms = (0..classes).map(|_| 1.0 + pick(100) as f64 / 100.0).collect();
    run.metadata = metadata(names, rows);
    run
}

fn page_of(runs: Vec<Run>) -> String {
    let data = "test.parquet".into();
    render(&Report { data, prior: "as trained".into(), runs, comparison: None })
}

/// A comparison of three candidates on three classes.
pub(super) fn comparison(names: [&str; 3]) -> CompareReport {
    let candidate = |name: &str, value: f64, gain: Option<f64>| CandidateReport {
        name: name.into(),
        learner: crate::model::Learner::Linear,
        rounds: Vec::new(),
        loss: "softmax".into(),
        flags: format!("--weighting {name}"),
        prior: None,
        weight_ratio: 10.0,
        l2: vec![0.01, 0.1],
        tau: Vec::new(),
        scores: BriefScores {
            top1: 0.8,
            macro_recall: value,
            log_loss: 0.7,
            bands: vec![0.9, 0.5, f64::NAN],
        },
        natural_log_loss: 0.6,
        natural_ece: f64::NAN,
        value,
        fold_sd: 0.01,
        against_baseline: gain.map(|value| Difference {
            value,
            low: value - 0.02,
            high: value + 0.02,
            p: 0.001,
            p_holm: 0.002,
            p_folds: f64::NAN,
        }),
        against_best: None,
        class_recall: vec![0.9, value, f64::NAN],
        test: None,
    };
    CompareReport {
        schema: "cbfit.compare/1".into(),
        cbfit: "0.1.0".into(),
        source: names[0].into(),
        rows: 555,
        class_names: names.map(String::from).to_vec(),
        class_rows: vec![500, 50, 5],
        unscored_classes: 1,
        folds: 5,
        repeats: 1,
        metric: "macro_recall".into(),
        higher_is_better: true,
        prior: None,
        candidates: vec![
            candidate("none", 0.5, None),
            candidate(names[0], 0.62, Some(0.12)),
            candidate("sqrt", 0.45, Some(-0.05)),
        ],
        verdict: Verdict {
            recommended: 1,
            best: 1,
            sentence: format!("{} it is.", names[1]),
            command: format!("cbfit --train {}", names[2]),
        },
        warnings: vec![names[2].into()],
        fits: 30,
        passes: 0,
        seconds: 1.0,
    }
}

#[test]
fn a_page_has_every_figure_it_has_data_for_and_no_other() {
    let ids = |page: &str| {
        let figures = page.split("<figure class=").skip(1);
        let id = |figure: &str| figure.split("id=\"").nth(1)?.split('"').next().map(String::from);
        figures.filter_map(id).collect::<Vec<_>>()
    };
    let names = ["a", "b", "c"];
    let one = page_of(vec![small("m.cbfit", names)]);
    let expected = [
        "recall",
        "bands",
        "reliability",
        "shares",
        "norms",
        "confusion",
        "labels",
        "weights",
        "path",
        "losses",
        "heat",
    ];
    assert_eq!(ids(&one), expected);

    let mut other = small("n.cbfit", names);
    other.scores.per_class[1].recall = 0.9;
    let two = page_of(vec![small("m.cbfit", names), other]);
    assert!(ids(&two).contains(&"movers".into()));

    let alone = Report { comparison: Some(comparison(names)), ..Report::default() };
    let alone = render(&alone);
    assert_eq!(ids(&alone), ["comparison", "movers", "labels"]);
    assert!(!alone.contains("id=\"classes\"") && !alone.split("<script>").next().unwrap().contains("NaN"));

    let mut bare = small("m.cbfit", names);
    bare.metadata.history = json!(null);
    bare.metadata.counts = ClassCounts::from_rows(vec![5, 5, 5]);
    let bare = page_of(vec![bare]);
    assert_eq!(ids(&bare), ["recall", "bands", "reliability", "shares", "confusion", "labels"]);
}

#[test]
fn hostile_names_stay_text() {
    let names = [HOSTILE, "<img src=x onerror=alert(1)>", "' onmouseover='x"];
    let runs = vec![small(HOSTILE, names), small("<i>n</i>", names)];
    let page = render(&Report {
        data: HOSTILE.into(),
        prior: HOSTILE.into(),
        runs,
        comparison: Some(comparison(names)),
    });
    let lower = page.to_lowercase();
    // The page's own: the script and the data of the table.
    assert_eq!(lower.matches("<script").count(), 2);
    assert_eq!(lower.matches("</script").count(), 2);
    // Inside the data quotes are those of JSON.
    let (before, data) = page.split_once("id=\"classes\">").unwrap();
    let (data, after) = data.split_once("</script>").unwrap();
    let lower = (before.to_owned() + after).to_lowercase();
    for markup in ["<img", "<b ", "<i>", "<!--", "onclick='x'", "' onmouseover", "\u{2028}", "\u{202E}"] {
        assert!(!lower.contains(markup), "{markup:?}");
    }
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["names"][0], escape::shown(HOSTILE));
}

#[test]
fn the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else() {
    let page = page_of(vec![small("m", ["a", "b", "c"])]);
    for element in ["style", "script"] {
        let text = page.split(&format!("<{element}>")).nth(1).unwrap();
        let text = text.split(&format!("</{element}>")).next().unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
        assert!(page.contains(&format!("{element}-src 'sha256-{hash}'")), "{element}");
    }
    assert!(page.contains("default-src 'none'"));
    for forbidden in ["http:", "https:", " style=", "unsafe-inline", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(include_str!("script.js").len() <= 15_000);
}

#[test]
fn drawings_say_what_they_show_and_ids_are_unique() {
    let runs = vec![small("m", ["a", "b", "c"]), large("n", 3)];
    let page = render(&Report { runs, comparison: Some(comparison(["a", "b", "c"])), ..Report::default() });
    for svg in page.split("<svg ").skip(1) {
        let head = svg.split('>').next().unwrap();
        let described =
            head.contains("role=\"img\"") && svg.contains("<title id=") && svg.contains("<desc id=");
        assert!(described || head.contains("aria-hidden=\"true\""), "{head}");
    }
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn pages_stay_small_and_their_marks_few() {
    for (classes, limit) in [(1_000, 300_000), (100_000, 1_500_000)] {
        let page = page_of(vec![large("m.cbfit", classes), large("n.cbfit", classes)]);
        println!("{classes} classes: {} bytes", page.len());
        assert!(page.len() < limit, "{classes} classes: {} bytes", page.len());
        for figure in page.split("<figure ").skip(1) {
            let marks = figure.split("</figure>").next().unwrap().matches("data-t=").count();
            assert!(marks <= 500, "{marks} marks in {}", &figure[..60]);
        }
        assert!(page.contains("data-form=\"gzip\""));
    }
}

#[test]
fn packed_data_hold_every_class_and_read_back() {
    let page = page_of(vec![large("m.cbfit", 1_000)]);
    let packed = page.split("data-form=\"gzip\">").nth(1).unwrap().split('<').next().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
    let table: serde_json::Value = serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap();
    assert_eq!(table["names"].as_array().unwrap().len(), 1_000);
    let columns = table["columns"].as_array().unwrap();
    assert_eq!(columns[0]["label"], "Training rows");
    assert_eq!(columns[0]["values"][0], 50_001);
    assert!(columns.iter().all(|column| column["values"].as_array().unwrap().len() == 1_000));
}

#[test]
fn equal_reports_give_equal_bytes() {
    let page = || page_of(vec![large("m.cbfit", 700), large("n.cbfit", 700)]);
    assert_eq!(page(), page());
}

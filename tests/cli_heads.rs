//! Heads, resampling, vector scaling and margins from the command line: trained, saved, scored, refused.

mod common;

use common::cli::{Folder, TEST, TRAIN, number, numbers};

#[test]
fn every_head_is_chosen_trained_saved_and_scored() {
    let folder = Folder::new();
    let line = |flags: &str| format!("--train {TRAIN} --test {TEST} {flags} -o m.cbfit");
    let recall = |report: &serde_json::Value| number(report, "/test/trained/macro_recall");
    for (head, flags) in [("tau-norm", "--l2 1e-1"), ("lws", "--l2 1e-1"), ("ncm", ""), ("lda", "")] {
        let report = folder.json(&line(&format!("--head {head} {flags}")));
        assert_eq!(
            (&report["chosen"]["head"], &report["chosen"]["metric"]),
            (&head.into(), &"macro_recall".into())
        );
        assert!(report["chosen"]["head_setting"].is_string(), "{}", report["chosen"]);
        assert_eq!(report["fit"].is_null(), flags.is_empty(), "closed forms have no fit");
        assert!(recall(&report) > 0.7, "{head}: {}", recall(&report));
        let scored = folder.json(&format!("eval m.cbfit {TEST}"));
        assert_eq!(number(&scored, "/scores/macro_recall"), recall(&report), "{head}");
        let natural = folder.json(&format!("eval m.cbfit {TEST} --prior natural"));
        assert!(
            (number(&natural, "/scores/log_loss") - number(&report, "/test/natural_log_loss")).abs() < 1e-6
        );
        assert!(folder.ok(&format!("predict m.cbfit {TEST}")).text().lines().count() > 100);
        let model = folder.json("inspect m.cbfit");
        assert!(model.to_string().contains(head), "{model}");
    }
}

#[test]
fn a_given_setting_needs_no_validation_rows() {
    let folder = Folder::new();
    for (head, flags) in [
        ("tau-norm:0.5", "--l2 1"),
        ("lws:1e-3", "--l2 1"),
        ("ncm:cosine", ""),
        ("ncm:euclidean", ""),
        ("lda:auto", "--weighting none"),
        ("lda:0.3", "--weights weights.csv"),
    ] {
        let lines: Vec<String> = (0..10).map(|class| format!("{class},{}", 1 + class)).collect();
        folder.write("weights.csv", format!("class,weight\n{}\n", lines.join("\n")));
        let line = format!("--train {TRAIN} --valid-fraction 0 --head {head} {flags} -o m.cbfit");
        let setting = head.split_once(':').map(|(_, setting)| setting.parse::<f64>().ok());
        let report = folder.json(&line);
        match setting.flatten() {
            Some(value) => assert_eq!(report["chosen"]["head_setting"], value.to_string()),
            None => assert!(head.ends_with(report["chosen"]["head_setting"].as_str().unwrap_or("none"))),
        }
        let first = folder.read("m.cbfit");
        folder.ok(&format!("{line} --threads 1"));
        assert_eq!(folder.read("m.cbfit"), first, "{head}: the model depends on the threads");
    }
}

#[test]
fn the_natural_prior_takes_back_what_changed_the_shares() {
    let folder = Folder::new();
    let log_losses = |flags: &str| {
        folder.ok(&format!("--train {TRAIN} --valid-fraction 0 --l2 1e-2 {flags} -o m.cbfit"));
        // Rows of the training file have its proportions.
        let under = |prior| {
            number(&folder.json(&format!("eval m.cbfit {TRAIN} --prior {prior}")), "/scores/log_loss")
        };
        (under("trained"), under("natural"))
    };
    for flags in ["--resample over", "--resample balanced"] {
        let (trained, natural) = log_losses(flags);
        assert!(natural < trained, "{flags}: {natural} against {trained} as trained");
    }
}

#[test]
fn resampling_follows_the_seed_and_is_recorded() {
    let folder = Folder::new();
    let train = |flags: &str| {
        let report = folder.json(&format!("--train {TRAIN} --valid-fraction 0 --l2 1 {flags} -o m.cbfit"));
        (report, folder.read("m.cbfit"))
    };
    let (report, bytes) = train("--resample under");
    let (whole, _) = train("--weighting none");
    assert!(number(&report, "/fit/rows") < number(&whole, "/fit/rows"));
    assert_eq!(
        number(&report, "/weighting/max_min_ratio").round(),
        number(&report, "/weighting/inverse_ratio").round()
    );
    assert_eq!(train("--resample under").1, bytes);
    assert_ne!(train("--resample under --seed 1").1, bytes);
    let metadata = cbfit::model_file::load(folder.path("m.cbfit")).map(|saved| saved.metadata);
    assert_eq!(metadata.map(|metadata| metadata.config["resample"].clone()).ok(), Some("under".into()));
}

#[test]
fn margins_are_fitted_with_a_certificate() {
    let folder = Folder::new();
    let line = format!("--train {TRAIN} --valid-fraction 0 --l2 1e-2 --weighting none -o m.cbfit");
    let objective = |flags: &str| {
        let report = folder.json(&format!("{line} {flags}"));
        assert!(number(&report, "/fit/certificate/relative_gap") <= 1e-3);
        number(&report, "/fit/certificate/objective")
    };
    assert!(objective("--ldam 1") > objective(""), "a margin can only add to the loss");
    objective("--loss sigmoid --ldam 0.5");
    let saved =
        cbfit::model_file::load(folder.path("m.cbfit")).map(|saved| saved.metadata.logit_link.margins);
    let margins = saved.ok().unwrap_or_default();
    assert_eq!(margins.iter().copied().fold(0.0, f64::max), 0.5);
    let counts = folder.json("inspect m.cbfit")["counts"].clone();
    if counts.is_array() {
        assert_eq!(numbers(&counts).len(), margins.len());
    }
}

#[test]
fn flags_that_cannot_act_are_refused() {
    let folder = Folder::new();
    let fails = |flags: &str, code: &str, words: &[&str], remedy: &str| {
        folder.fails(&format!("--train {TRAIN} {flags}"), code, words, remedy);
    };
    for (head, flag) in [
        ("lda", "--l2 1"),
        ("lda", "--loss sigmoid"),
        ("lda", "--optimizer lbfgs"),
        ("lda", "--logit-adjust 1"),
        ("lda", "--resample over"),
        ("ncm", "--vs-gamma 0.1"),
        ("ncm", "--ldam 1"),
        ("ncm", "--decay both"),
    ] {
        let name = flag.split_once(' ').map_or(flag, |(name, _)| name);
        fails(&format!("--head {head} {flag}"), "E0201", &[name, &format!("--head {head}")], "no loss");
    }
    fails("--head ncm --weighting sqrt", "E0201", &["class weights", "--head ncm"], "");
    fails("--loss focal --ldam 1", "E0201", &["--ldam", "--loss focal"], "softmax");
    fails("--head lda:0.1 --metric top1", "E0201", &["--metric"], "");
    fails("--head tree", "E0208", &["--head", "tree"], "tau-norm");
    for setting in ["tau-norm:2", "tau-norm:x", "lws:-1", "ncm:auto", "lda:1.5", "linear:1"] {
        fails(&format!("--head {setting}"), "E0208", &["--head", setting], "");
    }
    fails("--vs-gamma -1", "E0208", &["--vs-gamma"], "");
    fails("--ldam nan", "E0208", &["--ldam"], "");
    fails("--head lda --valid-fraction 0", "E0208", &["the head"], "lda:0.7");
    fails("--head tau-norm:0.5 --valid-fraction 0", "E0208", &["l2"], "--l2");
    let clash = folder.run(&format!("--train {TRAIN} --resample over --beta 0.9"));
    clash.expect_status(2);
}

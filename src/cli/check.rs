//! `cbfit check`: everything in data that would end a run or mislead it, without a run.

use serde_json::{Value, json};

use super::args::{CheckArgs, LearnerArg, MissingArg};
use super::check_findings::{Findings, Severity, some_of};
use super::check_reading::Request;
use super::check_rows::{about_columns, about_labels, about_leaks, about_rows, about_unseen};
use super::shared::{no_effect, read_options};
use super::{print_json, print_text, with_threads};
use crate::data::dataset::Dataset;
use crate::data::missing::Missing;
use crate::data::options::{Categories, ReadOptions};
use crate::data::paths;
use crate::data::roles::LabelNeed;
use crate::model_file::{self, SavedModel};
use crate::report::format::thousands;
use crate::report::text;
use crate::{Error, Result};

/// Exit status where there is an error among the findings.
const BAD_DATA: u8 = 3;

/// Key of the random projections by which near duplicates are found.
const SEED: u64 = 0;

/// Runs the command.
///
/// # Errors
/// Those of the command line; what is wrong with the files is a finding.
pub fn run(args: CheckArgs) -> Result<u8> {
    no_effect(args.run.quiet, "--quiet", "check", "leave it out")?;
    let all = args.data.iter().chain(&args.valid).chain(&args.test).chain(&args.against);
    if all.into_iter().any(|path| path == "-") {
        let help = "write it to a file first";
        return Err(Error::bad_value(
            "DATA",
            "-",
            "can be read only once, and check reads several times",
            help,
        ));
    }
    if args.against.is_some() {
        let help = "the model says what is done";
        no_effect(args.columns.features.is_some(), "--features", "--against", help)?;
        no_effect(args.missing != MissingArg::Error, "--missing", "--against", help)?;
        no_effect(args.learner != LearnerArg::Linear, "--learner", "--against", help)?;
    }
    let is_boosted = args.learner == LearnerArg::Boost;
    if is_boosted {
        let help = "trees take missing values as they are";
        no_effect(args.missing != MissingArg::Error, "--missing", "--learner boost", help)?;
    }
    let options = ReadOptions {
        features: args.columns.features.clone(),
        id_col: args.columns.id_col.clone(),
        split_col: args.split_col.clone(),
        // Values that are going to be filled stay missing here: a column that has none shows.
        missing: if is_boosted || args.missing != MissingArg::Error { Missing::Keep } else { Missing::Error },
        categories: if is_boosted { Categories::Codes } else { Categories::OneHot },
        ..read_options(&args.file, &args.labels)?
    };
    with_threads(&args.run, || {
        let mut findings = Findings::default();
        let data = check_all(&args, &options, &mut findings);
        if args.run.json {
            print_json(&report(data.as_ref(), &findings))?;
        } else {
            print_text(&shown(data.as_ref(), &findings))?;
        }
        Ok(if findings.count(Severity::Error) > 0 { BAD_DATA } else { 0 })
    })
}

/// Finds what there is to find, and returns the rows where they could be read.
fn check_all(args: &CheckArgs, options: &ReadOptions, findings: &mut Findings) -> Option<Dataset> {
    let model = match &args.against {
        None => None,
        Some(path) => Some(findings.keep(model_file::load(path))?),
    };
    let bound = model.as_ref().map(|model| {
        let metadata = &model.metadata;
        (metadata.encoder.clone(), &metadata.label_map, LabelNeed::Optional)
    });
    let files = expand(&args.data, options, findings);
    if files.is_empty() {
        return None;
    }
    let data = Request { files, options: options.clone(), bound }.read(findings)?;
    match &model {
        None => about_labels(&data, findings),
        Some(model) => about_model(&data, model, findings),
    }
    about_columns(&data, findings);
    about_rows(&data, SEED, findings);
    if data.parts.is_some() {
        about_leaks(&data, None, findings);
    }
    for (paths, label_file) in [(&args.valid, &args.valid_label_file), (&args.test, &args.test_label_file)] {
        let label_file = label_file.clone();
        let options = ReadOptions { label_file, split_col: None, weight_col: None, ..options.clone() };
        let files = expand(paths, &options, findings);
        if files.is_empty() {
            continue;
        }
        // What was passed over in the training rows is an error here once more.
        let mut encoder = data.encoder.clone();
        encoder.missing = model.as_ref().map_or(options.missing, |model| model.metadata.encoder.missing);
        let bound = Some((encoder, &data.label_map, LabelNeed::Required));
        if let Some(held) = (Request { files, options, bound }).read(findings) {
            about_unseen(&held, "training", findings);
            about_leaks(&data, Some(&held), findings);
        }
    }
    Some(data)
}

/// Paths that patterns stand for; those that stand for none are findings.
fn expand(patterns: &[String], options: &ReadOptions, findings: &mut Findings) -> Vec<String> {
    let found = patterns.iter().filter_map(|pattern| findings.keep(paths::expand(pattern, options.format)));
    found.flatten().collect()
}

/// Warnings about classes and levels that data and model do not share.
fn about_model(data: &Dataset, model: &SavedModel, findings: &mut Findings) {
    about_unseen(data, "training", findings);
    if data.labels.is_none() {
        return;
    }
    let names = &model.metadata.label_map.names;
    let counts = data.counts(None);
    let absent =
        || names.iter().zip(&counts.rows).filter(|(_, rows)| **rows == 0).map(|(name, _)| name.as_str());
    findings.warn("W13", &data.source.name, absent().count() as u64, || {
        let count = thousands(absent().count() as u64);
        format!(
            "{count} of {} classes of the model have no row: {}",
            thousands(names.len() as u64),
            some_of(absent())
        )
    });
}

fn shown(data: Option<&Dataset>, findings: &Findings) -> String {
    let mut lines = Vec::new();
    if let Some(data) = data {
        lines.push(format!(
            "Data      {}   {} rows x {}",
            data.source.name,
            thousands(data.source.rows),
            text::columns_text(&data.features)
        ));
        if data.labels.is_some() {
            lines.push(format!("Labels    {}", text::labels_line(&data.counts(None))));
        }
        lines.extend(data.notes.iter().map(|note| format!("Note      {note}")));
    }
    lines.extend(findings.lines());
    let (errors, warnings) = (findings.count(Severity::Error), findings.count(Severity::Warning));
    let further =
        if data.is_none() { "; further ones cannot be looked for before these are mended" } else { "" };
    let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    lines.push(format!("Checked   {errors}, {warnings}{further}"));
    lines.join("\n") + "\n"
}

fn report(data: Option<&Dataset>, findings: &Findings) -> Value {
    let facts = data.map(|data| {
        json!({
            "source": data.source.name,
            "rows": data.source.rows,
            "features": data.features.cols(),
            "fingerprint": data.source.fingerprint,
            "label_column": data.label_column,
            "classes": data.labels.as_ref().map(|_| data.label_map.classes()),
            "notes": data.notes,
        })
    });
    json!({
        "schema": "cbfit.check/1",
        "data": facts,
        "errors": findings.count(Severity::Error),
        "warnings": findings.count(Severity::Warning),
        "findings": findings.all(),
    })
}

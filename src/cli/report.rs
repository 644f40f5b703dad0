//! `cbfit report`: models scored on labelled data and a comparison, drawn as one HTML file.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use super::args::{ColumnArgs, ReportArgs};
use super::scoring::{EVALUATED_BYTES, Scorer, say_left_out, say_spilled, unseen_text};
use super::shared::{
    PriorPlan, memory_of, no_effect, prior_of, prior_text, read_options, refuse_data_flags,
    refuse_overwriting, say_scant,
};
use super::talk::{Progress, Talk};
use super::{kernels, print_json, with_threads};
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::paths::near_names;
use crate::data::roles::LabelNeed;
use crate::metrics::{Confusion, evaluate_decisions, reliability};
use crate::output::AtomicFile;
use crate::report::compare::CompareReport;
use crate::report::format::bytes;
use crate::report::html::{MAX_RUNS, Report, Run, render, weight_norms};
use crate::weighting::Prior;
use crate::{Error, Result};

/// Layout of the comparisons this build reads.
const COMPARE_SCHEMA: &str = "cbfit.compare/1";

/// Runs the command.
///
/// # Errors
/// Those of the models, the data, the comparison and the output.
pub fn run(args: ReportArgs) -> Result<u8> {
    let prior = prior_of(&args.prior)?;
    let memory = memory_of(&args.memory)?;
    let options = ReadOptions { memory, ..read_options(&args.file, &args.labels)? };
    if args.model.is_none() {
        let with = "a comparison alone";
        refuse_data_flags(&args.file, &args.labels, &ColumnArgs::default(), with)?;
        no_effect(prior.is_some(), "--prior", with, "leave it out")?;
        no_effect(args.memory.memory_limit.is_some(), "--memory-limit", with, "leave it out")?;
        no_effect(args.memory.spill_dir.is_some(), "--spill-dir", with, "leave it out")?;
    }
    check_models(&args)?;
    let out = output_of(&args);
    let inputs = args.data.iter().chain(&args.model).chain(&args.against).chain(&args.compare);
    refuse_overwriting(&out, inputs)?;
    AtomicFile::check(&out)?;
    let talk = Talk::new(args.run.quiet, Progress::Off);
    say_scant(&talk, options.memory.as_ref());
    with_threads(&args.run, || {
        let mut report = Report {
            data: String::new(),
            prior: String::new(),
            runs: Vec::new(),
            comparison: args.compare.as_deref().map(read_comparison).transpose()?,
        };
        let names = run_names(&args);
        for (path, name) in args.model.iter().chain(&args.against).zip(names) {
            add_run(&mut report, &args, &options, prior.as_ref(), (path, name), &talk)?;
        }
        let page = render(&report);
        let mut file = AtomicFile::create(&out)?;
        file.write_all(page.as_bytes()).map_err(|error| Error::io(&out, "write", error))?;
        file.commit()?;
        talk.phase("Saved", &format!("{out} ({})", bytes(page.len() as u64)));
        if args.run.json {
            print_json(&serde_json::json!({ "schema": "cbfit.report/1", "out": out, "bytes": page.len() }))?;
        }
        Ok(0)
    })
}

/// Refuses what cannot be drawn or read: too many models, one stdin for several of them.
fn check_models(args: &ReportArgs) -> Result<()> {
    if args.against.len() >= MAX_RUNS {
        let why = format!("a page tells {MAX_RUNS} models apart");
        let help = format!("name at most {} models after --against", MAX_RUNS - 1);
        return Err(Error::bad_value("--against", args.against.join(" "), why, help));
    }
    if !args.against.is_empty() && args.data.iter().any(|path| path == "-") {
        let why = "stdin is read once, and every model reads the data";
        return Err(Error::bad_value("DATA", "-", why, "save the rows to a file first"));
    }
    Ok(())
}

/// `--out`, or the name of the model (else of the comparison) with `.html`, in the working folder.
fn output_of(args: &ReportArgs) -> String {
    args.out.clone().unwrap_or_else(|| {
        let input = args.model.as_ref().or(args.compare.as_ref());
        let stem = input.and_then(|path| Path::new(path).file_stem()).unwrap_or("report".as_ref());
        format!("{}.html", stem.to_string_lossy())
    })
}

fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or(path.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// File names of the models; whole paths where two files have one name, numbered where a file is given twice.
fn run_names(args: &ReportArgs) -> Vec<String> {
    let paths: Vec<&String> = args.model.iter().chain(&args.against).collect();
    let short: HashSet<String> = paths.iter().map(|path| file_name(path)).collect();
    let mut names: Vec<String> = Vec::new();
    for path in &paths {
        let name = if short.len() == paths.len() { file_name(path) } else { (*path).clone() };
        let unique = (2..).map(|n| format!("{name} ({n})"));
        let free = std::iter::once(name.clone()).chain(unique).find(|name| !names.contains(name));
        names.push(free.unwrap_or(name));
    }
    names
}

/// Scores one model and adds it to the report, in the class order of the first.
fn add_run(
    report: &mut Report,
    args: &ReportArgs,
    options: &ReadOptions,
    prior: Option<&PriorPlan>,
    (path, name): (&str, String),
    talk: &Talk,
) -> Result<()> {
    let scorer = Scorer::load(path, &args.data, kernels()?)?;
    let metadata = &scorer.saved.metadata;
    if let Some(first) = report.runs.first()
        && first.labels().names != metadata.label_map.names
    {
        let why = format!("its classes are not those of {}", first.name);
        return Err(Error::bad_value("--against", path, why, "give models of the same classes"));
    }
    let reader = DatasetReader::open(
        &args.data,
        options,
        &metadata.encoder,
        &metadata.label_map,
        LabelNeed::Required,
    )?;
    let mut data = reader.read_all()?;
    // The same rows for every model: said once.
    if report.runs.is_empty() {
        say_spilled(talk, &data, options.memory.as_ref());
    }
    let need = scorer.need(data.rows(), EVALUATED_BYTES);
    need.hold(options.memory.as_ref(), vec![(0, &mut data)], talk)?;
    if report.runs.is_empty() {
        say_left_out(talk, &data);
        if !data.unseen.is_empty() {
            talk.phase("Unseen", &unseen_text(&data.unseen, data.rows() as u64));
        }
        // Pages are passed on; folders of this machine are nobody's business.
        report.data = match args.data.as_slice() {
            [path] => file_name(path),
            _ => format!("{} files", args.data.len()),
        };
    }
    let logits = scorer.logits(&mut data, options, talk)?;
    let truth = data.labels.take().unwrap_or_default();
    let weights = data.row_weights.take();
    let (weights, classes) = (weights.as_deref(), scorer.classes());
    let under = |prior: Prior| -> Result<_> {
        let mut probabilities = logits.clone();
        metadata.posterior(&prior)?.posteriors_in_place(&mut probabilities);
        reliability(&probabilities, &truth, weights, classes)
    };
    let (trained, natural) = (under(Prior::AsTrained)?, under(Prior::Natural)?);
    let prior = scorer.prior(prior.cloned(), talk);
    if report.runs.is_empty() {
        report.prior = prior_text(&prior).into();
    }
    let posterior = scorer.posterior(&prior, &logits)?;
    let mut probabilities = logits;
    let decided = scorer.decisions(None, talk)?.of(&posterior, &mut probabilities);
    let scores = evaluate_decisions(&probabilities, &truth, &metadata.counts, weights, &decided)?;
    let confusion = Confusion::of(&truth, &decided, weights, classes);
    let weight_norms = weight_norms(&scorer.saved);
    let metadata = scorer.saved.metadata;
    report.runs.push(Run { name, metadata, weight_norms, scores, confusion, trained, natural });
    Ok(())
}

/// Reads what `cbfit compare --json` wrote and checks that its parts fit each other.
fn read_comparison(path: &str) -> Result<CompareReport> {
    let text = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.into(), near: near_names(path) },
        _ => Error::io(path, "read", source),
    })?;
    let not_it = |found: String| Error::WrongFormat {
        file: path.into(),
        expected: "a comparison of cbfit".into(),
        found,
    };
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| not_it(error.to_string()))?;
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(COMPARE_SCHEMA) => {}
        Some(other) => return Err(not_it(format!("its schema is {other:?} instead of {COMPARE_SCHEMA:?}"))),
        None => return Err(not_it("it has no schema".into())),
    }
    let comparison: CompareReport =
        serde_json::from_value(value).map_err(|error| not_it(error.to_string()))?;
    match contradiction(&comparison) {
        None => Ok(comparison),
        Some(detail) => Err(Error::Damaged { file: path.into(), detail }),
    }
}

/// What the types leave open: the verdict names candidates, and everything by class has one value a class.
fn contradiction(comparison: &CompareReport) -> Option<String> {
    let (candidates, classes) = (comparison.candidates.len(), comparison.class_names.len());
    let verdict = &comparison.verdict;
    if let Some(place) = [verdict.recommended, verdict.best].into_iter().find(|&place| place >= candidates) {
        return Some(format!("its verdict names candidate {place} of {candidates}"));
    }
    if comparison.class_rows.len() != classes {
        return Some(format!("{classes} classes, but {} row counts", comparison.class_rows.len()));
    }
    let odd = comparison.candidates.iter().find(|candidate| candidate.class_recall.len() != classes)?;
    Some(format!("{classes} classes, but {} recalls of {:?}", odd.class_recall.len(), odd.name))
}

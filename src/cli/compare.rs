//! `cbfit compare`: which treatment of the imbalance helps on these data, if any, and by how much.

use std::time::Instant;

use super::args::CompareArgs;
use super::compare_plan::{SchemePlan, treatments};
use super::fold_plan::{FoldPlan, FoldRows, Watch};
use super::interrupt::Interrupt;
use super::lock::Lock;
use super::shared::{refuse_overwriting, say_scant};
use super::talk::Talk;
use super::{kernels, print_json, print_text, with_threads, write_json};
use crate::Result;
use crate::data::dataset::Dataset;
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::roles::LabelNeed;
use crate::experiment::bootstrap::Replicates;
use crate::experiment::compare::{Comparison, Question, compare};
use crate::experiment::fold_fits::{FitSettings, FoldData, Held, Level, fit_and_read, fit_folds};
use crate::experiment::readings::Decision;
use crate::experiment::treatment::TAUS;
use crate::experiment::twins::{find_twins, standardised};
use crate::experiment::warnings::{about_power, about_separation, about_twins, about_weights};
use crate::linear::rows::Rows;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::model::Learner;
use crate::report::compare::{CompareReport, Described, table_lines};
use crate::simd::Kernels;

struct ComparePlan {
    folds: FoldPlan,
    schemes: Vec<SchemePlan>,
    test: Vec<String>,
    test_label_file: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Those of reading and fitting, and of the files written.
pub fn run(args: CompareArgs) -> Result<u8> {
    let run_args = args.folds.run.clone();
    if let Some(out) = &args.out {
        refuse_overwriting(out, args.folds.data.iter().chain(&args.test))?;
    }
    let plan = ComparePlan {
        schemes: args.schemes.iter().map(|text| SchemePlan::parse(text)).collect::<Result<Vec<_>>>()?,
        test: args.test,
        test_label_file: args.test_label_file,
        folds: FoldPlan::new(args.folds)?,
    };
    let interrupt = Interrupt::listen();
    let _lock = args.out.as_deref().map(Lock::take).transpose()?;
    let mut talk = Talk::new(run_args.quiet, plan.folds.progress);
    say_scant(&talk, plan.folds.read.memory.as_ref());
    with_threads(&run_args, || {
        let Some(report) = compared(&plan, &mut talk, &interrupt)? else {
            talk.clear_progress();
            talk.phase("Stopped", "interrupted before every candidate had two folds: nothing is compared");
            return Ok(interrupt.exit_status());
        };
        if let Some(out) = &args.out {
            write_json(out, &report)?;
            talk.phase("Saved", &format!("{out}   next: cbfit report --compare {out}"));
        }
        if run_args.json {
            print_json(&report)?;
        } else if !run_args.quiet {
            print_text(&(table_lines(&report).join("\n") + "\n"))?;
        }
        Ok(if interrupt.is_set() { interrupt.exit_status() } else { 0 })
    })
}

/// `None` where an interrupt came first.
fn compared(plan: &ComparePlan, talk: &mut Talk, interrupt: &Interrupt) -> Result<Option<CompareReport>> {
    let started = Instant::now();
    let kernels = kernels()?;
    let mut rows = plan.folds.read(talk)?;
    let FoldPlan { learners, losses, .. } = &plan.folds;
    let treatments = treatments(&plan.schemes, learners, losses, &rows.counts)?;
    let settings = plan.folds.settings(&rows)?;
    rows.hold_memory(&plan.folds, &settings, &treatments, talk)?;
    let features = |learner: Learner, train: &[usize]| rows.features(learner, train);
    let data = rows.data(&features);
    talk.phase("Compare", &format!("{} candidates on {}", treatments.len(), plan.folds.folds_text()));
    let mut watch = Watch::new(talk, interrupt, &plan.folds);
    let Some(table) = fit_folds(data, &rows.folds, &treatments, &settings, kernels, &mut watch)? else {
        return Ok(None);
    };
    watch.all_rows();
    let folds = table.finished_folds(&rows.folds);
    let question = Question {
        labels: rows.labels(),
        counts: &rows.counts,
        folds: &folds,
        candidates: &treatments,
        metric: plan.folds.metric,
        taus: TAUS.len(),
        seed: plan.folds.seed,
    };
    let comparison = compare(&question, &table)?;
    let whole = Whole {
        rows: &rows,
        data,
        question: &question,
        comparison: &comparison,
        levels: &table.levels,
        settings: &settings,
        kernels,
    };
    let test = match plan.test.is_empty() || !table.is_complete(&rows.folds) {
        true => None,
        false => match whole.on_test(plan, &mut watch)? {
            Some(values) => Some(values),
            None => return Ok(None),
        },
    };
    let warnings = whole.warnings(plan.folds.max_weight, &mut watch)?;
    watch.talk().clear_progress();
    if !table.is_complete(&rows.folds) {
        let done = table.finished.iter().sum::<usize>();
        let all = rows.folds.iter().map(|folds| folds.folds()).sum::<usize>();
        let text = format!("interrupted after {done} of {all} folds: compared on rows that these held out");
        watch.talk().phase("Stopped", &text);
    }
    let described = Described {
        question: &question,
        comparison: &comparison,
        table: &table,
        taus: &TAUS,
        main: rows.main(),
        paths: &plan.folds.data,
        max_weight: plan.folds.max_weight,
        prior: plan.folds.prior_text.as_deref(),
        boost_flags: &plan.folds.boost_flags,
        test,
        warnings,
        seconds: started.elapsed().as_secs_f64(),
    };
    described.report().map(Some)
}

/// Fits of all rows.
struct Whole<'w> {
    rows: &'w FoldRows,
    data: FoldData<'w>,
    question: &'w Question<'w>,
    comparison: &'w Comparison,
    levels: &'w [Vec<Level>],
    settings: &'w FitSettings,
    kernels: &'static Kernels,
}

impl Whole<'_> {
    /// The metric of each candidate on the test rows; `None` where the watch stopped it.
    fn on_test(&self, plan: &ComparePlan, watch: &mut Watch<'_>) -> Result<Option<Replicates>> {
        let mut outcomes = Vec::new();
        let mut labels = Vec::new();
        for &learner in &plan.folds.learners {
            let test = self.test_rows(plan, learner)?;
            labels = test.labels.unwrap_or_default();
            let own = self.question.candidates.iter().zip(&self.comparison.candidates);
            for (treatment, compared) in own.filter(|(treatment, _)| treatment.learner == learner) {
                let setting = compared.final_setting;
                let level = self.levels[setting.treatment][setting.level];
                let held = Held { rows: Rows::all(&test.features), labels: &labels };
                let read =
                    fit_and_read(self.data, held, treatment, level, self.settings, self.kernels, watch)?;
                let Some(readings) = read else { return Ok(None) };
                outcomes.push(vec![readings.outcomes(setting.decision)]);
            }
        }
        self.comparison.on_test(self.question, &outcomes, &labels).map(Some)
    }

    /// The test rows as `learner` takes them.
    fn test_rows(&self, plan: &ComparePlan, learner: Learner) -> Result<Dataset> {
        let all: Vec<usize> = (0..self.question.labels.len()).collect();
        let (mut filled, scaler) = self.rows.prepared(learner, &all);
        // Only the way to the features is needed of it.
        filled.features = Matrix::empty(filled.features.dtype(), filled.features.cols());
        let options = ReadOptions {
            label_file: plan.test_label_file.clone(),
            weight_col: None,
            ..plan.folds.read_options(learner)
        }
        .beside(self.rows.bytes_in_memory());
        let (encoder, label_map) = (&filled.encoder, &filled.label_map);
        let mut test =
            DatasetReader::open(&plan.test, &options, encoder, label_map, LabelNeed::Required)?.read_all()?;
        test.scale(&scaler, options.memory.as_ref())?;
        Ok(test)
    }

    /// What the data make doubtful.
    fn warnings(&self, max_weight: Option<f64>, watch: &mut Watch<'_>) -> Result<Vec<String>> {
        let Question { labels, counts, folds, metric, seed, .. } = *self.question;
        let mut warnings = about_weights(self.question.candidates, counts, max_weight)?;
        let values = self.comparison.replicates.values();
        let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
        let best = (1..values.len()).reduce(|a, b| if sign * values[b] > sign * values[a] { b } else { a });
        if let Some(best) = best {
            let interval = self.comparison.replicates.difference(best, 0);
            let error = (interval.high - interval.low) / (2.0 * 1.96);
            warnings.extend(about_power(counts, metric.name(), error));
        }
        let plain = &self.question.candidates[0];
        let all: Vec<usize> = (0..labels.len()).collect();
        let features = (self.data.features)(plain.learner, &all);
        let level = self.levels[0][self.comparison.candidates[0].final_setting.level];
        // Trees tell their training rows apart as a rule, and are stopped before it harms.
        if let Some(l2) = level.strength.l2() {
            let held = Held { rows: Rows::all(&features), labels };
            // The rows are there: fits need not prepare them again.
            let lent = |_: Learner, _: &[usize]| features.reborrow();
            let FoldData { row_weights, classes, .. } = self.data;
            let data = FoldData { labels, row_weights, classes, features: &lent };
            let read = fit_and_read(data, held, plain, level, self.settings, self.kernels, watch)?;
            if let Some(readings) = read {
                let top1 = readings.outcomes(Decision::MostProbable).value(labels, counts, Metric::Top1)?;
                warnings.extend(about_separation(top1, l2));
            }
        }
        let same_codes = |a, b| {
            self.settings
                .boost
                .binning
                .categorical
                .iter()
                .all(|&at| features.get(a, at) == features.get(b, at))
        };
        let across = |a, b| {
            let is_linear = plain.learner == Learner::Linear;
            folds.first().is_some_and(|folds| folds.fold_of(a) != folds.fold_of(b))
                && (is_linear || same_codes(a, b))
        };
        let twins = match plain.learner {
            Learner::Linear => find_twins(&features, labels, seed, across),
            Learner::Boost => find_twins(&standardised(&features), labels, seed, across),
        };
        warnings.extend(about_twins(twins.rows, twins.conflicting, labels.len() as u64));
        Ok(warnings)
    }
}

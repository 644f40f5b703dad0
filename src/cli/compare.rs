//! `cbfit compare`: which treatment of the imbalance helps on these data, if any, and by how much.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Instant;

use super::args::CompareArgs;
use super::compare_plan::ComparePlan;
use super::interrupt::Interrupt;
use super::plan::{OptimizerPlan, default_optimizers};
use super::talk::Talk;
use super::{kernels, print, print_json, with_threads, write_json};
use crate::Result;
use crate::data::dataset::{Dataset, read_training};
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::{Missing, ReadOptions};
use crate::data::roles::LabelNeed;
use crate::data::scale::{Scale, Scaler};
use crate::experiment::bootstrap::Replicates;
use crate::experiment::compare::{Comparison, Question, compare};
use crate::experiment::fold_fits::{FitSettings, FoldData, FoldWatch, fit_and_read, fit_folds};
use crate::experiment::folds::Folds;
use crate::experiment::readings::{Decision, Readings};
use crate::experiment::treatment::{Candidate, Treatment, candidates};
use crate::experiment::twins::find_twins;
use crate::experiment::warnings::{about_power, about_separation, about_twins, about_weights};
use crate::linear::fit::{Progress, suits_lbfgs};
use crate::linear::problem::Decay;
use crate::linear::rows::Rows;
use crate::matrix::Matrix;
use crate::metrics::Metric;
use crate::output::AtomicFile;
use crate::report::compare::{CompareReport, Described, table_lines};
use crate::report::format::{seconds, short, thousands};
use crate::report::text;
use crate::simd::Kernels;

/// Strengths of the adjustment after training among which the folds choose.
const TAUS: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0];

/// Runs the command.
///
/// # Errors
/// Those of reading and fitting, and of the files written.
pub fn run(args: CompareArgs) -> Result<u8> {
    let run_args = args.run.clone();
    let plan = ComparePlan::new(args)?;
    let interrupt = Interrupt::listen();
    let mut talk = Talk::new(run_args.quiet, plan.progress);
    with_threads(&run_args, || {
        let Some(report) = compared(&plan, &mut talk, &interrupt)? else {
            talk.phase(
                "Stopped",
                "interrupted before every candidate had all its folds: nothing is compared",
            );
            return Ok(interrupt.exit_status());
        };
        if let Some(out) = &plan.out {
            write_json(out, &report)?;
            talk.phase("Saved", &format!("{out}   next: cbfit report --compare {out}"));
        }
        if run_args.json {
            print_json(&report)?;
        } else if !run_args.quiet {
            print(&(table_lines(&report).join("\n") + "\n"))?;
        }
        Ok(0)
    })
}

fn compared(plan: &ComparePlan, talk: &mut Talk, interrupt: &Interrupt) -> Result<Option<CompareReport>> {
    let started = Instant::now();
    let kernels = kernels()?;
    if let Some(out) = &plan.out {
        AtomicFile::check(out)?;
    }
    let main = read_training(&plan.data, &plan.read)?;
    main.notes.iter().for_each(|note| talk.phase("", note));
    let counts = main.counts(None);
    talk.phase(
        "Read",
        &format!(
            "{}   {} rows x {}",
            main.source.name,
            thousands(main.source.rows),
            text::columns_text(&main.features)
        ),
    );
    talk.phase("Labels", &text::labels_line(&counts));
    let treatments = plan.treatments(&counts)?;
    let candidates = candidates(&treatments);
    let labels = main.labels.as_deref().unwrap_or_default();
    let folds = (0..plan.repeats as u64)
        .map(|repeat| Folds::new(labels, main.label_map.classes(), plan.folds, plan.seed, repeat))
        .collect::<Result<Vec<Folds>>>()?;
    let settings = FitSettings {
        l2: plan.l2.into_iter().collect(),
        taus: TAUS.to_vec(),
        optimizer: match default_optimizers(plan.seed)? {
            OptimizerPlan::Auto { lbfgs, minibatch } => {
                let suits = suits_lbfgs(&main.features, main.rows(), main.label_map.classes());
                if suits { lbfgs } else { minibatch }
            }
            OptimizerPlan::Given(given) => given,
        }
        .loosened(),
        decay: Decay::Weights,
        max_weight: plan.max_weight,
        metric: plan.metric,
    };
    let preparation =
        Preparation { main: &main, scale: plan.scale.unwrap_or_else(|| Scale::auto(&main.encoder)) };
    let features = |train: &[usize]| preparation.features(train);
    let data = FoldData {
        labels,
        row_weights: main.row_weights.as_deref(),
        classes: main.label_map.classes(),
        features: &features,
    };
    talk.phase(
        "Compare",
        &format!(
            "{} candidates on {} folds{}",
            candidates.len(),
            plan.folds,
            if plan.repeats > 1 { format!(" x {} repeats", plan.repeats) } else { String::new() }
        ),
    );
    let mut watch = Watch {
        talk,
        interrupt,
        doing: String::new(),
        folds: plan.folds * plan.repeats,
        fold: 0,
        begun: started,
    };
    let Some(table) = fit_folds(data, &folds, &treatments, &settings, kernels, &mut watch)? else {
        return Ok(None);
    };
    let question = Question {
        labels,
        counts: &counts,
        folds: &folds,
        candidates: &candidates,
        metric: plan.metric,
        taus: TAUS.len(),
        seed: plan.seed,
    };
    let comparison = compare(&question, &table)?;
    let test = match plan.test.is_empty() {
        true => None,
        false => {
            let test = Test {
                plan,
                preparation: &preparation,
                data,
                treatments: &treatments,
                settings: &settings,
                kernels,
            };
            let Some(values) = test.values(&question, &comparison, &table.l2, &mut watch)? else {
                return Ok(None);
            };
            Some(values)
        }
    };
    let warnings =
        Doubts { plan, data, question: &question, comparison: &comparison, settings: &settings, kernels }
            .warnings(&treatments, &table.l2, &mut watch)?;
    watch.talk.clear_progress();
    let described = Described {
        question: &question,
        comparison: &comparison,
        treatments: &treatments,
        table: &table,
        taus: &TAUS,
        main: &main,
        paths: &plan.data,
        max_weight: plan.max_weight,
        test,
        warnings,
        seconds: started.elapsed().as_secs_f64(),
    };
    described.report().map(Some)
}

/// Features of the rows as the rows of a fold would have prepared them.
struct Preparation<'a> {
    main: &'a Dataset,
    scale: Scale,
}

impl<'a> Preparation<'a> {
    fn features(&self, train: &[usize]) -> Cow<'a, Matrix> {
        if self.scale == Scale::None && self.main.encoder.missing != Missing::Mean {
            return Cow::Borrowed(&self.main.features);
        }
        Cow::Owned(self.prepared(train).0.features)
    }

    fn prepared(&self, train: &[usize]) -> (Dataset, Scaler) {
        let mut filled = self.main.clone();
        filled.fill_missing(train);
        let weights = self.main.row_weights.as_deref();
        let (scaler, _) = Scaler::fit(self.scale, &filled.features, train, weights);
        scaler.apply(&mut filled.features);
        (filled, scaler)
    }
}

/// Shows where the fits stand.
struct Watch<'w> {
    talk: &'w mut Talk,
    interrupt: &'w Interrupt,
    doing: String,
    folds: usize,
    fold: usize,
    begun: Instant,
}

impl FoldWatch for Watch<'_> {
    fn fold(&mut self, _: usize, _: usize) {
        self.fold += 1;
    }

    fn begin(&mut self, treatment: &Treatment, l2: f64) {
        let where_ = if self.fold <= self.folds {
            format!("fold {} of {}", self.fold, self.folds)
        } else {
            "all rows".into()
        };
        self.doing = format!("{where_}: {treatment}  l2 {}", short(l2));
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let took = seconds(self.begun.elapsed().as_secs_f64());
        self.talk.progress(&format!("{}, step {}, {took}", self.doing, progress.step));
        if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Scores of fits of all rows on test rows.
struct Test<'t> {
    plan: &'t ComparePlan,
    preparation: &'t Preparation<'t>,
    data: FoldData<'t>,
    treatments: &'t [Treatment],
    settings: &'t FitSettings,
    kernels: &'static Kernels,
}

impl Test<'_> {
    /// The metric of each candidate; `None` where the watch stopped it.
    fn values(
        &self,
        question: &Question<'_>,
        comparison: &Comparison,
        l2: &[Vec<f64>],
        watch: &mut Watch<'_>,
    ) -> Result<Option<Replicates>> {
        let all: Vec<usize> = (0..question.labels.len()).collect();
        let (filled, scaler) = self.preparation.prepared(&all);
        let options = ReadOptions {
            label_file: self.plan.test_label_file.clone(),
            weight_col: None,
            ..self.plan.read.clone()
        };
        let reader = DatasetReader::open(
            &self.plan.test,
            &options,
            &filled.encoder,
            &filled.label_map,
            LabelNeed::Required,
        )?;
        let mut test = reader.read_all()?;
        scaler.apply(&mut test.features);
        let labels = test.labels.take().unwrap_or_default();
        watch.fold = watch.folds + 1;
        let mut outcomes = Vec::new();
        for (candidate, compared) in question.candidates.iter().zip(&comparison.candidates) {
            let setting = compared.final_setting;
            let Some(readings) =
                self.fit(candidate, l2[setting.treatment][setting.l2], &test.features, &labels, watch)?
            else {
                return Ok(None);
            };
            outcomes.push(vec![readings.outcomes(setting.decision)]);
        }
        comparison.on_test(question, &outcomes, &labels).map(Some)
    }

    fn fit(
        &self,
        candidate: &Candidate,
        l2: f64,
        features: &Matrix,
        labels: &[u32],
        watch: &mut Watch<'_>,
    ) -> Result<Option<Readings>> {
        let treatment = &self.treatments[candidate.treatment];
        fit_and_read(
            self.data,
            Rows::all(features),
            labels,
            treatment,
            l2,
            self.settings,
            self.kernels,
            watch,
        )
    }
}

/// What the data make doubtful.
struct Doubts<'d> {
    plan: &'d ComparePlan,
    data: FoldData<'d>,
    question: &'d Question<'d>,
    comparison: &'d Comparison,
    settings: &'d FitSettings,
    kernels: &'static Kernels,
}

impl Doubts<'_> {
    fn warnings(
        &self,
        treatments: &[Treatment],
        l2: &[Vec<f64>],
        watch: &mut Watch<'_>,
    ) -> Result<Vec<String>> {
        let Question { labels, counts, folds, metric, .. } = *self.question;
        let mut warnings = about_weights(treatments, counts, self.plan.max_weight)?;
        let values = self.comparison.replicates.values();
        let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
        let best = (1..values.len()).reduce(|a, b| if sign * values[b] > sign * values[a] { b } else { a });
        if let Some(best) = best {
            let interval = self.comparison.replicates.difference(best, 0);
            let error = (interval.high - interval.low) / (2.0 * 1.96);
            warnings.extend(about_power(counts, metric.name(), error));
        }
        let all: Vec<usize> = (0..labels.len()).collect();
        let features = (self.data.features)(&all);
        let plain = l2[0][self.comparison.candidates[0].final_setting.l2];
        let rows = Rows::all(&features);
        let fitted =
            fit_and_read(self.data, rows, labels, &treatments[0], plain, self.settings, self.kernels, watch)?;
        if let Some(readings) = fitted {
            let top1 = readings.outcomes(Decision::Trained).value(labels, counts, Metric::Top1)?;
            warnings.extend(about_separation(top1, plain));
        }
        let across = |a, b| folds.first().is_some_and(|folds| folds.fold_of(a) != folds.fold_of(b));
        let twins = find_twins(&features, labels, self.plan.seed, across);
        warnings.extend(about_twins(twins.rows, twins.conflicting, labels.len() as u64));
        Ok(warnings)
    }
}

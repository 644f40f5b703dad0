//! `cbfit predict`: predictions of a model, block by block.

use super::args::{LabelArgs, PredictArgs};
use super::contrib::Contributions;
use super::scoring::{SCORE_BYTES, Scorer, say_spilled, say_unseen_levels};
use super::shared::{PriorPlan, memory_of, prior_of, read_options, refuse_overwriting, say_scant};
use super::talk::{Talk, automatic_progress};
use super::{kernels, print_json, with_threads};
use crate::data::dataset::Dataset;
use crate::data::dataset_reader::DatasetReader;
use crate::data::options::ReadOptions;
use crate::data::roles::LabelNeed;
use crate::metrics::check_probabilities;
use crate::report::format::thousands;
use crate::report::predictions::{PredictionBlock, PredictionFormat, PredictionSchema, PredictionWriter};
use crate::{Error, Result};

/// Bytes of the class decided for.
const LABEL_BYTES: u64 = 4;

/// Runs the command.
///
/// # Errors
/// Those of the model, the data and the output.
pub fn run(args: PredictArgs) -> Result<u8> {
    let format = PredictionFormat::of_path(&args.out)?;
    if args.run.json && args.out == "-" {
        return Err(Error::NoEffect {
            flag: "--json".into(),
            with: "--out -".into(),
            help: "write the predictions to a file with --out".into(),
        });
    }
    if args.out != "-" {
        refuse_overwriting(&args.out, args.data.iter().chain([&args.model]))?;
    }
    let asked = prior_of(&args.prior)?;
    let options =
        ReadOptions { id_col: args.id_col.clone(), ..read_options(&args.file, &LabelArgs::default())? };
    let memory = memory_of(&args.memory)?;
    let mut talk = Talk::new(args.run.quiet, automatic_progress());
    say_scant(&talk, memory.as_ref());
    with_threads(&args.run, || {
        let scorer = Scorer::load(&args.model, &args.data, kernels()?)?;
        let prior = scorer.prior(asked.clone(), &talk);
        let decisions = scorer.decisions(args.costs.as_deref(), &talk)?;
        let contributions = Contributions::of(&args, &scorer.saved)?;
        // While a block is at work its logits are, too, with what is written of them.
        let (features, classes) = (scorer.saved.model.features() as u64, scorer.classes() as u64);
        let cells = contributions.as_ref().map_or(0, Contributions::row_bytes);
        scorer.need(1, cells).hold(memory.as_ref(), Vec::new(), &talk)?;
        let memory =
            memory.clone().map(|memory| memory.with_cost(4 * features, SCORE_BYTES * classes + cells));
        let options = ReadOptions { memory, ..options.clone() };
        let mut blocks = Blocks::open(&args, &options, &scorer, &prior)?;
        let mut writer: Option<PredictionWriter> = None;
        let mut posterior = None;
        let mut values = Vec::new();
        let (mut rows, mut unseen_levels) = (0u64, 0u64);
        while let Some(mut block) = blocks.next()? {
            if blocks.at_once {
                let memory = options.memory.as_ref();
                say_spilled(&talk, &block, memory);
                scorer.need(block.rows(), LABEL_BYTES).hold(memory, vec![(0, &mut block)], &talk)?;
            }
            scorer.logits_into(&mut block, &options, &talk, &mut values)?;
            let posterior = match &posterior {
                Some(posterior) => posterior,
                None => posterior.insert(scorer.posterior(&prior, &values)?),
            };
            let predicted = decisions.of(posterior, &mut values);
            check_probabilities(&values, scorer.classes())?;
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(PredictionWriter::create(
                    &args.out,
                    format,
                    &schema(&args, &scorer, &block, contributions.as_ref()),
                )?),
            };
            let extra = contributions.as_ref().map(|c| c.cells(&block.features, &predicted)).transpose()?;
            let written = PredictionBlock {
                ids: block.ids.as_ref().map(|(_, ids)| ids),
                truth: None,
                predicted: &predicted,
                probabilities: &values,
            };
            writer.write_block_with(&written, extra.as_deref().unwrap_or_default())?;
            rows += block.features.rows() as u64;
            unseen_levels += block.unseen_levels;
            talk.progress(&format!("{} rows", thousands(rows)));
        }
        talk.clear_progress();
        let Some(writer) = writer else {
            return Err(Error::NoRows { file: args.data.join(", "), why: String::new() });
        };
        writer.finish()?;
        say_unseen_levels(&talk, unseen_levels);
        if args.out != "-" {
            talk.phase("Saved", &format!("{} predictions in {}", thousands(rows), args.out));
        }
        if args.run.json {
            print_json(&serde_json::json!({ "schema": "cbfit.predict/1", "rows": rows, "out": args.out }))?;
        }
        Ok(0)
    })
}

/// The rows block by block; all at once where the prior is a property of all rows together.
struct Blocks {
    reader: Option<DatasetReader>,
    at_once: bool,
}

impl Blocks {
    fn open(args: &PredictArgs, options: &ReadOptions, scorer: &Scorer, prior: &PriorPlan) -> Result<Self> {
        let metadata = &scorer.saved.metadata;
        let reader = DatasetReader::open(
            &args.data,
            options,
            &metadata.encoder,
            &metadata.label_map,
            LabelNeed::Ignored,
        )?;
        Ok(Blocks { reader: Some(reader), at_once: *prior == PriorPlan::Em })
    }

    fn next(&mut self) -> Result<Option<Dataset>> {
        if self.at_once {
            return self.reader.take().map(DatasetReader::read_all).transpose();
        }
        self.reader.as_mut().map_or(Ok(None), DatasetReader::next_block)
    }
}

fn schema(
    args: &PredictArgs,
    scorer: &Scorer,
    block: &Dataset,
    contributions: Option<&Contributions<'_>>,
) -> PredictionSchema {
    // npy has no columns: an id that nobody asked for is left out rather than refused.
    let wanted = args.id_col.is_some() || !args.out.ends_with(".npy");
    PredictionSchema {
        id: block.ids.as_ref().filter(|_| wanted).map(|(name, ids)| (name.clone(), ids.kind())),
        labels: scorer.saved.metadata.label_map.clone(),
        top_k: args.top_k,
        full_probabilities: args.proba,
        with_truth: false,
        extra: contributions.map_or_else(Vec::new, |c| c.columns(&scorer.saved)),
    }
}

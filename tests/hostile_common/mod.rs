//! Damaged files of every sort, each read in all the ways cbfit reads it, with an eye on time and memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)] // Helpers of tests.

pub mod checkpoints;
pub mod memory;
pub mod mutate;
pub mod seeds;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cbfit::cli::args::Cli;
use cbfit::data::cost_matrix::read_costs;
use cbfit::data::counts::{read_class_weights, read_counts, read_prior};
use cbfit::data::dataset::read_training;
use cbfit::data::guard::silence_decoder_panics;
use cbfit::data::missing::Missing;
use cbfit::data::options::{Categories, ReadOptions, Unlabeled};
use cbfit::labels::{LabelKind, LabelMap};
use cbfit::rng::CounterRng;
use clap::Parser;

use self::mutate::damaged;
use self::seeds::{Seed, Use, seeds};

/// What reading a file may take: this, and so much for each byte of it. Cells of text are 24 bytes for one separator,
/// lists of Parquet and packed text unpack to a multiple.
pub const FREE_BYTES: usize = 64 << 20;
const BYTES_A_BYTE: usize = 300;

/// Processor time of one file beyond which it counts as hanging. Not time on the wall: the machine may be busy.
const MOST_SECONDS: f64 = 5.0;
/// A file may also wait without working, for a lock or a pipe.
const MOST_WAIT: Duration = Duration::from_secs(120);

/// The message of the last panic that no guard has taken.
static PANIC: Mutex<String> = Mutex::new(String::new());
/// Whether a panic is one of reading, to be noted, or one of the test.
static IS_READING: AtomicBool = AtomicBool::new(false);
/// Number of the file that is being read.
static AT: AtomicU64 = AtomicU64::new(0);

/// What came of all files.
#[derive(Debug, Default)]
pub struct Figures {
    /// Files read as each use, and how many of them were refused.
    pub tried: BTreeMap<Use, (u64, u64)>,
    /// What must not happen, with the number of the file.
    pub findings: Vec<String>,
    /// Largest memory above what a file may free of charge, in bytes for one of it.
    pub worst_ratio: f64,
    /// Most bytes for one file.
    pub peak: usize,
    /// Slowest file in seconds.
    pub slowest: f64,
}

/// Folder, files and models to work with.
pub struct Bench {
    folder: PathBuf,
    seeds: Vec<Seed>,
    classes: LabelMap,
}

impl Bench {
    /// Fits the models that are damaged later.
    pub fn new(folder: &Path) -> Self {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_READING.load(Relaxed) {
                *PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = info.to_string();
            } else {
                usual(info);
            }
        }));
        silence_decoder_panics();
        for sink in ["sink.csv", "sink.jsonl", "sink.html"] {
            std::os::unix::fs::symlink("/dev/null", folder.join(sink)).unwrap();
        }
        let seeds = seeds(folder);
        for seed in seeds.iter().filter(|seed| seed.read_as == Use::LabelFile) {
            std::fs::write(folder.join(format!("whole-{}", seed.name)), &seed.bytes).unwrap();
        }
        let names = ["elk", "owl", "yak"].map(String::from).to_vec();
        let (model, data) = ("digits.cbfit", "data/digits_lt_train.parquet");
        let data = format!("{}/{data}", env!("CARGO_MANIFEST_DIR"));
        let fit = "--valid-fraction 0 --l2 1 --beta 0.9 --tolerance 0.1 --optimizer lbfgs --quiet";
        cbfit_ok(folder, &format!("--train {data} {fit} -o {model}"));
        Bench { folder: folder.to_owned(), seeds, classes: LabelMap { kind: LabelKind::Text, names } }
    }

    /// The file of number `at`, and what it is read as: the same on every machine.
    fn file(&self, at: u64) -> (String, Vec<u8>, Use) {
        let mut rng = CounterRng::new(0x7A57E, at);
        let seed = &self.seeds[rng.below(self.seeds.len())];
        let kin: Vec<&Seed> =
            self.seeds.iter().filter(|other| ending(&other.name) == ending(&seed.name)).collect();
        let other = if rng.below(4) == 0 {
            &self.seeds[rng.below(self.seeds.len())]
        } else {
            kin[rng.below(kin.len())]
        };
        // What is packed is damaged before it is packed as often as after.
        let inside = rng.below(2) == 0;
        let text = |packed: &[u8], name: &str| self.unpacked(name).unwrap_or_else(|| packed.to_vec());
        let bytes = match (inside, ending(&seed.name)) {
            (true, "gz") => seeds::gzip(&damaged(&text(&seed.bytes, &seed.name), &other.bytes, &mut rng)),
            (true, "checkpoint") => checkpoints::forged(&self.folder, &seed.bytes, &other.bytes, &mut rng),
            (true, "zst") => seeds::zstd(&damaged(&text(&seed.bytes, &seed.name), &other.bytes, &mut rng)),
            _ => damaged(&seed.bytes, &other.bytes, &mut rng),
        };
        (seed.name.clone(), bytes, seed.read_as)
    }

    /// The text in a packed seed: the seed of the same name without the last ending.
    fn unpacked(&self, name: &str) -> Option<Vec<u8>> {
        let (stem, _) = name.rsplit_once('.')?;
        self.seeds.iter().find(|seed| seed.name == stem).map(|seed| seed.bytes.clone())
    }

    /// Reads files `from..` until there were `most` of them or `limit` is over.
    pub fn run(&self, from: u64, most: u64, limit: Duration) -> Figures {
        let (begun, mut figures) = (Instant::now(), Figures::default());
        for at in from..from.saturating_add(most) {
            if begun.elapsed() >= limit {
                break;
            }
            let (name, bytes, read_as) = self.file(at);
            self.try_file(at, (&name, &bytes, read_as), FREE_BYTES, &mut figures);
        }
        figures
    }

    /// Reads one file and notes what came of it; `free` bytes of memory are had for any file.
    pub fn try_file(&self, at: u64, file: (&str, &[u8], Use), free: usize, figures: &mut Figures) {
        let (name, bytes, read_as) = file;
        let path = self.folder.join(format!("in-{name}"));
        AT.store(at, Relaxed);
        std::fs::write(&path, bytes).unwrap();
        let before = memory::forget_peak();
        let begun = Instant::now();
        IS_READING.store(true, Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.read(&path, read_as)));
        IS_READING.store(false, Relaxed);
        let took = begun.elapsed().as_secs_f64();
        let used = memory::peak().saturating_sub(before);
        figures.slowest = figures.slowest.max(took);
        figures.peak = figures.peak.max(used);
        let above = used.saturating_sub(free) as f64 / bytes.len().max(1) as f64;
        figures.worst_ratio = figures.worst_ratio.max(above);
        let (tried, refused) = figures.tried.entry(read_as).or_default();
        *tried += 1;
        let mut found = |what: String| {
            let kept = self.folder.join(format!("finding-{at}-{name}"));
            std::fs::write(&kept, bytes).unwrap();
            figures.findings.push(format!("file {at} ({name}, {} bytes, {read_as:?}): {what}", bytes.len()));
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => *refused += 1,
            Err(_) => found(PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()),
        }
        if above > BYTES_A_BYTE as f64 {
            found(format!("{used} bytes of memory"));
        }
        let _ = std::fs::remove_file(&path);
    }

    /// Whether `path` is read; errors are told as they would be to a user.
    fn read(&self, path: &Path, read_as: Use) -> bool {
        let path = path.to_string_lossy();
        let paths = [path.clone().into_owned()];
        let told = |error: cbfit::Error| assert!(!error.to_string().is_empty() && !error.help().is_empty());
        let outcome = match read_as {
            Use::Table => super::formats_common::read(&path, usize::MAX).map(drop),
            Use::Training => {
                let label = Some("label".to_owned()).filter(|_| !path.ends_with(".svm"));
                let strict = ReadOptions { label, ..ReadOptions::default() };
                let lenient = ReadOptions {
                    missing: Missing::Keep,
                    unlabeled: Unlabeled::Drop,
                    categories: Categories::Codes,
                    ..strict.clone()
                };
                let _ = read_training(&paths, &lenient).map_err(told);
                read_training(&paths, &strict).map(drop)
            }
            Use::LabelFile => {
                // The rows whose labels they are stand in the file as it was.
                let whole = path.replace("/in-", "/whole-");
                let label_file = Some(format!("{path}:label"));
                let options = ReadOptions { label_file, ..ReadOptions::default() };
                read_training(&[whole], &options).map(drop)
            }
            Use::ClassNames => {
                let options = ReadOptions { class_names: Some(paths[0].clone()), ..ReadOptions::default() };
                read_training(&[golden("class_label.parquet")], &options).map(drop)
            }
            Use::Counts => read_counts(&path, &ReadOptions::default()).map(drop),
            Use::Weights => read_class_weights(&path, &self.classes).map(drop),
            Use::Prior => read_prior(&path, &self.classes).map(drop),
            Use::Costs => read_costs(&path, &self.classes).map(drop),
            Use::Comparison => self.cbfit(&format!("report --compare {path} --quiet -o sink.html")),
            Use::Scored => {
                let model = if path.contains("digits") { "digits.cbfit" } else { "linear.cbfit" };
                self.cbfit(&format!("predict {model} {path} --quiet -o sink.csv"))
            }
            Use::Checkpoint => checkpoints::go_on(Path::new(&*path)),
            Use::Model => {
                for export in ["csv", "lightgbm", "text", "json"] {
                    let _ = self
                        .cbfit(&format!("export {path} --to {export} --quiet -o /dev/null"))
                        .map_err(told);
                }
                let page = format!("report {path} train.csv --quiet -o sink.html");
                let _ = self.cbfit(&page).map_err(told);
                let more = format!("predict {path} train.csv --quiet -o sink.jsonl --top-k 2");
                let _ = self.cbfit(&format!("{more} --prior em")).map_err(told);
                let _ = self.cbfit(&format!("{more} --contrib")).map_err(told);
                self.cbfit(&format!("predict {path} train.csv --proba --quiet -o sink.csv"))
            }
        };
        outcome.map_err(told).is_ok()
    }

    fn cbfit(&self, line: &str) -> cbfit::Result<()> {
        cbfit(&self.folder, line)
    }
}

fn ending(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/formats/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command line in this process; names of files without a folder are in `folder`.
fn cbfit(folder: &Path, line: &str) -> cbfit::Result<()> {
    const ENDINGS: [&str; 5] = [".cbfit", ".csv", ".html", ".json", ".jsonl"];
    let is_file = |word: &str| !word.contains('/') && ENDINGS.iter().any(|ending| word.ends_with(ending));
    let place = |word: &str| match is_file(word) {
        true => folder.join(word).to_string_lossy().into_owned(),
        false => word.to_owned(),
    };
    let words = ["cbfit"].into_iter().chain(line.split_whitespace()).map(place);
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    cbfit::cli::run(cli).map(drop)
}

/// Runs a command line that must succeed.
fn cbfit_ok(folder: &Path, line: &str) {
    cbfit(folder, line).unwrap_or_else(|error| panic!("cbfit {line}: {error}"));
}

/// Ends the process where a file takes too long: a loop without an end can be stopped in no other way.
pub fn watch() {
    std::thread::spawn(|| {
        let (mut at, mut begun, mut spent) = (u64::MAX, Instant::now(), processor_seconds());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = AT.load(Relaxed);
            if now != at {
                (at, begun, spent) = (now, Instant::now(), processor_seconds());
            } else if processor_seconds() - spent > MOST_SECONDS || begun.elapsed() > MOST_WAIT {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "file {at} hangs");
                std::process::exit(3);
            }
        }
    });
}

/// Processor time of this process so far; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    const TICKS: f64 = 100.0; // USER_HZ of Linux on every machine it runs on
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

//! Matrix products of the linear learner against what the machine can do at most: JSON lines on stdout, a table on stderr.
//! README.md beside says what the figures mean.

use std::error::Error;
use std::time::Instant;

use cbfit::rng::CounterRng;
use cbfit::simd::{
    Isa, Kernels, Layout, PackedWeights, Precision, RowBlock, TileKernels, TileRows, TileScratch, TileWeights,
};
use clap::Parser;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Cli {
    /// Rows of the whole pass
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Features x classes of the whole pass
    #[arg(long, default_value = "768x1000")]
    shape: String,
    /// Threads of the whole pass
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Rows of a block of f32 products
    #[arg(long, default_value_t = 128)]
    block: usize,
    /// Rows of a block of tile products
    #[arg(long, default_value_t = 256)]
    tile_block: usize,
    /// Times each figure is taken; the best counts
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Leave out single products
    #[arg(long)]
    pass_only: bool,
    /// One instruction set instead of all
    #[arg(long)]
    isa: Option<String>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

const SHAPES: [(usize, usize); 4] = [(1024, 10), (512, 151), (768, 1000), (100, 23)];
/// Rows of the operands of single products.
const ROWS: usize = 256;

/// A way to multiply.
#[derive(Clone, Copy)]
struct Way {
    kernels: &'static Kernels,
    precision: Option<Precision>,
}

impl Way {
    fn name(self) -> &'static str {
        match self.precision {
            None => "f32",
            Some(Precision::Split) => "split",
            Some(Precision::Bf16) => "bf16",
        }
    }

    fn tiles(self) -> Option<(&'static TileKernels, Precision)> {
        self.kernels.tiles().zip(self.precision)
    }
}

/// f32 wherever the vectors differ, and both precisions of every level with tiles.
fn ways(only: Option<&str>) -> Vec<Way> {
    let kernels = Isa::ALL
        .into_iter()
        .filter(|isa| only.is_none_or(|only| only == isa.name()))
        .filter_map(Kernels::for_isa);
    let of = |kernels: &'static Kernels| {
        let precisions = if kernels.tiles().is_none() {
            vec![None]
        } else if only.is_some() {
            vec![None, Some(Precision::Split), Some(Precision::Bf16)]
        } else {
            vec![Some(Precision::Split), Some(Precision::Bf16)]
        };
        precisions.into_iter().map(move |precision| Way { kernels, precision })
    };
    kernels.flat_map(of).collect()
}

/// Everything one way needs to go over a block: operands, logits that become residuals, a gradient.
struct Worker<'a> {
    way: Way,
    w: &'a [f32],
    bias: &'a [f32],
    features: usize,
    packed: PackedWeights,
    tile_weights: TileWeights,
    tile_rows: TileRows,
    scratch: TileScratch,
    z: Vec<f32>,
    g: Vec<f32>,
}

impl<'a> Worker<'a> {
    fn new(way: Way, w: &'a [f32], bias: &'a [f32], features: usize) -> Self {
        Worker {
            way,
            w,
            bias,
            features,
            packed: PackedWeights::new(),
            tile_weights: TileWeights::new(),
            tile_rows: TileRows::new(),
            scratch: TileScratch::new(),
            z: Vec::new(),
            g: vec![0.0; w.len()],
        }
    }

    fn pack(&mut self) {
        let classes = self.bias.len();
        match self.way.tiles() {
            Some((tiles, precision)) => {
                tiles.pack_weights(self.w, classes, self.features, precision, &mut self.tile_weights);
            }
            None => self.way.kernels.pack_weights(self.w, classes, self.features, &mut self.packed),
        }
    }

    fn prepare(&mut self, x: &[f32]) {
        self.z.resize(x.len() / self.features * self.bias.len(), 0.0);
        if let Some((tiles, precision)) = self.way.tiles() {
            tiles.prepare_rows(x, self.features, precision, &mut self.tile_rows);
        }
    }

    fn logits(&mut self, x: &[f32]) {
        let classes = self.bias.len();
        match self.way.tiles() {
            Some((tiles, _)) => {
                tiles.logits(&self.tile_rows, &self.tile_weights, self.bias, &mut self.z, classes);
            }
            None => {
                let (packed, z) = (&self.packed, &mut self.z);
                self.way.kernels.logits(x, self.features, packed, self.bias, z, classes);
            }
        }
    }

    fn gradient(&mut self, x: &[f32]) {
        let (classes, z, g) = (self.bias.len(), &self.z, &mut self.g);
        match self.way.tiles() {
            Some((tiles, _)) => {
                tiles.accumulate_gradient(z, classes, classes, &self.tile_rows, g, &mut self.scratch);
            }
            None => self.way.kernels.accumulate_gradient(z, classes, classes, x, self.features, g),
        }
    }

    fn gram(&mut self, weights: &[f32], x: &[f32], g: &mut [f32]) {
        match self.way.tiles() {
            Some((tiles, _)) => tiles.accumulate_gram(weights, x, &self.tile_rows, g, &mut self.scratch),
            None => {
                let row = |(x, &weight): (&[f32], &f32)| x.iter().map(|x| weight * x).collect::<Vec<_>>();
                let weighted: Vec<f32> = x.chunks_exact(self.features).zip(weights).flat_map(row).collect();
                self.way.kernels.accumulate_gram(&weighted, x, self.features, g);
            }
        }
    }
}

/// Numbers between -scale and scale.
fn random(stream: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut rng = CounterRng::new(17, stream);
    (0..n).map(|_| (rng.next_f64() as f32 * 2.0 - 1.0) * scale).collect()
}

/// Least seconds of one run of `work` among groups of runs of some ten milliseconds.
fn best_seconds(repeat: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    let runs = (0.01 / start.elapsed().as_secs_f64()).clamp(1.0, 1e6) as usize;
    let group = |_| {
        let start = Instant::now();
        (0..runs).for_each(|_| work());
        start.elapsed().as_secs_f64() / runs as f64
    };
    (0..repeat).map(group).fold(f64::INFINITY, f64::min)
}

fn report(line: &Value, text: &str) {
    println!("{line}");
    eprintln!("{text}");
}

/// Multiply-adds that wait for nothing, in GFLOP/s.
fn peaks(repeat: usize, ways: &[Way]) {
    for way in ways.iter().filter(|way| way.precision != Some(Precision::Split)) {
        const ROUNDS: usize = 10_000;
        let mut done = 0;
        let seconds = best_seconds(repeat, || {
            done = match way.tiles() {
                Some((tiles, _)) => tiles.multiply_adds_alone(ROUNDS),
                None => way.kernels.multiply_adds_alone(ROUNDS),
            };
        });
        let (isa, name, rate) = (way.kernels.isa().name(), way.name(), done as f64 / seconds / 1e9);
        report(
            &json!({"figure": "peak", "isa": isa, "precision": name, "gflops": rate}),
            &format!("{isa:>10} {name:>5}  peak {rate:7.0} GFLOP/s"),
        );
    }
}

/// Single products of a block that stays in the cache.
fn products(repeat: usize, ways: &[Way]) {
    for (features, classes) in SHAPES {
        eprintln!(
            "{features} x {classes}: GFLOP/s of logits, gradient, Gram; ns a row of preparing and of both products"
        );
        let (x, w) = (random(1, ROWS * features, 1.0), random(2, classes * features, 0.05));
        let (bias, residuals) = (random(3, classes, 0.1), random(4, ROWS * classes, 0.1));
        let weights = vec![0.25; ROWS];
        let mut gram = vec![0.0; features * features];
        for &way in ways {
            let mut worker = Worker::new(way, &w, &bias, features);
            worker.pack();
            let prepare = best_seconds(repeat, || worker.prepare(&x));
            let logits = best_seconds(repeat, || worker.logits(&x));
            worker.z.copy_from_slice(&residuals);
            let gradient = best_seconds(repeat, || worker.gradient(&x));
            let upper = best_seconds(repeat, || worker.gram(&weights, &x, &mut gram));
            let size = (2 * ROWS * features) as f64 / 1e9;
            let rates = [
                size * classes as f64 / logits,
                size * classes as f64 / gradient,
                size * (features + 1) as f64 / 2.0 / upper,
            ];
            let nanoseconds = |seconds: f64| seconds * 1e9 / ROWS as f64;
            let (prepare, both) = (nanoseconds(prepare), nanoseconds(prepare + logits + gradient));
            let (isa, name) = (way.kernels.isa().name(), way.name());
            report(
                &json!({"figure": "products", "features": features, "classes": classes, "isa": isa, "precision": name,
                    "logits_gflops": rates[0], "gradient_gflops": rates[1], "gram_gflops": rates[2],
                    "prepare_ns_a_row": prepare, "both_ns_a_row": both}),
                &format!(
                    "{isa:>10} {name:>5}  {:7.0} {:7.0} {:7.0}  {prepare:7.0} {both:7.0}",
                    rates[0], rates[1], rates[2]
                ),
            );
        }
    }
}

/// A made problem: rows x features, labels, weights of classes x features.
struct Problem {
    x: Vec<f32>,
    labels: Vec<u32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    features: usize,
}

impl Problem {
    fn new(rows: usize, features: usize, classes: usize) -> Self {
        let mut rng = CounterRng::new(17, 5);
        Problem {
            x: random(1, rows * features, 1.0),
            labels: (0..rows).map(|_| rng.below(classes) as u32).collect(),
            w: random(2, classes * features, 0.05),
            bias: random(3, classes, 0.1),
            features,
        }
    }

    /// Value, seconds of preparing, logits, softmax and gradient (of the first thread), and the gradient.
    fn pass(&self, way: Way, block: usize, threads: usize) -> (f64, [f64; 4], Vec<f32>) {
        let share = self.labels.len().div_ceil(threads).next_multiple_of(block);
        let part = |x: &[f32], labels: &[u32]| {
            let mut worker = Worker::new(way, &self.w, &self.bias, self.features);
            let (mut value, mut stages, classes) = (0.0, [0.0; 4], self.bias.len());
            let weights = vec![1.0; block];
            let mut last = Instant::now();
            let mut lap = |stage: usize| {
                stages[stage] += last.elapsed().as_secs_f64();
                last = Instant::now();
            };
            worker.pack();
            for (x, labels) in x.chunks(block * self.features).zip(labels.chunks(block)) {
                worker.prepare(x);
                lap(0);
                worker.logits(x);
                lap(1);
                let weights = &weights[..labels.len()];
                let rows = RowBlock {
                    z: &mut worker.z,
                    layout: Layout::Rows { stride: classes },
                    classes,
                    labels,
                    weights,
                };
                value += way.kernels.softmax_rows(rows);
                lap(2);
                worker.gradient(x);
                lap(3);
            }
            (value, stages, worker.g)
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let of_thread = |(x, labels)| scope.spawn(move || part(x, labels));
            let x = self.x.chunks(share * self.features);
            let threads: Vec<_> = x.zip(self.labels.chunks(share)).map(of_thread).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        parts
            .into_iter()
            .reduce(|(value, stages, mut g), (more, _, other)| {
                g.iter_mut().zip(&other).for_each(|(g, other)| *g += other);
                (value + more, stages, g)
            })
            .unwrap_or_default()
    }

    /// Largest error of some logits against f64, in shares of the sum of the magnitudes of their terms.
    fn error(&self, way: Way) -> f64 {
        let mut worker = Worker::new(way, &self.w, &self.bias, self.features);
        let rows = 32.min(self.labels.len());
        let x = &self.x[..rows * self.features];
        worker.pack();
        worker.prepare(x);
        worker.logits(x);
        let classes = self.bias.len();
        let mut largest: f64 = 0.0;
        for (row, x) in x.chunks_exact(self.features).enumerate() {
            for (class, w) in self.w.chunks_exact(self.features).enumerate() {
                let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
                let (sum, size) = terms.fold((f64::from(self.bias[class]), 0.0), |(sum, size), term| {
                    (sum + term, size + term.abs())
                });
                largest = largest.max((f64::from(worker.z[row * classes + class]) - sum).abs() / size);
            }
        }
        largest
    }
}

fn passes(cli: &Cli, ways: &[Way]) -> Outcome<()> {
    let (features, classes) = cli.shape.split_once('x').ok_or("--shape is FEATURESxCLASSES")?;
    let (features, classes) = (features.parse()?, classes.parse()?);
    let problem = Problem::new(cli.rows, features, classes);
    eprintln!(
        "pass over {} x {features} x {classes}, {} threads: seconds, f32 over it, shares, error",
        cli.rows, cli.threads
    );
    // Of the levels in f32 the last one, the widest: others would take minutes.
    let last = ways.iter().filter(|way| way.precision.is_none()).map(|way| way.kernels.isa()).max();
    let widest = |way: &&Way| way.precision.is_some() || Some(way.kernels.isa()) == last;
    let ways: Vec<Way> = ways.iter().filter(widest).copied().collect();
    let mut best = vec![(f64::INFINITY, [0.0; 4], 0.0); ways.len()];
    for _ in 0..cli.repeat {
        for (way, best) in ways.iter().zip(&mut best) {
            let block = if way.precision.is_some() { cli.tile_block } else { cli.block };
            let start = Instant::now();
            let (value, stages, _) = problem.pass(*way, block, cli.threads);
            let seconds = start.elapsed().as_secs_f64();
            if seconds < best.0 {
                *best = (seconds, stages, value / cli.rows as f64);
            }
        }
    }
    let f32 =
        ways.iter().zip(&best).find(|(way, _)| way.precision.is_none()).map_or(f64::NAN, |(_, best)| best.0);
    for (way, (seconds, [prepare, logits, softmax, gradient], value)) in ways.iter().zip(&best) {
        let (isa, name, error) = (way.kernels.isa().name(), way.name(), problem.error(*way));
        let ratio = f32 / seconds;
        report(
            &json!({"figure": "pass", "rows": cli.rows, "features": features, "classes": classes,
                "threads": cli.threads, "isa": isa, "precision": name, "seconds": seconds, "times_f32": ratio,
                "prepare_seconds": prepare, "logits_seconds": logits, "softmax_seconds": softmax,
                "gradient_seconds": gradient, "value": value, "logit_error": error}),
            &format!(
                "{isa:>10} {name:>5}  {seconds:7.3} {ratio:5.2}  prepare {prepare:.3} logits {logits:.3} \
                 softmax {softmax:.3} gradient {gradient:.3}  {error:.1e}"
            ),
        );
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let cli = Cli::parse();
    let ways = ways(cli.isa.as_deref());
    if !cli.pass_only {
        peaks(cli.repeat, &ways);
        products(cli.repeat, &ways);
    }
    passes(&cli, &ways)
}

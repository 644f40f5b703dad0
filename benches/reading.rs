//! Files of vectors into the matrix, and into a whole training set: JSON lines on stdout. `reading.py` beside writes the
//! files and puts the figures next to those of pyarrow and numpy.

use std::error::Error;
use std::time::Instant;

use cbfit::data::dataset::read_training;
use cbfit::data::format::{OpenOptions, open_table};
use cbfit::data::options::ReadOptions;
use cbfit::data::table::{ColumnBuffer, FieldKind, new_buffer};
use cbfit::matrix::MatRef;
use clap::Parser;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Cli {
    /// Files to read; of each the first vector column
    files: Vec<String>,
    /// Times each file is read; the best counts
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Threads; all by default
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Labels of files without a label column
    #[arg(long)]
    label_file: Option<String>,
    /// Leave out whole training sets
    #[arg(long)]
    matrix_only: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Reads the first vector column of a file.
fn vectors(path: &str) -> Outcome<ColumnBuffer> {
    let mut reader = open_table(path, &OpenOptions::default())?;
    let is_vector = |kind: &FieldKind| matches!(kind, FieldKind::Vector { .. });
    let column = reader.fields().iter().position(|field| is_vector(&field.kind)).ok_or("no vector column")?;
    let kind = reader.fields()[column].kind.clone();
    let mut into = [new_buffer(&kind).ok_or("no buffer")?];
    while reader.append_block(&[column], &mut into)? > 0 {}
    let [vectors] = into;
    Ok(vectors)
}

/// Least seconds of `repeat` runs; what they return is dropped outside the clock.
fn best<T>(repeat: usize, mut run: impl FnMut() -> Outcome<T>) -> Outcome<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        let result = run()?;
        least = least.min(start.elapsed().as_secs_f64());
        drop(result);
    }
    Ok(least)
}

/// Sum of all values in f64, for a comparison with the other side.
fn sum(buffer: &ColumnBuffer) -> f64 {
    let ColumnBuffer::Vector(matrix) = buffer else { return f64::NAN };
    match matrix.rows_in_memory(0, matrix.rows()).unwrap_or(MatRef::F32(&[])) {
        MatRef::F32(values) => values.iter().map(|&x| f64::from(x)).sum(),
        MatRef::F16(values) => values.iter().map(|x| x.to_f64()).sum(),
        _ => f64::NAN,
    }
}

/// Largest resident memory of this process so far, in kB.
fn peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn main() -> Outcome<()> {
    let cli = Cli::parse();
    rayon::ThreadPoolBuilder::new().num_threads(cli.threads).build_global()?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or(std::env::consts::ARCH);
    println!("{}", json!({"event": "machine", "cpu": cpu, "threads": rayon::current_num_threads()}));
    for path in &cli.files {
        let read = vectors(path)?;
        let (rows, sum) = (read.rows(), sum(&read));
        drop(read);
        let peak = peak_kb();
        let matrix = best(cli.repeat, || vectors(path))?;
        let mut line = json!({"event": "read", "file": path, "rows": rows, "sum": sum, "matrix_s": matrix, "peak_kb": peak});
        if !cli.matrix_only {
            let paths = [path.clone()];
            let options = ReadOptions { label_file: cli.label_file.clone(), ..ReadOptions::default() };
            line["training_s"] = best(cli.repeat, || Ok(read_training(&paths, &options)?))?.into();
        }
        println!("{line}");
    }
    Ok(())
}

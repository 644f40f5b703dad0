//! Sound files of every sort that cbfit reads, and what it does with them.

use std::io::Write;
use std::path::Path;

use super::{cbfit_ok, checkpoints};

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// All columns of a table.
    Table,
    /// A training set, its labels in the column `label`.
    Training,
    /// Labels of rows that another file has the features of.
    LabelFile,
    /// Names of classes.
    ClassNames,
    /// Rows that a model scores.
    Scored,
    /// Class counts.
    Counts,
    /// Class weights.
    Weights,
    /// Class shares.
    Prior,
    /// Costs of decisions.
    Costs,
    /// A comparison that becomes a page.
    Comparison,
    /// A model, which is described, written out and put to work.
    Model,
    /// The state of a run that was left, which goes on from it.
    Checkpoint,
}

/// A file to be damaged.
pub struct Seed {
    pub name: String,
    pub bytes: Vec<u8>,
    pub read_as: Use,
}

/// Largest golden file taken: damage to larger ones hits numbers as a rule, and there it is data.
const MOST_BYTES: u64 = 16 << 10;

/// Rows for all models below: numbers, one of them missing at times, and text.
pub fn train_csv() -> String {
    let mut text = String::from("size,width,word,label\n");
    for row in 0..90 {
        let class = ["owl", "elk", "yak"][if row % 9 == 8 { 2 } else { row % 2 }];
        let word = ["red", "green", "blue \"ish\"", "a, b"][row * 7 % 4].replace('"', "\"\"");
        text += &format!("{}.5,{},\"{word}\",{class}\n", row * 13 % 17, row as f64 * 0.25 - 3.0);
    }
    text
}

/// Fits the models in `folder`, and returns everything there is to damage.
pub fn seeds(folder: &Path) -> Vec<Seed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for source in [root.join("tests/golden/formats"), root.join("data")] {
        let mut paths: Vec<_> =
            std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_data = [".parquet", ".arrow", ".npy", ".npz"].iter().any(|end| name.ends_with(end));
            if is_data && path.metadata().unwrap().len() <= MOST_BYTES {
                let bytes = std::fs::read(&path).unwrap();
                let has_labels = ["class_label", "digits", "mixed", "pandas", "polars"];
                if has_labels.iter().any(|start| name.starts_with(start)) {
                    seeds.push(Seed { name: name.clone(), bytes: bytes.clone(), read_as: Use::Training });
                    seeds.push(Seed { name: name.clone(), bytes: bytes.clone(), read_as: Use::LabelFile });
                }
                if name.starts_with("digits") {
                    seeds.push(Seed { name: name.clone(), bytes: bytes.clone(), read_as: Use::Scored });
                }
                seeds.push(Seed { name, bytes, read_as: Use::Table });
            }
        }
    }
    let mut add = |name: &str, bytes: &[u8], uses: &[Use]| {
        let seed = |&read_as| Seed { name: name.into(), bytes: bytes.to_vec(), read_as };
        seeds.extend(uses.iter().map(seed));
    };
    let train = train_csv();
    let readings = [Use::Table, Use::Training, Use::Scored, Use::Counts];
    add("rows.csv", train.as_bytes(), &readings);
    add("rows.csv.gz", &gzip(train.as_bytes()), &readings);
    add("rows.csv.zst", &zstd(train.as_bytes()), &readings);
    add("rows.tsv", train.replace(',', "\t").as_bytes(), &[Use::Table, Use::Training]);
    let mut sparse = String::from("# comment\n");
    (0..60)
        .for_each(|row| sparse += &format!("{} qid:1 {}:1.5 {}:-2e3 # x\n", row % 3, 1 + row % 5, 9 + row));
    add("rows.svm", sparse.as_bytes(), &[Use::Table, Use::Training, Use::Counts]);
    add("rows.svm.gz", &gzip(sparse.as_bytes()), &[Use::Table, Use::Training]);
    let counts = b"class,count\nowl,900\nelk,90\nyak,9\n";
    add("counts.csv", counts, &[Use::Counts, Use::Prior, Use::Weights]);
    add("bare.csv", b"0,100\n1,50\n2,3\n", &[Use::Counts]);
    add("weights.csv", b"class,weight\nowl,1.5\nelk,0.25\nyak,3e2\n", &[Use::Weights, Use::Prior]);
    add("weights.csv.gz", &gzip(b"class,weight\nowl,1.5\nelk,0.25\nyak,3e2\n"), &[Use::Weights]);
    add("prior.csv", b"class,share\nowl,0.5\nelk,0.25\nyak,0.25\n", &[Use::Prior]);
    add("costs.csv", b"true,owl,elk,yak\nowl,0,1,2\nelk,5,0,1\nyak,10,3,0\n", &[Use::Costs]);
    add("names.txt", b"zero\none\ntwo\n", &[Use::ClassNames]);
    add("names.txt.gz", &gzip(b"zero\none\ntwo\n"), &[Use::ClassNames]);

    std::fs::write(folder.join("train.csv"), &train).unwrap();
    let fit = "--train train.csv --quiet --seed 1 --valid-fraction 0 --beta 0.9";
    let linear = format!("{fit} --l2 1");
    let boost = format!("{fit} --learner boost --rounds 4 --min-rows 2");
    let models = [
        ("linear.cbfit", format!("{linear} --calibrate vector --offsets macro_recall")),
        ("plain.cbfit", format!("{linear} --scale none --loss sigmoid")),
        ("boosted.cbfit", format!("{boost} --trees per-class")),
        ("vector.cbfit", format!("{boost} --trees vector")),
        ("hybrid.cbfit", format!("{boost} --init linear:1")),
    ];
    for (name, line) in models {
        let out = folder.join(name);
        cbfit_ok(folder, &format!("{line} -o {name}"));
        add(name, &std::fs::read(out).unwrap(), &[Use::Model]);
    }
    for (number, bytes) in checkpoints::left(folder).into_iter().enumerate() {
        add(&format!("left{number}.checkpoint"), &bytes, &[Use::Checkpoint]);
    }
    let compare = "compare train.csv --schemes none,inverse --folds 2 --quiet";
    cbfit_ok(folder, &format!("{compare} -o comparison.json"));
    add("comparison.json", &std::fs::read(folder.join("comparison.json")).unwrap(), &[Use::Comparison]);
    seeds
}

/// `bytes` as gzip packs them.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// `bytes` as zstd packs them.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

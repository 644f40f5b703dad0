//! Every error by its code: what it means, why it is one, and how to mend it; and the warnings.
//! `cbfit explain` and the tables in `docs/errors.md` are made from it.

use std::fmt::Write as _;

/// An error of [`crate::Error`] or a warning, in general; the message of a run says what, where and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its code, as [`crate::Error::code`] gives it; of warnings `W` and a number.
    pub code: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// When it occurs and why cbfit stops there.
    pub cause: &'static str,
    /// How to mend it.
    pub remedy: &'static str,
}

impl Entry {
    /// Exit status of the process; warnings leave it at 0.
    pub fn exit_status(&self) -> u8 {
        if self.code.starts_with('E') { self.code.as_bytes()[2] - b'0' } else { 0 }
    }
}

/// What the exit status of the process means.
pub const EXIT_STATUS: [(u8, &str); 11] = [
    (0, "done; also where the reader of stdout went away"),
    (1, "an internal error: please report it"),
    (2, "usage: the command line cannot be carried out as it was written"),
    (3, "data: the files were read, and their content cannot be used"),
    (4, "input or output: a path, a permission, a full disk"),
    (5, "model file or checkpoint: damaged, too new, or of other data"),
    (6, "training failed"),
    (7, "a gate of eval --min is not met"),
    (8, "a limit of memory or size"),
    (130, "interrupted (SIGINT), after what was finished was saved; train --resume goes on"),
    (143, "terminated (SIGTERM), after what was finished was saved; train --resume goes on"),
];

/// All errors, by code.
pub const CATALOGUE: &[Entry] = &[
    Entry {
        code: "E0201",
        title: "flag without effect",
        cause: "A flag cannot act together with the others: --gamma with a softmax loss, --max-leaves with the linear \
                learner. It is an error and no warning, because a run that ignores what was asked for is worse than none.",
        remedy: "Leave the flag out, or give the flag that it belongs to; the help line names it.",
    },
    Entry {
        code: "E0202",
        title: "column not found",
        cause: "A column named by --label, --features, --id-col, --weight-col or --split-col is not in the file.",
        remedy: "Take a name from the list in the message; `cbfit inspect FILE` lists all columns.",
    },
    Entry {
        code: "E0203",
        title: "no label column",
        cause: "None of the usual names of a label (label, labels, target, y, class, class_id, ...) is a column.",
        remedy: "Name the column: --label COLUMN; or give the labels in a file of their own: --label-file FILE.",
    },
    Entry {
        code: "E0204",
        title: "several label columns",
        cause: "More than one column has a usual name of a label, and a guess would be wrong half of the time.",
        remedy: "Choose one: --label COLUMN.",
    },
    Entry {
        code: "E0205",
        title: "several vector columns",
        cause: "The file has more than one column of vectors, such as an image and a text embedding.",
        remedy: "Choose with --features COLUMN, or name several, which are put side by side.",
    },
    Entry {
        code: "E0206",
        title: "no features",
        cause: "No column is left once label, id, weight and split columns are taken out.",
        remedy: "Name the feature columns: --features 'a,b,emb*'.",
    },
    Entry {
        code: "E0207",
        title: "bad beta",
        cause: "Beta of the effective number of samples has to be in [0, 1). beta = 1 is the limit of inverse frequency.",
        remedy: "Write 0.9999, 1-1e-7 or N=10000 (beta = 1 - 1/N), with a decimal point; or --weighting inverse.",
    },
    Entry {
        code: "E0208",
        title: "bad value",
        cause: "The value of a flag is out of its range, misspelt, or does not go with the data.",
        remedy: "The message names the flag and the range; `cbfit --help` describes every flag.",
    },
    Entry {
        code: "E0301",
        title: "no rows",
        cause: "A file, or what is left of it after a split or a filter, has no rows.",
        remedy: "Check the path, the split column and --unlabeled drop.",
    },
    Entry {
        code: "E0302",
        title: "damaged file",
        cause: "The file ends early, a checksum or a length does not hold, or its decoder gives up.",
        remedy: "Copy, download or write the file again.",
    },
    Entry {
        code: "E0303",
        title: "not the stated format",
        cause: "The first bytes are those of another format than the name or --format says.",
        remedy: "Name the true format: --format csv|tsv|parquet|arrow|npy|svmlight.",
    },
    Entry {
        code: "E0304",
        title: "format that would run code",
        cause: "Pickle, .pt and object arrays of NumPy execute code that the file contains when they are read.",
        remedy: "Convert it once where you trust it, for example with numpy.save; the help line has the two lines.",
    },
    Entry {
        code: "E0305",
        title: "missing labels",
        cause: "Some rows have no label. To guess one, or to leave them out silently, would change the class counts.",
        remedy: "Label them, or leave them out: --unlabeled drop.",
    },
    Entry {
        code: "E0306",
        title: "fractional labels",
        cause: "The label column holds numbers with fractions, as targets of a regression do.",
        remedy: "Name the column of classes: --label COLUMN.",
    },
    Entry {
        code: "E0307",
        title: "one class only",
        cause: "All rows have the same label: there is nothing to tell apart.",
        remedy: "Check the label column and the filters.",
    },
    Entry {
        code: "E0308",
        title: "labels that training never saw",
        cause: "Rows to score carry labels that are no class of the model.",
        remedy: "Count them as wrong: --unseen wrong; or leave them out: --unseen ignore.",
    },
    Entry {
        code: "E0309",
        title: "too few class names",
        cause: "The file of class names has fewer lines than the largest label needs.",
        remedy: "Give one name a line, for label 0, 1, 2, ...",
    },
    Entry {
        code: "E0310",
        title: "missing or infinite feature values",
        cause: "Features are missing, infinite or beyond the range of f32. scikit-learn stops there as well; a mean or a \
                zero in their place is your decision.",
        remedy: "Missing ones: --missing mean|zero, or --learner boost, which takes them as they are. Others: cap or remove \
                 them.",
    },
    Entry {
        code: "E0311",
        title: "vectors of different length",
        cause: "Rows of a vector column have different numbers of values.",
        remedy: "Write the column again with vectors of one length.",
    },
    Entry {
        code: "E0312",
        title: "duplicate column names",
        cause: "Two columns have the same name, so that a name does not say which is meant.",
        remedy: "Rename one of them.",
    },
    Entry {
        code: "E0313",
        title: "too many text values",
        cause: "A text column has more different values than one-hot encoding takes; it is an id or free text as a rule.",
        remedy: "Leave it out: --features '!COLUMN'.",
    },
    Entry {
        code: "E0314",
        title: "malformed line",
        cause: "A line of a CSV, TSV or svmlight file has another number of fields, an open quote, or bytes that are no UTF-8.",
        remedy: "Mend the line that the message names, or name the separator: --delimiter ';'.",
    },
    Entry {
        code: "E0315",
        title: "different numbers of rows",
        cause: "Two inputs that describe the same rows, such as features and labels, have different lengths.",
        remedy: "Give files of the same rows in the same order.",
    },
    Entry {
        code: "E0316",
        title: "bad weight",
        cause: "A weight of a row or a class is negative, not finite or missing. Negative weights turn a loss upside down, and \
                a fit with them diverges.",
        remedy: "Give one finite positive weight for every class or row.",
    },
    Entry {
        code: "E0317",
        title: "bad counts",
        cause: "A file of class counts is not made of lines class,count with whole numbers of at least 0.",
        remedy: "Mend the line that the message names.",
    },
    Entry {
        code: "E0318",
        title: "type without use",
        cause: "A column has a type that cannot serve as what it is meant for: dates as features, vectors as labels.",
        remedy: "Choose other columns with --label or --features, or write the column as numbers.",
    },
    Entry {
        code: "E0319",
        title: "bad split",
        cause: "The split column holds a value that names no part.",
        remedy: "Values are train, val, valid, validation, dev and test.",
    },
    Entry {
        code: "E0320",
        title: "files that differ",
        cause: "Several files are read as one data set, and one lacks a column or has another type of it.",
        remedy: "Give files with the same columns.",
    },
    Entry {
        code: "E0321",
        title: "bad prior",
        cause: "A file of class shares lacks a class, or holds a share that is negative or no number.",
        remedy: "Give lines class,share with one positive share for every class; only ratios count.",
    },
    Entry {
        code: "E0322",
        title: "format that is not read",
        cause: "The file is of a known format that cbfit has no reader for.",
        remedy: "Convert it; the help line says how.",
    },
    Entry {
        code: "E0323",
        title: "probabilities that are none",
        cause: "The model gives some rows infinite or undefined probabilities: their features, or its weights, are too large.",
        remedy: "Look at the features of these rows; `cbfit inspect MODEL` shows the model.",
    },
    Entry {
        code: "E0324",
        title: "bad cost matrix",
        cause: "The file of --costs is no square matrix over the classes, or holds a cost that is no number.",
        remedy: "Give a header true,CLASS,CLASS,... and a line CLASS,cost,cost,... for every class.",
    },
    Entry {
        code: "E0401",
        title: "file not found",
        cause: "There is no file at the path, or the glob matches none.",
        remedy: "The message lists near names in that folder.",
    },
    Entry {
        code: "E0402",
        title: "reading or writing failed",
        cause: "The operating system refused: no permission, a full disk, a read-only folder. What stood at the path before is \
                still there: files are written beside it and renamed when they are whole.",
        remedy: "Check the permission and the room on the disk, or give another path with -o.",
    },
    Entry {
        code: "E0403",
        title: "output in use",
        cause: "Another training run writes the same model file: it holds OUT.lock, which the system gives free when that \
                process ends, however it ends.",
        remedy: "Wait for the process that the message names, stop it, or give another file with -o.",
    },
    Entry {
        code: "E0501",
        title: "unusable model file",
        cause: "The file is no cbfit model, is damaged, or says of itself what cannot be: sizes, shapes or names that do not fit.",
        remedy: "Copy the file again, or train the model again.",
    },
    Entry {
        code: "E0502",
        title: "model of a newer cbfit",
        cause: "The format of the model is newer than this build reads.",
        remedy: "Update cbfit.",
    },
    Entry {
        code: "E0503",
        title: "data of another model",
        cause: "The data lack columns that the model was trained on, or have other dimensions or types.",
        remedy: "`cbfit inspect MODEL` lists the columns it takes; their order does not matter.",
    },
    Entry {
        code: "E0504",
        title: "unusable checkpoint",
        cause: "OUT.checkpoint is damaged, of another version of cbfit, or holds states that do not belong to this run.",
        remedy: "Train from the start, without --resume; or copy the file again.",
    },
    Entry {
        code: "E0505",
        title: "checkpoint of another run",
        cause: "OUT.checkpoint was made with other data or other settings: going on from it would give a model of neither. \
                The message lists what differs, the instruction set included.",
        remedy: "Give the data and settings that it lists, or leave --resume out to train from the start.",
    },
    Entry {
        code: "E0506",
        title: "data in the place of a model",
        cause: "The file named as the model holds rows, as far as its first bytes tell: Parquet, Arrow, NumPy or text.",
        remedy: "Name the model first, then the data: `cbfit predict MODEL DATA`. Models are what `cbfit train` writes.",
    },
    Entry {
        code: "E0601",
        title: "training diverged",
        cause: "The objective became infinite or undefined: the learning rate is too high for the scale of the features.",
        remedy: "Lower --lr, put features on one scale with --scale standard, or leave the optimizer to cbfit.",
    },
    Entry {
        code: "E0701",
        title: "gate not met",
        cause: "A metric is below what `cbfit eval --min` asks for.",
        remedy: "The message has the values; nothing is wrong with the run.",
    },
    Entry {
        code: "E0801",
        title: "too large",
        cause: "What was asked for needs more bytes than the limit.",
        remedy: "Use fewer rows or columns, or features in f16.",
    },
    Entry {
        code: "E0802",
        title: "more than the memory limit",
        cause: "What cannot stay on disk needs more than --memory-limit. Dense rows of features can: those that take more \
                than half of the limit are streamed from disk. Sparse rows, what is kept of every row besides (label, \
                weight, place), bins of boosting, scores of validation rows, and the model with its solver cannot.",
        remedy: "Raise --memory-limit, or do what the help line says for the part that is too large.",
    },
];

/// What `cbfit check` warns of, and in the end what runs do, by code.
pub const WARNINGS: &[Entry] = &[
    Entry {
        code: "W01",
        title: "classes of one row",
        cause: "A class with a single row is kept in training and never held out, so that no score tells how well it is learnt.",
        remedy: "Collect more rows of it, or join it with another class.",
    },
    Entry {
        code: "W02",
        title: "constant columns",
        cause: "All rows have the same value there: trees leave the column out, linear models keep it at 0.",
        remedy: "Leave it out: --features '!COLUMN'.",
    },
    Entry {
        code: "W03",
        title: "columns without a value",
        cause: "All values of the column are missing.",
        remedy: "Leave it out: --features '!COLUMN', and look at what wrote the file.",
    },
    Entry {
        code: "W04",
        title: "rows of zeros",
        cause: "All features of a row are 0, as where an image could not be embedded; all such rows look the same to a model.",
        remedy: "Embed these rows again, or remove them.",
    },
    Entry {
        code: "W05",
        title: "duplicate rows",
        cause: "Rows are equal to an earlier row in all features. Where one is held out and the other trained on, scores are too good.",
        remedy: "Remove the copies, or keep them in one part: --split-col.",
    },
    Entry {
        code: "W06",
        title: "duplicate rows with different labels",
        cause: "Rows are equal in all features and have different labels, so that no model can get all of them right.",
        remedy: "Check the labels of these rows; `cbfit influence` finds further doubtful ones.",
    },
    Entry {
        code: "W07",
        title: "near duplicates",
        cause: "Rows are all but equal to another one, as crops or copies of one picture are.",
        remedy: "Keep them in one part: --split-col; `cbfit compare` counts those that fall into different folds.",
    },
    Entry {
        code: "W08",
        title: "extreme imbalance",
        cause: "The largest class has a thousand times the rows of the smallest, or more. Full inverse weights then rest the fit on a few rows.",
        remedy: "Compare milder weights: cbfit compare DATA --schemes none,sqrt,effective.",
    },
    Entry {
        code: "W09",
        title: "fewer rows than features",
        cause: "A linear model can separate such rows whatever their labels are; its strength of penalty decides alone.",
        remedy: "Leave l2 to the validation rows, and compare heads such as --head ncm or lda.",
    },
    Entry {
        code: "W10",
        title: "norms far apart",
        cause: "Vectors differ in length a hundred times or more, so that a few rows outweigh all others in a linear fit.",
        remedy: "Bring rows to one length: --scale l2.",
    },
    Entry {
        code: "W11",
        title: "held-out rows that are trained on",
        cause: "Rows of --valid, --test or the split column are equal to training rows: their scores are too good.",
        remedy: "Remove them from one of the two.",
    },
    Entry {
        code: "W12",
        title: "labels that training never saw",
        cause: "Held-out rows, or rows for a model, are of classes that it does not know. They count as wrong.",
        remedy: "Check how labels are spelt in both files; `cbfit eval --unseen ignore` leaves such rows out.",
    },
    Entry {
        code: "W13",
        title: "classes without rows",
        cause: "The model has classes that the data have no rows of: their recall is not measured.",
        remedy: "Check that the data were drawn as the training data were.",
    },
    Entry {
        code: "W14",
        title: "values that training never met",
        cause: "Text levels or feature indices that the model does not know are left out of the features.",
        remedy: "Check the spelling of the levels and the base of the indices, 0 or 1.",
    },
    Entry {
        code: "W15",
        title: "memory limit below that of an idle process",
        cause: "--memory-limit is less than what cbfit takes before it has read a row, about 16 MB. What it reads and keeps is \
                held to the limit, but the process is larger than that.",
        remedy: "Give 16M or more.",
    },
];

/// The entry of a code, in any case, with or without zeros before its number; a number without a letter is of an error.
pub fn find(code: &str) -> Option<&'static Entry> {
    let code = code.trim();
    let (entries, digits) = match code.strip_prefix(['W', 'w']) {
        Some(digits) => (WARNINGS, digits),
        None => (CATALOGUE, code.trim_start_matches(['E', 'e'])),
    };
    let number: u16 = digits.parse().ok()?;
    entries.iter().find(|entry| entry.code[1..].parse() == Ok(number))
}

/// The catalogue as a page of Markdown: `docs/errors.md`.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nA code reads `E`, exit status (two digits), number. `cbfit explain CODE` prints an entry. This page is \
         made by\n`cbfit explain --markdown`; do not edit it.\n\n| exit status | meaning |\n|---|---|\n",
    );
    for (status, meaning) in EXIT_STATUS {
        let _ = writeln!(page, "| {status} | {meaning} |");
    }
    table(&mut page, CATALOGUE);
    page += "\n## Warnings\n\n`cbfit check` looks for W01 to W14, runs say the others.\n";
    table(&mut page, WARNINGS);
    page
}

fn table(page: &mut String, entries: &[Entry]) {
    *page += "\n| code | what | when and why | how to mend it |\n|---|---|---|---|\n";
    for Entry { code, title, cause, remedy } in entries {
        let cells = [code, title, cause, remedy].map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_an_error_has_an_entry_and_no_other() {
        let source = include_str!("error.rs");
        let body = &source[source.find("pub fn code").unwrap()..source.find("pub fn exit_status").unwrap()];
        let codes: Vec<&str> = body.match_indices("=> \"E").map(|(at, _)| &body[at + 4..at + 9]).collect();
        assert_eq!(codes, CATALOGUE.iter().map(|entry| entry.code).collect::<Vec<_>>());
        let known = |status| EXIT_STATUS.iter().any(|(known, _)| *known == status);
        assert!(CATALOGUE.iter().all(|entry| known(entry.exit_status())));
    }

    #[test]
    fn codes_are_found_however_they_are_written() {
        for code in ["E0310", "e0310", "0310", "310", " E310 "] {
            assert_eq!(find(code).map(|entry| entry.code), Some("E0310"), "{code}");
        }
        assert_eq!(find("w7").map(|entry| (entry.code, entry.exit_status())), Some(("W07", 0)));
        assert!(["", "E", "W", "W99", "E0399", "E99999", "nan"].iter().all(|code| find(code).is_none()));
    }
}

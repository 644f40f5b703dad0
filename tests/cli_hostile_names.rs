//! Names from files are data wherever they come out: on the terminal, in CSV that a spreadsheet opens, in HTML, SVG and
//! JSON. Files name no other files that would be opened, and nobody else reads what is half written.
//!
//! The rule of CSV: a text cell that a spreadsheet would run as a formula gets a `'` before it; numbers stay numbers.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers outside test functions.

mod common;

use std::fmt::Write as _;

use common::cli::{Folder, Run};
use serde_json::Value;

/// Names of classes, and with `c` before the number of columns. NUL comes late: in the first bytes it says binary.
fn hostile_names() -> Vec<String> {
    let names = [
        "plain",
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "=cmd|'/c calc'!A0",
        "+1+cmd",
        "-2+3",
        "@SUM(A1:A9)",
        "\t=1",
        "two\nlines",
        "\u{1b}[31mred\u{1b}]0;title\u{7}",
        "\u{202e}gnp.exe",
        "c1 \u{9b}31m",
        "]]>&amp;<!--",
        "${jndi:x}`id`$(id)",
    ];
    let mut names: Vec<String> = names.map(String::from).to_vec();
    names.push("long".repeat(16_000));
    names.push("nul\0byte".to_owned());
    names
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Eight rows a class, features named as the classes are, and ids of the same sort.
fn train_csv(names: &[String]) -> String {
    let columns = &names[..names.len() - 1];
    let mut text = String::from("id");
    columns.iter().for_each(|name| write!(text, ",{}", quoted(name)).unwrap());
    text += ",label\n";
    for (class, name) in names.iter().enumerate() {
        for row in 0..8 {
            let id = if row == 0 && !name.contains('\0') { name } else { &format!("{class}-{row}") };
            text += &quoted(id);
            for column in 0..columns.len() {
                let value = if column == class % columns.len() {
                    5 + row
                } else {
                    (row * 7 + column * 3 + class) % 4
                };
                write!(text, ",{value}").unwrap();
            }
            writeln!(text, ",{}", quoted(name)).unwrap();
        }
    }
    text
}

/// Nothing a run says steers a terminal.
fn expect_tame(what: &str, text: &str) {
    let steers = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    if let Some(found) = text.chars().find(steers) {
        let at = text.find(found).unwrap();
        let near: String = text[..at].chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{what}: {found:?} after {near:?}");
    }
}

fn expect_tame_run(what: &str, run: &Run) {
    expect_tame(what, &run.stderr);
    expect_tame(what, run.text());
}

/// No cell of a CSV file is a formula. Returns all cells.
fn expect_no_formulas(name: &str, bytes: &[u8]) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let mut cells = Vec::new();
    for record in reader.records() {
        for cell in record.unwrap_or_else(|error| panic!("{name}: {error}")).iter() {
            let is_formula =
                cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && cell.parse::<f64>().is_err();
            assert!(!is_formula, "{name}: {cell:?}");
            cells.push(cell.to_owned());
        }
    }
    assert!(cells.len() > 10, "{name}");
    cells
}

fn folder_with_models(names: &[String]) -> Folder {
    let folder = Folder::new();
    folder.write("train.csv", train_csv(names));
    let fit = "--train train.csv --valid-fraction 0 --beta 0.9";
    expect_tame_run("train", &folder.ok(&format!("{fit} --l2 1 -o m.cbfit")));
    expect_tame_run(
        "boost",
        &folder.ok(&format!("{fit} --learner boost --rounds 3 --min-rows 2 -o t.cbfit")),
    );
    folder
}

#[test]
fn the_terminal_is_not_steered() {
    let names = hostile_names();
    let folder = folder_with_models(&names);
    folder.write("unseen.csv", train_csv(&names).replace(",\"two\nlines\"\n", ",other\u{1b}[2Jname\n"));
    let lines = [
        "inspect train.csv",
        "inspect m.cbfit",
        "inspect t.cbfit --importance gain",
        "check train.csv",
        "check unseen.csv --against m.cbfit",
        "eval m.cbfit train.csv",
        "eval t.cbfit train.csv",
        "weights train.csv",
        "influence m.cbfit --train train.csv --valid train.csv --top 20",
        "export t.cbfit --to text",
        "tune train.csv --folds 2 --trials 1",
    ];
    for line in lines {
        let run = folder.run(line);
        assert!(run.status == Some(0), "{line}: {}", run.stderr);
        expect_tame_run(line, &run);
        // Names of 64 kB are cut.
        let longest = run.text().lines().chain(run.stderr.lines()).map(|line| line.chars().count()).max();
        assert!(longest.is_some_and(|length| length < 6000), "{line}: a line of {longest:?}");
    }
    folder.write("two.csv", "\"a\u{1b}[31m\",\"label\u{202e}\"\n1,2\n");
    let errors = [
        "--train train.csv --label nothing",
        "--train two.csv",
        "eval m.cbfit unseen.csv --unseen error",
        "predict m.cbfit two.csv",
        "predict m.cbfit train.csv --id-col none",
        "influence m.cbfit --train train.csv --valid train.csv --class none",
    ];
    for line in errors {
        let run = folder.run(line);
        assert!(
            run.stderr.starts_with("error[") || run.stderr.contains("\nerror["),
            "{line}: {}",
            run.stderr
        );
        expect_tame(line, &run.stderr);
    }
}

#[test]
fn cells_of_csv_are_no_formulas() {
    let names = hostile_names();
    let folder = folder_with_models(&names);
    folder.ok("predict m.cbfit train.csv --proba -o p.csv");
    folder.ok("predict m.cbfit train.csv --top-k 3 -o p.tsv");
    folder.ok("predict t.cbfit train.csv --contrib -o contrib.csv");
    folder.ok("eval m.cbfit train.csv --by-class classes.csv");
    folder.ok("export m.cbfit --to csv -o weights.csv");
    folder.ok("influence m.cbfit --train train.csv --valid train.csv -o influence.csv");
    folder.ok("--train train.csv --valid-fraction 0 --beta 0.9 --l2 1 --oof oof.csv --folds 2 -o m2.cbfit");
    folder.write("shown.csv", &folder.ok("weights train.csv --as csv").stdout);
    folder.write("stdout.csv", &folder.ok("predict m.cbfit train.csv").stdout);
    for name in [
        "p.csv",
        "contrib.csv",
        "classes.csv",
        "weights.csv",
        "influence.csv",
        "oof.csv",
        "shown.csv",
        "stdout.csv",
    ] {
        let cells = expect_no_formulas(name, &folder.read(name));
        // They are guarded and not dropped.
        if name != "contrib.csv" {
            assert!(cells.iter().any(|cell| cell.contains("'=cmd|'/c calc'!A0")), "{name}");
        }
    }
    let tabs = String::from_utf8(folder.read("p.tsv")).unwrap().replace('\t', ",");
    assert!(tabs.contains("'=cmd|") && !tabs.contains(",=cmd|"));
}

#[test]
fn pages_hold_no_markup_of_names() {
    let names = hostile_names();
    let folder = folder_with_models(&names);
    folder.ok("compare train.csv --schemes none,inverse --folds 2 -o c.json -q");
    for line in ["report m.cbfit train.csv --compare c.json -o r.html", "report t.cbfit train.csv -o r.html"]
    {
        expect_tame_run(line, &folder.ok(line));
        let page = String::from_utf8(folder.read("r.html")).unwrap();
        let lower = page.to_lowercase();
        for harm in
            ["<script>alert", "<img", "onerror=alert(1)>", "<!--", "\u{1b}", "\u{202e}", "\0", "\u{9b}"]
        {
            // The page's own comments would be found as well: it has none.
            assert!(!lower.contains(harm), "{line}: {harm:?}");
        }
        assert_eq!(lower.matches("<script").count(), lower.matches("</script>").count(), "{line}");
        assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
        assert!(!lower.contains("http://") || !lower.contains("src=\"http"), "{line}");
        // All scripts of data are JSON still.
        for part in page.split("type=\"application/json\"").skip(1) {
            let text = &part[part.find('>').unwrap() + 1..part.find("</script>").unwrap()];
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{line}: {text:.200}");
        }
    }
}

#[test]
fn json_gives_names_back_as_they_are() {
    let names = hostile_names();
    let folder = folder_with_models(&names);
    let mut sorted = names.clone();
    sorted.sort_unstable();
    let known = |value: &Value| {
        value.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(known(&folder.json("inspect train.csv")["classes"]), sorted);
    assert_eq!(known(&folder.json("inspect m.cbfit")["metadata"]["label_map"]["names"]), sorted);
    folder.ok("predict m.cbfit train.csv -o p.jsonl");
    let lines = String::from_utf8(folder.read("p.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 8 * names.len());
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|row| row.is_object())));
}

/// A column chunk of Parquet may name a file that it is in; that file is not opened.
#[test]
fn no_path_in_a_file_is_followed() {
    use parquet::file::metadata::{
        ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter,
        RowGroupMetaData,
    };
    let folder = Folder::new();
    let whole = std::fs::read(common::repo("data/digits_lt_train.parquet")).unwrap();
    folder.write("secret.bin", &whole);
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&std::fs::File::open(folder.path("secret.bin")).unwrap())
        .unwrap();
    let group = |group: &RowGroupMetaData| {
        let mut builder = RowGroupMetaData::builder(group.schema_descr_ptr()).set_num_rows(group.num_rows());
        for chunk in group.columns() {
            let chunk: ColumnChunkMetaData =
                chunk.clone().into_builder().set_file_path("secret.bin".into()).build().unwrap();
            builder = builder.add_column_metadata(chunk);
        }
        builder.set_total_byte_size(group.total_byte_size()).build().unwrap()
    };
    let groups: Vec<RowGroupMetaData> = metadata.row_groups().iter().map(group).collect();
    let file: FileMetaData = metadata.file_metadata().clone();
    let told = ParquetMetaData::new(file, groups);
    // The pages of this file are zeros: whoever finds numbers has read them elsewhere.
    let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let mut forged = vec![0u8; whole.len() - 8 - footer];
    forged[..4].copy_from_slice(b"PAR1");
    ParquetMetaDataWriter::new(&mut forged, &told).finish().unwrap();
    folder.write("forged.parquet", forged);
    let run = folder.run("inspect forged.parquet");
    run.expect_status(3);
    assert!(run.stderr.contains("E0302") || run.stderr.contains("E0322"), "{}", run.stderr);
    // Archives, whose entries have paths, are not read at all.
    let mut archive = std::fs::read(common::repo("tests/golden/formats/archive.npz")).unwrap();
    let name = archive.windows(4).position(|bytes| bytes == b".npy").unwrap();
    archive[name - 1] = b'/';
    folder.write("up.npz", archive);
    folder.fails("inspect up.npz", "E0322", &["npz"], "numpy.load");
    assert_eq!(folder.names(), ["forged.parquet", "secret.bin", "up.npz"]);
}

#[cfg(unix)]
#[test]
fn what_is_half_written_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;
    let folder = Folder::new();
    let names = hostile_names();
    folder.write("train.csv", train_csv(&names[..4]));
    folder.ok("--train train.csv --valid-fraction 0 --l2 1 --beta 0.9 -o m.cbfit -q");
    let mode = |name: &str| std::fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
    // The usual mode comes with the name.
    folder.ok("predict m.cbfit train.csv -o p.csv");
    folder.write("plain", "");
    assert_eq!(mode("p.csv"), mode("plain"));
    let temporary = |name: &String| name.ends_with(".tmp");
    assert!(!folder.names().iter().any(temporary));
    // Slow work with an open output: the temporary file is watched while it is there.
    let rows = train_csv(&names[..4]);
    let (header, rest) = rows.split_once('\n').unwrap();
    folder.write("many.csv", format!("{header}\n{}", rest.repeat(3000)));
    let mut child =
        folder.command("predict m.cbfit many.csv --proba -o big.csv").stderr(Stdio::null()).spawn().unwrap();
    let mut seen = Vec::new();
    while child.try_wait().unwrap().is_none() {
        for name in folder.names().iter().filter(|name| name.starts_with(".cbfit-") && temporary(name)) {
            if let Ok(metadata) = std::fs::metadata(folder.path(name)) {
                seen.push((metadata.len(), metadata.permissions().mode() & 0o777));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(seen.iter().any(|(length, _)| *length > 0), "nothing was seen of {} rows", 32 * 3000);
    // With content it is private until it is complete, when it takes the usual mode and its name.
    let complete = seen.iter().filter(|(_, mode)| *mode != 0o600).count();
    assert!(seen[0].1 == 0o600 && complete * 2 < seen.len(), "{seen:?}");
}

//! Files of every producer and type (tests/golden/make_formats.py) against values stated here.

#![allow(clippy::panic, clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod formats_common;

use cbfit::Error;
use cbfit::data::format::{Format, OpenOptions, open_table};
use cbfit::data::table::FieldKind;
use cbfit::matrix::Dtype;
use formats_common::{golden, read, read_columns};

/// `column: v, v, v` a line, nulls as `-`.
#[track_caller]
fn expect(file: &str, lines: &[&str]) {
    let table = read(&golden(file), usize::MAX).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(table.lines(), lines, "{file}");
}

#[track_caller]
fn fails(file: &str) -> Error {
    match read(&golden(file), usize::MAX) {
        Ok(table) => panic!("{file} was read: {:?}", table.lines()),
        Err(error) => error,
    }
}

#[test]
fn parquet_scalars() {
    let small = ["int8: 1, -, 3", "int16: 1, -, 3", "int32: -5, -, 2147483647", "int64: 1, -, 3"];
    expect("scalars_a.parquet", &[&small[..], &["uint8: 1, -, 3", "uint16: 1, -, 3"]].concat());
    let wide = ["uint32: 7, -, 4294967295", "uint64: 1, -, 3"];
    let floats = ["float16: 1, NaN, 3", "float32: 1, NaN, 3", "float64: 1, NaN, 3"];
    expect("scalars_b.parquet", &[&wide[..], &floats[..]].concat());
    expect(
        "scalars_c.parquet",
        &["bool: true, -, false", "string: b, -, ä", "large_string: b, -, a", "dictionary: x, -, x"],
    );
    expect("raw_text.parquet", &["s: a, b"]);
    expect("no_rows.parquet", &["n: "]);
}

#[test]
fn parquet_lists_of_every_type() {
    for kind in ["float16", "float32", "float64", "int32", "uint64"] {
        expect(&format!("list_{kind}.parquet"), &["v: [1 2], [NaN NaN], [1 NaN]"]);
    }
    expect("list_bool.parquet", &["v: [1 0], [NaN NaN], [1 NaN]"]);
    expect("page_v2_half.parquet", &["v: [1 2], [NaN NaN], [3 NaN]"]);
    for file in ["dict", "plain", "split"] {
        expect(&format!("fixed_half_{file}.parquet"), &["v: [1 2], [3 4]"]);
    }
    expect("fixed_single_split.parquet", &["v: [1 2], [3 4]"]);
    expect("required.parquet", &["v: [1 2], [3 4], [5 6]", "h: 1, 2, 3", "n: 1, 2, 3"]);
}

#[test]
fn half_precision_stays_half_and_all_else_becomes_single() {
    for (file, dtype) in [
        ("list_float16.parquet", Dtype::F16),
        ("list_float64.parquet", Dtype::F32),
        ("list_int32.parquet", Dtype::F32),
        ("matrix_f2.npy", Dtype::F16),
        ("matrix_f8.npy", Dtype::F32),
    ] {
        let table = read(&golden(file), usize::MAX).unwrap();
        let FieldKind::Vector { len: Some(2), dtype: found } = table.fields[0].kind else {
            panic!("{file}: {:?}", table.fields[0])
        };
        assert_eq!(found, dtype, "{file}");
    }
}

#[test]
fn null_vectors_before_the_first_one_wait_for_its_length() {
    for file in ["late_vector.parquet", "late_vector.arrow"] {
        expect(file, &["v: [NaN NaN], [NaN NaN], [1 2], [NaN NaN]", "n: 0, 1, 2, 3"]);
        let table = read(&golden(file), 1).unwrap();
        assert_eq!(table.block_rows, if file.ends_with("parquet") { 3 } else { 4 }, "{file}");
    }
    assert_eq!(fails("null_lists.parquet").code(), "E0318");
    assert_eq!(fails("empty_lists.parquet").code(), "E0318");
}

#[test]
fn vectors_of_different_lengths_are_named_by_row() {
    let error = fails("ragged.parquet");
    assert!(matches!(error, Error::RaggedVector { row: 3, expected: 2, found: 1, .. }), "{error}");
    let error = fails("ragged.arrow");
    assert!(matches!(error, Error::RaggedVector { row: 2, expected: 2, found: 1, .. }), "{error}");
}

#[test]
fn parquet_encodings_codecs_and_row_groups() {
    let numbers = (0..600).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let texts = ["ab"; 600].join(", ");
    for codec in ["snappy", "zstd", "gzip", "lz4"] {
        let file = format!("codec_{codec}.parquet");
        expect(&file, &[&format!("n: {numbers}"), &format!("s: {texts}")]);
        let table = read(&golden(&file), 1).unwrap();
        assert_eq!((table.block_rows, table.stated_rows), (250, Some(600)), "{file}");
    }
    for file in ["delta_text.parquet", "page_v2.parquet"] {
        expect(file, &["s: a, bc, a", "t: ab, abc, ab"]);
    }
}

#[test]
fn pages_that_end_within_rows_make_whole_vectors() {
    let row = |row: usize| {
        let values: Vec<String> = (0..7).map(|v| ((7 * row + v) % 50).to_string()).collect();
        format!("[{}]", values.join(" "))
    };
    for name in ["plain", "dictionary", "fallback", "split", "v2", "half", "half_v2", "null"] {
        let nan = format!("[{}]", ["NaN"; 7].join(" "));
        let rows = (0..40).map(|r| if (name, r) == ("null", 33) { nan.clone() } else { row(r) });
        let line = format!("v: {}", rows.collect::<Vec<_>>().join(", "));
        expect(&format!("pages_{name}.parquet"), &[&line]);
    }
}

#[test]
fn other_libraries_write_the_same() {
    for file in ["polars.parquet", "polars.arrow", "pandas.parquet"] {
        expect(file, &["label: a, b", "v: [1 2], [3 4]"]);
    }
}

#[test]
fn class_names_of_hugging_face_come_along() {
    for file in ["class_label.parquet", "class_label.arrow"] {
        expect(file, &["label: 0, 1, 0", "x: 1.5, 2.5, 3.5"]);
        let table = read(&golden(file), usize::MAX).unwrap();
        assert_eq!(table.fields[0].class_names.as_deref(), Some(&["cat".to_owned(), "dog".to_owned()][..]));
        assert_eq!(table.fields[1].class_names, None);
    }
}

#[test]
fn columns_without_a_role_are_listed_and_refused_when_asked_for() {
    let path = golden("others.parquet");
    let reader = open_table(&path, &OpenOptions::default()).unwrap();
    let other: Vec<bool> = reader.fields().iter().map(|f| matches!(f.kind, FieldKind::Other(_))).collect();
    assert_eq!(other, [true, true, true, true, true, false, false]);
    assert_eq!(read_columns(&path, &["n"], usize::MAX).unwrap().lines(), ["n: 1"]);
    for column in ["struct", "nested", "texts", "binary"] {
        let error = read_columns(&path, &[column], usize::MAX).unwrap_err();
        assert!(matches!(&error, Error::UnsupportedType { column: found, .. } if found == column), "{error}");
    }
}

#[test]
fn columns_come_in_the_order_asked_for() {
    let table = read_columns(&golden("scalars_a.parquet"), &["int32", "int8"], usize::MAX).unwrap();
    assert_eq!(table.lines(), ["int32: -5, -, 2147483647", "int8: 1, -, 3"]);
    let table = read_columns(&golden("numbers_a.arrow"), &["int32", "int8"], usize::MAX).unwrap();
    assert_eq!(table.lines(), ["int32: -5, -, 2147483647", "int8: 1, -, 3"]);
}

#[test]
fn integers_beyond_63_bits_are_refused() {
    for file in ["huge_u64.parquet", "vector_u8.npy"] {
        let error = fails(file);
        assert!(error.to_string().contains("9223372036854775808"), "{error}");
    }
}

#[test]
fn arrow_numbers_and_texts() {
    expect(
        "numbers_a.arrow",
        &[
            "int8: 1, -, 3",
            "int16: 1, -, 3",
            "int32: -5, -, 2147483647",
            "int64: 1, -, 3",
            "uint8: 1, -, 3",
            "uint16: 1, -, 3",
        ],
    );
    let floats = ["float16: 1, NaN, 3", "float32: 1, NaN, 3", "float64: 1, NaN, 3"];
    expect("numbers_b.arrow", &[&["uint32: 7, -, 4294967295", "uint64: 1, -, 3"], &floats[..]].concat());
    expect("texts_a.arrow", &["bool: true, -, false", "string: b, -, ä", "large_string: b, -, a"]);
    expect(
        "texts_b.arrow",
        &[
            "dictionary: x, -, x",
            "string_view: b, -, longer than twelve bytes",
            "numbers: 30, -, 10",
            "nothing: -, -, -",
        ],
    );
    expect("delta_dictionary.arrow", &["s: a, b, c, a"]);
}

#[test]
fn arrow_vectors_and_codecs() {
    let same = "[1 2], [NaN NaN], [3 NaN]";
    expect(
        "vectors.arrow",
        &["list", "large", "half", "fixed"]
            .map(|name| format!("{name}: {same}"))
            .each_ref()
            .map(String::as_str),
    );
    let ones = format!("n: {}", ["1"; 300].join(", "));
    for file in ["lz4_file", "lz4_stream", "zstd_file", "zstd_stream"] {
        expect(&format!("{file}.arrow"), &[&ones]);
    }
}

#[test]
fn arrow_vectors_among_other_columns() {
    let vectors = "[0 1], [7 8], [14 15], [21 22], [28 29]";
    for name in ["mixed_file.arrow", "mixed_stream.arrow"] {
        let columns = ["s", "list", "fixed", "large", "n"];
        let table = read_columns(&golden(name), &columns, usize::MAX).unwrap();
        let lists = ["list", "fixed", "large"].map(|column| format!("{column}: {vectors}"));
        let expected =
            [&["s: a, b, -, c, d".to_owned()], &lists[..], &["n: 0, 1, 2, 3, 4".to_owned()]].concat();
        assert_eq!(table.lines(), expected, "{name}");
        let table = read_columns(&golden(name), &["fixed"], usize::MAX).unwrap();
        assert_eq!(table.lines(), [format!("fixed: {vectors}")], "{name}");
    }
    expect("vectors_file.arrow", &["s: a, b", "fixed: [0 1], [7 8]"]);
    expect("vectors_stream.arrow", &["list: [0 1], [7 8]"]);
}

#[test]
fn numpy_matrices() {
    for kind in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "big_endian", "fortran"] {
        expect(&format!("matrix_{kind}.npy"), &["features: [0 1], [2 3], [4 5]"]);
    }
    expect("matrix_bool.npy", &["features: [0 1], [0 1], [0 1]"]);
    expect("version_2.npy", &["features: [0 1], [2 3], [4 5]"]);
    expect("version_3.npy", &["features: [0 1], [2 3], [4 5]"]);
    expect("empty.npy", &["features: "]);
}

#[test]
fn numpy_vectors() {
    expect("vector_f2.npy", &["0: 1.5, -2"]);
    expect("vector_i4.npy", &["0: 1, -2"]);
    expect("vector_u1.npy", &["0: 1, 255"]);
    expect("vector_bool.npy", &["0: true, false"]);
    expect("vector_text.npy", &["0: b, äö, "]);
    expect("vector_text_big.npy", &["0: b, äö"]);
    expect("vector_bytes.npy", &["0: b, a"]);
}

#[test]
fn what_would_run_code_or_is_no_table_is_refused_with_a_recipe() {
    let error = fails("objects.npy");
    assert_eq!(error.code(), "E0304");
    assert!(error.help().contains("np.load"), "{}", error.help());
    assert_eq!(fails("cube.npy").code(), "E0322");
    assert_eq!(fails("archive.npz").code(), "E0322");
}

#[test]
fn a_stated_format_must_fit_the_bytes() {
    let options = OpenOptions { format: Some(Format::Npy), ..OpenOptions::default() };
    let error = open_table(&golden("polars.parquet"), &options).err().unwrap();
    assert!(error.to_string().contains("looks like Parquet"), "{error}");
    let options = OpenOptions { has_header: false, ..OpenOptions::default() };
    assert_eq!(open_table(&golden("matrix_f4.npy"), &options).err().unwrap().code(), "E0201");
    let missing = open_table(&golden("missing.npy"), &OpenOptions::default()).err().unwrap();
    assert_eq!(missing.code(), "E0401");
}

#[test]
fn standard_input_is_read_by_its_first_bytes() {
    for (file, said) in [
        ("version_3.npy", "features: [0 1], [2 3], [4 5]"),
        ("texts_b.arrow", "numbers: 30, -, 10"),
        ("polars.arrow", "v: [1 2], [3 4]"),
        ("polars.parquet", "E0322"),
    ] {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "read_standard_input", "--nocapture"])
            .stdin(std::fs::File::open(golden(file)).unwrap())
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(output.contains(said), "{file}: {output}");
    }
}

#[test]
#[ignore = "run with a file on its standard input by the test above"]
fn read_standard_input() {
    let options = OpenOptions::default();
    match open_table("-", &options) {
        Ok(reader) => println!("{}", formats_common::read_all(reader).unwrap().lines().join("\n")),
        Err(error) => println!("{}", error.code()),
    }
}

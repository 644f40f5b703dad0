//! The direct decoder against the general one: the same values, the same errors, on any number of threads.

use std::path::Path;
use std::sync::Arc;

use ::half::f16;
use ::parquet::basic::{Compression, Encoding};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::FixedLenByteArray;
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::data::table::new_buffer;

const LISTS: [&str; 3] = [
    "message m { required group v (LIST) { repeated group list { required T element; } } }",
    "message m { required group v (LIST) { repeated group list { optional T element; } } }",
    "message m { optional group v (LIST) { repeated group list { optional T element; } } }",
];

/// How a file of vectors is written.
struct Layout {
    schema: &'static str,
    half: bool,
    cols: usize,
    /// Rows of each row group.
    groups: Vec<usize>,
    /// A row that is null, where the schema has nulls.
    null_row: Option<usize>,
    /// Values that differ; more than fit make the writer give its dictionary up.
    distinct: usize,
}

fn write(path: &Path, layout: &Layout, properties: WriterPropertiesBuilder) {
    let element = if layout.half { "fixed_len_byte_array(2) element (FLOAT16)" } else { "float element" };
    let schema = Arc::new(parse_message_type(&layout.schema.replace("T element", element)).unwrap());
    let max_def = 1 + layout.schema.matches("optional").count() as i16;
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    let mut row = 0;
    for &rows in &layout.groups {
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        for row in row..row + rows {
            if layout.null_row == Some(row) {
                def.push(0);
                rep.push(0);
                continue;
            }
            for col in 0..layout.cols {
                values.push((((row * layout.cols + col) * 7919) % layout.distinct) as f32);
                def.push(max_def);
                rep.push(i16::from(col > 0));
            }
        }
        row += rows;
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        match column.untyped() {
            ColumnWriter::FloatColumnWriter(column) => {
                column.write_batch(&values, Some(&def), Some(&rep)).unwrap();
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                let bytes = |&x: &f32| FixedLenByteArray::from(f16::from_f32(x).to_le_bytes().to_vec());
                let values: Vec<_> = values.iter().map(bytes).collect();
                column.write_batch(&values, Some(&def), Some(&rep)).unwrap();
            }
            _ => panic!("another column"),
        }
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// The bits of all values with the width of the rows, and the number of column chunks read directly.
fn read(path: &Path, general_only: bool) -> Result<(Vec<u32>, usize, usize)> {
    read_in_blocks(path, general_only, None)
}

/// As [`read`], with row groups cut into blocks of so many bytes.
fn read_in_blocks(
    path: &Path,
    general_only: bool,
    block_bytes: Option<u64>,
) -> Result<(Vec<u32>, usize, usize)> {
    let mut reader = ParquetReader::open(path.to_str().unwrap())?.with_block_bytes(block_bytes);
    reader.general_only = general_only;
    let vector = |field: &Field| matches!(field.kind, FieldKind::Vector { .. });
    let Some(column) = reader.fields.iter().position(vector) else { return Ok((Vec::new(), 0, 0)) };
    let mut into = [new_buffer(&reader.fields[column].kind).unwrap()];
    while reader.append_block(&[column], &mut into)? > 0 {}
    let [ColumnBuffer::Vector(matrix)] = into else { panic!() };
    let cols = matrix.cols();
    let bits = (0..matrix.rows()).flat_map(|row| (0..cols).map(move |col| (row, col)));
    let bits = bits.map(|(row, col)| matrix.get(row, col).to_bits()).collect();
    Ok((bits, cols, reader.read_directly))
}

/// Both decoders agree; returns the number of column chunks read directly.
#[track_caller]
fn compare(path: &Path, what: &str) -> usize {
    compare_damaged(path, what, None)
}

/// As [`compare`], of a file that held the values `whole`: where damage lies in what is not needed, such as statistics of
/// a page, the direct decoder may give these where the general one gives up.
#[track_caller]
fn compare_damaged(path: &Path, what: &str, whole: Option<&[u32]>) -> usize {
    let general = read(path, true).map(|(bits, cols, direct)| (bits, cols, assert_eq!(direct, 0)));
    let direct = read(path, false);
    match (general, direct) {
        (Ok((bits, cols, ())), Ok((direct_bits, direct_cols, chunks))) => {
            assert!(bits == direct_bits && cols == direct_cols, "{what}");
            chunks
        }
        (Err(general), Err(direct)) => {
            assert_eq!(general.to_string(), direct.to_string(), "{what}");
            0
        }
        (Err(_), Ok((bits, ..))) if whole == Some(&bits[..]) => 0,
        (general, direct) => panic!("{what}: {:?}, directly {:?}", general.err(), direct.err()),
    }
}

fn properties(
    encoding: Option<Encoding>,
    codec: Compression,
    version: WriterVersion,
) -> WriterPropertiesBuilder {
    let builder = WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_write_batch_size(10)
        .set_data_page_size_limit(256)
        .set_dictionary_page_size_limit(1024);
    match encoding {
        Some(encoding) => builder.set_dictionary_enabled(false).set_encoding(encoding),
        None => builder,
    }
}

#[test]
fn every_layout_gives_the_values_of_the_general_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(Default::default()),
        Compression::GZIP(Default::default()),
        Compression::LZ4_RAW,
    ];
    for (schema, half) in LISTS.into_iter().flat_map(|schema| [(schema, false), (schema, true)]) {
        for encoding in [None, Some(Encoding::PLAIN), Some(Encoding::BYTE_STREAM_SPLIT)] {
            for codec in codecs {
                for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                    // 13 columns: pages of ten values end inside rows, where the writer lets them.
                    for (cols, distinct) in [(13, 20), (13, 1500), (1, 300)] {
                        let layout =
                            Layout { schema, half, cols, groups: vec![40, 1, 33], null_row: None, distinct };
                        write(&path, &layout, properties(encoding, codec, version));
                        let what =
                            format!("{schema} {half} {encoding:?} {codec} {version:?} {cols} {distinct}");
                        assert_eq!(compare(&path, &what), 3, "{what}");
                        let row_bytes = cols as u64 * if half { 2 } else { 4 };
                        let (bits, _, pieces) = read_in_blocks(&path, false, Some(7 * row_bytes)).unwrap();
                        assert!(bits == read(&path, true).unwrap().0, "{what} in pieces");
                        // 40 rows are 6 pieces, 33 are 5, and 1 is whole.
                        assert_eq!(pieces, 12, "{what} in pieces");
                    }
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let layout = Layout {
        schema: LISTS[2],
        half: false,
        cols: 64,
        groups: vec![500, 200],
        null_row: None,
        distinct: 9999,
    };
    write(&path, &layout, properties(None, Compression::SNAPPY, WriterVersion::PARQUET_1_0));
    let general = read(&path, true).unwrap().0;
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (bits, cols, direct) = pool.install(|| read(&path, false)).unwrap();
        assert!(bits == general && cols == 64 && direct == 2, "{threads}");
    }
}

#[test]
fn a_null_row_leaves_its_row_group_to_the_general_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for null_row in [0, 20, 49, 50, 99] {
        for statistics in [true, false] {
            let layout = Layout {
                schema: LISTS[2],
                half: false,
                cols: 8,
                groups: vec![50, 50],
                null_row: Some(null_row),
                distinct: 99,
            };
            let properties = properties(None, Compression::SNAPPY, WriterVersion::PARQUET_1_0);
            let level = ::parquet::file::properties::EnabledStatistics::None;
            let properties = if statistics { properties } else { properties.set_statistics_enabled(level) };
            write(&path, &layout, properties);
            assert_eq!(compare(&path, &format!("null row {null_row}")), 1);
            let in_pieces = read_in_blocks(&path, false, Some(320)).unwrap().0;
            assert!(in_pieces == read(&path, true).unwrap().0, "null row {null_row} in pieces");
        }
    }
}

#[test]
fn a_damaged_file_ends_as_with_the_general_decoder() {
    crate::data::guard::silence_decoder_panics();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    for (half, encoding, codec, version) in [
        (false, None, Compression::SNAPPY, WriterVersion::PARQUET_1_0),
        (true, None, Compression::ZSTD(Default::default()), WriterVersion::PARQUET_2_0),
        (false, Some(Encoding::PLAIN), Compression::UNCOMPRESSED, WriterVersion::PARQUET_1_0),
        (true, Some(Encoding::BYTE_STREAM_SPLIT), Compression::LZ4_RAW, WriterVersion::PARQUET_1_0),
    ] {
        let layout =
            Layout { schema: LISTS[1], half, cols: 5, groups: vec![12], null_row: None, distinct: 30 };
        write(&path, &layout, properties(encoding, codec, version));
        let bytes = std::fs::read(&path).unwrap();
        let (whole, ..) = read(&path, true).unwrap();
        for at in 4..bytes.len() {
            for pattern in [0xff, 0x40, 0x01] {
                let mut altered = bytes.clone();
                altered[at] ^= pattern;
                let _ = std::fs::remove_file(&path);
                std::fs::write(&path, altered).unwrap();
                let what = format!("{half} {encoding:?} {codec} {version:?}: byte {at} ^ {pattern:#x}");
                compare_damaged(&path, &what, Some(&whole));
            }
        }
    }
}

#[test]
fn golden_files_of_vectors_are_read_directly() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats");
    let mut direct = Vec::new();
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".parquet") && compare(&path, &name) > 0 {
            direct.push(name);
        }
    }
    for name in
        ["fixed_half_dict", "fixed_half_plain", "fixed_half_split", "fixed_single_split", "pandas", "polars"]
    {
        assert!(direct.contains(&format!("{name}.parquet")), "{name} of {direct:?}");
    }
}

//! Which format a file has, and the reader for it. The first bytes decide; name and `--format` must not contradict.

use std::fs::File;
use std::io::{BufRead, Read, stdin};

use super::csv::{self, CsvOptions};
use super::input::Input;
use super::ipc::IpcReader;
use super::npy::NpyReader;
use super::parquet::ParquetReader;
use super::paths::near_names;
use super::svmlight;
use super::svmlight_lines::looks_like_svmlight;
use super::table::TableReader;
use crate::{Error, Result};

/// Bytes looked at.
const HEAD: u64 = 512;

/// A file format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text with a separator, by default the one that fits best; may be compressed (gzip, zstd).
    Csv,
    /// Text with tabs; may be compressed (gzip, zstd).
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC, as file (Feather V2) or stream.
    Ipc,
    /// One NumPy array.
    Npy,
    /// Sparse rows as text, `label index:value ...`; may be compressed (gzip, zstd).
    Svmlight,
}

impl Format {
    /// All formats, in the order messages list them.
    pub const ALL: [Format; 6] =
        [Format::Csv, Format::Tsv, Format::Parquet, Format::Ipc, Format::Npy, Format::Svmlight];

    /// Name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "CSV",
            Format::Tsv => "TSV",
            Format::Parquet => "Parquet",
            Format::Ipc => "Arrow IPC",
            Format::Npy => "a NumPy array",
            Format::Svmlight => "svmlight",
        }
    }

    /// Value of `--format`.
    pub fn flag(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Parquet => "parquet",
            Format::Ipc => "arrow",
            Format::Npy => "npy",
            Format::Svmlight => "svmlight",
        }
    }

    /// The format a file name's ending stands for.
    pub fn of_name(name: &str) -> Option<Format> {
        let lower = name.to_lowercase();
        let stem = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst"));
        let (_, ending) = stem.unwrap_or(&lower).rsplit_once('.')?;
        let format = match ending {
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "parquet" | "pq" | "parq" => Format::Parquet,
            "arrow" | "arrows" | "ipc" | "feather" => Format::Ipc,
            "npy" => Format::Npy,
            "svm" | "svmlight" | "libsvm" | "svml" => Format::Svmlight,
            _ => return None,
        };
        (stem.is_none() || format.is_text()).then_some(format)
    }

    /// Whether it is text, which may be compressed as a whole.
    fn is_text(self) -> bool {
        self.is_delimited() || self == Format::Svmlight
    }

    /// Whether separator and header are a matter of the user's.
    fn is_delimited(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv)
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Format::ALL.into_iter().find(|format| format.flag() == text).ok_or_else(|| {
            let known = Format::ALL.map(Format::flag).join(", ");
            Error::bad_value("--format", text, "is no known format", format!("formats are {known}"))
        })
    }
}

/// What the user said about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// The format; `None` goes by the file itself.
    pub format: Option<Format>,
    /// Separator of text files; `None` lets the reader find it.
    pub delimiter: Option<u8>,
    /// Whether the first line of text files names the columns.
    pub has_header: bool,
    /// Bytes of vectors that a block has at most, where the format can be read in blocks of any size; as the reader likes
    /// where `None`.
    pub block_bytes: Option<u64>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { format: None, delimiter: None, has_header: true, block_bytes: None }
    }
}

/// Opens a file, or standard input as `-`, with the reader of its format.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Io`]; [`Error::NoRows`] for an empty file; [`Error::WrongFormat`] where bytes and
/// stated format differ; [`Error::RefusedFormat`] for pickles; [`Error::UnsupportedFormat`] for known formats that are
/// not read; [`Error::NoEffect`] for options of text files with another format; and those of the reader.
pub fn open_table(path: &str, options: &OpenOptions) -> Result<Box<dyn TableReader>> {
    let head = first_bytes(path)?;
    let format = decide(path, &head, options.format)?;
    if !format.is_delimited() {
        check_text_options(format, options)?;
    }
    Ok(match format {
        Format::Csv | Format::Tsv => {
            let delimiter = options.delimiter.or((format == Format::Tsv).then_some(b'\t'));
            Box::new(csv::open(path, &CsvOptions { delimiter, has_header: options.has_header })?)
        }
        Format::Parquet if path == "-" => {
            return Err(Error::UnsupportedFormat {
                file: "<stdin>".into(),
                kind: "Parquet through a pipe".into(),
                recipe: "name the file: the index of a Parquet file stands at its end".into(),
            });
        }
        Format::Parquet => Box::new(ParquetReader::open(path)?.with_block_bytes(options.block_bytes)),
        Format::Ipc => Box::new(IpcReader::open(path)?),
        Format::Npy => Box::new(NpyReader::open(path)?.with_block_bytes(options.block_bytes)),
        Format::Svmlight => Box::new(svmlight::open(path)?),
    })
}

/// What the file `path` looks like where its first bytes are those of rows.
pub(crate) fn looks_like(path: &str) -> Option<&'static str> {
    let head = first_bytes(path).ok().filter(|head| !head.is_empty())?;
    match signature(path, &head).ok()? {
        Signature::Is(format) => Some(format.name()),
        Signature::Compressed(kind) => Some(kind),
        // Damage may leave no zero in the first bytes.
        Signature::Text if !is_printable(&head) => None,
        Signature::Text if looks_like_svmlight(&head, head.len() as u64 >= HEAD) => Some("svmlight"),
        Signature::Text => Some("text, perhaps CSV"),
        Signature::Unknown => None,
    }
}

/// Whether bytes are text without control characters, whose last character may be cut.
fn is_printable(head: &[u8]) -> bool {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

fn check_text_options(format: Format, options: &OpenOptions) -> Result<()> {
    let flag = match options {
        OpenOptions { delimiter: Some(_), .. } => "--delimiter",
        OpenOptions { has_header: false, .. } => "--no-header",
        _ => return Ok(()),
    };
    Err(Error::NoEffect {
        flag: flag.into(),
        with: format!("{} data", format.name()),
        help: format!("leave {flag} out; it is for CSV and TSV"),
    })
}

fn first_bytes(path: &str) -> Result<Vec<u8>> {
    if path == "-" {
        // Looked at and left in the buffer that the reader of the format will share.
        let mut input = stdin().lock();
        let bytes = input.fill_buf().map_err(|source| Error::io("<stdin>", "read", source))?;
        return Ok(bytes.iter().take(HEAD as usize).copied().collect());
    }
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned(), near: near_names(path) },
        _ => Error::io(path, "read", source),
    };
    let mut head = Vec::new();
    File::open(path).map_err(io)?.take(HEAD).read_to_end(&mut head).map_err(io)?;
    Ok(head)
}

/// What the first bytes of a file say.
enum Signature {
    Is(Format),
    Compressed(&'static str),
    Text,
    Unknown,
}

fn decide(path: &str, head: &[u8], stated: Option<Format>) -> Result<Format> {
    if head.is_empty() {
        return Err(Error::NoRows { file: shown(path), why: ": the file is empty".into() });
    }
    let named = Format::of_name(path);
    let wrong = |expected: &str, found: String| {
        let found = format!("{found} (first bytes \"{}\")", head[..head.len().min(12)].escape_ascii());
        Err(Error::WrongFormat { file: shown(path), expected: expected.into(), found })
    };
    match (signature(path, head)?, stated) {
        (Signature::Is(found), Some(stated)) if found != stated => {
            wrong(stated.name(), format!("it looks like {}", found.name()))
        }
        (Signature::Is(found), _) => Ok(found),
        (Signature::Compressed(kind), Some(stated)) if !stated.is_text() => {
            wrong(stated.name(), format!("it looks like {kind}"))
        }
        (Signature::Compressed(_), stated) => {
            let inner = path.rsplit_once('.').and_then(|(stem, _)| Format::of_name(stem));
            match stated.or(inner) {
                Some(format) if !format.is_text() => Err(Error::UnsupportedFormat {
                    file: shown(path),
                    kind: format!("compressed as a whole although {} compresses by itself", format.name()),
                    recipe: format!("unpack it first: gzip -dk {path:?} or zstd -dk {path:?}"),
                }),
                Some(format) => Ok(format),
                None => {
                    let head = unpacked_head(path)?;
                    Ok(text_format(&head, head.len() as u64 >= HEAD))
                }
            }
        }
        (Signature::Text, stated) => match stated.or(named) {
            Some(format) if !format.is_text() => {
                wrong(format.name(), "it looks like text, perhaps CSV".into())
            }
            Some(format) => Ok(format),
            // A pipe may hand on less than was asked for.
            None => {
                Ok(text_format(head, head.len() as u64 >= HEAD || (path == "-" && !head.ends_with(b"\n"))))
            }
        },
        (Signature::Unknown, stated) => {
            let known = "CSV, Parquet, Arrow IPC, a NumPy array or svmlight";
            let expected = stated.or(named).map_or(known, Format::name);
            wrong(expected, "it has another content".into())
        }
    }
}

/// The format of text whose name tells none.
fn text_format(head: &[u8], is_cut: bool) -> Format {
    if looks_like_svmlight(head, is_cut) { Format::Svmlight } else { Format::Csv }
}

/// The first bytes of the text in a packed file. Standard input cannot be read twice and gives none: what comes packed
/// through a pipe is CSV unless the user says otherwise.
fn unpacked_head(path: &str) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    if path != "-" {
        let input = Input::open(path)?;
        input.text()?.take(HEAD).read_to_end(&mut head).map_err(|error| input.read_error(error))?;
    }
    Ok(head)
}

fn signature(path: &str, head: &[u8]) -> Result<Signature> {
    let unsupported = |kind: &str, recipe: String| {
        Err(Error::UnsupportedFormat { file: shown(path), kind: kind.into(), recipe })
    };
    match head {
        [b'P', b'A', b'R', b'1', ..] => Ok(Signature::Is(Format::Parquet)),
        [b'P', b'A', b'R', b'E', ..] => {
            unsupported("an encrypted Parquet file", "write it without encryption".into())
        }
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => {
            Ok(Signature::Is(Format::Ipc))
        }
        [b'F', b'E', b'A', b'1', ..] => unsupported(
            "a Feather file of version 1",
            format!(
                "convert it: python -c \"import sys, pyarrow.feather as f; \
                 f.write_feather(f.read_table(sys.argv[1]), 'converted.arrow')\" {path:?}"
            ),
        ),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Signature::Is(Format::Npy)),
        [0x1f, 0x8b, ..] => Ok(Signature::Compressed("a gzip file")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Signature::Compressed("a zstd file")),
        [0x80, 2..=5, ..] => Err(refused_pickle(path, "a Python pickle")),
        [b'P', b'K', 3, 4, ..] => zip_content(path, head),
        [0x89, b'H', b'D', b'F', ..] => unsupported(
            "an HDF5 file",
            format!(
                "convert a data set of it: python -c \"import sys, h5py, numpy; \
                 numpy.save('converted.npy', h5py.File(sys.argv[1])['NAME'][:])\" {path:?}"
            ),
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => unsupported(
            "text in UTF-16",
            format!("convert it: iconv -f UTF-16 -t UTF-8 {path:?} > converted.csv"),
        ),
        _ if head.contains(&0) => Ok(Signature::Unknown),
        _ => Ok(Signature::Text),
    }
}

/// A zip archive is told by the name of its first entry.
fn zip_content(path: &str, head: &[u8]) -> Result<Signature> {
    let length = head.get(26..28).map_or(0, |bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let name = head.get(30..).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(length)]);
    if name.ends_with("data.pkl")
        || name.contains("/data/")
        || path.ends_with(".pt")
        || path.ends_with(".pth")
    {
        return Err(refused_pickle(path, "a PyTorch file (pickle)"));
    }
    let (kind, recipe) = if name.ends_with(".npy") {
        let recipe = format!(
            "save one array of it: python -c \"import sys, numpy; a = numpy.load(sys.argv[1]); print(a.files); \
             numpy.save('converted.npy', a[a.files[0]])\" {path:?}"
        );
        ("an .npz archive", recipe)
    } else if name == "[Content_Types].xml" {
        ("an Excel workbook", "save it as CSV".to_owned())
    } else {
        ("a zip archive", format!("unpack it first: unzip {path:?}"))
    };
    Err(Error::UnsupportedFormat { file: shown(path), kind: kind.into(), recipe })
}

fn refused_pickle(path: &str, kind: &str) -> Error {
    let recipe = if kind.contains("PyTorch") {
        format!(
            "convert it: python -c \"import sys, torch, numpy; \
             numpy.save('converted.npy', torch.load(sys.argv[1], weights_only=True).numpy())\" {path:?}"
        )
    } else {
        format!(
            "if you trust it, convert it: python -c \"import sys, pickle, numpy; \
             numpy.save('converted.npy', numpy.asarray(pickle.load(open(sys.argv[1], 'rb'))))\" {path:?}"
        )
    };
    Error::RefusedFormat { file: shown(path), kind: kind.into(), recipe }
}

fn shown(path: &str) -> String {
    if path == "-" { "<stdin>".into() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_and_contradictions_are_errors() {
        let code = |path: &str, head: &[u8], stated| match decide(path, head, stated) {
            Ok(format) => format.flag(),
            Err(error) => error.code(),
        };
        assert_eq!(code("a.bin", b"PAR1....", None), "parquet");
        assert_eq!(code("a.csv", b"\xff\xff\xff\xff\x10\0\0\0", None), "arrow");
        assert_eq!(code("a", b"ARROW1\0\0", Some(Format::Ipc)), "arrow");
        assert_eq!(code("a", b"PAR1", Some(Format::Npy)), "E0303");
        assert_eq!(code("a.parquet", b"x,y\n1,2\n", None), "E0303");
        assert_eq!(code("a.parquet", b"x,y\n1,2\n", Some(Format::Csv)), "csv");
        assert_eq!(code("a.TSV.gz", b"\x1f\x8b\x08", None), "tsv");
        assert_eq!(code("-", b"\x1f\x8b\x08", None), "csv");
        assert_eq!(code("a.svm.gz", b"\x1f\x8b\x08", None), "svmlight");
        assert_eq!(code("a9a", b"-1 3:1 11:1\n", None), "svmlight");
        assert_eq!(code("a.csv", b"-1 3:1 11:1\n", None), "csv");
        assert_eq!(code("a.libsvm", b"x,y\n", None), "svmlight");
        assert_eq!([code("-", b"0 1:0.5 2", None), code("a", b"0 1:0.5 2", None)], ["svmlight", "csv"]);
        assert_eq!(code("a.npy.zst", b"\x28\xb5\x2f\xfd", None), "E0322");
        assert_eq!(code("a.npy", b"\x1f\x8b\x08", Some(Format::Npy)), "E0303");
        assert_eq!(code("a.txt", b"1 2 3", None), "csv");
        assert_eq!(code("a", b"\x7fELF\0\0", None), "E0303");
        assert_eq!(code("a", b"", None), "E0301");
    }

    #[test]
    fn formats_that_are_not_read_come_with_a_recipe() {
        let fail = |path: &str, head: &[u8]| decide(path, head, None).unwrap_err();
        let zip = |name: &str| {
            let mut bytes = b"PK\x03\x04".to_vec();
            bytes.resize(26, 0);
            bytes.extend([name.len() as u8, 0, 0, 0]);
            bytes.extend(name.bytes());
            bytes
        };
        assert_eq!(fail("a.pkl", b"\x80\x05\x95").code(), "E0304");
        assert_eq!(fail("model.pt", &zip("archive/data.pkl")).code(), "E0304");
        for (head, word) in [
            (zip("X.npy"), "npz"),
            (zip("[Content_Types].xml"), "Excel"),
            (b"\x89HDF\r\n\x1a\n".to_vec(), "HDF5"),
            (b"\xff\xfea\0".to_vec(), "UTF-16"),
        ] {
            let error = fail("file", &head);
            assert_eq!(error.code(), "E0322");
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(fail("a.npz", &zip("X.npy")).help().ends_with("a[a.files[0]])\" \"a.npz\""));
    }

    #[test]
    fn options_of_text_files_have_no_effect_elsewhere() {
        let options = OpenOptions { delimiter: Some(b';'), ..OpenOptions::default() };
        assert_eq!(check_text_options(Format::Svmlight, &options).unwrap_err().code(), "E0201");
        assert_eq!(check_text_options(Format::Npy, &options).unwrap_err().code(), "E0201");
        assert!(check_text_options(Format::Npy, &OpenOptions::default()).is_ok());
        assert!("arow".parse::<Format>().unwrap_err().help().contains("arrow"));
    }
}

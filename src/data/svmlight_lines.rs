//! Lines of svmlight files: cut into blocks and pieces of whole lines, scanned and parsed.

use std::io::{self, Read};

use super::csv_scan::parse_f64;
use crate::matrix::SparseRows;

/// Most bytes of a block; a longer line is a block of its own.
const BLOCK_BYTES: usize = 4 << 20;
/// Longest line: five million features in a row. A packed file of one line must not take up all memory.
const MOST_LINE_BYTES: usize = 64 << 20;
/// Most lines of a block: a prediction takes room for every class in every row of it.
const BLOCK_LINES: usize = 1 << 14;
/// Bytes parsed by one thread at a time.
const PIECE: usize = 1 << 16;
/// Largest feature index, 2^24 - 1. A model holds a weight for every index up to the largest one and every class; one
/// stray index must not take up all memory.
pub(super) const LARGEST_INDEX: u32 = (1 << 24) - 1;
/// Bytes of a token shown in a message.
const SHOWN: usize = 40;

/// Text as blocks of whole lines.
pub(super) struct Lines<R> {
    text: R,
    buffer: Vec<u8>,
    /// What of the buffer was handed out.
    used: usize,
    at_end: bool,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(text: R) -> Self {
        Lines { text, buffer: Vec::new(), used: 0, at_end: false }
    }

    /// The next lines, `None` after the last.
    pub(super) fn next_block(&mut self) -> io::Result<Option<&[u8]>> {
        let mut wanted = BLOCK_BYTES;
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(end) = block_end(rest, wanted, self.at_end) {
                let block = self.used..self.used + end;
                self.used = block.end;
                return Ok(Some(&self.buffer[block]));
            }
            if self.at_end && rest.is_empty() {
                return Ok(None);
            }
            if rest.len() >= MOST_LINE_BYTES {
                let why = format!("a line has more than {MOST_LINE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if rest.len() >= wanted {
                // One line: twice as much each time, so that it is searched for its end a few times only.
                wanted = wanted.saturating_mul(2);
                continue;
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let lacking = (wanted - self.buffer.len()) as u64;
            let read = self.text.by_ref().take(lacking).read_to_end(&mut self.buffer)?;
            self.at_end = (read as u64) < lacking;
        }
    }
}

/// Where the block at the start of `text` ends: behind at most [`BLOCK_LINES`] lines and `wanted` bytes; `None` where
/// more text is needed to tell, or there is none.
fn block_end(text: &[u8], wanted: usize, at_end: bool) -> Option<usize> {
    let looked_at = &text[..text.len().min(wanted)];
    let (mut lines, mut end) = (0, None);
    for (at, _) in looked_at.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        (lines, end) = (lines + 1, Some(at + 1));
        if lines == BLOCK_LINES {
            return end;
        }
    }
    match text.len() {
        0 => None,
        length if length >= wanted => end,
        length if at_end => Some(length),
        _ => None,
    }
}

/// A block cut into pieces of whole lines for the threads, by its bytes alone.
pub(super) fn pieces(block: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = block;
    while rest.len() > PIECE {
        let end =
            rest[PIECE..].iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| PIECE + at + 1);
        let (piece, others) = rest.split_at(end);
        pieces.push(piece);
        rest = others;
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// What the first pass finds.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) rows: u64,
    pub(super) lines: u64,
    /// One more than the largest index.
    pub(super) len: usize,
    /// Whether a label is no whole number of 64 bits.
    pub(super) has_fractions: bool,
}

impl Scanned {
    pub(super) fn add(&mut self, other: Scanned) {
        self.rows += other.rows;
        self.lines += other.lines;
        self.len = self.len.max(other.len);
        self.has_fractions |= other.has_fractions;
    }

    /// Whether a label is no whole number of 64 bits.
    pub(super) fn is_fraction(label: f64) -> bool {
        const LIMIT: f64 = 9.2e18;
        label.fract() != 0.0 || label.abs() >= LIMIT
    }
}

/// Looks through lines; what is wrong in them is left for [`parse`] to tell.
pub(super) fn scan(piece: &[u8]) -> Scanned {
    let mut found = Scanned::default();
    let mut cursor = Cursor::new(piece);
    while cursor.start_line() {
        found.lines += 1;
        if let Some(label) = cursor.token() {
            found.rows += 1;
            found.has_fractions |= parse_f64(label).is_some_and(Scanned::is_fraction);
        }
        while let Some(token) = cursor.token() {
            if let Some((Some(index), _)) = split_feature(token)
                && index <= LARGEST_INDEX
            {
                found.len = found.len.max(index as usize + 1);
            }
        }
    }
    found
}

/// Rows of some lines.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) labels: Vec<f64>,
    /// One row a label, all empty where only labels were asked for.
    pub(super) rows: SparseRows,
    pub(super) lines: u64,
}

/// A line that is no row.
#[derive(Debug)]
pub(super) struct BadLine {
    /// Counted from 1 at the start of the piece.
    pub(super) line: u64,
    pub(super) detail: String,
}

/// The rows of some lines; without `with_features` their labels alone.
pub(super) fn parse(piece: &[u8], with_features: bool) -> Result<Parsed, BadLine> {
    let mut parsed = Parsed::default();
    let mut row = Row::default();
    let mut cursor = Cursor::new(piece);
    while cursor.start_line() {
        parsed.lines += 1;
        let bad = |detail| BadLine { line: parsed.lines, detail };
        let Some(label) = cursor.token() else { continue };
        parsed.labels.push(parse_label(label).map_err(bad)?);
        if with_features {
            row.read(&mut cursor).map_err(bad)?;
            parsed.rows.push(&row.columns, &row.values);
        }
    }
    Ok(parsed)
}

/// Walks through the tokens of one line after the other.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether the rest of the current line is still to be passed over.
    in_line: bool,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0, in_line: false }
    }

    /// Goes to the next line; `false` at the end of the text.
    fn start_line(&mut self) -> bool {
        if self.in_line {
            let rest = &self.text[self.at..];
            self.at += rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |end| end + 1);
        }
        self.in_line = self.at < self.text.len();
        self.in_line
    }

    /// The next token of the line, `None` at its end or before a comment.
    fn token(&mut self) -> Option<&'a [u8]> {
        let is_blank = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0x0c);
        let ends = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | 0x0c | b'\n' | b'#');
        let rest = &self.text[self.at..];
        let start = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
        let token = &rest[start..];
        let token = &token[..token.iter().position(ends).unwrap_or(token.len())];
        self.at += start + token.len();
        (!token.is_empty()).then_some(token)
    }
}

fn parse_label(token: &[u8]) -> Result<f64, String> {
    match parse_f64(token) {
        Some(label) if label.is_finite() => Ok(label),
        _ if token.contains(&b':') => {
            Err(format!("{} stands where a label is expected; write 0 in rows without one", shown(token)))
        }
        _ if token.contains(&b',') => {
            Err(format!("several labels ({}); cbfit reads one a row", shown(token)))
        }
        _ => Err(format!("{} is no number and cannot be a label", shown(token))),
    }
}

/// Index and value of a token; the index of one beyond 32 bits is the largest of these, that of a query (`qid:7`), which
/// is no feature, `None`.
fn split_feature(token: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let digits = token.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match (token.get(digits), digits) {
        (Some(b':'), 1..) => {
            let add =
                |index: u32, &digit: &u8| index.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
            Some((Some(token[..digits].iter().fold(0, add)), &token[digits + 1..]))
        }
        _ => token.strip_prefix(b"qid:").map(|value| (None, value)),
    }
}

/// Entries of one row, the memory for which serves all.
#[derive(Default)]
struct Row {
    columns: Vec<u32>,
    values: Vec<f32>,
    sorted: Vec<(u32, f32)>,
}

impl Row {
    /// Reads the `index:value` tokens left in a line, in any order; zeros are left out.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), String> {
        self.columns.clear();
        self.values.clear();
        while let Some(token) = cursor.token() {
            let not_one = || format!("{} is no feature index:value", shown(token));
            let (index, value) = split_feature(token).ok_or_else(not_one)?;
            let Some(index) = index else { continue };
            if index > LARGEST_INDEX {
                return Err(format!(
                    "the feature index of {} is above {LARGEST_INDEX}; number the features without gaps, or hash them \
                     to fewer",
                    shown(token)
                ));
            }
            // By way of f64, as every other text is read: the same digits are the same feature in all formats.
            self.values.push(parse_f64(value).ok_or_else(not_one)? as f32);
            self.columns.push(index);
        }
        if !self.columns.is_sorted() {
            self.sort();
        }
        if let Some(pair) = self.columns.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("feature index {} occurs twice", pair[0]));
        }
        if self.values.contains(&0.0) {
            self.drop_zeros();
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.sorted.clear();
        self.sorted.extend(self.columns.iter().copied().zip(self.values.iter().copied()));
        self.sorted.sort_unstable_by_key(|&(index, _)| index);
        for (at, &(index, value)) in self.sorted.iter().enumerate() {
            (self.columns[at], self.values[at]) = (index, value);
        }
    }

    fn drop_zeros(&mut self) {
        let mut kept = 0;
        for at in 0..self.values.len() {
            if self.values[at] != 0.0 {
                (self.columns[kept], self.values[kept]) = (self.columns[at], self.values[at]);
                kept += 1;
            }
        }
        self.columns.truncate(kept);
        self.values.truncate(kept);
    }
}

/// A token for a message.
fn shown(token: &[u8]) -> String {
    let end = if token.len() > SHOWN { "..." } else { "" };
    format!("\"{}{end}\"", token[..token.len().min(SHOWN)].escape_ascii())
}

/// Whether text starts like an svmlight file: each line a number and features, at least one of them. `is_cut` says that
/// more follows, so that the last token may lack its end.
pub(super) fn looks_like_svmlight(head: &[u8], is_cut: bool) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let whole = match head.iter().rposition(u8::is_ascii_whitespace) {
        Some(at) if is_cut => &head[..at],
        None if is_cut => return false,
        _ => head,
    };
    let mut cursor = Cursor::new(whole);
    let mut features = 0;
    while cursor.start_line() {
        let Some(label) = cursor.token() else { continue };
        // Several labels are looked at as well: the message of the reader on them is the better one.
        if !label.split(|&byte| byte == b',').all(|label| parse_f64(label).is_some()) {
            return false;
        }
        while let Some(token) = cursor.token() {
            let is_feature = split_feature(token)
                .is_some_and(|(index, value)| index.is_none() || parse_f64(value).is_some());
            if !is_feature {
                return false;
            }
            features += 1;
        }
    }
    features > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_lines() {
        let long = vec![b'x'; BLOCK_BYTES + 5];
        let text = [long.clone(), b"\nab\n".to_vec(), b"c\n".repeat(BLOCK_LINES + 1), long].concat();
        let mut lines = Lines::new(&text[..]);
        let mut lengths = Vec::new();
        let mut read = Vec::new();
        while let Some(block) = lines.next_block().unwrap() {
            assert_eq!(pieces(block).concat(), block);
            lengths.push(block.len());
            read.extend_from_slice(block);
        }
        assert_eq!(read, text);
        assert!(lengths.len() >= 3 && lengths.iter().all(|&length| length <= 2 * BLOCK_BYTES), "{lengths:?}");
    }

    #[test]
    fn other_text_does_not_look_like_svmlight() {
        for text in ["1 1:2\n", "# c\n\n+1 qid:3 5:1e-3 # x\n-1\n", "1,2 3:1\n", "0.5\t7:1"] {
            assert!(looks_like_svmlight(text.as_bytes(), false), "{text}");
        }
        let others = [
            "a,b\n1,2\n",
            "1\n2\n",
            "1 2 3\n",
            "1,10:30\n",
            "10:30 1\n",
            "1 1:2\nx 1:2\n",
            "label 1:2\n",
            "",
        ];
        for text in others {
            assert!(!looks_like_svmlight(text.as_bytes(), false), "{text}");
        }
        assert!(looks_like_svmlight(b"1 1:2 3:4 55", true));
        assert!(!looks_like_svmlight(b"123", true));
    }
}

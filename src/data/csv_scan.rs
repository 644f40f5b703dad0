//! What a delimited text file holds, found before a value is read: its separator and the kind of every column.

use super::table::FieldKind;

const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The separator that splits the first lines most evenly: the one with the same number of occurrences outside quotes
/// on every line, the most frequent of those; else the one with the largest minimum; a comma where none occurs.
pub(super) fn sniff_delimiter(head: &[u8]) -> u8 {
    let lines = counts_by_line(head);
    let score = |which: usize| {
        let least = lines.iter().map(|counts| counts[which]).min().unwrap_or(0);
        let most = lines.iter().map(|counts| counts[which]).max().unwrap_or(0);
        (least > 0 && least == most, least)
    };
    // `max_by_key` keeps the last of equals; reversed, that is the first in order of preference.
    (0..SEPARATORS.len())
        .rev()
        .max_by_key(|&which| score(which))
        .map_or(b',', |which| if score(which).1 == 0 { b',' } else { SEPARATORS[which] })
}

/// Occurrences of each separator outside quotes, for every complete line (the only line where none is complete).
fn counts_by_line(head: &[u8]) -> Vec<[usize; 4]> {
    let mut lines = Vec::new();
    let (mut counts, mut quoted, mut blank) = ([0; 4], false, true);
    for &byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => {
                if !blank {
                    lines.push(counts);
                }
                (counts, blank) = ([0; 4], true);
                continue;
            }
            _ if quoted => {}
            _ => {
                if let Some(which) = SEPARATORS.iter().position(|&s| s == byte) {
                    counts[which] += 1;
                }
            }
        }
        blank &= byte == b'\r';
    }
    if lines.is_empty() && !blank {
        lines.push(counts);
    }
    lines
}

/// The kinds of cells a column was seen to hold.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen(u8);

const INT: u8 = 1;
const FLOAT: u8 = 2;
const BOOL: u8 = 4;
const TEXT: u8 = 8;
/// Whole numbers whose spelling a number would lose: `007`, `+5`, `-0`.
const PADDED: u8 = 16;
/// Whole numbers beyond 64 bits, to be read as floats.
const LONG: u8 = 32;

impl Seen {
    /// Takes one cell, free of blanks at its ends, into account.
    pub(super) fn add(&mut self, cell: &[u8]) {
        if self.0 & TEXT == 0 {
            self.0 |= classify(cell);
        }
    }

    /// The narrowest kind that holds every cell; a column of missing cells only is numeric.
    pub(super) fn kind(self) -> FieldKind {
        let numeric = self.0 & (INT | FLOAT | LONG) != 0;
        let boolean = self.0 & BOOL != 0;
        if self.0 & TEXT != 0 || (numeric && boolean) {
            FieldKind::Text
        } else if boolean {
            FieldKind::Bool
        } else if self.0 & (INT | FLOAT | LONG) == INT {
            FieldKind::Int
        } else {
            FieldKind::Float
        }
    }

    /// Whether the column is whole numbers of which some would be spelled differently when written back.
    pub(super) fn loses_spelling(self) -> bool {
        let whole = self.0 & (FLOAT | BOOL | TEXT) == 0;
        whole && self.0 & (PADDED | LONG) != 0
    }
}

fn classify(cell: &[u8]) -> u8 {
    match cell.first() {
        None => 0,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => classify_number(cell),
        Some(_) if is_missing(cell) => 0,
        Some(_) if parse_bool(cell).is_some() => BOOL,
        Some(_) => classify_word(cell),
    }
}

/// Words such as `inf`, which are numbers to `f64`.
fn classify_word(cell: &[u8]) -> u8 {
    if parse_f64(cell).is_some() { FLOAT } else { TEXT }
}

fn classify_number(cell: &[u8]) -> u8 {
    // i64 holds every number of 18 digits.
    const SAFE_DIGITS: usize = 18;
    let unsigned = cell.strip_prefix(b"-").or(cell.strip_prefix(b"+")).unwrap_or(cell);
    let digits = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == unsigned.len() && digits > 0 {
        if digits > SAFE_DIGITS && parse_i64(cell).is_none() {
            return LONG;
        }
        let padded = (unsigned[0] == b'0' && cell.len() > 1) || cell[0] == b'+';
        return if padded { INT | PADDED } else { INT };
    }
    if is_plain_decimal(unsigned, digits) { FLOAT } else { classify_word(cell) }
}

/// `digits.digits`: by far the most frequent spelling, told without parsing it.
fn is_plain_decimal(unsigned: &[u8], digits: usize) -> bool {
    match unsigned.get(digits..) {
        Some([b'.', fraction @ ..]) => {
            digits + fraction.len() > 0 && fraction.iter().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

/// Whether a cell, free of blanks at its ends, stands for "no value".
pub(super) fn is_missing(cell: &[u8]) -> bool {
    match cell.len() {
        0 => true,
        1 => cell[0] == b'?',
        2 => cell.eq_ignore_ascii_case(b"na"),
        3 => cell.eq_ignore_ascii_case(b"nan") || cell.eq_ignore_ascii_case(b"n/a"),
        4 => cell.eq_ignore_ascii_case(b"null"),
        _ => false,
    }
}

pub(super) fn parse_bool(cell: &[u8]) -> Option<bool> {
    if cell.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if cell.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn parse_i64(cell: &[u8]) -> Option<i64> {
    match parse_short_decimal(cell) {
        Some((digits, None)) => Some(digits),
        _ => std::str::from_utf8(cell).ok()?.parse().ok(),
    }
}

pub(super) fn parse_f64(cell: &[u8]) -> Option<f64> {
    // Both numbers are exact in f64, so that their quotient is the nearest f64 (Clinger 1990). The sign of -0 is the
    // one thing that whole digits lose.
    match parse_short_decimal(cell) {
        Some((digits, decimals)) if digits != 0 => Some(digits as f64 / POWERS_OF_TEN[decimals.unwrap_or(0)]),
        _ => std::str::from_utf8(cell).ok()?.parse().ok(),
    }
}

const POWERS_OF_TEN: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A decimal of at most 15 digits without exponent: its digits as a whole number, and how many stand behind its point.
/// Most cells are of this form, and the general parser takes several times as long.
fn parse_short_decimal(cell: &[u8]) -> Option<(i64, Option<usize>)> {
    let (negative, unsigned) = match cell {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    if unsigned.is_empty() || unsigned.len() > 15 {
        return None;
    }
    let (mut digits, mut point) = (0i64, None);
    for (at, &byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() && unsigned.len() > 1 => point = Some(at),
            _ => return None,
        }
    }
    let decimals = point.map(|at| unsigned.len() - 1 - at);
    Some((if negative { -digits } else { digits }, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(cells: &[&str]) -> FieldKind {
        let mut seen = Seen::default();
        cells.iter().for_each(|cell| seen.add(cell.as_bytes()));
        seen.kind()
    }

    #[test]
    fn the_narrowest_kind_that_holds_every_cell() {
        assert_eq!(kind(&["1", "", "-7", "NA"]), FieldKind::Int);
        assert_eq!(kind(&["1", "2.5"]), FieldKind::Float);
        assert_eq!(kind(&["1", "12345678901234567890"]), FieldKind::Float);
        assert_eq!(kind(&["True", "false", "?"]), FieldKind::Bool);
        assert_eq!(kind(&["True", "1"]), FieldKind::Text);
        assert_eq!(kind(&["1", "1.2.3"]), FieldKind::Text);
        assert_eq!(kind(&["-inf", "1e5", ".5", "5."]), FieldKind::Float);
        assert_eq!(kind(&["", "nan", "NULL"]), FieldKind::Float);
        assert_eq!(kind(&["."]), FieldKind::Text);
        assert_eq!(kind(&["-"]), FieldKind::Text);
    }

    #[test]
    fn leading_zeros_and_plus_signs_would_be_lost() {
        let loses = |cell: &str| {
            let mut seen = Seen::default();
            seen.add(cell.as_bytes());
            seen.loses_spelling()
        };
        assert!(["007", "+5", "-0", "00", "12345678901234567890"].map(loses).iter().all(|&x| x));
        assert!(!["0", "7", "-5", "0.5", "9223372036854775807"].map(loses).iter().any(|&x| x));
    }

    #[test]
    fn separators_are_told_apart() {
        assert_eq!(sniff_delimiter(b"a;b;c\n1,5;2,5;3\n4;5;6\n"), b';');
        assert_eq!(sniff_delimiter(b"a\tb\n1,2\t3\n"), b'\t');
        assert_eq!(sniff_delimiter(b"a|b\n1|2\n"), b'|');
        assert_eq!(sniff_delimiter(b"name,note\nx,\"a;b;c;d\"\ny,\";;;\"\n"), b',');
        assert_eq!(sniff_delimiter(b"label\n1\n2\n"), b',');
        assert_eq!(sniff_delimiter(b"a,b"), b',');
    }

    proptest! {
        #[test]
        fn short_decimals_parse_as_the_general_parser_does(cell in "-?[0-9]{0,9}[.]?[0-9]{0,9}") {
            let general = cell.parse::<f64>().ok().map(f64::to_bits);
            prop_assert_eq!(parse_f64(cell.as_bytes()).map(f64::to_bits), general);
            prop_assert_eq!(parse_i64(cell.as_bytes()), cell.parse::<i64>().ok());
        }

        #[test]
        fn a_numeric_verdict_always_parses(cell in "[-+]?[0-9.eEinfa]{0,24}") {
            let mut seen = Seen::default();
            seen.add(cell.as_bytes());
            if !is_missing(cell.as_bytes()) {
                match seen.kind() {
                    FieldKind::Int => prop_assert!(parse_i64(cell.as_bytes()).is_some()),
                    FieldKind::Float => prop_assert!(parse_f64(cell.as_bytes()).is_some()),
                    _ => prop_assert!(parse_f64(cell.as_bytes()).is_none()),
                }
            }
        }
    }
}

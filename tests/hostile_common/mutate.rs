//! Ways to damage a file. The same number always gives the same damage.

use cbfit::rng::CounterRng;

/// Longest file made: splices would grow without end.
const MOST_BYTES: usize = 1 << 20;

/// Numbers that sizes, counts and offsets are not prepared for.
const EXTREMES: [u64; 10] = [
    0,
    1,
    0x7f7f_7f7f_7f7f_7f7f,
    0x7fff_ffff_ffff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0000_8000_0000,
    0xffff_ffff,
    0xffff_ffff_ffff_fff8,
    u64::MAX,
];

/// The same in text, as they stand in CSV, JSON and the headers of NumPy.
const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "255",
    "4294967296",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999",
    "1e308",
    "-1e39",
    "1e-320",
    "nan",
    "inf",
    "",
    "\"",
];

/// `bytes` after one to four damages; `other` is what parts are spliced in from.
pub fn damaged(bytes: &[u8], other: &[u8], rng: &mut CounterRng) -> Vec<u8> {
    let mut file = bytes.to_vec();
    for _ in 0..1 + rng.below(4) * rng.below(2) {
        damage(&mut file, other, rng);
    }
    file.truncate(MOST_BYTES);
    file
}

fn damage(file: &mut Vec<u8>, other: &[u8], rng: &mut CounterRng) {
    let at = place(file.len(), rng);
    match rng.below(12) {
        0 | 1 => {
            if let Some(byte) = file.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        2 => {
            if let Some(byte) = file.get_mut(at) {
                *byte = rng.next_u64() as u8;
            }
        }
        3 => file.truncate(at),
        4 => {
            // The head of one file and the tail of another.
            file.truncate(at);
            file.extend_from_slice(&other[place(other.len(), rng).min(other.len())..]);
        }
        5 => {
            // A part of one file in the place of as much of another.
            let from = place(other.len(), rng).min(other.len());
            let length = (1 + rng.below(64)).min(other.len() - from).min(file.len() - at.min(file.len()));
            file[at..at + length].copy_from_slice(&other[from..from + length]);
        }
        6 => {
            let end = (at + 1 + rng.below(64)).min(file.len());
            drop(file.drain(at..end));
        }
        7 => {
            let end = (at + 1 + rng.below(256)).min(file.len());
            let part = file[at..end].to_vec();
            let times = 1 + rng.below(8);
            file.splice(at..at, part.repeat(times));
        }
        8 | 9 => integer(file, at, rng),
        10 => varint(file, at, rng),
        _ => number_in_text(file, at, rng),
    }
}

/// A place in a file: half of the time near its start or end, where headers and footers are, and often aligned.
fn place(length: usize, rng: &mut CounterRng) -> usize {
    const EDGE: usize = 96;
    let edge = length.clamp(1, EDGE);
    let at = match rng.below(4) {
        0 => rng.below(edge),
        1 => length.saturating_sub(1 + rng.below(edge)),
        _ => rng.below(length.max(1)),
    };
    let at = if rng.below(2) == 0 { at & !3 } else { at };
    at.min(length.saturating_sub(1))
}

/// Overwrites one, two, four or eight bytes by an extreme number, in either order.
fn integer(file: &mut [u8], at: usize, rng: &mut CounterRng) {
    let value = EXTREMES[rng.below(EXTREMES.len())];
    let width = 1 << rng.below(4);
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let bytes = if rng.below(4) == 0 { &big[8 - width..] } else { &little[..width] };
    let start = at.min(file.len());
    let end = (start + width).min(file.len());
    file[start..end].copy_from_slice(&bytes[..end - start]);
}

/// Puts a number of Thrift's or Protocol Buffers' variable length in the place of the one at `at`.
fn varint(file: &mut Vec<u8>, at: usize, rng: &mut CounterRng) {
    let mut value = EXTREMES[rng.below(EXTREMES.len())];
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    let old = file[at.min(file.len())..].iter().take(9).take_while(|byte| **byte >= 0x80).count() + 1;
    let end = (at + old).min(file.len());
    file.splice(at.min(end)..end, bytes);
}

/// Puts another number in the place of the digits at or after `at`.
fn number_in_text(file: &mut Vec<u8>, at: usize, rng: &mut CounterRng) {
    let Some(offset) = file[at.min(file.len())..].iter().position(u8::is_ascii_digit) else { return };
    let start = at + offset;
    let length = file[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    file.splice(start..start + length, WORDS[rng.below(WORDS.len())].bytes());
}

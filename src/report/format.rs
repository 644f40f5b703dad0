//! Numbers as people read them.

/// `437513` as `437,513`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as `25.1 MB` (powers of 1000).
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Seconds as `0.8 s`, `27 min 48 s` or `2 h 5 min`.
pub fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..100 if value < 99.95 => format!("{value:.1} s"),
        0..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A share or score with three decimals; `-` where it does not exist.
pub fn score(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.3}") }
}

/// Three significant digits: `79`, `2.5`, `0.0123`, `1.2e-7`.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-4..7).contains(&magnitude) {
        let text = format!("{value:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim_zeros(mantissa));
    }
    let decimals = (2 - magnitude).max(0) as usize;
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_281_167].map(thousands), ["0", "999", "1,000", "1,281,167"]);
        assert_eq!([12, 999_600, 25_100_000].map(bytes), ["12 B", "1.0 MB", "25.1 MB"]);
        assert_eq!(
            [0.04, 99.0, 1668.0, 7500.0].map(seconds),
            ["0.0 s", "99.0 s", "27 min 48 s", "2 h 5 min"]
        );
        assert_eq!([0.4567, f64::NAN].map(score), ["0.457", "-"]);
        assert_eq!(
            [79.04, 2.5, 0.01234, 1e-7, 476.0, 12_345.0, 0.0, 3e9].map(short),
            ["79", "2.5", "0.0123", "1e-7", "476", "12345", "0", "3e9"]
        );
    }
}

//! Where a value lies on an axis, and which values the axis names.

use crate::report::format::{short, thousands};

/// A mapping from values to places, linear in the value or in its logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

/// Ticks of an axis: value and text.
pub type Ticks = Vec<(f64, String)>;

impl Scale {
    /// Linear from `low` to `high`.
    pub fn linear(low: f64, high: f64) -> Self {
        let (low, high) = match (low.is_finite() && high.is_finite(), high > low) {
            (false, _) => (0.0, 1.0),
            (true, false) => (low - 0.5, low + 0.5),
            (true, true) => (low, high),
        };
        Scale { log: false, low, high, from: 0.0, to: 1.0 }
    }

    /// Logarithmic from `low` to `high`, both positive.
    pub fn log(low: f64, high: f64) -> Self {
        let (low, high) = match (low > 0.0 && high.is_finite(), high > low) {
            (false, _) => (1.0, 10.0),
            (true, false) => (low / 2.0, low * 2.0),
            (true, true) => (low, high),
        };
        Scale { log: true, low, high, from: 0.0, to: 1.0 }
    }

    /// Linear over the finite `values`, both ends moved out to round numbers.
    pub fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values.filter(|v| v.is_finite()));
        let plain = Scale::linear(low, high);
        let step = step_of(plain.high - plain.low, 5);
        Scale::linear((plain.low / step).floor() * step, (plain.high / step).ceil() * step)
    }

    /// Logarithmic over the positive `values`, with a little room at both ends.
    pub fn log_around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extent(values.filter(|v| v.is_finite() && *v > 0.0));
        Scale::log(low / 1.25, high * 1.25)
    }

    /// The same values on the places `from` (of the lowest) to `to`.
    pub fn onto(self, from: f64, to: f64) -> Self {
        Scale { from, to, ..self }
    }

    /// Place of `value`; values outside go to the nearer end.
    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Lowest and highest value.
    pub fn domain(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// About `wanted` round values, ascending.
    pub fn ticks(&self, wanted: usize) -> Ticks {
        if self.log { self.log_ticks(wanted) } else { self.linear_ticks(wanted) }
    }

    fn linear_ticks(&self, wanted: usize) -> Ticks {
        let step = step_of(self.high - self.low, wanted);
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        // Half a thousandth of a step forgives the rounding of ends that are multiples of it.
        let (first, last) =
            ((self.low / step - 5e-4).ceil() as i64, (self.high / step + 5e-4).floor() as i64);
        let text = |value: f64| match value.abs() {
            v if v >= 1e4 => large(value),
            v if v >= 1e3 && decimals == 0 => thousands(v as u64),
            _ => format!("{:.decimals$}", value + 0.0),
        };
        (first..=last).map(|k| k as f64 * step).map(|value| (value, text(value))).collect()
    }

    fn log_ticks(&self, wanted: usize) -> Ticks {
        let decades = (self.high / self.low).log10();
        let mantissas: &[f64] = match decades {
            d if d * 3.0 <= wanted as f64 => &[1.0, 2.0, 5.0],
            d if d * 2.0 <= wanted as f64 => &[1.0, 3.0],
            _ => &[1.0],
        };
        if decades * 3.0 < 2.0 {
            // Less than about a factor of five holds too few of 1, 2 and 5.
            return self.linear_ticks(wanted + 2).into_iter().filter(|(value, _)| *value > 0.0).collect();
        }
        let stride = (decades / wanted as f64).round().max(1.0) as usize;
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let inside = |v: &f64| (self.low * 0.999..=self.high * 1.001).contains(v);
        (first..=last)
            .step_by(stride)
            .flat_map(|power| mantissas.iter().map(move |m| m * 10f64.powi(power)))
            .filter(inside)
            .map(|value| (value, tick_text(value)))
            .collect()
    }
}

/// A count or weight at a tick: `0.01`, `500`, `2,000`, `50k`, `1M`.
fn tick_text(value: f64) -> String {
    match value {
        v if v >= 1e4 => large(v),
        v if v >= 1e3 => thousands(v.round() as u64),
        v => short(v),
    }
}

fn large(value: f64) -> String {
    match value.abs() {
        v if v < 1e6 => format!("{}k", short(value / 1e3)),
        v if v < 1e9 => format!("{}M", short(value / 1e6)),
        _ => short(value),
    }
}

/// The step of 1, 2 or 5 times a power of ten that cuts `span` into at most about `wanted` parts.
fn step_of(span: f64, wanted: usize) -> f64 {
    let rough = span / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale, wanted: usize) -> Vec<String> {
        scale.ticks(wanted).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(texts(Scale::linear(0.0, 1.0), 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(Scale::linear(0.731, 0.739), 4), ["0.732", "0.734", "0.736", "0.738"]);
        assert_eq!(texts(Scale::linear(-0.1, 0.1), 5), ["-0.10", "-0.05", "0.00", "0.05", "0.10"]);
        assert_eq!(texts(Scale::linear(0.0, 40_000.0), 4), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(texts(Scale::log(1.0, 2_500_000.0), 6), ["1", "10", "100", "1,000", "10k", "100k", "1M"]);
        assert_eq!(texts(Scale::log(5.0, 60.0), 6), ["5", "10", "20", "50"]);
        assert_eq!(texts(Scale::log(5.0, 16.0), 5), ["6", "8", "10", "12", "14", "16"]);
        assert_eq!(texts(Scale::log(1e-9, 1.0), 4), ["1e-9", "1e-7", "1e-5", "0.001", "0.1"]);
    }

    #[test]
    fn places_are_proportional_and_bounded() {
        let linear = Scale::linear(0.0, 10.0).onto(100.0, 0.0);
        assert_eq!([0.0, 2.5, 10.0, 99.0, -9.0].map(|v| linear.at(v)), [100.0, 75.0, 0.0, 0.0, 100.0]);
        let log = Scale::log(1.0, 100.0).onto(0.0, 10.0);
        assert!((log.at(10.0) - 5.0).abs() < 1e-12);
        assert_eq!([0.0, -3.0, 1e9].map(|v| log.at(v)), [0.0, 0.0, 10.0]);
    }

    #[test]
    fn degenerate_domains_still_have_room() {
        for scale in [
            Scale::linear(3.0, 3.0),
            Scale::linear(f64::NAN, 1.0),
            Scale::log(7.0, 7.0),
            Scale::log(0.0, 5.0),
            Scale::around(std::iter::empty()),
            Scale::log_around(std::iter::empty()),
        ] {
            let (low, high) = scale.domain();
            assert!(low < high && !scale.ticks(5).is_empty(), "{scale:?}");
        }
        assert_eq!(Scale::around([0.31, 0.78].into_iter()).domain(), (0.30000000000000004, 0.8));
    }
}

//! The figures, a file each. A figure that has no data is `None` and leaves no trace on the page.

pub mod bands;
pub mod compare;
pub mod confusion;
pub mod heat;
pub mod labels;
pub mod movers;
pub mod path;
pub mod recall;
pub mod reliability;
pub mod rounds;
pub mod shares;
pub mod weights;

use super::escape;
use super::svg::{SERIES, Svg};

/// Marks of one figure at most; more classes are drawn as means of neighbours by training count.
pub const MAX_MARKS: usize = 500;

/// A figure with its text.
#[derive(Debug, Clone)]
pub struct Figure {
    /// Unique on the page.
    pub id: &'static str,
    /// What it shows.
    pub heading: String,
    /// What there is to see in it, in a sentence.
    pub finding: String,
    /// What its marks and lines stand for.
    pub legend: Vec<Key>,
    /// SVG or a table, as HTML.
    pub body: String,
    /// Whether it takes the whole row.
    pub wide: bool,
}

/// An entry of a legend.
#[derive(Debug, Clone)]
pub struct Key {
    /// Classes and form of the sample.
    pub sample: Sample,
    /// What it stands for.
    pub label: String,
}

/// What a legend shows beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Mark and line of a series.
    Both(usize),
    /// The mark alone.
    Mark(usize),
    /// The line alone.
    Line(usize),
    /// A line of another style.
    Plain(&'static str),
}

impl Key {
    /// An entry.
    pub fn new(sample: Sample, label: impl Into<String>) -> Self {
        Key { sample, label: label.into() }
    }

    /// As a list item.
    pub fn html(&self) -> String {
        let mut svg = Svg::new(34.0, 14.0);
        let line = |svg: &mut Svg, class: &str| svg.line((1.0, 7.0), (33.0, 7.0), class);
        let mark = |svg: &mut Svg, series: usize| {
            svg.open(&format!("mark s{}", series % SERIES));
            svg.mark(series, (17.0, 7.0), 4.5, None);
            svg.close();
        };
        let series_line =
            |svg: &mut Svg, series: usize| line(svg, &format!("line s{0} d{0}", series % SERIES));
        match self.sample {
            Sample::Both(series) => {
                series_line(&mut svg, series);
                mark(&mut svg, series);
            }
            Sample::Mark(series) => mark(&mut svg, series),
            Sample::Line(series) => series_line(&mut svg, series),
            Sample::Plain(class) => line(&mut svg, class),
        }
        format!("<li>{}{}</li>", svg.ornament("key"), escape::markup(&self.label))
    }
}

/// `items` in at most `most` groups of neighbours of equal size (the last may be smaller), in order.
pub fn neighbours<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    items.chunks(items.len().div_ceil(most.max(1)).max(1))
}

/// Mean of the numbers that are not NaN; NaN where there are none.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.filter(|v| !v.is_nan()).fold((0.0, 0u64), |(sum, n), v| (sum + v, n + 1));
    sum / n as f64
}

/// `n` things in words: `1 class`, `3 classes`.
pub fn many(n: usize, one: &str, more: &str) -> String {
    format!("{} {}", crate::report::format::thousands(n as u64), if n == 1 { one } else { more })
}

/// A difference with its sign, three decimals: `+0.012`, `−0.003`.
pub fn signed(value: f64) -> String {
    if value.is_nan() {
        return "-".into();
    }
    let text = format!("{:.3}", value.abs());
    match text.as_str() {
        "0.000" => "0.000".into(),
        _ if value < 0.0 => format!("\u{2212}{text}"),
        _ => format!("+{text}"),
    }
}

/// Classes in the order of their training rows, most first, equal ones in class order.
pub fn by_count(rows: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&class| (std::cmp::Reverse(rows[class]), class));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_few_and_leave_nobody_out() {
        for (items, most) in [(0, 5), (3, 5), (10, 5), (11, 5), (100_000, 250)] {
            let items: Vec<usize> = (0..items).collect();
            let groups: Vec<&[usize]> = neighbours(&items, most).collect();
            assert!(groups.len() <= most);
            assert_eq!(groups.concat(), items);
        }
    }

    #[test]
    fn signs_are_shown_and_nothing_is_nothing() {
        assert_eq!([0.0123, -0.5, -0.0001, f64::NAN].map(signed), ["+0.012", "\u{2212}0.500", "0.000", "-"]);
        assert_eq!([1, 2000].map(|n| many(n, "class", "classes")), ["1 class", "2,000 classes"]);
    }

    #[test]
    fn classes_are_ordered_by_training_rows() {
        assert_eq!(by_count(&[3, 9, 3, 0]), [1, 0, 2, 3]);
        assert!(mean([f64::NAN].into_iter()).is_nan());
        assert_eq!(mean([1.0, f64::NAN, 2.0].into_iter()), 1.5);
    }
}

//! A frame with two axes, into which figures draw values.

use super::scale::Scale;
use super::svg::{Anchor, SERIES, Svg};

/// Width of a figure that shares its row with another one.
pub const HALF: f64 = 520.0;
/// Width of a figure that has the row for itself.
pub const FULL: f64 = 1080.0;

const LEFT: f64 = 58.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 34.0;
/// Height of the tick texts and the title below the frame.
const BOTTOM: f64 = 50.0;

/// Axes and what is drawn between them.
#[derive(Debug, Clone)]
pub struct Plot {
    /// The drawing so far.
    pub svg: Svg,
    /// Places of the values across.
    pub x: Scale,
    /// Places of the values up.
    pub y: Scale,
}

/// The ticks of the axis across: by value, or none (names are written by the figure).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Across {
    /// Round values.
    Values,
    /// Nothing, and this much more room below for names.
    Names(f64),
}

impl Plot {
    /// A frame of `width` x `height` units; the title of the axis up stands above it, that of the axis across below.
    pub fn new(size: (f64, f64), x: Scale, y: Scale, across: Across, titles: (&str, &str)) -> Self {
        let (width, height) = size;
        let bottom = match across {
            Across::Values => height - BOTTOM,
            Across::Names(room) => height - BOTTOM - room,
        };
        let mut plot =
            Plot { svg: Svg::new(width, height), x: x.onto(LEFT, width - RIGHT), y: y.onto(bottom, TOP) };
        plot.svg.open("axis");
        for (value, text) in y.ticks(5) {
            let place = plot.y.at(value);
            plot.svg.line((LEFT, place), (width - RIGHT, place), "grid");
            plot.svg.text((LEFT - 8.0, place + 4.5), Anchor::End, "", &text);
        }
        if across == Across::Values {
            for (value, text) in x.ticks(if width > HALF { 10 } else { 6 }) {
                let place = plot.x.at(value);
                plot.svg.line((place, bottom), (place, bottom + 5.0), "tick");
                plot.svg.text((place, bottom + 20.0), Anchor::Middle, "", &text);
            }
        }
        plot.svg.line((LEFT, bottom), (width - RIGHT, bottom), "base");
        plot.svg.text((width - RIGHT, height - 8.0), Anchor::End, "title", titles.0);
        plot.svg.text((4.0, 17.0), Anchor::Start, "title", titles.1);
        plot.svg.close();
        plot
    }

    /// A frame without an axis up, for named rows; the ticks of the axis across are drawn through all of them.
    pub fn rows(size: (f64, f64), x: Scale, y: Scale, title: &str) -> Self {
        const SIDE: f64 = 22.0;
        let (width, height) = size;
        let bottom = height - BOTTOM;
        let mut plot =
            Plot { svg: Svg::new(width, height), x: x.onto(SIDE, width - SIDE), y: y.onto(bottom, 6.0) };
        plot.svg.open("axis");
        for (value, text) in x.ticks(5) {
            let place = plot.x.at(value);
            plot.svg.line((place, 6.0), (place, bottom), "grid");
            plot.svg.text((place, bottom + 20.0), Anchor::Middle, "", &text);
        }
        plot.svg.text((width - SIDE, height - 8.0), Anchor::End, "title", title);
        plot.svg.close();
        plot
    }

    /// Left and right end of the frame.
    pub fn sides(&self) -> (f64, f64) {
        let (low, high) = self.x.domain();
        (self.x.at(low), self.x.at(high))
    }

    /// Upper and lower end of the frame.
    pub fn ends(&self) -> (f64, f64) {
        let (low, high) = self.y.domain();
        (self.y.at(high), self.y.at(low))
    }

    /// Place of a point.
    pub fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    /// A line of series `series` through the points whose values exist.
    pub fn line(&mut self, series: usize, points: &[(f64, f64)]) {
        let known = points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let places: Vec<(f64, f64)> = known.map(|&point| self.at(point)).collect();
        self.svg.polyline(places.into_iter(), &format!("line s{0} d{0}", series % SERIES));
    }

    /// Marks of series `series` with what each says when pointed at; those whose values do not exist are left out.
    pub fn marks(&mut self, series: usize, radius: f64, points: impl Iterator<Item = ((f64, f64), String)>) {
        self.svg.open(&format!("mark s{}", series % SERIES));
        for ((x, y), tip) in points {
            if x.is_finite() && y.is_finite() {
                let place = self.at((x, y));
                self.svg.mark(series, place, radius, Some(&tip));
            }
        }
        self.svg.close();
    }
}

//! SVG elements as text. Colours are classes, so one drawing serves both themes, and the policy of the page allows no
//! style attributes.

use std::fmt::Write as _;

use super::escape::markup;

/// Series that can be told apart: by colour, by the shape of their marks and by the dashes of their lines.
pub const SERIES: usize = 5;

/// Where text lies from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Right of it.
    Start,
    /// Around it.
    Middle,
    /// Left of it.
    End,
}

/// A drawing of `width` x `height` units.
#[derive(Debug, Clone)]
pub struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// An empty drawing.
    pub fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    /// Opens a group of class `class`, which its elements inherit.
    pub fn open(&mut self, class: &str) {
        let _ = write!(self.body, "<g class=\"{class}\">");
    }

    /// Closes the group.
    pub fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let d = format!("M{} {}L{} {}", num(from.0), num(from.1), num(to.0), num(to.1));
        self.path(&d, class);
    }

    /// A line through `points`.
    pub fn polyline(&mut self, points: impl Iterator<Item = (f64, f64)>, class: &str) {
        let mut d = String::new();
        for (place, (x, y)) in points.enumerate() {
            let _ = write!(d, "{}{} {}", if place == 0 { 'M' } else { 'L' }, num(x), num(y));
        }
        self.path(&d, class);
    }

    /// A path from its commands.
    pub fn path(&mut self, d: &str, class: &str) {
        if !d.is_empty() {
            let _ = write!(self.body, "<path class=\"{class}\" d=\"{d}\"/>");
        }
    }

    /// A rectangle; `tip` is shown to whoever points at it.
    pub fn rect(&mut self, place: (f64, f64), size: (f64, f64), class: &str, tip: Option<&str>) {
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}/>",
            num(place.0),
            num(place.1),
            num(size.0.max(0.0)),
            num(size.1.max(0.0)),
            tip_attribute(tip)
        );
    }

    /// The mark of series `series`: circle, square, triangle, diamond or cross, of radius `r`.
    pub fn mark(&mut self, series: usize, (x, y): (f64, f64), r: f64, tip: Option<&str>) {
        let tip = tip_attribute(tip);
        if series.is_multiple_of(SERIES) {
            let _ = write!(self.body, "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{tip}/>", num(x), num(y), num(r));
        } else {
            let _ = write!(self.body, "<path d=\"{}\"{tip}/>", outline(series, x, y, r));
        }
    }

    /// Text on the line `y`.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = write!(
            self.body,
            "<text{class} x=\"{}\" y=\"{}\"{anchor}>{}</text>",
            num(x),
            num(y),
            markup(text)
        );
    }

    /// Text that ends at its place and rises towards it.
    pub fn slanted(&mut self, (x, y): (f64, f64), text: &str) {
        let (x, y) = (num(x), num(y));
        let _ = write!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" transform=\"rotate(-35 {x} {y})\">{}</text>",
            markup(text)
        );
    }

    /// The drawing as an element that says what it shows: a title and a longer description, under `id` and ids made
    /// from it.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        format!(
            "<svg id=\"{id}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t\" \
             aria-describedby=\"{id}-d\"><title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>{}</svg>",
            num(self.width),
            num(self.height),
            markup(title),
            markup(description),
            self.body
        )
    }

    /// The drawing as an ornament of a text that says the same.
    pub fn ornament(self, class: &str) -> String {
        let (width, height) = (num(self.width), num(self.height));
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             aria-hidden=\"true\" focusable=\"false\">{}</svg>",
            self.body
        )
    }
}

/// Height that slanted names of at most `chars` characters take.
pub fn slant_height(chars: usize) -> f64 {
    4.4 * chars as f64
}

fn tip_attribute(tip: Option<&str>) -> String {
    tip.map_or(String::new(), |tip| format!(" data-t=\"{}\"", markup(tip)))
}

fn outline(series: usize, x: f64, y: f64, r: f64) -> String {
    match series % SERIES {
        1 => {
            let side = 1.8 * r;
            let (x, y, side) = (num(x - side / 2.0), num(y - side / 2.0), num(side));
            format!("M{x} {y}h{side}v{side}h-{side}z")
        }
        2 => format!(
            "M{} {}L{} {}L{} {}z",
            num(x),
            num(y - 1.25 * r),
            num(x + 1.15 * r),
            num(y + 0.85 * r),
            num(x - 1.15 * r),
            num(y + 0.85 * r)
        ),
        3 => format!(
            "M{} {}L{} {}L{} {}L{} {}z",
            num(x),
            num(y - 1.4 * r),
            num(x + 1.4 * r),
            num(y),
            num(x),
            num(y + 1.4 * r),
            num(x - 1.4 * r),
            num(y)
        ),
        _ => {
            let (arm, thick) = (1.3 * r, 0.45 * r);
            let (a, t, rest) = (num(arm - thick), num(2.0 * thick), num(thick - arm));
            format!(
                "M{} {}h{t}v{a}h{a}v{t}h{rest}v{a}h-{t}v{rest}h{rest}v-{t}h{a}z",
                num(x - thick),
                num(y - arm)
            )
        }
    }
}

/// A place with one decimal, `12` rather than `12.0`: places are most of the bytes of a page.
pub fn num(value: f64) -> String {
    // + 0.0 turns a negative zero into zero.
    let text = format!("{:.1}", (value * 10.0).round() / 10.0 + 0.0);
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_short() {
        assert_eq!([1.0, 1.04, -0.01, 12.25, 1e4].map(num), ["1", "1", "0", "12.3", "10000"]);
    }

    #[test]
    fn texts_and_tips_are_escaped() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::Start, "", "</text><script>");
        svg.mark(0, (1.0, 1.0), 2.0, Some("\" onload=\"x"));
        let text = svg.finish("f", "<b>", "a & b");
        assert!(!text.contains("<script>") && !text.contains("\" onload") && !text.contains("<b>"), "{text}");
        assert!(text.contains("role=\"img\"") && text.contains("<desc id=\"f-d\">a &amp; b</desc>"));
    }

    #[test]
    fn every_series_has_a_shape_of_its_own() {
        let drawn = |series| {
            let mut svg = Svg::new(9.0, 9.0);
            svg.mark(series, (4.0, 4.0), 2.0, None);
            svg.body
        };
        let mut shapes: Vec<String> = (0..SERIES).map(drawn).collect();
        shapes.sort();
        shapes.dedup();
        assert_eq!(shapes.len(), SERIES);
    }
}

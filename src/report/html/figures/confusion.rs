//! Which class is taken for which: the matrix where it can be read, else the pairs confused most.

use super::super::escape::{cut, markup, shown};
use super::super::svg::{Anchor, Svg, num, slant_height};
use super::super::{Report, Run};
use super::heat::{LEVELS, level};
use super::{Figure, MAX_MARKS, by_count};
use crate::metrics::Cell;
use crate::report::format::{short, thousands};

/// Classes whose matrix can be read.
const MATRIX_CLASSES: usize = 60;
/// Classes whose cells have room for a number.
const NUMBERED: usize = 12;
/// Pairs listed.
const PAIRS: usize = 20;

/// The figure, of the first run.
pub fn figure(report: &Report) -> Option<Figure> {
    let run = report.runs.first()?;
    let worst = run.confusion.most_confused(PAIRS);
    let finding = match worst.first() {
        None => "No row is predicted as a class it is not of.".into(),
        Some(cell) => {
            let (truth, predicted) = names_of(run, cell);
            format!(
                "The most frequent confusion: {} of {} rows of {truth} are predicted as {predicted}.",
                thousands(cell.rows),
                thousands(run.scores.per_class.get(cell.truth as usize)?.rows)
            )
        }
    };
    let (heading, body) = if run.labels().classes() <= MATRIX_CLASSES {
        let heading = "What is taken for what";
        (heading, matrix(run, heading, &finding))
    } else if worst.is_empty() {
        return None;
    } else {
        ("What is taken for what most often", pairs(run, &worst))
    };
    Some(Figure { id: "confusion", heading: heading.into(), finding, legend: Vec::new(), body, wide: true })
}

fn names_of(run: &Run, cell: &Cell) -> (String, String) {
    let name = |class: u32| {
        run.labels().names.get(class as usize).map_or("a class unseen in training".into(), |n| shown(n))
    };
    (name(cell.truth), name(cell.predicted))
}

/// Share of the weight of its true class that a cell has.
fn share(run: &Run, cell: &Cell, total: f64) -> f64 {
    let truth = run.scores.per_class.get(cell.truth as usize).map_or(0.0, |class| class.true_share * total);
    if truth > 0.0 { cell.weight / truth } else { 0.0 }
}

fn total_weight(run: &Run) -> f64 {
    run.confusion.cells().iter().map(|cell| cell.weight).sum()
}

fn matrix(run: &Run, heading: &str, finding: &str) -> String {
    const LEFT: f64 = 130.0;
    const SIDE: f64 = 560.0;
    const TOP: f64 = 8.0;
    let classes = run.labels().classes();
    let order = by_count(&run.metadata.counts.rows);
    let mut place_of = vec![0; classes];
    order.iter().enumerate().for_each(|(place, &class)| place_of[class] = place);
    let step = SIDE / classes as f64;
    let total = total_weight(run);
    let known = |cell: &&Cell| (cell.truth as usize) < classes && (cell.predicted as usize) < classes;
    let mut cells: Vec<Cell> = run.confusion.cells().iter().filter(known).copied().collect();
    cells.sort_by(|a, b| {
        b.weight.total_cmp(&a.weight).then((a.truth, a.predicted).cmp(&(b.truth, b.predicted)))
    });
    let corner = |cell: &Cell| {
        let (row, column) = (place_of[cell.truth as usize], place_of[cell.predicted as usize]);
        (LEFT + step * column as f64, TOP + step * row as f64)
    };
    let label = |class: usize| cut(&run.labels().names[class], 16);
    let longest = order.iter().map(|&class| label(class).chars().count()).max().unwrap_or(0);
    let height = TOP + SIDE + slant_height(longest) + 50.0;
    let mut svg = Svg::new(LEFT + SIDE + 10.0, height);
    svg.rect((LEFT, TOP), (SIDE, SIDE), "void", None);
    let gap = if classes <= 30 { 1.0 } else { 0.4 };
    for cell in cells.iter().take(MAX_MARKS) {
        let share = share(run, cell, total);
        let (truth, predicted) = names_of(run, cell);
        let tip = format!(
            "{truth} predicted as {predicted}: {} rows, {} %",
            thousands(cell.rows),
            short(100.0 * share)
        );
        svg.rect(corner(cell), (step - gap, step - gap), &format!("h{}", level(share)), Some(&tip));
        if classes <= NUMBERED {
            let (x, y) = corner(cell);
            let middle = (x + step / 2.0, y + step / 2.0 + 5.0);
            let percent = 100.0 * share;
            let text = if percent < 1.0 { "<1".into() } else { format!("{percent:.0}") };
            svg.text(middle, Anchor::Middle, &format!("on{}", level(share)), &text);
        }
    }
    // The rest share a path a shade: cells of few rows need no words.
    let mut paths = vec![String::new(); LEVELS];
    for cell in cells.iter().skip(MAX_MARKS) {
        let ((x, y), side) = (corner(cell), num(step - gap));
        paths[level(share(run, cell, total))] += &format!("M{} {}h{side}v{side}h-{side}z", num(x), num(y));
    }
    paths.iter().enumerate().for_each(|(shade, path)| svg.path(path, &format!("h{shade}")));
    let class = if classes <= 30 { "axis" } else { "axis tiny" };
    svg.open(class);
    for (place, &class) in order.iter().enumerate() {
        let middle = step * (place as f64 + 0.5);
        let name = label(class);
        let down = if classes <= 30 { 4.5 } else { 3.0 };
        svg.text((LEFT - 8.0, TOP + middle + down), Anchor::End, "", &name);
        svg.slanted((LEFT + middle + 4.0, TOP + SIDE + 14.0), &name);
    }
    svg.text(
        (LEFT + SIDE, height - 6.0),
        Anchor::End,
        "title",
        "predicted class; numbers are % of the true class",
    );
    svg.close();
    let description =
        format!("Confusion matrix of {classes} classes in the order of their training rows. {finding}");
    let drawn = svg.finish("confusion-svg", heading, &description);
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{heading}\"><div class=\"floor \
         square\">{drawn}</div></div>"
    )
}

fn pairs(run: &Run, cells: &[Cell]) -> String {
    const BAR: f64 = 140.0;
    let total = total_weight(run);
    let rows: String = cells
        .iter()
        .map(|cell| {
            let (truth, predicted) = names_of(run, cell);
            let share = share(run, cell, total);
            let mut svg = Svg::new(BAR, 14.0);
            svg.rect((0.0, 2.0), (BAR * share.min(1.0), 10.0), "down", None);
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{} %</td>\
                 <td class=\"bar\">{}</td></tr>",
                markup(&truth),
                markup(&predicted),
                thousands(cell.rows),
                short((1000.0 * share).round() / 10.0),
                svg.ornament("bar")
            )
        })
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Pairs confused most\"><table>\
         <thead><tr><th scope=\"col\">True class</th><th scope=\"col\">Predicted as</th>\
         <th scope=\"col\" class=\"n\">Rows</th><th scope=\"col\" class=\"n\" colspan=\"2\">Share of the \
         true class</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

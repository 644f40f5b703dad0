//! Weights laid out for the logits kernel.

use super::lines::Lines;

/// Class-major weights re-ordered into panels of classes: within a panel the weights of one feature lie side by
/// side, one lane a class. The buffer is reused from one packing to the next.
#[derive(Debug, Clone, Default)]
pub struct PackedWeights {
    lines: Lines,
    remaining: Vec<f32>,
    classes: usize,
    features: usize,
    lanes: usize,
    wide_classes: usize,
    wide_width: usize,
    panel_classes: usize,
}

impl PackedWeights {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of classes packed.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of features packed.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Whether it was packed for vectors of `lanes` lanes, `vectors` of them in a wide panel.
    pub(super) fn is_laid_out_for(&self, lanes: usize, vectors: usize) -> bool {
        self.lanes == lanes && self.wide_width == lanes * vectors
    }

    /// Classes that lie in panels; the others follow in [`PackedWeights::remaining`].
    pub(super) fn classes_in_panels(&self) -> usize {
        self.panel_classes
    }

    /// Width of the panel that starts with `class`: several vectors as long as there are classes to fill them,
    /// then one.
    pub(super) fn panel_width(&self, class: usize) -> usize {
        if class < self.wide_classes { self.wide_width } else { self.lanes }
    }

    /// The panel that starts with `class`: features x width, zero where there is no class.
    pub(super) fn panel(&self, class: usize) -> &[f32] {
        &self.lines.values()[class * self.features..][..self.features * self.panel_width(class)]
    }

    /// Weights of the classes behind the panels, class-major.
    pub(super) fn remaining(&self) -> &[f32] {
        &self.remaining
    }

    /// Packs `w` (classes x features) for vectors of `lanes` lanes, `vectors` of them in a wide panel.
    pub(super) fn pack(&mut self, w: &[f32], classes: usize, features: usize, lanes: usize, vectors: usize) {
        let left_over = classes % lanes;
        let in_dots = if dots_pay(left_over, features, lanes) { left_over } else { 0 };
        self.classes = classes;
        self.features = features;
        self.lanes = lanes;
        self.wide_width = lanes * vectors;
        self.panel_classes = classes - in_dots;
        self.wide_classes = self.panel_classes / self.wide_width * self.wide_width;
        let values = self.panel_classes.next_multiple_of(lanes) * features;
        self.lines.resize(values);
        self.remaining.clear();
        self.remaining.extend_from_slice(&w[self.panel_classes * features..]);

        let mut class = 0;
        while class < self.panel_classes {
            let width = self.panel_width(class);
            let present = width.min(self.panel_classes - class);
            let rows = &w[class * features..(class + present) * features];
            let panel = &mut self.lines.values_mut()[class * features..][..features * width];
            transpose(rows, features, panel, width);
            class += width;
        }
    }
}

/// Whether `classes` (fewer than the lanes) cost less as inner products, each ending in a sum over lanes that costs
/// about as much as twelve steps, than as one panel that leaves lanes idle.
fn dots_pay(classes: usize, features: usize, lanes: usize) -> bool {
    classes * (features + 12 * lanes) < lanes * features
}

/// `panel[feature * width + class] = rows[class * features + feature]`, zero for the classes that are not there.
fn transpose(rows: &[f32], features: usize, panel: &mut [f32], width: usize) {
    const STEP: usize = 16; // a cache line of every row at a time
    for start in (0..features).step_by(STEP) {
        let end = (start + STEP).min(features);
        let block = &mut panel[start * width..end * width];
        if rows.len() < width * features {
            block.fill(0.0);
        }
        for (class, row) in rows.chunks_exact(features).enumerate() {
            for (to, &weight) in block.chunks_exact_mut(width).zip(&row[start..end]) {
                to[class] = weight;
            }
        }
    }
}

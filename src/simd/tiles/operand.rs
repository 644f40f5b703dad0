//! Operands in memory: tiles of 1 KiB, 16 lines of 32 bf16.
//!
//! In a left operand a line is one item, its 32 values of depth side by side. In a right operand a line holds two
//! consecutive depths of 16 columns, the two values of a column side by side. Tiles follow each other by part, then depth,
//! then group of 16 items or columns.

/// Lines of a tile; items of a left tile, columns of a right one.
pub(super) const LINES: usize = 16;

/// Depth of one tile.
#[cfg(target_arch = "x86_64")]
pub(super) const DEPTH: usize = 32;

/// A tile, as pairs of bf16.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile(pub [[u32; LINES]; LINES]);

/// One operand. A reused one keeps its memory.
#[derive(Debug, Clone, Default)]
pub(super) struct Operand {
    tiles: Vec<Tile>,
    groups: usize,
    steps: usize,
    parts: usize,
}

impl Operand {
    /// bf16 parts of each value.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// Whether depth and parts are those of `other`.
    pub(super) fn fits(&self, other: &Operand) -> bool {
        self.steps == other.steps && self.parts == other.parts
    }
}

#[cfg(target_arch = "x86_64")]
impl Operand {
    /// Room for `groups` by `steps` tiles of `parts` parts. What the tiles hold is unspecified.
    pub(super) fn reshape(&mut self, groups: usize, steps: usize, parts: usize) {
        (self.groups, self.steps, self.parts) = (groups, steps, parts);
        self.tiles.resize(groups * steps * parts, Tile([[0; LINES]; LINES]));
    }

    /// Groups of 16 items or columns.
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Tiles along the depth.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The parts of one tile.
    pub(super) fn parts_at(&mut self, group: usize, step: usize) -> &mut [Tile] {
        &mut self.tiles[(group * self.steps + step) * self.parts..][..self.parts]
    }

    /// The tiles of one group: steps x parts.
    pub(super) fn group(&self, group: usize) -> &[Tile] {
        let length = self.steps * self.parts;
        &self.tiles[group * length..][..length]
    }
}

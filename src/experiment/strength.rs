//! How much a fit may bend to its rows: what the folds choose for every treatment along a path.

use std::fmt;

/// One setting of a path, which goes from stiff to flexible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strength {
    /// A closed form has none.
    Closed,
    /// The l2 penalty of a linear fit.
    L2(f64),
    /// Rounds of boosting.
    Rounds(usize),
}

impl Strength {
    /// The l2 penalty, of a linear fit.
    pub fn l2(self) -> Option<f64> {
        match self {
            Strength::L2(l2) => Some(l2),
            _ => None,
        }
    }

    /// The rounds, of a boosted fit.
    pub fn rounds(self) -> Option<usize> {
        match self {
            Strength::Rounds(rounds) => Some(rounds),
            _ => None,
        }
    }

    /// Whether a fit at this strength is as stiff as one at `other` of the same path, or stiffer.
    pub(super) fn is_as_stiff_as(self, other: Strength) -> bool {
        match (self, other) {
            (Strength::L2(ours), Strength::L2(theirs)) => ours >= theirs,
            (Strength::Rounds(ours), Strength::Rounds(theirs)) => ours <= theirs,
            _ => self == other,
        }
    }

    /// The flag of `train` that asks for it, after a space.
    pub fn flag(self) -> String {
        match self {
            Strength::Closed => String::new(),
            Strength::L2(_) => format!(" --l2 {self}"),
            // Rows held out could end the fit before.
            Strength::Rounds(_) => format!(" --rounds {self} --valid-fraction 0"),
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strength::Closed => f.pad("-"),
            Strength::L2(l2) => f.pad(&shortest(*l2)),
            Strength::Rounds(rounds) => f.pad(&rounds.to_string()),
        }
    }
}

/// Plain or with an exponent, whichever is shorter.
fn shortest(value: f64) -> String {
    let (plain, exponent) = (value.to_string(), format!("{value:e}"));
    if exponent.len() < plain.len() { exponent } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_written_so_that_they_are_read_back() {
        for l2 in [0.0, 1e-4, 0.03, 2.5, 3e-7, 0.1 + 0.2] {
            assert_eq!(Strength::L2(l2).to_string().parse(), Ok(l2));
        }
        assert_eq!(format!("{:>6}|{:<4}|", Strength::L2(1e-4), Strength::Rounds(75)), "  1e-4|75  |");
        assert_eq!(Strength::Rounds(75).flag(), " --rounds 75 --valid-fraction 0");
        assert_eq!(Strength::Closed.flag(), "");
    }

    #[test]
    fn more_l2_and_fewer_rounds_are_stiffer() {
        assert!(Strength::L2(1.0).is_as_stiff_as(Strength::L2(0.1)));
        assert!(!Strength::L2(0.1).is_as_stiff_as(Strength::L2(1.0)));
        assert!(Strength::Rounds(10).is_as_stiff_as(Strength::Rounds(10)));
        assert!(!Strength::Rounds(11).is_as_stiff_as(Strength::Rounds(10)));
        assert!(!Strength::Rounds(1).is_as_stiff_as(Strength::L2(1.0)));
    }
}

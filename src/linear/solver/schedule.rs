//! Learning rate over the steps of a minibatch fit: linear warm-up, then a decay.

use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine down to zero (Loshchilov & Hutter 2017).
    Cosine,
    /// A tenth after 80 % of the steps, a hundredth after 90 %: the schedule of Cui et al. 2019, section 5.1.
    Step,
    /// No decay.
    Constant,
}

impl Schedule {
    /// `cosine`, `step` or `constant`.
    pub fn name(self) -> &'static str {
        match self {
            Schedule::Cosine => "cosine",
            Schedule::Step => "step",
            Schedule::Constant => "constant",
        }
    }

    /// Factor of the base learning rate at `step` (from 0) of `steps`, of which the first `warmup` rise linearly.
    pub fn factor(self, step: usize, steps: usize, warmup: usize) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let progress = (step - warmup) as f64 / (steps - warmup).max(1) as f64;
        match self {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Step if progress >= 0.9 => 0.01,
            Schedule::Step if progress >= 0.8 => 0.1,
            Schedule::Step | Schedule::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_to_one_and_cosine_falls_to_zero() {
        let at = |step| Schedule::Cosine.factor(step, 100, 10);
        assert!((0..10).all(|step| at(step) < at(step + 1)));
        assert_eq!(at(10), 1.0);
        assert!((10..99).all(|step| at(step) > at(step + 1)));
        assert!(at(99) < 1e-3);
    }

    #[test]
    fn step_schedule_falls_twice() {
        let at = |step| Schedule::Step.factor(step, 100, 0);
        assert_eq!([at(0), at(79), at(80), at(90), at(99)], [1.0, 1.0, 0.1, 0.01, 0.01]);
    }
}

//! Values of l2 from strong to weak, and where the fit of each starts.

/// A path ends after this many values of l2 in a row that neither led nor reached the highest metric of the path. Ties
/// go on: at the strong end every l2 gives the constant classifier.
pub const PATIENCE: usize = 3;

/// l2 from strong to weak: 3 and 1 times powers of ten, from a hundredth of the total variance of the features down. On
/// embeddings and standardised tables the best value lay 3 to 6 decades below the variance; a path ends by patience.
pub fn l2_path(total_variance: f64) -> Vec<f64> {
    const DECADES: i32 = 9;
    let scale = if total_variance > 0.0 && total_variance.is_finite() { total_variance } else { 1.0 };
    let top = scale.log10().floor() as i32 - 2;
    let mut path = Vec::new();
    for decade in 0..DECADES {
        for mantissa in [3.0, 1.0] {
            path.push(format!("{mantissa}e{}", top - decade).parse().unwrap_or(f64::MIN_POSITIVE));
        }
    }
    path
}

/// The values of a path next to `l2`, and `l2` itself, strong to weak.
pub(super) fn neighbours(path: &[f64], l2: f64) -> Vec<f64> {
    let at = path.iter().position(|&value| value == l2).unwrap_or(0);
    path[at.saturating_sub(1)..(at + 2).min(path.len())].to_vec()
}

/// How far beyond the last two optima a line through them is followed, in their distance.
const REACH: f64 = 1.0;

/// Where the next fit of a path starts: on the line through the last two optima over the logarithm of l2. On clinc150imb,
/// banking77 and cifar10_lt100 J is 2 to 4 % off its minimum there, 15 to 25 % at the last optimum; a parabola through three
/// optima is no nearer.
#[derive(Debug, Clone)]
pub struct PathStart {
    theta: Vec<f32>,
    /// The logarithm of the l2 that `theta` is the optimum at, if any, and the optimum before it.
    at: Option<f64>,
    before: Option<(f64, Vec<f32>)>,
}

impl PathStart {
    /// Of a path whose first fit starts at `theta`.
    pub fn new(theta: Vec<f32>) -> Self {
        PathStart { theta, at: None, before: None }
    }

    /// Parameters to start the fit at `l2` from.
    pub fn at(&self, l2: f64) -> Vec<f32> {
        let (Some(at), Some((before, earlier))) = (self.at, &self.before) else { return self.theta.clone() };
        let share = (l2.ln() - before) / (at - before);
        if !share.is_finite() {
            return self.theta.clone();
        }
        let share = share.clamp(-REACH, 1.0 + REACH) as f32;
        earlier.iter().zip(&self.theta).map(|(&from, &to)| from + share * (to - from)).collect()
    }

    /// Takes in that `theta` was found at `l2`.
    pub fn pass(&mut self, l2: f64, theta: Vec<f32>) {
        let last = std::mem::replace(&mut self.theta, theta);
        if let Some(at) = self.at.replace(l2.ln()) {
            self.before = Some((at, last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l2_falls_over_nine_decades_below_the_variance() {
        let path = l2_path(512.0);
        assert_eq!(path[..4], [3.0, 1.0, 0.3, 0.1]);
        assert_eq!(path.len(), 18);
        assert_eq!(path[17], 1e-8);
        assert!(l2_path(0.0).iter().all(|l2| *l2 > 0.0));
    }

    #[test]
    fn neighbours_stop_at_the_ends() {
        let path = [1.0, 0.3, 0.1];
        assert_eq!(neighbours(&path, 1.0), [1.0, 0.3]);
        assert_eq!(neighbours(&path, 0.3), path);
        assert_eq!(neighbours(&path, 0.1), [0.3, 0.1]);
    }

    #[test]
    fn a_fit_starts_on_the_line_through_the_optima_before() {
        let mut start = PathStart::new(vec![9.0, 9.0]);
        assert_eq!(start.at(1.0), [9.0, 9.0]);
        start.pass(1.0, vec![1.0, 0.0]);
        assert_eq!(start.at(0.1), [1.0, 0.0], "one optimum has no direction");
        start.pass(0.1, vec![2.0, -1.0]);
        let near = |found: Vec<f32>, wanted: [f32; 2]| {
            assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-5), "{found:?}, not {wanted:?}");
        };
        near(start.at(0.01), [3.0, -2.0]);
        near(start.at(0.1f64.sqrt()), [1.5, -0.5]);
        near(start.at(1e-9), [3.0, -2.0]);
        near(start.at(10.0), [0.0, 1.0]);
        start.pass(0.1, vec![5.0, 5.0]);
        assert_eq!(start.at(0.01), [5.0, 5.0], "one value of l2 has no direction");
        start.pass(0.01, vec![6.0, 5.0]);
        near(start.at(0.001), [7.0, 5.0]);
    }
}

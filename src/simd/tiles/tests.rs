use super::*;
use crate::rng::CounterRng;
use crate::simd::Kernels;

const PRECISIONS: [(Precision, f64); 2] = [(Precision::Split, 3e-5), (Precision::Bf16, 1e-2)];

fn available() -> impl Iterator<Item = &'static TileKernels> {
    Isa::ALL.into_iter().filter_map(Kernels::for_isa).filter_map(Kernels::tiles)
}

fn random(rng: &mut CounterRng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| (rng.next_f64() as f32 * 2.0 - 1.0) * scale).collect()
}

/// The sum of products in f64, and the sum of their magnitudes, by which errors are measured.
fn product(terms: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), (a, b)| {
        let term = f64::from(a) * f64::from(b);
        (sum + term, size + term.abs())
    })
}

struct Problem {
    rows: usize,
    features: usize,
    classes: usize,
    stride: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    z: Vec<f32>,
}

impl Problem {
    /// The scales are those of x and of the weights; biases and residuals are in proportion.
    fn new(rows: usize, features: usize, classes: usize, [x, w]: [f32; 2]) -> Problem {
        let mut rng = CounterRng::new(11, (rows * 31 + features * 7 + classes) as u64);
        let stride = classes + 3;
        Problem {
            rows,
            features,
            classes,
            stride,
            x: random(&mut rng, rows * features, x),
            w: random(&mut rng, classes * features, w),
            bias: random(&mut rng, classes, x * w),
            z: random(&mut rng, rows * stride, w),
        }
    }

    /// Prepared rows and weights, in buffers that held something larger before.
    fn operands(&self, tiles: &TileKernels, precision: Precision) -> (TileRows, TileWeights) {
        let (mut rows, mut weights) = (TileRows::new(), TileWeights::new());
        tiles.prepare_rows(&[7.0; 70 * 50], 50, Precision::Split, &mut rows);
        tiles.pack_weights(&[7.0; 70 * 50], 70, 50, Precision::Split, &mut weights);
        tiles.prepare_rows(&self.x, self.features, precision, &mut rows);
        tiles.pack_weights(&self.w, self.classes, self.features, precision, &mut weights);
        (rows, weights)
    }

    fn logits(&self, tiles: &TileKernels, precision: Precision) -> Vec<f32> {
        let (rows, weights) = self.operands(tiles, precision);
        let mut z = self.z.clone();
        tiles.logits(&rows, &weights, &self.bias, &mut z, self.stride);
        z
    }

    fn gradient(&self, tiles: &TileKernels, precision: Precision) -> Vec<f32> {
        let (rows, _) = self.operands(tiles, precision);
        let (mut g, mut scratch) = (self.w.clone(), TileScratch::new());
        tiles.accumulate_gradient(&self.z, self.stride, self.classes, &rows, &mut g, &mut scratch);
        g
    }

    /// Logits and gradient lie within `tolerance` of their terms.
    fn check(&self, tiles: &TileKernels, precision: Precision, tolerance: f64) {
        let what = format!(
            "{} {precision:?} {} x {} x {}",
            tiles.isa().name(),
            self.rows,
            self.features,
            self.classes
        );
        let agree = |found: f32, (sum, size): (f64, f64), add: f32| {
            let wanted = sum + f64::from(add);
            let allowed = tolerance * size + 1e-6 * f64::from(add).abs();
            assert!((f64::from(found) - wanted).abs() <= allowed, "{what}: {found} {wanted} of {size}");
        };
        let z = self.logits(tiles, precision);
        for (r, row) in z.chunks_exact(self.stride).enumerate() {
            assert_eq!(row[self.classes..], self.z[r * self.stride..][self.classes..self.stride], "{what}");
            let x = &self.x[r * self.features..][..self.features];
            for (c, &z) in row[..self.classes].iter().enumerate() {
                let w = &self.w[c * self.features..][..self.features];
                agree(z, product(x.iter().copied().zip(w.iter().copied())), self.bias[c]);
            }
        }
        let g = self.gradient(tiles, precision);
        for (at, (&g, &before)) in g.iter().zip(&self.w).enumerate() {
            let (c, d) = (at / self.features, at % self.features);
            let terms = (0..self.rows).map(|r| (self.z[r * self.stride + c], self.x[r * self.features + d]));
            agree(g, product(terms), before);
        }
    }
}

#[test]
fn products_agree_with_f64() {
    for tiles in available() {
        for (precision, tolerance) in PRECISIONS {
            for rows in [1, 31, 33, 257] {
                for features in [1, 31, 33, 100, 1024] {
                    for classes in [1, 2, 17, 151] {
                        if rows * features * classes < 257 * 1024 * 17 {
                            let problem = Problem::new(rows, features, classes, [1.0, 1.0]);
                            problem.check(tiles, precision, tolerance);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn magnitudes_do_not_matter() {
    for tiles in available() {
        for (precision, tolerance) in PRECISIONS {
            for scales in [[1e4, 1e4], [1e-6, 1e-8], [1e30, 1e-30], [1e-15, 1e-15]] {
                Problem::new(40, 70, 19, scales).check(tiles, precision, tolerance);
            }
        }
    }
}

#[test]
fn split_parts_hold_sixteen_bits() {
    for tiles in available() {
        let x = [1.0 + 1.0 / 32768.0];
        let problem = Problem {
            x: x.to_vec(),
            w: vec![1.0],
            bias: vec![0.0],
            z: vec![1.0],
            stride: 1,
            ..Problem::new(1, 1, 1, [1.0, 1.0])
        };
        assert_eq!(problem.logits(tiles, Precision::Split), x);
        assert_eq!(problem.gradient(tiles, Precision::Split), [1.0 + x[0]]);
        assert_eq!(problem.logits(tiles, Precision::Bf16), [1.0]);
    }
}

#[test]
fn logits_of_a_row_do_not_depend_on_its_neighbours() {
    for tiles in available() {
        for (precision, _) in PRECISIONS {
            let problem = Problem::new(70, 90, 37, [1.0, 1.0]);
            let together = problem.logits(tiles, precision);
            for (row, x) in problem.x.chunks_exact(90).enumerate() {
                let z = problem.z[row * problem.stride..][..problem.stride].to_vec();
                let (w, bias) = (problem.w.clone(), problem.bias.clone());
                let alone = Problem { rows: 1, x: x.to_vec(), z, w, bias, ..problem };
                assert_eq!(
                    alone.logits(tiles, precision),
                    together[row * problem.stride..][..problem.stride]
                );
            }
        }
    }
}

#[test]
fn implementations_agree_to_rounding() {
    for (precision, _) in PRECISIONS {
        let problem = Problem::new(65, 300, 33, [1.0, 1.0]);
        let mut results = available().map(|t| (problem.logits(t, precision), problem.gradient(t, precision)));
        if let Some((z, g)) = results.next() {
            for (other_z, other_g) in results {
                for (a, b) in z.iter().zip(&other_z).chain(g.iter().zip(&other_g)) {
                    assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{precision:?} {a} {b}");
                }
            }
        }
    }
}

#[test]
fn gram_agrees_with_f64_above_the_diagonal() {
    for tiles in available() {
        for (precision, tolerance) in PRECISIONS {
            for (rows, features) in [(1, 1), (33, 31), (70, 33), (64, 100)] {
                let problem = Problem::new(rows, features, 1, [1.0, 1.0]);
                let weights = random(&mut CounterRng::new(5, 0), rows, 2.0);
                let (prepared, _) = problem.operands(tiles, precision);
                let mut g = vec![1.0; features * features];
                tiles.accumulate_gram(&weights, &problem.x, &prepared, &mut g, &mut TileScratch::new());
                for a in 0..features {
                    for b in a..features {
                        let row = |r: usize| &problem.x[r * features..][..features];
                        let terms = (0..rows).map(|r| (weights[r] * row(r)[a], row(r)[b]));
                        let (sum, size) = product(terms);
                        let found = f64::from(g[a * features + b]);
                        assert!((found - 1.0 - sum).abs() <= tolerance * size + 1e-6, "{found} {sum}");
                    }
                }
            }
        }
    }
}

#[test]
fn residuals_may_be_columns_of_a_wider_block() {
    for tiles in available() {
        let problem = Problem::new(37, 20, 50, [1.0, 1.0]);
        let (rows, _) = problem.operands(tiles, Precision::Split);
        let (mut whole, mut columns) = (vec![0.0; 50 * 20], vec![0.0; 18 * 20]);
        let mut scratch = TileScratch::new();
        tiles.accumulate_gradient(&problem.z, problem.stride, 50, &rows, &mut whole, &mut scratch);
        let some = &problem.z[32..36 * problem.stride + 50];
        tiles.accumulate_gradient(some, problem.stride, 18, &rows, &mut columns, &mut scratch);
        assert_eq!(columns, whole[32 * 20..]);
    }
}

#[test]
fn nothing_to_multiply_is_no_error() {
    for tiles in available() {
        for (precision, _) in PRECISIONS {
            let (mut rows, mut weights) = (TileRows::new(), TileWeights::new());
            let mut scratch = TileScratch::new();
            tiles.prepare_rows(&[], 0, precision, &mut rows);
            tiles.pack_weights(&[], 2, 0, precision, &mut weights);
            let mut z = [9.0; 6];
            tiles.logits(&rows, &weights, &[1.0, 2.0], &mut z, 3);
            assert_eq!(z, [1.0, 2.0, 9.0, 1.0, 2.0, 9.0]);
            tiles.accumulate_gradient(&z, 3, 2, &rows, &mut [], &mut scratch);
            tiles.accumulate_gram(&[], &[], &rows, &mut [], &mut scratch);

            tiles.prepare_rows(&[], 3, precision, &mut rows);
            tiles.pack_weights(&[1.0; 6], 2, 3, precision, &mut weights);
            tiles.logits(&rows, &weights, &[1.0, 2.0], &mut z, 3);
            let mut g = [5.0; 6];
            tiles.accumulate_gradient(&[], 2, 2, &rows, &mut g, &mut scratch);
            assert_eq!(g, [5.0; 6]);

            tiles.prepare_rows(&[1.0; 6], 3, precision, &mut rows);
            tiles.pack_weights(&[], 0, 3, precision, &mut weights);
            tiles.logits(&rows, &weights, &[], &mut z, 3);
            tiles.accumulate_gradient(&z, 3, 0, &rows, &mut [], &mut scratch);
            assert_eq!(z, [1.0, 2.0, 9.0, 1.0, 2.0, 9.0]);
        }
    }
}

#[test]
fn every_thread_may_multiply() {
    for tiles in available() {
        let problem = Problem::new(33, 40, 20, [1.0, 1.0]);
        let here = problem.logits(tiles, Precision::Split);
        std::thread::scope(|scope| {
            let there = [(); 3].map(|()| scope.spawn(|| problem.logits(tiles, Precision::Split)));
            assert!(there.into_iter().all(|thread| thread.join().unwrap() == here));
        });
    }
}

#[test]
fn contradicting_operands_are_refused() {
    for tiles in available() {
        let refused = |call: &dyn Fn()| {
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
        };
        let problem = Problem::new(2, 3, 2, [1.0, 1.0]);
        let (rows, weights) = problem.operands(tiles, Precision::Split);
        let (coarse, _) = problem.operands(tiles, Precision::Bf16);
        let logits = |rows: &TileRows, bias: usize, z: usize, stride: usize| {
            tiles.logits(rows, &weights, &[0.0; 3][..bias], &mut [0.0; 6][..z], stride);
        };
        logits(&rows, 2, 4, 2);
        refused(&|| logits(&coarse, 2, 4, 2));
        refused(&|| logits(&rows, 3, 6, 3));
        refused(&|| logits(&rows, 2, 3, 2));
        refused(&|| logits(&rows, 2, 4, 1));
        refused(&|| logits(&TileRows::new(), 2, 4, 2));
        let gradient = |r: usize, stride: usize, g: usize| {
            let (r, g) = (&[0.0; 6][..r], &mut [0.0; 6][..g]);
            tiles.accumulate_gradient(r, stride, 2, &rows, g, &mut TileScratch::new());
        };
        gradient(4, 2, 6);
        refused(&|| gradient(3, 2, 6));
        refused(&|| gradient(4, 1, 6));
        refused(&|| gradient(4, 2, 5));
        let gram = |weights: usize, x: usize, g: usize| {
            let x = &[0.0; 9][..x];
            let mut g = vec![0.0; g];
            tiles.accumulate_gram(&[1.0; 3][..weights], x, &rows, &mut g, &mut TileScratch::new());
        };
        gram(2, 6, 9);
        refused(&|| gram(3, 6, 9));
        refused(&|| gram(2, 9, 9));
        refused(&|| gram(2, 6, 6));
        refused(&|| tiles.prepare_rows(&[0.0; 5], 3, Precision::Bf16, &mut TileRows::new()));
        refused(&|| tiles.pack_weights(&[], usize::MAX / 2 + 1, 2, Precision::Bf16, &mut TileWeights::new()));
    }
}

#[test]
fn values_that_are_not_finite_show() {
    for tiles in available() {
        for (precision, _) in PRECISIONS {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut problem = Problem::new(40, 35, 20, [1.0, 1.0]);
                problem.x[37 * 35 + 34] = bad;
                let z = problem.logits(tiles, precision);
                for (row, z) in z.chunks_exact(problem.stride).enumerate() {
                    assert!(z[..20].iter().all(|z| z.is_finite() == (row != 37)));
                }
            }
        }
    }
}

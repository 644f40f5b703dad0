use super::*;
use crate::matrix::SparseRows;
use crate::rng::CounterRng;
use proptest::prelude::*;

fn available() -> impl Iterator<Item = &'static Kernels> {
    Isa::ALL.into_iter().filter_map(Kernels::for_isa)
}

fn random(rng: &mut CounterRng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.next_f64() as f32 * 2.0 - 1.0).collect()
}

/// The sum of products in f64, and the sum of their magnitudes, by which f32 errors are measured.
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
    fn new(rows: usize, features: usize, classes: usize, gap: usize) -> Problem {
        let mut rng = CounterRng::new(11, (rows * 31 + features * 7 + classes) as u64);
        let stride = classes + gap;
        Problem {
            rows,
            features,
            classes,
            stride,
            x: random(&mut rng, rows * features),
            w: random(&mut rng, classes * features),
            bias: random(&mut rng, classes),
            z: random(&mut rng, rows * stride),
        }
    }

    fn logits(&self, kernels: &Kernels) -> Vec<f32> {
        let mut packed = PackedWeights::new();
        // A buffer that held something larger before must not leak it.
        kernels.pack_weights(&[7.0; 50 * 40], 50, 40, &mut packed);
        kernels.pack_weights(&self.w, self.classes, self.features, &mut packed);
        let mut z = self.z.clone();
        kernels.logits(&self.x, self.features, &packed, &self.bias, &mut z, self.stride);
        z
    }

    fn check_logits(&self, kernels: &Kernels) {
        let z = self.logits(kernels);
        for r in 0..self.rows {
            for c in 0..self.stride {
                let found = f64::from(z[r * self.stride + c]);
                if c >= self.classes {
                    assert_eq!(
                        found,
                        f64::from(self.z[r * self.stride + c]),
                        "a column between the rows was touched"
                    );
                    continue;
                }
                let (sum, size) = product(
                    self.x[r * self.features..][..self.features]
                        .iter()
                        .copied()
                        .zip(self.w[c * self.features..][..self.features].iter().copied()),
                );
                let wanted = sum + f64::from(self.bias[c]);
                assert!(
                    (found - wanted).abs() <= 1e-6 * (size + 1.0),
                    "{} z[{r},{c}] {found} {wanted}",
                    kernels.isa().name()
                );
            }
        }
    }

    fn check_gradient(&self, kernels: &Kernels) {
        let mut g = self.w.clone();
        kernels.accumulate_gradient(&self.z, self.stride, self.classes, &self.x, self.features, &mut g);
        for c in 0..self.classes {
            for d in 0..self.features {
                let (sum, size) = product(
                    (0..self.rows).map(|r| (self.z[r * self.stride + c], self.x[r * self.features + d])),
                );
                let at = c * self.features + d;
                let (found, wanted) = (f64::from(g[at]), sum + f64::from(self.w[at]));
                assert!(
                    (found - wanted).abs() <= 1e-6 * (size + 1.0),
                    "{} g[{c},{d}] {found} {wanted}",
                    kernels.isa().name()
                );
            }
        }
    }
}

#[test]
fn products_agree_with_f64_at_block_edges() {
    for kernels in available() {
        for (rows, features, classes, gap) in [
            (1, 1, 1, 0),
            (1, 300, 2, 3),
            (7, 64, 10, 0),
            (9, 257, 48, 0),
            (64, 33, 49, 15),
            (300, 49, 17, 0),
            (65, 100, 96, 1),
            (257, 512, 151, 9),
            (13, 8, 130, 0),
            (40, 1024, 10, 6),
        ] {
            let problem = Problem::new(rows, features, classes, gap);
            problem.check_logits(kernels);
            problem.check_gradient(kernels);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_agree_with_f64(rows in 0usize..40, features in 1usize..120, classes in 1usize..70, gap in 0usize..4) {
        let problem = Problem::new(rows, features, classes, gap);
        for kernels in available() {
            problem.check_logits(kernels);
            problem.check_gradient(kernels);
        }
    }

    #[test]
    fn logits_of_a_row_do_not_depend_on_its_neighbours(
        rows in 1usize..30, features in 1usize..90, classes in 1usize..60, row in 0usize..30
    ) {
        let row = row % rows;
        let problem = Problem::new(rows, features, classes, 0);
        for kernels in available() {
            let together = problem.logits(kernels);
            let alone = Problem {
                rows: 1,
                x: problem.x[row * features..(row + 1) * features].to_vec(),
                z: vec![0.0; classes],
                w: problem.w.clone(),
                bias: problem.bias.clone(),
                ..problem
            };
            prop_assert_eq!(&together[row * classes..(row + 1) * classes], &alone.logits(kernels)[..]);
        }
    }
}

#[test]
fn without_features_the_logits_are_the_bias() {
    for kernels in available() {
        let mut packed = PackedWeights::new();
        kernels.pack_weights(&[], 2, 0, &mut packed);
        let mut z = [9.0; 6];
        kernels.logits(&[], 0, &packed, &[1.0, 2.0], &mut z, 3);
        assert_eq!(z, [1.0, 2.0, 9.0, 1.0, 2.0, 9.0]);
        kernels.accumulate_gradient(&z, 3, 2, &[], 0, &mut []);
    }
}

#[test]
fn instruction_sets_agree_to_1e_5() {
    let problem = Problem::new(50, 700, 37, 0);
    let scalar = problem.logits(Kernels::for_isa(Isa::Scalar).unwrap());
    for kernels in available() {
        let z = problem.logits(kernels);
        assert_eq!(z, problem.logits(kernels), "the same call, the same bytes");
        for (a, b) in z.iter().zip(&scalar) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{}: {a} {b}", kernels.isa().name());
        }
    }
}

#[test]
fn products_of_vectors_agree_with_f64() {
    for kernels in available() {
        let mut rng = CounterRng::new(3, 0);
        for n in [0, 1, 3, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 5000] {
            let (a, b) = (random(&mut rng, n), random(&mut rng, n));
            let (sum, size) = product(a.iter().copied().zip(b.iter().copied()));
            assert!((kernels.dot(&a, &b) - sum).abs() <= 3e-7 * size + 1e-30, "{n}");
            let mut y = b.clone();
            kernels.axpy(-0.75, &a, &mut y);
            for i in 0..n {
                assert!((y[i] - (b[i] - 0.75 * a[i])).abs() <= 2e-7, "{n}");
            }
        }
    }
}

#[test]
fn long_dot_products_do_not_lose_digits() {
    // A running f32 sum would stop growing at 2^24.
    for kernels in available() {
        let ones = vec![1.0f32; (1 << 24) + 77];
        assert_eq!(kernels.dot(&ones, &ones), f64::from((1 << 24) + 77));
    }
}

#[test]
fn descent_follows_its_formula() {
    for kernels in available() {
        for nesterov in [false, true] {
            let mut rng = CounterRng::new(4, 0);
            let (mut w, g, mut v) = (random(&mut rng, 37), random(&mut rng, 37), random(&mut rng, 37));
            let before = (w.clone(), v.clone());
            kernels.sgd_update(&mut w, &g, &mut v, SgdStep { lr: 0.1, momentum: 0.9, nesterov, l2: 0.01 });
            for i in 0..37 {
                let gradient = f64::from(g[i]) + 0.01 * f64::from(before.0[i]);
                let velocity = 0.9 * f64::from(before.1[i]) + gradient;
                let direction = if nesterov { gradient + 0.9 * velocity } else { velocity };
                assert!((f64::from(v[i]) - velocity).abs() < 1e-6);
                assert!((f64::from(w[i]) - (f64::from(before.0[i]) - 0.1 * direction)).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn adamw_follows_its_formula() {
    for kernels in available() {
        let mut rng = CounterRng::new(5, 0);
        let (mut w, g, mut m) = (random(&mut rng, 37), random(&mut rng, 37), random(&mut rng, 37));
        let mut v: Vec<f32> = random(&mut rng, 37).iter().map(|v| v.abs()).collect();
        let before = (w.clone(), m.clone(), v.clone());
        let step = AdamStep {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            correction1: 0.271,
            correction2: 0.002_997,
            decay: 0.1,
        };
        kernels.adamw_update(&mut w, &g, &mut m, &mut v, step);
        for i in 0..37 {
            let gradient = f64::from(g[i]);
            let first = 0.9 * f64::from(before.1[i]) + 0.1 * gradient;
            let second = 0.999 * f64::from(before.2[i]) + 0.001 * gradient * gradient;
            let weight = f64::from(before.0[i]);
            let scale = (second / 0.002_997).sqrt() + 1e-8;
            let moved = (weight * scale - 0.01 * first / 0.271) / (scale + 0.01 * 0.1);
            assert!((f64::from(m[i]) - first).abs() < 1e-6 && (f64::from(v[i]) - second).abs() < 1e-6);
            assert!((f64::from(w[i]) - moved).abs() < 1e-5 * moved.abs().max(1.0), "{} {moved}", w[i]);
        }
    }
}

#[test]
fn widening_is_exact_for_every_value() {
    for kernels in available() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|h| !h.is_nan()).collect();
        let mut wide = vec![0.0; halves.len()];
        kernels.widen_f16(&halves, &mut wide);
        assert!(halves.iter().zip(&wide).all(|(h, w)| h.to_f32().to_bits() == w.to_bits()));
        let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).filter(|b| !b.is_nan()).collect();
        let mut wide = vec![0.0; brains.len()];
        kernels.widen_bf16(&brains, &mut wide);
        assert!(brains.iter().zip(&wide).all(|(b, w)| b.to_f32().to_bits() == w.to_bits()));
        let (mut one, mut other) = ([0.0], [0.0]);
        kernels.widen_f16(&[f16::NAN], &mut one);
        kernels.widen_bf16(&[bf16::NAN], &mut other);
        assert!(one[0].is_nan() && other[0].is_nan());
    }
}

#[test]
fn rows_give_the_same_bytes_wherever_they_stand() {
    for kernels in available() {
        let mut rng = CounterRng::new(7, 0);
        for classes in [5, 70] {
            let z = random(&mut rng, 20 * classes);
            let residuals = |z: &[f32], labels: &[u32]| {
                let (mut z, weights) = (z.to_vec(), vec![1.5; labels.len()]);
                let block = RowBlock {
                    z: &mut z,
                    layout: Layout::Rows { stride: classes },
                    classes,
                    labels,
                    weights: &weights,
                };
                kernels.softmax_rows(block);
                z
            };
            let together = residuals(&z, &[3; 20]);
            for (r, row) in z.chunks_exact(classes).enumerate() {
                assert_eq!(residuals(row, &[3]), together[r * classes..(r + 1) * classes]);
            }
        }
    }
}

#[test]
fn weights_packed_for_another_instruction_set_are_refused() {
    // The levels above AVX-512 have its vectors.
    let available = || available().filter(|kernels| kernels.isa() <= Isa::Avx512);
    for (one, other) in available().zip(available().skip(1)) {
        let mut packed = PackedWeights::new();
        one.pack_weights(&[0.0; 6], 2, 3, &mut packed);
        let call = || other.logits(&[0.0; 6], 3, &packed, &[0.0; 2], &mut [0.0; 4], 2);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    }
}

#[test]
fn contradicting_lengths_are_refused() {
    for kernels in available() {
        let refused = |call: &dyn Fn()| {
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
        };
        let mut packed = PackedWeights::new();
        kernels.pack_weights(&[0.0; 6], 2, 3, &mut packed);
        refused(&|| kernels.pack_weights(&[0.0; 5], 2, 3, &mut PackedWeights::new()));
        refused(&|| kernels.pack_weights(&[], usize::MAX / 2 + 1, 2, &mut PackedWeights::new()));
        refused(&|| kernels.logits(&[0.0; 5], 3, &packed, &[0.0; 2], &mut [0.0; 4], 2));
        refused(&|| kernels.logits(&[0.0; 6], 3, &packed, &[0.0; 3], &mut [0.0; 6], 3));
        refused(&|| kernels.logits(&[0.0; 6], 3, &packed, &[0.0; 2], &mut [0.0; 3], 2));
        refused(&|| kernels.logits(&[0.0; 6], 3, &packed, &[0.0; 2], &mut [0.0; 4], 1));
        refused(&|| kernels.logits(&[0.0; 6], 3, &PackedWeights::new(), &[0.0; 2], &mut [0.0; 4], 2));
        refused(&|| kernels.accumulate_gradient(&[0.0; 3], 2, 2, &[0.0; 6], 3, &mut [0.0; 6]));
        refused(&|| kernels.accumulate_gradient(&[0.0; 4], 2, 2, &[0.0; 6], 3, &mut [0.0; 5]));
        refused(&|| assert!(kernels.dot(&[0.0; 3], &[0.0; 2]).is_nan()));
        refused(&|| kernels.axpy(1.0, &[0.0; 3], &mut [0.0; 2]));
        let rows = |labels: &[u32], weights: &[f32], stride| {
            let block =
                RowBlock { z: &mut [0.0; 4], layout: Layout::Rows { stride }, classes: 2, labels, weights };
            kernels.softmax_rows(block);
        };
        rows(&[0, 1], &[1.0, 1.0], 2);
        refused(&|| rows(&[0, 2], &[1.0, 1.0], 2));
        refused(&|| rows(&[0, 1], &[1.0], 2));
        refused(&|| rows(&[0, 1], &[1.0, 1.0], 1));
        refused(&|| rows(&[0, 1, 0], &[1.0, 1.0, 1.0], 2));
    }
}

/// About a third of `x` (rows x features), the first row without entries, as sparse rows; `x` becomes their dense form.
fn sparse(x: &mut [f32], features: usize) -> SparseRows {
    let mut rows = SparseRows::default();
    for (row, x) in x.chunks_exact_mut(features).enumerate() {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (column, value) in x.iter_mut().enumerate() {
            if row == 0 || (row * 7 + column * 5) % 3 != 0 {
                *value = 0.0;
            } else {
                columns.push(column as u32);
                values.push(*value);
            }
        }
        rows.push(&columns, &values);
    }
    rows
}

#[test]
fn sparse_products_are_those_of_the_dense_rows() {
    for kernels in available() {
        for classes in [1, 2, 8, 15, 33, 64, 150] {
            let mut problem = Problem::new(9, 21, classes, 2);
            let rows = sparse(&mut problem.x, 21);
            let x = rows.range(0, 9);
            let mut weights = FeatureMajor::default();
            kernels.reset_feature_major(21, classes, &mut weights);
            weights.transpose_from(&problem.w);
            let dense = problem.logits(kernels);
            let mut z = problem.z.clone();
            kernels.sparse_logits(x, &weights, &problem.bias, &mut z, problem.stride);
            for (at, (&found, &wanted)) in z.iter().zip(&dense).enumerate() {
                assert!((found - wanted).abs() <= 2e-6, "{:?} z[{at}] {found} {wanted}", kernels.isa());
            }
            let mut dense = vec![0.5; classes * 21];
            kernels.accumulate_gradient(&problem.z, problem.stride, classes, &problem.x, 21, &mut dense);
            for columns in [0..21u32, 0..0, 4..17] {
                let mut g = FeatureMajor::default();
                kernels.reset_feature_major(columns.len(), classes, &mut g);
                g.transpose_from(&vec![0.5; classes * columns.len()]);
                kernels.accumulate_sparse_gradient(&problem.z, problem.stride, x, columns.clone(), &mut g);
                for (feature, d) in columns.enumerate() {
                    for (class, &found) in g.feature(feature).iter().enumerate() {
                        let wanted = dense[class * 21 + d as usize];
                        assert!(
                            (found - wanted).abs() <= 2e-6,
                            "{:?} g[{d},{class}] {found} {wanted}",
                            kernels.isa()
                        );
                    }
                }
                kernels.reset_feature_major(3, 2, &mut g);
                assert!((0..3).all(|feature| g.feature(feature) == [0.0, 0.0]));
            }
        }
    }
}

#[test]
#[should_panic(expected = "an entry in column")]
fn entries_beyond_the_weights_are_refused() {
    let kernels = Kernels::best();
    let mut rows = SparseRows::default();
    rows.push(&[0, 5], &[1.0, 1.0]);
    let mut weights = FeatureMajor::default();
    kernels.reset_feature_major(5, 2, &mut weights);
    kernels.sparse_logits(rows.range(0, 1), &weights, &[0.0; 2], &mut [0.0; 2], 2);
}

//! Preconditioned conjugate gradients (Hestenes and Stiefel 1952) for systems whose matrix is only known by its products.
//!
//! Products and preconditioner are f32 inside, so neither is exactly symmetric; beta is therefore that of Polak and
//! Ribiere, which forgives a preconditioner that changes a little (Notay 2000).

/// A solution of `A x = b`.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    /// x.
    pub(super) x: Vec<f64>,
    /// `|b - A x| / |b|`, by the recurrence.
    pub(super) relative_residual: f64,
    /// Products with A.
    pub(super) iterations: usize,
}

/// Solves `A x = b` until the residual is `tolerance` of `|b|`, or after `most` products. `product` gives `A v`,
/// `precondition` replaces a vector by an approximation of `A^-1` times it. Both have to be linear and positive on the
/// space that b and the products span; where rounding breaks that, the solution so far is returned.
pub(super) fn solve(
    b: &[f64],
    tolerance: f64,
    most: usize,
    mut product: impl FnMut(&[f32]) -> Vec<f64>,
    precondition: impl Fn(&mut [f32]),
) -> Solution {
    let preconditioned = |r: &[f64]| -> Vec<f64> {
        // Relative to the largest: residuals get small, f32 does not.
        let scale = r.iter().fold(0.0, |most: f64, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
        let mut z: Vec<f32> = r.iter().map(|v| (v / scale) as f32).collect();
        precondition(&mut z);
        z.iter().map(|&v| f64::from(v) * scale).collect()
    };
    let size = dot(b, b).sqrt();
    let mut solution = Solution { x: vec![0.0; b.len()], relative_residual: 0.0, iterations: 0 };
    if size == 0.0 {
        return solution;
    }
    let mut r = b.to_vec();
    let mut z = preconditioned(&r);
    let mut p = z.clone();
    let mut rz = dot(&r, &z);
    loop {
        solution.relative_residual = dot(&r, &r).sqrt() / size;
        if solution.relative_residual <= tolerance || solution.iterations >= most {
            return solution;
        }
        let narrow: Vec<f32> = p.iter().map(|&v| v as f32).collect();
        let along = product(&narrow);
        solution.iterations += 1;
        let curvature = dot(&p, &along);
        if !(curvature > 0.0 && rz > 0.0) {
            return solution;
        }
        let step = rz / curvature;
        solution.x.iter_mut().zip(&p).for_each(|(x, p)| *x += step * p);
        let before = r.clone();
        r.iter_mut().zip(&along).for_each(|(r, a)| *r -= step * a);
        z = preconditioned(&r);
        let changed: f64 = z.iter().zip(r.iter().zip(&before)).map(|(z, (r, b))| z * (r - b)).sum();
        let beta = (changed / rz).max(0.0);
        rz = dot(&r, &z);
        p.iter_mut().zip(&z).for_each(|(p, z)| *p = z + beta * *p);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_products_as_eigenvalues_solve_a_system() {
        let diagonal: Vec<f64> = (0..60).map(|i| [1.0, 20.0, 3000.0][i % 3]).collect();
        let b: Vec<f64> = (0..60).map(|i| (i as f64 * 0.7).sin()).collect();
        let product = |v: &[f32]| v.iter().zip(&diagonal).map(|(&v, d)| d * f64::from(v)).collect();
        let found = solve(&b, 1e-5, 50, product, |_| {});
        assert!(found.iterations <= 5, "{found:?}");
        for ((x, b), d) in found.x.iter().zip(&b).zip(&diagonal) {
            assert!((x - b / d).abs() < 1e-4 * (b / d).abs().max(1e-3), "{x} is not {}", b / d);
        }
        let none = solve(&[0.0; 3], 1e-5, 50, |_| vec![0.0; 3], |_| {});
        assert_eq!((none.iterations, none.x), (0, vec![0.0; 3]));
    }
}

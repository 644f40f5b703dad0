//! Weights, two learners, priors, and whether weighting is worth it: `cargo run --example library`

mod digits;

use cbfit::estimator::{Cancel, Features};
use cbfit::{Boost, ClassWeights, Contest, Fitted, Linear, Prior, Weighting, compare};

fn describe(name: &str, model: &Fitted<u32>, x: &impl Features, y: &[u32]) -> cbfit::Result<()> {
    let report = model.report();
    println!("{name}: l2 {}, {} steps, gap {:?}", report.l2, report.steps, report.relative_gap);
    for prior in [Prior::AsTrained, Prior::Natural, Prior::Uniform] {
        let recall = digits::macro_recall(y, &model.predict_under(x, &prior)?);
        let rare: f32 = model.predict_proba_under(x, &prior)?.iter().skip(9).step_by(10).sum();
        println!("  {:10} macro recall {recall:.3}, rows said to be nines {rare:.1}", prior.name());
    }
    Ok(())
}

fn main() -> cbfit::Result<()> {
    // Weights alone, for training elsewhere.
    let weights = ClassWeights::effective(&[5000, 387, 50], 0.9999)?;
    println!("weights of 5000, 387 and 50 rows: {:.3?}", weights.alpha);

    // Every fourth row is held out; all have a row of 64 features.
    let (values, labels) = digits::digits();
    let is_held = |row: &usize| row.is_multiple_of(4);
    let part = |held: bool| -> (Vec<f32>, Vec<u32>) {
        let rows = (0..labels.len()).filter(|row| is_held(row) == held);
        let (x, y): (Vec<_>, Vec<_>) =
            rows.map(|row| (&values[64 * row..64 * (row + 1)], labels[row])).unzip();
        (x.concat(), y)
    };
    let ((x, y), (held_x, held_y)) = (part(false), part(true));
    let (x, held_x) = ((&x[..], 64), (&held_x[..], 64));

    let linear = Linear::softmax().weighting(Weighting::effective(0.999)?).fit(&x, &y)?; // l2 is chosen
    describe("linear", &linear, &held_x, &held_y)?;
    let trees =
        Boost::softmax().weighting(Weighting::effective(0.999)?).rounds(30).min_rows(3).fit(&x, &y)?;
    describe("trees", &trees, &held_x, &held_y)?;

    let contest = Contest { weightings: Some(vec![Weighting::inverse()]), folds: 3, ..Contest::default() };
    if let Some(found) = compare(&x, &y, &contest, &Cancel::new())? {
        found.candidates.iter().for_each(|own| println!("{:16} {} {:.3}", own.name, found.metric, own.value));
        println!("{}", found.verdict);
    }
    Ok(())
}

//! Fits on polars frames: `.ci/polars` runs these, since polars-core takes minutes to compile.

#![allow(clippy::unwrap_used)] // Helpers outside test functions.

use cbfit::interop::polars::{Columns, Label, Model, features, fit, labels, predictions, weights};
use cbfit::{Boost, Linear, Prior, Weighting};
use polars_core::frame::DataFrame;
use polars_core::prelude::{Column, DataType, NamedFrom};
use polars_core::series::Series;

const ROWS: usize = 240;

fn column<T, P: ?Sized>(name: &str, values: T) -> Column
where
    Series: NamedFrom<T, P>,
{
    Series::new(name.into(), values).into()
}

/// Two numbers and a boolean that tell three classes of 150, 60 and 30 rows, a weight, and a text that is no feature.
fn frame() -> DataFrame {
    let class = |row: usize| if row % 8 < 5 { 0 } else { 1 + usize::from(row % 8 == 7) };
    let noise = |row: usize, by: usize| (row * by % 89) as f64 / 89.0 - 0.5;
    let rows = || 0..ROWS;
    DataFrame::new(
        ROWS,
        vec![
            column("x_wide", rows().map(|row| class(row) as f64 + noise(row, 37)).collect::<Vec<f64>>()),
            column("id", rows().map(|row| format!("row {row}")).collect::<Vec<String>>()),
            column("x_count", rows().map(|row| (10 * class(row) + row % 7) as i64).collect::<Vec<i64>>()),
            column(
                "label",
                rows().map(|row| ["common", "rare", "rarest"][class(row)]).collect::<Vec<&str>>(),
            ),
            column("flag", rows().map(|row| class(row) > 0 && row % 3 > 0).collect::<Vec<bool>>()),
            column("weight", rows().map(|row| 1.0 + (row % 2) as f64).collect::<Vec<f64>>()),
        ],
    )
    .unwrap()
}

fn replaced(frame: &DataFrame, column: Column) -> DataFrame {
    let others = frame.columns().iter().filter(|old| old.name() != column.name()).cloned();
    DataFrame::new(frame.height(), others.chain([column.clone()]).collect()).unwrap()
}

#[test]
fn columns_are_chosen_by_name_prefix_and_exclusion() {
    let frame = frame();
    let names = |columns: Columns| columns.names(&frame, &["label", "weight"]).unwrap();
    assert_eq!(names(Columns::Named(&["flag", "x_wide"])), ["flag", "x_wide"]);
    assert_eq!(names(Columns::Prefixed("x_")), ["x_wide", "x_count"]);
    assert_eq!(names(Columns::NumericBut(&["x_count"])), ["x_wide", "flag"]);
    let code = |columns: Columns| columns.names(&frame, &["label", "weight"]).unwrap_err();
    assert_eq!(code(Columns::Prefixed("y_")).code(), "E0206");
    assert_eq!(code(Columns::NumericBut(&["x_counts"])).code(), "E0202");
    assert!(code(Columns::NumericBut(&["x_counts"])).help().contains("x_count"));
    assert_eq!(code(Columns::Named(&["weight"])).code(), "E0208");
    assert_eq!(code(Columns::Named(&[])).code(), "E0206");
    assert_eq!(features(&frame, &["nothing"]).unwrap_err().code(), "E0202");
    assert_eq!(features(&frame, &["flag", "id"]).unwrap_err().code(), "E0318");
}

#[test]
fn values_are_those_of_the_frame() {
    let frame = frame();
    let rows = features(&frame, &["x_count", "flag", "x_wide"]).unwrap();
    assert_eq!((rows.rows(), rows.cols()), (ROWS, 3));
    let wide = frame.column("x_wide").unwrap().as_materialized_series().f64().unwrap().clone();
    for row in [0, 7, 14, ROWS - 1] {
        let class = if row % 8 < 5 { 0 } else { 1 + usize::from(row % 8 == 7) };
        assert_eq!(rows.get(row, 0), (10 * class + row % 7) as f32);
        assert_eq!(rows.get(row, 1), f32::from(u8::from(class > 0 && row % 3 > 0)));
        assert_eq!(rows.get(row, 2), wide.get(row).unwrap() as f32);
    }
    // Chunks one after the other, and a frame that begins in the midst of another.
    let tail = frame.slice(100, 50).vstack(&frame.slice(3, 4)).unwrap();
    let part = features(&tail, &["x_wide"]).unwrap();
    assert_eq!(part.rows(), 54);
    assert_eq!([part.get(0, 0), part.get(53, 0)], [rows.get(100, 2), rows.get(6, 2)]);
}

#[test]
fn models_fit_weigh_and_predict_frames() {
    let frame = frame();
    let linear = Linear::softmax().l2(1e-3).weighting(Weighting::effective(0.99).unwrap());
    let model = fit(&linear, &frame, "label", Columns::NumericBut(&[]), Some("weight")).unwrap();
    assert_eq!(model.columns, ["x_wide", "x_count", "flag"]);
    let text = |name: &str| Label::Text(name.into());
    assert_eq!(model.fitted.classes(), [text("common"), text("rare"), text("rarest")]);

    // The same by hand.
    let (rows, y, w) = (
        features(&frame, &model.columns).unwrap(),
        labels(&frame, "label").unwrap(),
        weights(&frame, "weight").unwrap(),
    );
    let request = cbfit::estimator::Request { sample_weight: Some(&w), ..Default::default() };
    assert_eq!(linear.fit_with(&rows, &y, request).unwrap(), model.fitted);

    // Columns are found by name, wherever they stand.
    let turned = DataFrame::new(ROWS, frame.columns().iter().rev().cloned().collect()).unwrap();
    for prior in [Prior::AsTrained, Prior::Natural] {
        let found = model.predict(&turned, &prior).unwrap();
        let names: Vec<&str> = found.columns().iter().map(|column| column.name().as_str()).collect();
        assert_eq!(names, ["prediction", "p_common", "p_rare", "p_rarest"]);
        assert_eq!(labels(&found, "prediction").unwrap(), model.fitted.predict_under(&rows, &prior).unwrap());
        let p = features(&found, &names[1..]).unwrap();
        let own = model.fitted.predict_proba_under(&rows, &prior).unwrap();
        assert!((0..ROWS).all(|row| (0..3).all(|class| p.get(row, class) == own[3 * row + class])));
        assert_eq!(found, predictions(&model.fitted, &rows, &prior).unwrap());
    }
    let right = labels(&model.predict(&frame, &Prior::AsTrained).unwrap(), "prediction").unwrap();
    let right = right.iter().zip(&y).filter(|(a, b)| a == b).count();
    assert!(right > ROWS * 95 / 100, "{right}");
    let back: Model = serde_json::from_str(&serde_json::to_string(&model).unwrap()).unwrap();
    assert_eq!(back, model);
    let lacking = frame.drop("flag").unwrap();
    assert_eq!(model.predict(&lacking, &Prior::Natural).unwrap_err().code(), "E0202");
}

#[test]
fn labels_keep_their_type() {
    let frame = frame();
    let of = |row: usize| if row % 8 < 5 { 2 } else { 10 };
    let trees = Boost::softmax().rounds(3);
    let codes: Vec<i32> = (0..ROWS).map(of).collect();
    let floats: Vec<f64> = codes.iter().map(|&code| f64::from(code)).collect();
    let flags: Vec<bool> = codes.iter().map(|&code| code == 10).collect();
    let two_and_ten = [Label::Int(2), Label::Int(10)];
    let kinds = [
        (column("label", codes), two_and_ten.clone(), DataType::Int64),
        (column("label", floats), two_and_ten, DataType::Int64),
        (column("label", flags), [Label::Bool(false), Label::Bool(true)], DataType::Boolean),
    ];
    for (label, classes, kind) in kinds {
        let frame = replaced(&frame, label);
        let model = fit(&trees, &frame, "label", Columns::Prefixed("x_"), None).unwrap();
        assert_eq!(model.fitted.classes(), classes);
        let found = model.predict(&frame, &Prior::Natural).unwrap();
        assert_eq!(*found.column("prediction").unwrap().dtype(), kind);
        assert_eq!(labels(&found, "prediction").unwrap(), labels(&frame, "label").unwrap());
    }
    let code = |label: Column| labels(&replaced(&frame, label), "label").unwrap_err().code();
    assert_eq!(code(column("label", (0..ROWS).map(|row| row as f64 / 2.0).collect::<Vec<f64>>())), "E0306");
    assert_eq!(
        code(column("label", (0..ROWS).map(|row| (row != 9).then_some(1i64)).collect::<Vec<_>>())),
        "E0305"
    );
    assert_eq!(labels(&frame, "lable").unwrap_err().code(), "E0202");
}

#[test]
fn missing_values_are_for_trees() {
    let x: Vec<Option<f64>> = (0..ROWS).map(|row| (row % 8 < 5).then_some(row as f64)).collect();
    let frame = replaced(&frame(), column("x_wide", x));
    let columns = Columns::Named(&["x_wide"]);
    assert_eq!(fit(&Linear::softmax().l2(1e-2), &frame, "label", columns, None).unwrap_err().code(), "E0310");
    let trees = fit(&Boost::softmax().rounds(40), &frame, "label", columns, None).unwrap();
    // A missing value is what the rare classes have in common.
    let found = labels(&trees.predict(&frame, &Prior::Natural).unwrap(), "prediction").unwrap();
    assert!(
        found.iter().zip(0..).all(|(label, row)| (*label == Label::Text("common".into())) == (row % 8 < 5))
    );
    let weight: Vec<f64> = (0..ROWS).map(|row| if row == 5 { 0.0 } else { 1.0 }).collect();
    let error = weights(&replaced(&frame, column("weight", weight)), "weight").unwrap_err();
    assert_eq!((error.code(), error.place().unwrap()), ("E0316", "frame, row 6, column weight".into()));
}

#[test]
fn lists_are_vectors() {
    let plain = frame();
    let own = features(&plain, &["x_wide", "x_count"]).unwrap();
    let vector =
        |row: usize| Series::new("".into(), [f64::from(own.get(row, 0)), f64::from(own.get(row, 1))]);
    let lists: Vec<Series> = (0..ROWS).map(vector).collect();
    let frame = replaced(&plain, column("embedding", &lists));
    let rows = features(&frame, &["embedding"]).unwrap();
    assert_eq!(rows, own);
    let part = frame.slice(17, 20).vstack(&frame.slice(2, 3)).unwrap();
    let rows = features(&part, &["embedding"]).unwrap();
    assert_eq!((rows.rows(), rows.get(0, 1), rows.get(22, 0)), (23, own.get(17, 1), own.get(4, 0)));
    let model =
        fit(&Linear::softmax().l2(1e-3), &frame, "label", Columns::Named(&["embedding"]), None).unwrap();
    assert_eq!(model.fitted.features(), 2);
    assert_eq!(model.predict(&part, &Prior::Natural).unwrap().height(), 23);
    assert_eq!(features(&frame, &["embedding", "flag"]).unwrap_err().code(), "E0318");
    let mut ragged = lists;
    ragged[4] = Series::new("".into(), [1.0]);
    let error = features(&replaced(&plain, column("embedding", &ragged)), &["embedding"]).unwrap_err();
    assert_eq!((error.code(), error.place().unwrap()), ("E0311", "frame, row 5, column embedding".into()));
}

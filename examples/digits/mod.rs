//! The long-tailed digits of data/: rows of 64 grey values, and which digit each shows.

const TRAIN: &str = include_str!("../../data/digits_lt_train.csv");

/// Values row by row, and labels.
pub fn digits() -> (Vec<f32>, Vec<u32>) {
    let rows = TRAIN.lines().skip(1).map(|line| {
        let mut cells = line.split(',').filter_map(|cell| cell.parse::<f32>().ok());
        (cells.next().unwrap_or(f32::NAN) as u32, cells.map(|value| value / 16.0).collect::<Vec<f32>>())
    });
    let (labels, values): (Vec<u32>, Vec<Vec<f32>>) = rows.unzip();
    (values.concat(), labels)
}

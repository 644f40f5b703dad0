//! The reference losses of single rows, which the losses for torch are held to.

use cbfit::Error;
use cbfit::loss::Loss;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::exception;

/// The loss by its name. `gamma` is for the focal ones.
pub fn loss_of(name: &str, gamma: f64) -> cbfit::Result<Loss> {
    if !(gamma.is_finite() && gamma >= 0.0) {
        return Err(Error::bad_value("gamma", gamma.to_string(), "is not at least 0", "give 0 or more"));
    }
    Ok(match name {
        "softmax" => Loss::Softmax,
        "sigmoid" => Loss::Sigmoid,
        "focal" => Loss::Focal { gamma },
        "softmax-focal" => Loss::SoftmaxFocal { gamma },
        other => {
            let help = "take 'softmax', 'sigmoid', 'focal' or 'softmax-focal'";
            return Err(Error::bad_value("loss", other, "is no loss", help));
        }
    })
}

type LossesAndGradients<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// The loss of each row of `logits`, unweighted, and its gradient in them, row after row.
#[pyfunction]
pub fn row_losses<'py>(
    py: Python<'py>,
    logits: PyReadonlyArray2<'py, f64>,
    labels: PyReadonlyArray1<'py, u32>,
    loss: &str,
    gamma: f64,
) -> PyResult<LossesAndGradients<'py>> {
    let loss = loss_of(loss, gamma).map_err(exception)?;
    let (classes, values, labels) = (logits.shape()[1], logits.as_slice()?, labels.as_slice()?);
    let rows = logits.shape()[0];
    if classes == 0 || labels.len() != rows || labels.iter().any(|&label| label as usize >= classes) {
        let help = "give a code below the number of columns for each row of logits";
        return Err(exception(Error::bad_value("labels", "", "do not fit the logits", help)));
    }
    let (mut losses, mut gradients) = (Vec::new(), vec![0.0; values.len()]);
    let mut hessian = vec![0.0; classes];
    for ((z, gradient), &label) in
        values.chunks_exact(classes).zip(gradients.chunks_exact_mut(classes)).zip(labels)
    {
        losses.push(loss.row_f64(z, label as usize, gradient, &mut hessian));
    }
    Ok((losses.into_pyarray(py), gradients.into_pyarray(py)))
}

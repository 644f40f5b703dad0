//! cbfit's learners as [smartcore](https://docs.rs/smartcore) estimators, for its `cross_validate` and grid search.
//!
//! [`Classifier`] is fitted with a [`Linear`](crate::Linear) or [`Boost`](crate::Boost) as its parameters; class weights come
//! from the labels of the very rows it is given, a training fold for one.

use std::marker::PhantomData;

use smartcore::api::{Predictor, SupervisedEstimator};
use smartcore::error::{Failed, FailedError};
use smartcore::linalg::basic::arrays::{Array1, Array2};
use smartcore::numbers::basenum::Number;

use crate::Error;
use crate::estimator::{Estimator, Fitted, Request};
use crate::matrix::Matrix;

/// A classifier of rows of `T` with labels `L`, fitted by an `E`.
#[derive(Debug, Clone)]
pub struct Classifier<E, T, L> {
    fitted: Option<Fitted<L>>,
    of: PhantomData<(E, T)>,
}

impl<E, T, L> Classifier<E, T, L> {
    /// The classifier itself, with probabilities; `None` before a fit.
    pub fn fitted(&self) -> Option<&Fitted<L>> {
        self.fitted.as_ref()
    }
}

/// Row-major f32.
fn matrix<T: Number, X: Array2<T>>(x: &X) -> Matrix<'static> {
    let (_, cols) = x.shape();
    Matrix::from_f32(x.iterator(0).map(|value| value.to_f32().unwrap_or(f32::NAN)).collect(), cols)
}

fn failed(kind: FailedError) -> impl Fn(Error) -> Failed {
    move |error| Failed::because(kind, &error.to_string())
}

impl<T, L, X, Y, E> SupervisedEstimator<X, Y, E> for Classifier<E, T, L>
where
    T: Number,
    L: Number + Ord,
    X: Array2<T>,
    Y: Array1<L>,
    E: Estimator,
    Self: Predictor<X, Y>,
{
    fn new() -> Self {
        Classifier { fitted: None, of: PhantomData }
    }

    fn fit(x: &X, y: &Y, parameters: E) -> Result<Self, Failed> {
        let labels: Vec<L> = y.iterator(0).copied().collect();
        let fitted = parameters.fit_with(&matrix(x), &labels, Request::default());
        let fitted = fitted.map_err(failed(FailedError::FitFailed))?;
        Ok(Classifier { fitted: Some(fitted), of: PhantomData })
    }
}

impl<T, L, X, Y, E> Predictor<X, Y> for Classifier<E, T, L>
where
    T: Number,
    L: Number + Ord,
    X: Array2<T>,
    Y: Array1<L>,
{
    fn predict(&self, x: &X) -> Result<Y, Failed> {
        let fitted = self.fitted.as_ref().ok_or_else(|| Failed::predict("it is not fitted"))?;
        let labels = fitted.predict(&matrix(x)).map_err(failed(FailedError::PredictFailed))?;
        Ok(Y::from_vec_slice(&labels))
    }
}

//! cbfit's learners as [linfa](https://docs.rs/linfa) algorithms.
//!
//! [`Params`] wraps a [`Linear`](crate::Linear) or [`Boost`](crate::Boost): `Fit` on a `Dataset` honours its weights and
//! takes class weights from the labels of the very rows it is given, a training fold for one; `FitWith` starts from an
//! earlier model. [`Model`] predicts in place, and gives probabilities.
//!
//! [`with_class_weights`] sets the weights of a dataset for other algorithms. Of linfa's own those of `linfa-trees` honour
//! weights; `linfa-logistic`, `linfa-svm` and `linfa-bayes` pass over them in silence.

use linfa::ParamGuard;
use linfa::dataset::{AsSingleTargets, DatasetBase, Float, Label, Records};
use linfa::traits::{Fit, FitWith, PredictInplace};
use ndarray::{Array1, Array2, ArrayBase, ArrayView2, Data, Ix2};

use crate::estimator::{Estimator, Fitted, Request, Weighting};
use crate::labels::ClassCounts;
use crate::matrix::Matrix;
use crate::weighting::{ClassWeights, Normalisation, Prior};
use crate::{Error, Result};

impl From<linfa::Error> for Error {
    fn from(error: linfa::Error) -> Self {
        Error::bad_value("dataset", "", error.to_string(), "mend what linfa says of it")
    }
}

/// Settings of a learner, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Params<E>(ValidParams<E>);

/// Settings of a learner, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidParams<E>(E);

impl<E: Estimator> Params<E> {
    /// Those of `estimator`.
    pub fn new(estimator: E) -> Self {
        Params(ValidParams(estimator))
    }
}

impl<E: Estimator> ParamGuard for Params<E> {
    type Checked = ValidParams<E>;
    type Error = Error;

    fn check_ref(&self) -> Result<&ValidParams<E>> {
        self.0.0.check()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<ValidParams<E>> {
        self.0.0.check()?;
        Ok(self.0)
    }
}

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<L>(pub Fitted<L>);

impl<L> Model<L> {
    /// Probabilities under a prior, one row a record, one column a class in the order of `self.0.classes()`.
    ///
    /// # Errors
    /// Those of [`Fitted::predict_proba_under`].
    pub fn predict_probabilities<F: Float>(
        &self,
        records: ArrayView2<'_, F>,
        prior: &Prior,
    ) -> Result<Array2<f32>> {
        let probabilities = self.0.predict_proba_under(&matrix(&records), prior)?;
        Array2::from_shape_vec((records.nrows(), self.0.classes().len()), probabilities)
            .map_err(|error| linfa::Error::NdShape(error).into())
    }
}

/// Row-major f32.
fn matrix<F: Float, D: Data<Elem = F>>(records: &ArrayBase<D, Ix2>) -> Matrix<'static> {
    let values = records.iter().map(|value| value.to_f32().unwrap_or(f32::NAN)).collect();
    Matrix::from_f32(values, records.ncols())
}

/// Weights of the records, where they have some.
fn weights_of<R: Records, T>(dataset: &DatasetBase<R, T>) -> Option<Vec<f64>> {
    dataset.weights().map(|weights| weights.iter().map(|&weight| f64::from(weight)).collect())
}

fn fitted<E, F, D, T>(
    estimator: &E,
    dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    warm_start: Option<&Fitted<T::Elem>>,
) -> Result<Model<T::Elem>>
where
    E: Estimator,
    F: Float,
    D: Data<Elem = F>,
    T: AsSingleTargets,
    T::Elem: Label,
{
    let weights = weights_of(dataset);
    let labels = dataset.as_single_targets().to_vec();
    let request = Request { sample_weight: weights.as_deref(), warm_start, ..Request::default() };
    estimator.fit_with(&matrix(dataset.records()), &labels, request).map(Model)
}

impl<E, F, D, T> Fit<ArrayBase<D, Ix2>, T, Error> for ValidParams<E>
where
    E: Estimator,
    F: Float,
    D: Data<Elem = F>,
    T: AsSingleTargets,
    T::Elem: Label,
{
    type Object = Model<T::Elem>;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Model<T::Elem>> {
        fitted(&self.0, dataset, None)
    }
}

impl<'a, E, F, D, T> FitWith<'a, ArrayBase<D, Ix2>, T, Error> for ValidParams<E>
where
    E: Estimator,
    F: Float,
    D: Data<Elem = F>,
    T: AsSingleTargets,
    T::Elem: Label + 'a,
{
    type ObjectIn = Option<Model<T::Elem>>;
    type ObjectOut = Model<T::Elem>;

    fn fit_with(
        &self,
        model: Option<Model<T::Elem>>,
        dataset: &'a DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Model<T::Elem>> {
        fitted(&self.0, dataset, model.as_ref().map(|model| &model.0))
    }
}

impl<F, D, L> PredictInplace<ArrayBase<D, Ix2>, Array1<L>> for Model<L>
where
    F: Float,
    D: Data<Elem = F>,
    L: Label,
{
    /// The most probable class of each record as the fit left it.
    ///
    /// # Panics
    /// As linfa's own algorithms where `x` has another number of features or `y` another length, and on values that are not
    /// finite.
    #[allow(clippy::panic)] // linfa's trait has no other way.
    fn predict_inplace<'a>(&'a self, x: &'a ArrayBase<D, Ix2>, y: &mut Array1<L>) {
        assert_eq!(x.nrows(), y.len(), "the number of records and of targets differ");
        match self.0.predict(&matrix(x)) {
            Ok(labels) => y.iter_mut().zip(labels).for_each(|(y, label)| *y = label),
            Err(error) => panic!("{error}"),
        }
    }

    fn default_target(&self, x: &ArrayBase<D, Ix2>) -> Array1<L> {
        Array1::default(x.nrows())
    }
}

/// The dataset with the weight of its class for each record, times the weight it has; the mean is 1.
///
/// # Errors
/// Those of the weighting.
pub fn with_class_weights<R, T>(
    dataset: DatasetBase<R, T>,
    weighting: &Weighting,
) -> Result<DatasetBase<R, T>>
where
    R: Records,
    T: AsSingleTargets,
    T::Elem: Label,
{
    let labels = dataset.as_single_targets().to_vec();
    let (classes, codes) = crate::estimator::coded(&labels)?;
    let given = weights_of(&dataset);
    let counts = ClassCounts::of(&codes, given.as_deref(), classes.len());
    let weights = ClassWeights::new(&weighting.scheme(&counts)?, &counts, Normalisation::Samples, None)?;
    Ok(dataset.with_weights(Array1::from(weights.row_weights(&codes, given.as_deref()))))
}

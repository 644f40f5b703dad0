"""scikit-learn and PyTorch on one problem. Each solver tells `trace` how long it ran and which J it reached.

scikit-learn's lbfgs is watched through SciPy's callback; its objective is J itself (mean weighted loss, penalty divided
alike). The other solvers have no callback: they are run from the start with rising limits, J taken from the coefficients,
until a run reaches the target, a higher limit changes nothing, or the next could not end within the budget."""

import time
import warnings

import numpy as np

from . import objective

FOREVER = 1_000_000


class Reached(Exception):
    """The target is reached or the budget spent."""


class Fit:
    """One problem as the solvers take it."""

    def __init__(self, data, weights, loss, l2, options):
        self.data, self.weights, self.loss, self.l2, self.options = data, weights, loss, l2, options
        dtype = np.float32 if options.dtype == "f32" else np.float64
        self.x = data.x.astype(dtype)
        if options.layout == "csr":
            # Without the centring: the free bias takes the means up, so the optimum is the same.
            from scipy.sparse import csr_matrix

            self.x = csr_matrix(self.x - most_frequent(self.x))
        self.sample_weight = weights.astype(dtype)
        self.ended = "itself"

    def j(self, weight, bias):
        return objective.value(self.data, self.weights, self.loss, self.l2, weight, bias)

    def enough(self, seconds, j):
        if j <= self.options.target:
            self.ended = "target"
        elif seconds > self.options.budget:
            self.ended = "budget"
        return self.ended != "itself"


def most_frequent(x):
    """The most frequent value of each column: zero before standardising, for most columns of KDD 99."""
    from scipy import stats

    return stats.mode(x, axis=0).mode


def coefficients(model):
    """C x D weights and C biases of an estimator or of one binary estimator a class."""
    if hasattr(model, "estimators_"):
        models = model.estimators_
        return np.vstack([m.coef_ for m in models]), np.concatenate([m.intercept_ for m in models])
    return model.coef_, model.intercept_


def save(path, weight, bias):
    """C x D weights, then C biases, f64."""
    np.concatenate([weight.ravel(), bias]).tofile(path)


def uncentred(fit, weight, bias):
    """Parameters over the features as the judge has them."""
    if fit.options.layout == "csr":
        bias = bias - weight @ most_frequent(fit.data.x).astype(np.float64)
    return np.asarray(weight, np.float64), np.asarray(bias, np.float64)


def logistic(fit, solver, **settings):
    from sklearn.linear_model import LogisticRegression

    c = 1 / (fit.l2 * fit.weights.sum())
    return LogisticRegression(C=c, solver=solver, random_state=0, **settings)


def warm_up_sklearn(solver):
    """A fit of a few rows, so that imports and thread pools are ready when the clock starts."""
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(60, 4))
    LogisticRegression(solver=solver, max_iter=3).fit(x, np.arange(60) % 3)


def sklearn(fit, trace, solver):
    if solver == "lbfgs":
        return sklearn_lbfgs(fit, trace)
    if solver == "newton-cholesky":
        parameters = fit.data.classes * (fit.x.shape[1] + 1)
        refuse_hessian(parameters, fit.x.dtype.itemsize)
    return ladder(fit, trace, lambda limit: logistic(fit, solver, tol=1e-12, max_iter=limit))


def refuse_hessian(parameters, width):
    import os

    needed = 2 * parameters**2 * width  # the matrix and its factor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.8 * memory:
        raise MemoryError(f"the Hessian of {parameters} parameters takes {needed / 2**30:.0f} GiB")


def sklearn_lbfgs(fit, trace):
    from scipy import optimize

    minimize = optimize.minimize
    begun = [0.0]

    def watched(*args, callback=None, **settings):
        def see(intermediate_result):
            seconds, j = time.perf_counter() - begun[0], float(intermediate_result.fun)
            trace(seconds, j)
            if fit.enough(seconds, j):
                raise StopIteration
        return minimize(*args, callback=see, **settings)

    optimize.minimize = watched
    model = logistic(fit, "lbfgs", tol=1e-10, max_iter=FOREVER)
    begun[0] = time.perf_counter()
    model.fit(fit.x, fit.data.y, sample_weight=fit.sample_weight)
    return time.perf_counter() - begun[0], uncentred(fit, *coefficients(model))


def one_vs_rest(fit, trace, solver):
    """One binary fit a class, spread over processes where there are two threads."""
    import sklearn
    from sklearn.multiclass import OneVsRestClassifier

    sklearn.set_config(enable_metadata_routing=True)
    tolerance = 1e-10 if solver == "lbfgs" else 1e-12

    def model(limit):
        binary = logistic(fit, solver, tol=tolerance, max_iter=limit).set_fit_request(sample_weight=True)
        return OneVsRestClassifier(binary, n_jobs=fit.options.jobs)

    return ladder(fit, trace, model, first=4 if solver == "lbfgs" else 1)


def ladder(fit, trace, model_of, first=1):
    limit, before = first, None
    while True:
        model = model_of(limit)
        begun = time.perf_counter()
        model.fit(fit.x, fit.data.y, sample_weight=fit.sample_weight)
        seconds = time.perf_counter() - begun
        parameters = uncentred(fit, *coefficients(model))
        save(fit.options.theta, *parameters)  # The next run may be stopped.
        j = fit.j(*parameters)
        trace(seconds, j, limit=limit)
        if fit.enough(seconds * fit.options.ladder, j) or j == before:
            return seconds, parameters
        before = j
        limit = max(limit + 1, int(limit * fit.options.ladder))


def torch_loss(fit, x, y, w):
    """Mean weighted loss of a batch over the mean weight of all rows, the penalty left out."""
    import torch
    from torch.nn import functional

    def of(weight, bias):
        z = functional.linear(x, weight, bias)
        if fit.loss == "softmax":
            loss = functional.cross_entropy(z, y, reduction="none")
        else:
            loss = functional.softplus(z).sum(1) - z.gather(1, y[:, None]).squeeze(1)
        return torch.dot(w, loss) / len(y)

    return of


def torch_problem(fit):
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(fit.options.threads)
    x, y = torch.from_numpy(np.asarray(fit.x)), torch.from_numpy(fit.data.y)
    w = torch.from_numpy(fit.sample_weight / fit.sample_weight.mean())
    weight = torch.zeros(fit.data.classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(fit.data.classes, dtype=x.dtype, requires_grad=True)
    torch_loss(fit, x[:64], y[:64], w[:64])(weight, bias).backward()  # Warms up the thread pool.
    return x, y, w, weight, bias


def torch_parameters(weight, bias):
    return weight.detach().numpy().astype(np.float64), bias.detach().numpy().astype(np.float64)


def torch_lbfgs(fit, trace):
    import torch

    x, y, w, weight, bias = torch_problem(fit)
    loss_of = torch_loss(fit, x, y, w)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=FOREVER, tolerance_grad=1e-12, tolerance_change=1e-15,
                                  history_size=10, line_search_fn="strong_wolfe")
    begun = time.perf_counter()

    def closure():
        optimizer.zero_grad()
        j = loss_of(weight, bias) + 0.5 * fit.l2 * weight.square().sum()
        j.backward()
        seconds, value = time.perf_counter() - begun, float(j.detach())
        trace(seconds, value)
        if fit.enough(seconds, value):
            raise Reached
        return j

    try:
        optimizer.step(closure)
    except Reached:
        pass
    return time.perf_counter() - begun, torch_parameters(weight, bias)


def torch_adam(fit, trace, epochs=100, batch=256, rate=1e-3):
    """The usual loop: shuffled minibatches, cosine schedule; the clock stands while J is taken after an epoch."""
    import torch

    x, y, w, weight, bias = torch_problem(fit)
    optimizer = torch.optim.Adam([weight, bias], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    seconds = 0.0
    for _ in range(epochs):
        begun = time.perf_counter()
        for rows in torch.randperm(len(y)).split(batch):
            optimizer.zero_grad()
            j = torch_loss(fit, x[rows], y[rows], w[rows])(weight, bias)
            (j + 0.5 * fit.l2 * weight.square().sum()).backward()
            optimizer.step()
        schedule.step()
        seconds += time.perf_counter() - begun
        j = fit.j(*torch_parameters(weight, bias))
        trace(seconds, j)
        if fit.enough(seconds, j):
            break
    return seconds, torch_parameters(weight, bias)


def solve(fit, trace):
    """Runs the solver of the options; returns its seconds and its parameters in f64."""
    warnings.filterwarnings("ignore")  # Not having converged is what the limits are for.
    family, _, solver = fit.options.solver.partition("-")
    if family != "torch":
        warm_up_sklearn(solver)
    if family == "sklearn" and fit.loss == "softmax":
        return sklearn(fit, trace, solver)
    if family == "ovr" and fit.loss == "sigmoid":
        return one_vs_rest(fit, trace, solver)
    if family == "torch":
        return {"lbfgs": torch_lbfgs, "adam": torch_adam}[solver](fit, trace)
    raise ValueError(f"{fit.options.solver} does not fit {fit.loss}")

"""One peer in Python on one problem in a process of its own; JSON lines on stdout, the same as benches/linear writes."""

import argparse
import json
import resource
import time

import numpy as np

from . import cases, fits, objective


def emit(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def memory_kb(name):
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name))
    except OSError:
        return None


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass  # The peak stays that of the whole process.


def fit(args, data, weights):
    if args.solver.startswith("torch"):
        import torch  # noqa: F401  Its libraries are no memory of the fit.
    problem = fits.Fit(data, weights, args.loss, args.l2, args)
    ready(data)
    points = []

    def trace(seconds, j, **more):
        points.append(j)
        emit("point", seconds=seconds, objective=j, **more)

    seconds, (weight, bias) = fits.solve(problem, trace)
    memory()
    fits.save(args.theta, weight, bias)
    emit("end", seconds=seconds, objective=points[-1], ended=problem.ended)


def tune(args, data, _):
    """The loop that a careful user of scikit-learn writes: warm starts from strong to weak, macro recall on the held-out
    rows, a last fit of all rows."""
    fits.warnings.filterwarnings("ignore")
    with open(args.split) as file:
        valid = np.array(json.load(file)["valid"])
    train = np.setdiff1d(np.arange(len(data.y)), valid)
    dtype = np.float32 if args.dtype == "f32" else np.float64
    part = lambda rows: cases.Data(data.x[rows].astype(dtype), data.y[rows], data.classes)
    everything, train, valid = part(slice(None)), part(train), part(valid)
    ready(data)
    fits.warm_up_sklearn(args.solver.removeprefix("sklearn-"))
    begun = time.perf_counter()
    weights = objective.row_weights(train, args.beta)
    solver = args.solver.removeprefix("sklearn-")
    problem = fits.Fit(train, weights, "softmax", args.values[0], args)
    model = fits.logistic(problem, solver, max_iter=1000, warm_start=True)
    best = (-1.0, None, None)
    for l2 in args.values:
        model.set_params(C=1 / (l2 * weights.sum()))
        model.fit(train.x, train.y, sample_weight=problem.sample_weight)
        recall = objective.macro_recall(valid.x, valid.y, *fits.coefficients(model))
        emit("trial", seconds=time.perf_counter() - begun, l2=l2, recall=recall)
        if recall > best[0]:
            best = (recall, l2, (model.coef_.copy(), model.intercept_.copy()))
    weights = objective.row_weights(everything, args.beta)
    model.set_params(C=1 / (best[1] * weights.sum()))
    model.coef_, model.intercept_ = best[2]
    model.fit(everything.x, everything.y, sample_weight=weights.astype(dtype))
    seconds = time.perf_counter() - begun
    memory()
    parameters = [np.asarray(part, np.float64) for part in fits.coefficients(model)]
    fits.save(args.theta, *parameters)
    j = objective.value(data, weights, "softmax", best[1], *parameters)
    emit("end", seconds=seconds, objective=j, l2=best[1], fits=len(args.values) + 1)


def one_pass(args, data, weights):
    """Forward and gradient by PyTorch, in blocks that stay in cache, in the width of the solver's name."""
    import torch

    torch.set_num_threads(args.threads)
    width = torch.bfloat16 if args.solver == "torch-bf16" else torch.float32
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    if args.solver == "torch-bf16":
        x = x.to(width)
    w = torch.from_numpy((weights / weights.sum()).astype(np.float32))
    at = torch.arange(data.classes * (x.shape[1] + 1))
    theta = 0.01 * ((at % 7) - 3.0)
    weight = theta[: data.classes * x.shape[1]].reshape(data.classes, -1).to(width)
    bias = theta[data.classes * x.shape[1]:]
    ready(data)
    for _ in range(args.repeat):
        begun = time.perf_counter()
        gradient = torch.zeros(weight.shape)
        j = 0.5 * 1e-4 * float(weight.float().square().sum())
        for start in range(0, len(y), 2048):
            rows = slice(start, start + 2048)
            block = x[rows].to(width)
            z = (block @ weight.T).float() + bias
            z = torch.log_softmax(z, 1)
            j -= float(torch.dot(w[rows], z.gather(1, y[rows, None]).squeeze(1)))
            z.exp_()
            z[torch.arange(len(z)), y[rows]] -= 1
            z *= w[rows, None]
            gradient += (z.to(width).T @ block).float()
        emit("pass", seconds=time.perf_counter() - begun, objective=j)
    memory()


def ready(data):
    rows, features = data.x.shape
    emit("ready", rows=rows, features=features, classes=data.classes, rss_kb=memory_kb("VmRSS:"))
    forget_peak()


def memory():
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    emit("memory", peak_kb=(memory_kb("VmHWM:") or 0) + children or None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["fit", "tune", "pass"])
    for name in ["data", "folder", "beta", "loss", "solver"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--l2", type=float)
    parser.add_argument("--values", type=lambda text: [float(value) for value in text.split(",")])
    parser.add_argument("--dtype", default="f32", choices=["f32", "f64"])
    parser.add_argument("--layout", default="dense", choices=["dense", "csr"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--target", type=float, default=0.0)
    parser.add_argument("--ladder", type=float, default=1.4)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--split")
    parser.add_argument("--theta")
    args = parser.parse_args()
    data = cases.read(args.data, args.folder, test=False)
    weights = objective.row_weights(data, args.beta)
    {"fit": fit, "tune": tune, "pass": one_pass}[args.task](args, data, weights)


if __name__ == "__main__":
    main()

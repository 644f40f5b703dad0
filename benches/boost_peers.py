"""Boosted trees: cbfit beside LightGBM, XGBoost, scikit-learn and CatBoost, the same settings, one fit a process.

    cargo bench --no-run --bench boost
    python benches/boost_peers.py [--data DIR] [--case cover_binary] [--threads 1] [--repeat 3] [--l2 1] [--seed 1 --seed 2]

`--data` is the folder of the data sets, ../shared/data beside the repository by default; a case whose files it lacks is skipped
with a message.

Settings: 63 leaves, learning rate .1, 100 rounds (`--rounds`), 255 bins, 20 rows a leaf, no l2. Text columns become codes, or a
column of zeros and ones for each value in `onehot` cases. The data sets without an official test file are split 7:3 by
class; `--seed` above 0 so splits the training file of each, another way for each seed (made rows are drawn anew). Test
rows of classes that training lacks are left out. Times are the least of the repetitions; CPU seconds stand beside them
because on a busy machine only those compare, and only on one thread: the threads of a peer may wait for each other at
full load. Every run is a line of `boost.jsonl` in `--cache` (the next run begins it anew), from which `page.py` makes a page.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CASES = {
    "cover_binary": ("cover_binary.parquet", None, "label"),
    "creditcard": ("creditcard_40pct.parquet", None, "label"),
    "shuttle": ("shuttle_train.parquet", "shuttle_test.parquet", "label"),
    "covertype_20k": ("covertype_20k.parquet", None, "label"),
    "kdd99_5": ("kdd99_10pct_train.parquet", "kdd99_corrected_test.parquet", "label5"),
    "kdd99_23": ("kdd99_10pct_train.parquet", "kdd99_corrected_test.parquet", "label"),
    "kdd99_5_onehot": ("kdd99_10pct_train.parquet", "kdd99_corrected_test.parquet", "label5"),
    "made_million": None,  # 50,000 rows to train on, a million to predict, 50 features
}
LEARNERS = [
    "cbfit", "lightgbm", "lightgbm-col", "lightgbm-row", "xgboost", "sklearn", "catboost", "catboost-leafwise",
]
LEAVES, RATE, MIN_ROWS = 63, 0.1, 20
DATA = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


def prepare(name, seed, data, folder):
    """Train and test as numbers, as Parquet for cbfit and as npz for the peers."""
    stem = f"{name}_{seed}" if seed else name
    files = [folder / f"{stem}_{part}.parquet" for part in ("train", "test")]
    arrays = folder / f"{stem}.npz"
    if arrays.exists():
        return files, arrays
    if CASES[name] is None:
        parts, labels = zip(*(made(rows, seed) for rows, seed in ((50_000, 2 * seed), (1_000_000, 2 * seed + 1))))
        return write(files, arrays, parts, labels)
    train_file, test_file, label = CASES[name]
    train = pq.read_table(data / train_file)
    if test_file and not seed:
        test = pq.read_table(data / test_file)
    else:
        held_out = split(np.array(train[label].to_pylist(), dtype=object), seed)
        train, test = train.filter(pa.array(~held_out)), train.filter(pa.array(held_out))
    columns = [c for c in train.column_names if not c.startswith("label")]
    code_text = one_hot if name.endswith("onehot") else codes
    classes = sorted(set(train[label].to_pylist()))
    code = {value: at for at, value in enumerate(classes)}
    test = test.filter(pa.array([value in code for value in test[label].to_pylist()]))
    coded = [column for c in columns for column in code_text(train[c], test[c])]
    labels = [np.array([code[v] for v in t[label].to_pylist()], np.int64) for t in (train, test)]
    parts = [np.stack([column[part] for column in coded], 1) for part in (0, 1)]
    return write(files, arrays, parts, labels)


def write(files, arrays, parts, labels):
    for file, x, y in zip(files, parts, labels):
        table = {f"f{at}": x[:, at] for at in range(x.shape[1])}
        pq.write_table(pa.table({**table, "label": y}), file)
    np.savez(arrays, x=parts[0], y=labels[0], test_x=parts[1], test_y=labels[1])
    return files, arrays


def made(rows, seed):
    """Two classes: logistic in five features, a product of signs and a square."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 50)).astype(np.float32)
    z = x[:, :5].sum(1) + np.sign(x[:, 5] * x[:, 6]) + 0.5 * x[:, 7] ** 2 - 2.5
    return x, (z + rng.logistic(size=rows) > 0).astype(np.int64)


def split(labels, seed):
    """Three tenths of every class."""
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), bool)
    for value in sorted(set(labels)):
        rows = np.flatnonzero(labels == value)
        rng.shuffle(rows)
        held_out[rows[: len(rows) * 3 // 10]] = True
    return held_out


def is_text(column):
    kind = column.type
    return not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def codes(train, test):
    """A column as f32, of training and test; text as the rank of its value in training, -1 where it was not seen."""
    if not is_text(train):
        return [[column.to_numpy().astype(np.float32) for column in (train, test)]]
    train, test = train.to_pylist(), test.to_pylist()
    code = {value: at for at, value in enumerate(sorted(set(train)))}
    return [[np.array([code.get(v, -1) for v in column], np.float32) for column in (train, test)]]


def one_hot(train, test):
    """As `codes`, but text as a column of zeros and ones for each value in training."""
    column = codes(train, test)[0]
    if not is_text(train):
        return [column]
    return [[(part == value).astype(np.float32) for part in column] for value in np.unique(column[0])]


def peer(learner, arrays, threads, l2, rounds):
    """One fit of a peer in this process."""
    data = np.load(arrays)
    x, y, test_x, test_y = (data[key] for key in ("x", "y", "test_x", "test_y"))
    classes = int(y.max()) + 1
    binary = classes == 2
    clock = Clock()
    if learner.startswith("lightgbm"):
        import lightgbm

        settings = {
            "objective": "binary" if binary else "multiclass", "num_class": 1 if binary else classes,
            "num_leaves": LEAVES, "learning_rate": RATE, "max_bin": 255, "min_data_in_leaf": MIN_ROWS,
            "lambda_l2": l2, "num_threads": threads, "verbose": -1, "seed": 0,
            "force_col_wise": learner.endswith("col"), "force_row_wise": learner.endswith("row"),
        }
        clock.start()
        rows = lightgbm.Dataset(x, y, params=settings).construct()
        binning = clock.lap()
        model = lightgbm.train(settings, rows, rounds)
        training = clock.lap()
        scores = model.predict(test_x, num_threads=threads)
    elif learner == "xgboost":
        import xgboost

        settings = {
            "objective": "binary:logistic" if binary else "multi:softprob", "grow_policy": "lossguide",
            "max_leaves": LEAVES, "max_depth": 0, "eta": RATE, "max_bin": 255, "tree_method": "hist",
            "lambda": l2, "min_child_weight": 1e-3, "nthread": threads, "verbosity": 0,
            **({} if binary else {"num_class": classes}),
        }
        clock.start()
        rows = xgboost.QuantileDMatrix(x, y, max_bin=255, nthread=threads)
        binning = clock.lap()
        model = xgboost.train(settings, rows, rounds)
        training = clock.lap()
        scores = model.inplace_predict(test_x)
    elif learner.startswith("catboost"):
        import catboost

        # Its own trees ask one question a level: 64 leaves at depth 6. The others are cut leaf by leaf as everybody's.
        shape = {"depth": 6}
        if learner.endswith("leafwise"):
            shape = {"grow_policy": "Lossguide", "max_leaves": LEAVES, "depth": 16, "min_data_in_leaf": MIN_ROWS}
        model = catboost.CatBoostClassifier(
            iterations=rounds, learning_rate=RATE, border_count=254, l2_leaf_reg=l2, thread_count=threads,
            loss_function="Logloss" if binary else "MultiClass", boosting_type="Plain", bootstrap_type="No",
            random_strength=0, random_seed=0, verbose=False, allow_writing_files=False, **shape,
        )
        clock.start()
        rows = catboost.Pool(x, y)
        rows.quantize(border_count=254)
        binning = clock.lap()
        model.fit(rows)
        training = clock.lap()
        scores = model.predict_proba(test_x, thread_count=threads)
    else:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(
            max_iter=rounds, max_leaf_nodes=LEAVES, learning_rate=RATE, max_bins=255,
            min_samples_leaf=MIN_ROWS, l2_regularization=l2, early_stopping=False, random_state=0,
        )
        clock.start()
        binning = (0.0, 0.0)  # part of the fit
        model.fit(x, y)
        training = clock.lap()
        scores = model.predict_proba(test_x)
    predicting = clock.lap()
    p = np.stack([1 - scores, scores], 1) if scores.ndim == 1 else scores
    chosen, present = p.argmax(1), np.unique(test_y)
    print(json.dumps({
        "learner": learner, "rows": len(y), "features": x.shape[1], "classes": classes, "threads": threads,
        "bin_s": binning[0], "bin_cpu": binning[1], "train_s": training[0], "train_cpu": training[1],
        "predict_s": predicting[0], "predict_cpu": predicting[1],
        "log_loss": float(-np.log(np.clip(p[np.arange(len(test_y)), test_y], 1e-15, 1)).mean()),
        "macro_recall": float(np.mean([(chosen[test_y == c] == c).mean() for c in present])),
        "peak_kb": peak_kb(),
    }))


class Clock:
    """Seconds and CPU seconds since the last call."""

    def start(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def lap(self):
        wall, cpu = self.wall, self.cpu
        self.start()
        return self.wall - wall, self.cpu - cpu


def peak_kb():
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def own_l2(arrays, l2):
    """cbfit's unit of l2 is the mean Hessian of a row and class at the start, p (1 - p); that of the others is 1."""
    p = np.bincount(np.load(arrays)["y"].astype(np.int64))
    p = p / p.sum()
    return l2 / (p * (1 - p)).mean()


def run(learner, files, arrays, threads, l2, rounds, binary):
    if learner == "cbfit":
        l2 = own_l2(arrays, l2)
        settings = ["--rounds", rounds, "--leaves", LEAVES, "--lr", RATE, "--min-rows", MIN_ROWS, "--l2", l2]
        command = [binary, "--train", files[0], "--test", files[1], "--threads", threads, *settings]
    else:
        settings = ["--arrays", arrays, "--threads", threads, "--l2", l2, "--rounds", rounds]
        command = [sys.executable, __file__, "--peer", learner, *settings]
    environment = {"OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        print(f"{learner}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


HEAD = """| case | learner | binning s / CPU s | training s / CPU s | CPU of cbfit's | predict s / CPU s | log-loss | macro recall | peak MB |
|---|---|---|---|---|---|---|---|---|"""


def rows_of(results):
    """Rows of the Markdown table of a case and seed: least times, and those of the others over cbfit's."""
    best = {}
    for result in results:
        known = best.setdefault(result["learner"], dict(result))
        for key in (k for k in result if k.endswith(("_s", "_cpu")) and k != "phases_s"):
            known[key] = min(known[key], result[key])
    own = best.get("cbfit")
    for learner, r in best.items():
        ratio = f"{r['train_cpu'] / max(own['train_cpu'], 1e-9):.2f}" if own else "-"
        case = r["case"] + (f", seed {r['seed']}" if r["seed"] else "") + (f", l2 {r['l2']:g}" if r["l2"] else "")
        yield (
            f"| {case} | {learner} | {r['bin_s']:.2f} / {r['bin_cpu']:.2f} "
            f"| {r['train_s']:.2f} / {r['train_cpu']:.2f} | {ratio} "
            f"| {r['predict_s']:.2f} / {r['predict_cpu']:.2f} "
            f"| {r['log_loss']:.5f} | {r['macro_recall']:.4f} | {r['peak_kb'] / 1024:.0f} |"
        )


def cargo_binary():
    """The executable of the bench, newest first."""
    target = pathlib.Path(__file__).resolve().parent.parent / "target" / "release" / "deps"
    found = [f for f in target.glob("boost-*") if f.suffix == ""]
    if not found:
        sys.exit("cargo bench --no-run --bench boost builds the Rust side")
    return max(found, key=lambda f: f.stat().st_mtime)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=DATA, help="folder of the data sets [../shared/data beside the repository]")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--learner", action="append", choices=LEARNERS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--l2", type=float, default=0.0, help="penalty of every learner; cbfit's own unit, an average row, is converted")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, action="append", help="another split of the training file, or other made rows")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("target/bench"))
    parser.add_argument("--binary", type=pathlib.Path, help="the Rust side; found under target/release by default")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--arrays", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        peer(args.peer, args.arrays, args.threads, args.l2, args.rounds)
        return
    args.cache.mkdir(parents=True, exist_ok=True)
    binary = args.binary or cargo_binary()
    print(HEAD)
    with open(args.cache / "boost.jsonl", "w") as lines:
        for case, seed in ((case, seed) for case in args.case or CASES for seed in args.seed or [0]):
            absent = next((f for f in (CASES[case] or ())[:2] if f and not (args.data / f).exists()), None)
            if absent:
                print(f"{case}: skipped, {args.data / absent} is not there", file=sys.stderr)
                continue
            files, arrays = prepare(case, seed, args.data, args.cache)
            learners = ["cbfit", *(l for l in args.learner or LEARNERS if l != "cbfit")]
            results = []
            for _ in range(args.repeat):
                for learner in learners:
                    result = run(learner, files, arrays, args.threads, args.l2, args.rounds, binary)
                    if result:
                        of = {"case": case, "seed": seed, "l2": args.l2, "rounds": args.rounds}
                        results.append(result | of)
                        print(json.dumps(results[-1]), file=lines, flush=True)
            print("\n".join(rows_of(results)), flush=True)


if __name__ == "__main__":
    main()
